"""Rounds that keep the tables in order. Every worker tries; one does, under a transaction's advisory lock."""

from __future__ import annotations

import logging
import random
import threading
from datetime import timedelta
from typing import LiteralString

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from worker import metrics
from worker.config import Settings
from worker.database import Row
from worker.identity import is_dead

log = logging.getLogger(__name__)

#: "imageled" as a number: the advisory lock of maintenance.
LOCK = 0x696D6167656C6564

#: Functions of other topics, each with a batch size; a database that lacks one is an older one.
HOUSEKEEPING: tuple[tuple[str, LiteralString, int], ...] = (
    ("private.expire_reservations(int)", "select private.expire_reservations(%s)", 500),
    ("private.purge_removed(int)", "select private.purge_removed(%s)", 200),
    ("private.settle_replacements(int)", "select private.settle_replacements(%s)", 200),
    ("private.expire_generations(int)", "select private.expire_generations(%s)", 100),
    ("private.prune_generations(int)", "select private.prune_generations(%s)", 100),
    ("private.archive_sessions(int)", "select private.archive_sessions(%s)", 500),
    ("private.remove_unused_inputs(int)", "select private.remove_unused_inputs(%s)", 200),
    ("private.prune_provider_records(int)", "select private.prune_provider_records(%s)", 1000),
    ("private.expire_fills(int)", "select private.expire_fills(%s)", 100),
)
#: One view a transaction, and not under the lock: counting a million rows takes seconds, and it has locks of its own.
COUNT = "private.refresh_analytics(int,boolean)"
PRUNE = "queue.prune(interval,interval,int)"
PRUNE_BATCH = 5000


class Maintenance:
    """A thread that goes round every maintenance_seconds, and at once again while there is more."""

    def __init__(self, settings: Settings, pool: ConnectionPool[psycopg.Connection[Row]]) -> None:
        self._settings = settings
        self._pool = pool
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Starts the rounds, unless the settings want none."""
        if self._settings.maintenance_seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        """Ends the rounds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        more = True
        while True:
            pause = 0.0 if more else self._settings.maintenance_seconds * random.uniform(0.8, 1.2)  # noqa: S311
            if self._stop.wait(pause):
                return
            try:
                more = self.round()
            except (psycopg.Error, PoolTimeout) as error:
                more = False
                log.warning("maintenance failed: %s", error, extra={"action": "maintenance_failed"})

    def round(self) -> bool:
        """One round; says whether there is more to do at once."""
        keep = (
            timedelta(hours=self._settings.keep_succeeded_hours),
            timedelta(days=self._settings.keep_failed_days),
            PRUNE_BATCH,
        )
        with self._pool.connection() as connection:
            self._reap_dead_neighbours(connection)
            with connection.transaction():
                if take_lock(connection):
                    _report(connection.execute("select * from queue.reap()").fetchall())
            more = False
            for name, sql, batch in HOUSEKEEPING:
                more |= _call(connection, name, sql, (batch,), batch)
            more |= _call(connection, COUNT, "select private.refresh_analytics(%s)", (1,), 1, locked=False)
            return _call(connection, PRUNE, "select queue.prune(%s, %s, %s)", keep, PRUNE_BATCH) or more

    def _reap_dead_neighbours(self, connection: psycopg.Connection[Row]) -> None:
        """Takes the jobs of dead worker processes of this machine before their leases run out."""
        for worker, *_ in connection.execute("select * from queue.workers()").fetchall():
            if worker and is_dead(worker):
                _report(
                    connection.execute("select * from queue.reap(dead_worker => %s)", (worker,)).fetchall()
                )


def take_lock(connection: psycopg.Connection[Row]) -> bool:
    """Takes the lock until the end of the transaction, so that no two workers wait for each other's rows.

    A process that is frozen between two statements loses its session, and the lock with it: nobody else
    could reap its jobs as long as it keeps the lock.
    """
    row = connection.execute(
        "select set_config('idle_in_transaction_session_timeout', '5s', true), pg_try_advisory_xact_lock(%s)",
        (LOCK,),
    ).fetchone()
    return bool(row and row[1])


def _call(
    connection: psycopg.Connection[Row],
    name: str,
    sql: LiteralString,
    parameters: tuple[object, ...],
    batch: int,
    *,
    locked: bool = True,
) -> bool:
    """One function in its transaction: what fails in one does not stop the others. True: there is more."""
    try:
        with connection.transaction():
            there = connection.execute("select to_regprocedure(%s) is not null", (name,)).fetchone()
            if not (there and there[0] and (not locked or take_lock(connection))):
                return False
            row = connection.execute(sql, parameters).fetchone()
    except psycopg.Error as error:
        if connection.broken or connection.closed:
            raise
        log.warning("%s failed: %s", name, error, extra={"action": "maintenance_failed"})
        return False
    count = row[0] if row and isinstance(row[0], int) else 0
    if count:
        metrics.MAINTENANCE.labels(name.split("(", maxsplit=1)[0]).inc(count)
        log.info("%s: %s", name, count, extra={"action": "maintenance", "count": count})
    return count >= batch


def _report(rows: list[Row]) -> None:
    for job_id, actor, state in rows:
        log.log(
            logging.ERROR if state == "dead" else logging.WARNING,
            "worker of job was lost",
            extra={"action": "reaped", "job_id": job_id, "actor": actor, "state": state},
        )
