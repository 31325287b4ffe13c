"""Maintenance's lock: one worker at a time, and none for ever."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.worker.toys import wait_for
from worker.maintenance import take_lock


def test_a_frozen_worker_does_not_keep_the_lock(fresh_db: FreshDatabase) -> None:
    """A process that is stopped in mid-transaction loses its session: the others must reap its jobs."""
    frozen = fresh_db.connect_worker(autocommit=True)
    other = fresh_db.connect_worker(autocommit=True)

    def taken() -> bool:
        with other.transaction():
            return take_lock(other)

    frozen.execute("begin")
    assert take_lock(frozen)
    assert not taken()
    wait_for(taken)
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        frozen.execute("select 1")
    other.close()
