"""PgBouncer of its own for tests, in transaction mode: Debian's package, on a free loopback port, not as root."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.stack.processes import unprivileged_account
from tests.support.tcp import free_port


def program() -> str | None:
    """Where it is; distributions keep it out of a user's path."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


class PgBouncer:
    """Context manager. `url` is the database's address through it; `servers` connections go on to the server."""

    def __init__(self, db_url: str, *, servers: int) -> None:
        self._target = conninfo_to_dict(db_url)
        self._servers = servers
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = make_conninfo(**(self._target | {"host": "127.0.0.1", "port": self._port}))

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be started here; None when it can."""
        return None if program() else "pgbouncer is not installed (apt-get install pgbouncer)"

    def __enter__(self) -> PgBouncer:
        # Its account may not enter the folders of the tests.
        self._folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        # Defaults where nothing is said: no startup parameter beyond the usual ones is let through.
        settings: dict[str, Any] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self._port,
            "unix_socket_dir": "",
            "auth_type": "plain",
            "auth_file": self._folder / "userlist",
            "pool_mode": "transaction",
            "default_pool_size": self._servers,
            "max_client_conn": 200,
            "query_wait_timeout": 10,
            "server_login_retry": 0.2,
        }
        if _version() >= (1, 21):
            # It would hide a worker that prepares statements.
            settings["max_prepared_statements"] = 0
        (self._folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={self._target['host']} port={self._target['port']}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        (self._folder / "userlist").write_text(f'"{self._target["user"]}" "{self._target["password"]}"\n')
        if account := unprivileged_account():
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, account.uid, account.gid)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        command, account = program(), unprivileged_account()
        assert command is not None
        log = self._folder / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [command, "-q", self._folder / "pgbouncer.ini"],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        deadline = time.monotonic() + 10
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9; all connections break."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


def _version() -> tuple[int, ...]:
    told = subprocess.run([str(program()), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)", told)
    assert found is not None, told
    return tuple(int(number) for number in found.groups())
