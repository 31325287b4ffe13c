"""A worker as an operator starts it: `imageledger worker` as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from tests.support.stack import ROOT, Stack


class WorkerProcess:
    """Context manager around `imageledger worker`; its log goes to a file in the stack's folder."""

    def __init__(self, stack: Stack, *arguments: str, **environment: str) -> None:
        self._stack, self._arguments, self._environment = stack, arguments, environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> WorkerProcess:
        log = self._stack.folder / "worker-under-test.log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "worker", *self._arguments],
                env=self._stack.environment | self._environment,
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9, as the kernel's OOM killer would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def terminate(self, timeout: float = 40) -> int:
        """SIGTERM, as a deploy would; answers the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=timeout)

    def wait(self, timeout: float) -> int:
        assert self.process is not None
        return self.process.wait(timeout=timeout)

    def __enter__(self) -> WorkerProcess:
        return self.start()

    def __exit__(self, *_: Any) -> None:
        if self.process is not None and self.process.poll() is None:
            self.terminate()
