"""Connections to PostgreSQL that notice a dead peer, and come back.

No session state is kept (no prepared statements, no session locks): a transaction pooler may stand between.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg_pool import ConnectionPool

log = logging.getLogger(__name__)

Row = tuple[Any, ...]

#: What an attempt or a turn survives: lost connections, restarts, deadlocks, timeouts, a full disk, and a pause in the
#: middle of a transaction that the database did not wait for.
TRANSIENT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
)

#: SQLSTATE of queue.complete and queue.fail for an attempt that does not hold the lease any more.
LEASE_LOST = "IL001"

_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "prepare_threshold": None,
    "autocommit": True,
}


def connect(url: str, name: str) -> psycopg.Connection[Row]:
    """A new autocommit connection. Raises psycopg.OperationalError when there is no server."""
    connection = psycopg.connect(url, application_name=f"imageledger {name}", **_CONNECT)
    _read_committed(connection)
    return connection


def _read_committed(connection: psycopg.Connection[Row]) -> None:
    """Says so with each `begin`, whatever an operator made the login's default: functions read again what they lock."""
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED


def open_pool(url: str, name: str, size: int) -> ConnectionPool[psycopg.Connection[Row]]:
    """A pool that opens connections as they are needed, and waits for the server when it is away."""
    return ConnectionPool(
        url,
        min_size=0,
        max_size=size,
        open=True,
        timeout=15,
        max_idle=60,
        # Pauses between attempts double until then: the next one must come sooner than a waiter's time is over.
        reconnect_timeout=10,
        check=ConnectionPool.check_connection,
        configure=_read_committed,
        kwargs={"application_name": f"imageledger {name}", **_CONNECT},
        name=name,
    )


def is_lease_lost(error: BaseException) -> bool:
    """Whether the database refused because the attempt was given up."""
    return isinstance(error, psycopg.Error) and error.sqlstate == LEASE_LOST


class Session:
    """One connection for one thread, opened when first used and again after it was lost."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: psycopg.Connection[Row] | None = None

    def fetch(self, sql: LiteralString, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of one statement, committed. Raises psycopg.Error; the next call connects anew."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, self._name)
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except TRANSIENT:
            # Also after a time-out or a deadlock: a fresh connection is cheap, a half-dead one is not.
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection if there is one."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                self._connection.close()
            self._connection = None


class Backoff:
    """Growing pauses with jitter: least, 2 x least … up to most seconds."""

    def __init__(self, least: float = 0.1, most: float = 5.0) -> None:
        self._least = least
        self._most = most
        self._failures = 0

    def next(self) -> float:
        """The next pause in seconds."""
        pause = min(self._most, self._least * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrecy

    @property
    def is_failing(self) -> bool:
        """Whether there have been failures since the last reset."""
        return self._failures > 0

    def reset(self) -> bool:
        """Starts over; says whether there had been failures."""
        failed, self._failures = self._failures > 0, 0
        return failed
