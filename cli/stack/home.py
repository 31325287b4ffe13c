"""The stack's one state folder: data, logs, keys, what runs.

IMAGELEDGER_HOME, or `.imageledger` in the checkout. When we are root and the user that PostgreSQL runs as may
not enter that folder (a checkout below /root), its `postgres` is a link to /var/lib/imageledger/<hash>.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cli.errors import CliError, LockedError
from cli.stack.binaries import CHECKOUT
from cli.stack.processes import Account, can_enter

ELSEWHERE = Path("/var/lib/imageledger")
_MARKER = "stack.json"


class Home:
    """Paths below the state folder, and small files in it. Nothing is made before `prepare`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logs = root / "logs"
        self.storage = root / "storage"
        self.postgres = root / "postgres"
        self.keys_file = root / "keys.json"
        self.settings_file = root / _MARKER
        self.wishes_file = root / "wishes.json"
        self.status_file = root / "status.json"

    @classmethod
    def find(cls, env: Mapping[str, str] | None = None) -> Home:
        env = os.environ if env is None else env
        given = env.get("IMAGELEDGER_HOME")
        return cls(Path(given).expanduser().absolute() if given else CHECKOUT / ".imageledger")

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's data folder, links followed: the server compares it with its working directory."""
        return self.postgres.resolve() / "data"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def prepare(self, account: Account | None) -> None:
        """Make the folders; nobody else may read them, and `account` may pass through to PostgreSQL's."""
        try:
            ours = not self.root.exists() or self.settings_file.exists()
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.logs, self.storage):
                folder.mkdir(exist_ok=True, mode=0o700)
            if ours:  # else a folder that somebody made for us: its mode is theirs
                self.root.chmod(0o711 if account else 0o700)
            if account and not can_enter(account, self.root):
                if ours:
                    self.root.chmod(0o700)
                self._prepare_elsewhere(account)
            else:
                self.postgres.mkdir(exist_ok=True, mode=0o700)
            if account:
                os.chown(self.postgres.resolve(), account.uid, account.gid)
        except OSError as error:
            raise CliError(
                f"the state folder {self.root} cannot be made: {error}",
                remedy="set IMAGELEDGER_HOME to a folder that you may write",
                code="state_folder",
            ) from error

    def _prepare_elsewhere(self, account: Account) -> None:
        if self.postgres.is_dir():
            if can_enter(account, self.postgres.resolve().parent):
                return
            raise CliError(
                f"{self.postgres} is not a folder that the user {account.name} may enter",
                remedy="move the checkout back to where it was, or set IMAGELEDGER_HOME",
                code="state_folder",
            )
        target = ELSEWHERE / hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        ELSEWHERE.mkdir(parents=True, exist_ok=True, mode=0o755)
        ELSEWHERE.chmod(0o755)
        # Left over from a state folder that was deleted by hand, and its passwords with it: no way in.
        if target.exists():
            shutil.rmtree(target)
        target.mkdir(mode=0o700)
        (target / "BELONGS_TO").write_text(f"{self.root}\n")
        self.postgres.unlink(missing_ok=True)
        self.postgres.symlink_to(target)

    def destroy(self) -> None:
        """Delete everything that `prepare` and the stack made, and nothing else in the folder."""
        if not self.settings_file.exists() and not self.keys_file.exists():
            return
        if self.postgres.is_symlink():
            shutil.rmtree(self.postgres.resolve(), ignore_errors=True)
            self.postgres.unlink()
        for folder in (self.postgres, self.storage, self.logs, self.root / "binaries", self.root / "demo"):
            if folder.exists():
                shutil.rmtree(folder)
        for file in (self.wishes_file, self.status_file, self.keys_file, self.settings_file):
            file.unlink(missing_ok=True)
        for lock in self.root.glob("*.lock"):
            lock.unlink()
        with suppress(OSError):  # somebody's own files are in it
            self.root.rmdir()


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file; empty when there is no such file or it is damaged."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replace the file at once, readable by us only, so that a reader never sees half of it."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(data, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


def try_lock(path: Path) -> int | None:
    """An exclusive lock that ends with this process, however it ends; None when it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def exclusive(path: Path, seconds: float, what: str) -> Iterator[None]:
    """Hold the lock; raises LockedError when another process keeps it longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while (descriptor := try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise LockedError(f"{what} is under way in another process", remedy="wait for it and try again")
        time.sleep(0.05)
    try:
        yield
    finally:
        os.close(descriptor)
