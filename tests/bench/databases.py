"""Throw-away databases in the cluster of an embedded stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.stack import ROOT, Stack


@dataclass(frozen=True)
class Database:
    """Addresses of one database: as postgres, as the superuser, as media_worker."""

    url: str
    admin_url: str
    worker_url: str


class Databases:
    """Makes databases and drops them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._count = 0

    @contextmanager
    def new(
        self, *, ledger: bool, fill: Callable[[psycopg.Connection[Any]], None] | None = None
    ) -> Iterator[Database]:
        """An empty or a migrated database; `fill` gets a superuser's connection in autocommit."""
        self._count += 1
        name = f"bench_{self._count}"
        with psycopg.connect(self._stack.admin_db_url, autocommit=True) as admin:
            admin.execute(sql.SQL("create database {} owner postgres").format(sql.Identifier(name)))
            database = Database(
                *(
                    make_conninfo(**(conninfo_to_dict(url) | {"dbname": name}))
                    for url in (self._stack.db_url, self._stack.admin_db_url, self._stack.worker_db_url)
                )
            )
            try:
                if ledger:
                    with psycopg.connect(database.admin_url, autocommit=True) as db:
                        db.execute((ROOT / "supabase/local/bootstrap.sql").read_text())  # type: ignore[arg-type]
                    self._stack.cli("migrate", "--db-url", database.url)
                if fill:
                    with psycopg.connect(database.admin_url, autocommit=True) as db:
                        fill(db)
                    admin.execute("checkpoint")
                yield database
            finally:
                admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
