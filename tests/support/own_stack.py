"""Embedded stacks that end with a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.support import sql_coverage
from tests.support.stack import Stack, run_cli, start_stack


@contextmanager
def stack_of_its_own(home: Path) -> Iterator[Stack]:
    """A stack with its state in `home`, gone after the block; which functions of the database ran is counted."""
    try:
        stack = start_stack(home)
        with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
            admin.execute("alter role all set track_functions = 'all'")
        yield stack
        sql_coverage.record(stack.admin_db_url)
    finally:
        run_cli(home, "down", "--destroy", "--yes")
