"""The bytes: one immutable file for each version of an object, named by the version's UUID and never by a
user.

A file comes into being under `tmp/` and is moved to `versions/<xx>/` when it is complete and on disk; only
then may a row
name it. What a crash leaves behind is therefore never half an object: it is a file that no row names.
"""

import asyncio
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cli.stack.gateway.storage.errors import entity_too_large

logger = logging.getLogger("gateway.storage")

_WRITE_SIZE = 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """A complete version on disk: its UUID, size in bytes, and MD5 in hex (the ETag, as in S3)."""

    version: str
    size: int
    md5: str
    modified: datetime


class VersionFiles:
    """The folder of version files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tmp = root / "tmp"
        self._versions = root / "versions"

    def prepare(self) -> None:
        """Make the folders and empty `tmp/`: what lies there was never complete."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for shard in range(256):
            (self._versions / f"{shard:02x}").mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir()
        for folder in (self._root, self._versions):
            _sync_folder(folder)

    def belongs_to(self, database: dict[str, str]) -> bool:
        """Whether the folder was made for this database; a folder seen for the first time becomes its own."""
        marker = self._root / "database.json"
        if not marker.exists():
            marker.write_text(json.dumps(database))
            return True
        known: dict[str, str] = json.loads(marker.read_text())
        return known == database

    async def store(self, chunks: AsyncIterable[bytes], limit: int) -> StoredFile:
        """Write the chunks as a new version, in memory never more than a megabyte; raises StorageError 413
        above the limit. Whatever fails, no file is left."""
        version = str(uuid.uuid4())
        temporary = self._tmp / version
        digest = hashlib.md5(usedforsecurity=False)
        size = 0
        pending = bytearray()
        file = await asyncio.to_thread(temporary.open, "xb")

        def write(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        def finish() -> None:
            write(bytes(pending))
            file.flush()
            os.fsync(file.fileno())
            file.close()
            final = self._path(version)
            temporary.rename(final)
            _sync_folder(final.parent)

        try:
            async for chunk in chunks:
                size += len(chunk)
                _check_size(size, limit)
                pending += chunk
                if len(pending) >= _WRITE_SIZE:
                    await asyncio.to_thread(write, bytes(pending))
                    pending.clear()
            await asyncio.to_thread(finish)
        except BaseException:
            # Closing flushes, and so fails again on a full disk.
            with suppress(OSError):
                file.close()
            temporary.unlink(missing_ok=True)
            self.remove([version])
            raise
        return StoredFile(version, size, digest.hexdigest(), datetime.now(UTC))

    async def duplicate(self, version: str) -> str:
        """A new version with the same bytes (they are immutable, so a link does); FileNotFoundError if they
        are gone."""
        copy = str(uuid.uuid4())

        def link() -> None:
            source, target = self._path(version), self._path(copy)
            try:
                target.hardlink_to(source)
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
                temporary = self._tmp / copy
                shutil.copyfile(source, temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.rename(target)
            _sync_folder(target.parent)

        await asyncio.to_thread(link)
        return copy

    def open(self, version: str) -> BinaryIO:
        """The version's bytes; FileNotFoundError when there are none."""
        return self._path(version).open("rb")

    def remove(self, versions: Iterable[str | None]) -> None:
        """Unlink versions that no row names any more; a download under way keeps its open file."""
        for version in versions:
            if version:
                try:
                    self._path(version).unlink(missing_ok=True)
                except OSError:
                    logger.exception("cannot remove version %s", version)

    def sweep(self, known: set[str]) -> int:
        """Remove files that no row names; answers how many."""
        strays = [path for path in self._versions.glob("*/*") if path.name not in known]
        for path in strays:
            path.unlink(missing_ok=True)
        return len(strays)

    def _path(self, version: str) -> Path:
        name = str(uuid.UUID(version))
        return self._versions / name[:2] / name


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise entity_too_large()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
