"""The SQL files of this checkout in the order of their application, and their links for the Supabase CLI."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cli.errors import CliError
from cli.stack.binaries import CHECKOUT

# Folder → the day of its links' timestamps: the series keeps this order of folders for ever.
FOLDERS = {"sql": "20250101", "functions/worker": "20250102", "functions/api": "20250103"}
LINKS = Path("supabase/migrations")
_LINK_NAME = re.compile(r"^(\d{14})_.+\.sql$")


@dataclass(frozen=True)
class SqlFile:
    """`path` is relative to the checkout, with slashes; `sha256` is of the file's bytes, in hex."""

    path: str
    text: str = field(repr=False)
    sha256: str

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def topic(self) -> str:
        return self.path.rpartition("/")[2].removesuffix(".sql")


def schema_files(root: Path = CHECKOUT) -> list[SqlFile]:
    """All SQL files in order; raises CliError when one is not UTF-8 or there is none."""
    files = []
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("*.sql")):
            content = path.read_bytes()
            name = path.relative_to(root).as_posix()
            try:
                text = content.decode()
            except UnicodeDecodeError as error:
                raise CliError(f"{name} is not UTF-8: {error}", remedy="save the file as UTF-8") from error
            files.append(SqlFile(name, text, hashlib.sha256(content).hexdigest()))
    if not files:
        raise CliError(f"there are no SQL files below {root}", remedy="run from a whole checkout")
    return files


def linked_files(root: Path = CHECKOUT) -> dict[str, str]:
    """Link name → the path that it points to, relative to the checkout; for every link that resolves."""
    links = {}
    for link in sorted((root / LINKS).glob("*.sql")):
        target = link.resolve()
        if target.is_file() and target.is_relative_to(root.resolve()):
            links[link.name] = target.relative_to(root.resolve()).as_posix()
    return links


def wanted_links(root: Path = CHECKOUT) -> dict[str, str]:
    """Link name → file. A link that exists keeps its timestamp: a project that has been pushed to knows it.

    A new file in sql/ gets the timestamp of its number, a new function the next one of its folder.
    """
    # Of two that got the same timestamp on two branches, the first keeps it: a version is applied once.
    owners = {
        name[:14]: target for name, target in reversed(linked_files(root).items()) if _LINK_NAME.match(name)
    }
    stamps = {target: stamp for stamp, target in owners.items()}
    wanted: dict[str, str] = {}
    taken = set(stamps.values())
    for file in schema_files(root):
        stamp = stamps.get(file.path)
        if stamp is None:
            stamp = _new_stamp(file, taken)
            taken.add(stamp)
        wanted[f"{stamp}_{file.topic}.sql"] = file.path
    return wanted


def _new_stamp(file: SqlFile, taken: set[str]) -> str:
    midnight = datetime.strptime(FOLDERS[file.folder], "%Y%m%d")
    if number := re.match(r"\d+", file.topic):
        moment = midnight + timedelta(minutes=int(number.group()))
        step = timedelta(seconds=1)
    else:
        own = [stamp for stamp in taken if stamp.startswith(FOLDERS[file.folder])]
        moment = datetime.strptime(max(own, default=f"{midnight:%Y%m%d%H%M%S}"), "%Y%m%d%H%M%S")
        step = timedelta(minutes=1)
    while (stamp := f"{moment:%Y%m%d%H%M%S}") in taken:
        moment += step
    return stamp


def write_links(root: Path = CHECKOUT) -> tuple[list[str], list[str]]:
    """Make supabase/migrations/ agree with the files; answers the names added and removed."""
    folder = root / LINKS
    folder.mkdir(parents=True, exist_ok=True)
    wanted = wanted_links(root)
    removed = [link for link in sorted(folder.glob("*.sql")) if not _is_link_to(root, link, wanted)]
    for link in removed:
        if not link.is_symlink():
            raise CliError(
                f"{link} is a file, not a link",
                remedy="move it into sql/ or functions/ first",
                code="migration_not_linked",
            )
        link.unlink()
    added = [name for name in wanted if not (folder / name).is_symlink()]
    for name in added:
        (folder / name).symlink_to(os.path.relpath(root / wanted[name], folder))
    return added, [link.name for link in removed]


def _is_link_to(root: Path, link: Path, wanted: dict[str, str]) -> bool:
    target = wanted.get(link.name)
    return target is not None and link.is_symlink() and link.resolve() == (root / target).resolve()


def unlinked(root: Path = CHECKOUT) -> list[str]:
    """What `supabase db push` would miss or fail on: files without a link, links without a file."""
    linked = set(linked_files(root).values())
    missing = [file.path for file in schema_files(root) if file.path not in linked]
    broken = [
        f"{LINKS.as_posix()}/{link.name}"
        for link in sorted((root / LINKS).glob("*.sql"))
        if not link.is_symlink() or not link.exists()
    ]
    versions = Counter(link.name[:14] for link in (root / LINKS).glob("*.sql"))
    twice = [f"{LINKS.as_posix()}/{version}_*" for version, count in versions.items() if count > 1]
    return missing + broken + twice
