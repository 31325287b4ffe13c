"""Message brokers of their own for tests: Debian's Redis and RabbitMQ on free loopback ports, as this user."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from tests.support.stack import clean_environment


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at now.

    Below those that outgoing connections are given: whoever tries again and again to reach a broker that is down would
    be given its port some time, and then reach itself.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Server(ABC):
    """A broker's process. Its data lies in `folder`; `start` after `lose_data` finds nothing of before."""

    url: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    @abstractmethod
    def missing() -> str | None:
        """Why it cannot be started here; None when it can."""

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command and its environment."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready."""

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command, environment = self.command()
        log = self.folder.with_suffix(".log")
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                env=clean_environment(**environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self._process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9 of all its processes, which are a group of their own."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None

    def lose_data(self) -> None:
        """While it is down: its disk is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        self.kill()


class Redis(Server):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    @staticmethod
    def missing() -> str | None:
        return (
            None
            if shutil.which("redis-server")
            else "redis-server is not installed (apt-get install redis-server)"
        )

    def command(self) -> tuple[list[str], dict[str, str]]:
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "save": "", "appendonly": "no"}
        return [
            "redis-server",
            *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        ], {}

    def answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as connection,
        ):
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
        return False


class RabbitMq(Server):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"
        # Erlang's name server: one of our own, which goes with us.
        self._names_port = free_port()
        self._names = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self._names_port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @staticmethod
    def script() -> Path | None:
        """The server's own script: the one on the path wants to be root, to become another user."""
        return next(
            iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))), None
        )

    @staticmethod
    def missing() -> str | None:
        there = RabbitMq.script() and shutil.which("epmd")
        return None if there else "rabbitmq-server is not installed (apt-get install rabbitmq-server)"

    def command(self) -> tuple[list[str], dict[str, str]]:
        plugins = self.folder / "enabled_plugins"
        plugins.write_text("[].\n")
        return [str(self.script())], {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            # Two schedulers: a test's broker needs no more, and starts sooner. No busy waiting.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
        }

    def answers(self) -> bool:
        import pika  # noqa: PLC0415 - of the extra
        from pika.exceptions import AMQPError  # noqa: PLC0415

        with contextlib.suppress(AMQPError, OSError):
            pika.BlockingConnection(pika.URLParameters(self.url)).close()
            return True
        return False

    def close(self) -> None:
        super().close()
        self._names.kill()
        self._names.wait()


@contextlib.contextmanager
def running(kind: type[Server], folder: Path) -> Iterator[Server]:
    """A broker until the end of the block."""
    server = kind(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()
