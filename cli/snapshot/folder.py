"""The folder that a snapshot is: manifest.json, tables as COPY text, bytes by their SHA-256; and its verification.

| path | what it is |
| --- | --- |
| `manifest.json` | written last: what is not named in it is no part of the snapshot |
| `tables/<snapshot id>/<schema>.<table>.copy.gz` | rows, as PostgreSQL's COPY text, gzip |
| `tables/<snapshot id>/objects.jsonl.gz` | the objects, one JSON document a line: `Stored` |
| `bytes/<first two>/<sha256>` | bytes of objects, equal ones once |
| `journal.jsonl` | what an unfinished snapshot has copied so far |
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cli.errors import CliError

FORMAT = 1
Progress = Callable[[int, int, str], None]
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of Storage. `sha256` is of the bytes in the snapshot, None when they could not be had."""

    bucket: str
    name: str
    byte_size: int
    version: str
    etag: str
    content_type: str
    cache_control: str
    owner: str | None
    owner_id: str | None
    created_at: str
    user_metadata: dict[str, Any] | None = None
    sha256: str | None = None
    #: Without bytes: deleted_meanwhile or lost; with bytes that are not what storage.objects tells of: changed.
    trouble: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Equal for equal bytes: Storage gives each write a version."""
        return (self.bucket, self.name, self.version, self.etag)


@dataclass(frozen=True)
class TableFile:
    """A table's rows: where they are, how many, of which columns (with their types), and its sequences."""

    name: str
    file: str
    sha256: str
    row_count: int
    columns: dict[str, str]
    sequences: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says. Times are ISO 8601 with zone; sizes are bytes."""

    id: str
    taken_at: str
    server_version: int
    schema_files: dict[str, str]
    tables: list[TableFile]
    buckets: list[dict[str, Any]]
    objects_file: str
    objects_sha256: str
    object_count: int
    byte_count: int
    troubles: dict[str, int]
    credentials: dict[str, Any]
    format: int = FORMAT

    def table(self, name: str) -> TableFile | None:
        """The table of that name, if it is in the snapshot."""
        return next((table for table in self.tables if table.name == name), None)


class Folder:
    """Reads and writes the files below one path. Files are for their owner only: they hold people's data."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Makes the folder; raises CliError `folder_in_use` when it holds something else."""
        if self.path.exists() and not self.path.is_dir():
            raise CliError(f"{self.path} is a file", remedy="name a folder", code="folder_in_use")
        ours = {"manifest.json", "tables", "bytes", "journal.jsonl"}
        if self.path.exists() and (other := {entry.name for entry in self.path.iterdir()} - ours):
            raise CliError(
                f"{self.path} holds something else: {', '.join(sorted(other)[:5])}",
                remedy="name an empty folder, or the one of an earlier snapshot",
                code="folder_in_use",
            )
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)

    def blob(self, sha256: str) -> Path:
        """Where bytes of this digest are."""
        return self.path / "bytes" / sha256[:2] / sha256

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    def read(self) -> Manifest:
        """Raises CliError `no_snapshot`, `snapshot_unreadable` or `snapshot_format`."""
        try:
            data = json.loads((self.path / "manifest.json").read_text())
            if data["format"] != FORMAT:
                raise CliError(
                    f"{self.path} has format {data['format']}, and this command knows {FORMAT}",
                    remedy="use the version of imageledger that took it, or a newer one",
                    code="snapshot_format",
                )
            return Manifest(**(data | {"tables": [TableFile(**table) for table in data["tables"]]}))
        except FileNotFoundError as error:
            raise CliError(
                f"{self.path} holds no finished snapshot",
                remedy="name the folder that `imageledger snapshot` wrote",
                code="no_snapshot",
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CliError(
                f"{self.path / 'manifest.json'} cannot be read: {error}",
                remedy="take it from another copy of the snapshot",
                code="snapshot_unreadable",
            ) from error

    def write(self, manifest: Manifest) -> None:
        """From this moment the folder is that snapshot; what belonged to an earlier one goes."""
        new = self.path / "manifest.json.new"
        with _private(new) as file:
            file.write((json.dumps(asdict(manifest), indent=2) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.path / "manifest.json")
        self.journal.unlink(missing_ok=True)
        for earlier in (self.path / "tables").iterdir():
            if earlier.name != manifest.id:
                shutil.rmtree(earlier)
        kept = {item.sha256 for item in self.objects(manifest)}
        for blob in (self.path / "bytes").glob("*/*"):
            if blob.name not in kept:
                blob.unlink()

    def objects(self, manifest: Manifest) -> Iterator[Stored]:
        """The objects in the manifest's order."""
        with gzip.open(self.path / manifest.objects_file, "rt", encoding="utf8") as lines:
            for line in lines:
                yield Stored(**json.loads(line))

    def write_lines(self, name: str, lines: Iterable[bytes]) -> str:
        """A gzip file of these pieces; answers the SHA-256 of the file."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _private(path) as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            for line in lines:
                packed.write(line)
        return digest(path)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The unpacked content of such a file."""
        with gzip.open(self.path / name, "rb") as packed:
            while chunk := packed.read(_CHUNK):
                yield chunk


def _private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of the snapshot that is not what the manifest says: missing, or other bytes."""

    file: str
    problem: str
    objects: int = 0


def verify(folder: Folder, manifest: Manifest, progress: Progress) -> list[Damage]:
    """Reads every file and compares it with the manifest; needs no database."""
    wanted = {table.file: table.sha256 for table in manifest.tables}
    wanted[manifest.objects_file] = manifest.objects_sha256
    damages = [
        found for file, sha256 in wanted.items() if (found := _check(folder, folder.path / file, sha256))
    ]
    if any(damage.file == manifest.objects_file for damage in damages):
        return damages
    uses: dict[str, int] = {}
    for item in folder.objects(manifest):
        if item.sha256:
            uses[item.sha256] = uses.get(item.sha256, 0) + 1
    for done, (sha256, count) in enumerate(uses.items()):
        progress(done, len(uses), "verifying")
        if found := _check(folder, folder.blob(sha256), sha256, count):
            damages.append(found)
    return damages


def _check(folder: Folder, path: Path, sha256: str, objects: int = 0) -> Damage | None:
    name = path.relative_to(folder.path).as_posix()
    try:
        found = digest(path)
    except FileNotFoundError:
        return Damage(name, "missing", objects)
    except OSError as error:
        return Damage(name, str(error), objects)
    return None if found == sha256 else Damage(name, "other bytes than the manifest says", objects)


def refuse_damaged(damages: list[Damage]) -> None:
    """Raises CliError `snapshot_damaged` with the files."""
    if not damages:
        return
    shown = "\n".join(f"  - {d.file}: {d.problem}" for d in damages[:10])
    more = f"\n  … and {len(damages) - 10} more" if len(damages) > 10 else ""
    error = CliError(
        f"{len(damages)} files of the snapshot are damaged:\n{shown}{more}",
        remedy="take these files from another copy of the snapshot, or use an older snapshot",
        code="snapshot_damaged",
    )
    error.exit_code = 7
    error.data = {"files": [asdict(damage) for damage in damages]}
    raise error
