"""The parts of the stack: how each is started, asked for its health, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import pq

from cli.stack.binaries import CHECKOUT
from cli.stack.postgres import Postgres, log_tail
from cli.stack.processes import ProcessRef, listens, reap, reference, spawn

LOG_BYTES_MAX = 20 * 1024 * 1024
_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# A part that lived this long has proved itself: its next crash is restarted at once again.
_PROVEN_SECONDS = 30.0


def http_ok(url: str, timeout: float = 1.5) -> bool:
    """Whether the address answers 2xx."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path)
        return 200 <= connection.getresponse().status < 300
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def postgres_answers(url: str) -> bool:
    """Whether a PostgreSQL accepts connections; no login, so that no password is needed or logged."""
    try:
        return pq.PGconn.ping(f"{url}?connect_timeout=2".encode()) == pq.Ping.OK
    except Exception:
        return False


def python_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """For a child in Python: the caller's variables without those that belong to another project."""
    drop = ("PG", "PGRST_", "GATEWAY_", "SUPABASE_", "WORKER_DB_URL")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
    path = os.pathsep.join(filter(None, (str(CHECKOUT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path, **extra}


@dataclass
class Part:
    """One supervised process. `healthy` is asked only while the process lives."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    log: Path
    check: Callable[[], bool]
    port: int | None = None
    start_seconds: float = 30.0
    stop_seconds: float = 10.0

    process: subprocess.Popen[bytes] | None = None
    ref: ProcessRef | None = None
    state: str = "stopped"
    restarts: int = 0
    last_exit: str | None = None
    restart_at: float = 0.0
    started_at: float = 0.0
    checked_at: float = 0.0
    failures: int = 0
    missed: int = 0

    def start(self) -> None:
        rotate(self.log)
        self.process = self._launch()
        self.ref = reference(self.process.pid)
        self.started_at = time.monotonic()
        self.state = "starting"

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return spawn(self.command, log=log, env=self.environment, cwd=CHECKOUT)

    def healthy(self) -> bool:
        if self.state != "healthy" and self.port and self.process:
            # Another program that was quicker to take the port would answer in this one's place.
            return listens(self.process.pid, self.port) and self.check()
        return self.check()

    def ended(self) -> str | None:
        """How the process ended, once; sweeps what it left in its process group."""
        if self.process is None:
            return None
        status = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is None:
            return None
        # Not yet reaped, so that the group's number is certainly still this group's.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        how = describe_exit(self.process.wait())
        self.process = self.ref = None
        return how

    def plan_restart(self, how: str) -> float:
        """Count the crash; answers the pause in seconds before the next start."""
        if time.monotonic() - self.started_at > _PROVEN_SECONDS:
            self.failures = 0
        pause = _BACKOFF[min(self.failures, len(_BACKOFF) - 1)]
        self.failures += 1
        self.restarts += 1
        self.last_exit = how
        self.restart_at = time.monotonic() + pause
        self.state = "restarting"
        return pause

    def request_stop(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask, wait, kill; with all that is in its process group."""
        if self.process is not None:
            self.request_stop()
            if reap_wait(self.process, self.stop_seconds) is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
                reap(self.process, 5)
            else:
                self.ended()
        self.process = self.ref = None
        self.state = "stopped"

    def tail(self) -> str:
        return log_tail(self.log)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.state,
            "pid": self.ref.pid if self.ref else None,
            "started": self.ref.started if self.ref else None,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "log": str(self.log),
        }


class PostgresPart(Part):
    """The embedded cluster as a part."""

    def __init__(self, server: Postgres) -> None:
        super().__init__(
            "postgres",
            [],
            {},
            server.log_file,
            check=lambda: postgres_answers(server.url()),
            port=server.port,
        )
        self.server = server
        self.start_seconds = 60.0

    def _launch(self) -> subprocess.Popen[bytes]:
        return self.server.start()

    def ended(self) -> str | None:
        if self.process is None or self.process.poll() is None:
            return None
        how = describe_exit(self.process.returncode)
        self.process = self.ref = self.server.process = None
        return how

    def request_stop(self) -> None:
        """Only after the others: a fast shutdown ends their connections."""

    def stop(self) -> None:
        self.server.stop("fast")
        self.process = self.ref = None
        self.state = "stopped"


def reap_wait(process: subprocess.Popen[bytes], seconds: float) -> bool | None:
    """True when the process ended within `seconds`, without reaping it; else None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.02)
    return None


def describe_exit(code: int) -> str:
    """`status 1` or `signal SIGKILL`."""
    if code >= 0:
        return f"status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def rotate(log: Path) -> None:
    """Keep one old log; the file that is written never grows beyond `LOG_BYTES_MAX` over restarts."""
    with suppress(OSError):
        if log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_name(log.name + ".1"))


def postgrest_part(
    binary: Path, *, db_url: str, jwt_secret: str, port: int, admin_port: int, log: Path
) -> Part:
    settings = {
        "PGRST_DB_URI": db_url,
        "PGRST_DB_SCHEMAS": "public",
        "PGRST_DB_EXTRA_SEARCH_PATH": "public, extensions",
        "PGRST_DB_ANON_ROLE": "anon",
        "PGRST_DB_PLAN_ENABLED": "false",
        "PGRST_DB_MAX_ROWS": "1000",
        "PGRST_DB_POOL": "20",
        "PGRST_DB_CHANNEL": "pgrst",
        "PGRST_DB_CHANNEL_ENABLED": "true",
        "PGRST_JWT_SECRET": jwt_secret,
        "PGRST_OPENAPI_MODE": "follow-privileges",
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_SERVER_PORT": str(port),
        "PGRST_ADMIN_SERVER_PORT": str(admin_port),
        "PGRST_LOG_LEVEL": "warn",
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    return Part(
        "postgrest",
        [str(binary)],
        kept | settings,
        log,
        check=lambda: http_ok(f"http://127.0.0.1:{admin_port}/ready"),
        port=port,
    )


def gateway_part(settings: Mapping[str, str], *, health_url: str, port: int, log: Path) -> Part:
    return Part(
        "gateway",
        [sys.executable, "-m", "cli.stack.gateway"],
        python_environment(settings),
        log,
        check=lambda: http_ok(health_url),
        port=port,
    )


class WorkerPart(Part):
    """A worker has no port: it is healthy once it has logged in, and then as long as it lives."""

    def __init__(self, settings: Mapping[str, str], *, admin_db_url: str, log: Path) -> None:
        command = [sys.executable, "-m", "cli.main", "worker"]
        super().__init__("worker", command, python_environment(settings), log, check=self._logged_in)
        self.stop_seconds = 35.0  # its own grace time is 25 s
        self._admin_db_url = admin_db_url

    def _logged_in(self) -> bool:
        if self.state == "healthy":
            return True
        try:
            with psycopg.connect(self._admin_db_url, connect_timeout=2, autocommit=True) as conn:
                # Ages are compared, not moments: the database's clock may differ from ours.
                row = conn.execute(
                    "select exists (select from pg_stat_activity where usename = 'media_worker'"
                    " and extract(epoch from clock_timestamp() - backend_start) < %s)",
                    [time.monotonic() - self.started_at],
                ).fetchone()
        except psycopg.Error:
            return False
        return row == (True,)
