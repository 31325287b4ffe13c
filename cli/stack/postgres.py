"""One PostgreSQL cluster of our own: made, started, asked and stopped, as root or not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psycopg

from cli.errors import StartError
from cli.stack.binaries import PostgresBinaries
from cli.stack.processes import Account, ProcessRef, reap, reference, spawn

SUPERUSER = "supabase_admin"
StopMode = Literal["fast", "immediate"]
_STOP_SIGNALS: dict[StopMode, int] = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

# What Supabase sets too, or what a local cluster with short statements wants.
DEFAULT_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "shared_preload_libraries": "pg_stat_statements",
    "wal_level": "logical",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "jit": "off",
}


def connection_url(role: str, password: str, port: int, *, database: str = "postgres") -> str:
    """A libpq URL on loopback."""
    return f"postgresql://{quote(role)}:{quote(password, safe='')}@127.0.0.1:{port}/{database}"


def log_tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


class Postgres:
    """A cluster in `data_dir` that listens on 127.0.0.1:`port` only; every login is by password (SCRAM).

    `account` is whom the server runs as; needed when we are root (`processes.unprivileged_account()`).
    `data_dir`'s parent must be a folder that the account may enter; it is made when it is missing.
    Not thread-safe. `start` must be called from a thread that lives as long as the server should.
    """

    def __init__(
        self,
        binaries: PostgresBinaries,
        data_dir: Path,
        *,
        port: int,
        password: str,
        log_file: Path,
        account: Account | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.binaries = binaries
        self.data_dir = data_dir
        self.port = port
        self.password = password
        self.log_file = log_file
        self.account = account
        self.settings = {**DEFAULT_SETTINGS, **(settings or {}), "port": str(port)}
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, role: str = SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        return connection_url(role, password or self.password, self.port, database=database)

    def init(self) -> bool:
        """Make the cluster unless it exists; True when it was made. An interrupted attempt leaves none."""
        if (self.data_dir / "PG_VERSION").is_file():
            return False
        parent = self.data_dir.parent
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = parent / f"{self.data_dir.name}.new"
        shutil.rmtree(half, ignore_errors=True)
        password_file = parent / f"{self.data_dir.name}.password"
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if self.account:
            for path in (parent, password_file):
                os.chown(path, self.account.uid, self.account.gid)
        try:
            # The built-in C.UTF-8 locale sorts alike on every machine and needs nothing installed.
            done = subprocess.run(
                [
                    *(str(self.binaries.initdb), "-D", str(half), "-U", SUPERUSER),
                    *(f"--pwfile={password_file}", "--auth=scram-sha-256", "--no-instructions"),
                    *(
                        "--encoding=UTF8",
                        "--locale=C",
                        "--locale-provider=builtin",
                        "--builtin-locale=C.UTF-8",
                    ),
                ],
                cwd="/",
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
            )
        except OSError as error:
            raise StartError(
                f"initdb cannot be started: {error}",
                remedy="set IMAGELEDGER_POSTGRES_BIN to a PostgreSQL that runs here",
            ) from error
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            shutil.rmtree(half, ignore_errors=True)
            raise StartError(
                f"initdb failed in {parent}:\n{(done.stderr or done.stdout).strip()}",
                remedy="free disk space or choose another folder with IMAGELEDGER_HOME",
            )
        half.rename(self.data_dir)
        return True

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server; it may not answer yet (see `wait_ready`)."""
        self._remove_stale_lock()
        command: list[str | Path] = [self.binaries.postgres, "-D", self.data_dir]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = spawn(
                command,
                log=log,
                env=_clean_environment(),
                account=self.account,
                death_signal=signal.SIGINT,
            )
        return self.process

    def ready(self, timeout: float = 2) -> bool:
        """Whether a superuser can log in and be answered."""
        try:
            with psycopg.connect(self.url(), connect_timeout=max(2, int(timeout)), autocommit=True) as db:
                db.execute("select 1")
        except psycopg.Error:
            return False
        return True

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait for the server that `start` began; raises StartError with the log's last lines."""
        deadline = time.monotonic() + timeout
        while not self.ready():
            status = self.process.poll() if self.process else None
            if status is not None or time.monotonic() > deadline:
                how = (
                    f"ended with status {status}"
                    if status is not None
                    else f"not ready after {timeout:.0f} s"
                )
                raise StartError(
                    f"PostgreSQL {how}; the last lines of {self.log_file}:\n{log_tail(self.log_file)}",
                    remedy=f"read {self.log_file}",
                    code="postgres_start_failed",
                )
            time.sleep(0.05)

    def running(self) -> ProcessRef | None:
        """The server of this very data folder, whoever started it."""
        pid = self._lock_pid()
        ref = reference(pid) if pid else None
        if ref is None or (self.process and self.process.pid == ref.pid):
            return ref
        if sys.platform == "linux":
            # The postmaster's working directory is its data folder: a recycled pid has another.
            try:
                return ref if Path(f"/proc/{ref.pid}/cwd").samefile(self.data_dir) else None
            except OSError:
                return None
        return ref

    def stop(self, mode: StopMode = "fast", timeout: float = 30) -> None:
        """Stop the server: `fast` rolls back and checkpoints, `immediate` is a crash; kills in the end."""
        ref = self.running() or (reference(self.process.pid) if self.process else None)
        if ref and ref.signal(_STOP_SIGNALS[mode]) and not self._wait_gone(ref, timeout):
            ref.signal(signal.SIGKILL)
            self._wait_gone(ref, 5)
        if self.process:
            reap(self.process, 5)
            self.process = None

    def _wait_gone(self, ref: ProcessRef, timeout: float) -> bool:
        if self.process and self.process.pid == ref.pid:
            return reap(self.process, timeout) is not None
        return ref.wait_gone(timeout)

    def _lock_pid(self) -> int | None:
        with suppress(OSError, ValueError, IndexError):
            return int((self.data_dir / "postmaster.pid").read_text().splitlines()[0])
        return None

    def _remove_stale_lock(self) -> None:
        # After a machine crash the pid in the file may be another program's; PostgreSQL would not start.
        if sys.platform == "linux" and self._lock_pid() and not self.running():
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)


def _clean_environment() -> dict[str, str]:
    """PG* variables of the caller would redirect the server's own start."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
