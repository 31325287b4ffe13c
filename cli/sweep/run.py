"""One sweep: slice by slice, first what the tables tell, then the bytes, and repairs as findings come."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from cli.errors import CliError
from cli.sweep.findings import HOPELESS, OF_RENDERS, ORPHAN_OBJECT, Finding, Tally, slices
from cli.sweep.ledger import StoredBytes, SweepLedger
from worker.errors import ObjectMissingError, StorageError
from worker.objects import Download, ObjectStore, is_md5, matches_etag

#: Objects read at the same time, and how often one is tried.
READERS = 8
ATTEMPTS = 3
#: Paths of one removal job, and pieces of work ahead of the readers.
BATCH = 100

Report = Callable[[Finding, str], None]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What was asked for."""

    repair: bool = False
    verify: bool = False
    owner: UUID | None = None


def sweep(
    ledger: SweepLedger, objects: ObjectStore | None, wishes: Wishes, report: Report, progress: Progress
) -> Tally:
    """Compares, and mends where `wishes` say so. `report(finding, repair)` is called for each finding;
    `progress(done, total, step)` as it goes. `objects` is needed for checksums only."""
    tally = Tally()
    if wishes.verify and objects is not None:
        check_same_project(ledger, objects)
    parts = list(slices(ledger.object_count(), wishes.owner))
    with _Repair(ledger, enabled=wishes.repair) as repair:

        def note(finding: Finding) -> None:
            tally.add(finding)
            outcome = repair.take(finding)
            if outcome:
                tally.repairs[outcome] += 1
            report(finding, outcome)

        for done, part in enumerate(parts):
            progress(done, len(parts), "comparing")
            known = set()
            for finding in ledger.findings(part):
                known.add(finding.image_id or finding.path)
                note(finding)
            if wishes.verify and objects is not None:
                progress(done, len(parts), "reading")
                for finding in _verify(objects, ledger, part_bytes(ledger.stored_bytes(part), tally)):
                    if (key := finding.image_id or finding.path) not in known:  # one finding an image
                        known.add(key)
                        note(finding)
        progress(len(parts), len(parts), "done")
    return tally


def part_bytes(stored: Iterable[StoredBytes], tally: Tally) -> Iterator[StoredBytes]:
    """Counts what goes by."""
    for item in stored:
        tally.verified_objects += 1
        tally.verified_bytes += item.byte_size
        yield item


class _Repair:
    """Orders removals in batches by owner and bucket, and mends images one by one."""

    def __init__(self, ledger: SweepLedger, *, enabled: bool) -> None:
        self._ledger = ledger
        self._enabled = enabled
        self._waiting: list[str] = []
        self._key: tuple[UUID | None, str] = (None, "")

    def __enter__(self) -> _Repair:
        return self

    def __exit__(self, *_: object) -> None:
        # Also after an error: what was reported as ordered is ordered.
        self._flush()

    def take(self, finding: Finding) -> str:
        """What was done: removal_ordered, processing, failed, marked, cleared, nothing; empty without repair."""
        if not self._enabled or finding.kind in HOPELESS:
            return ""
        if finding.kind in OF_RENDERS:
            return self._ledger.repair_picture(finding.path or "", finding.kind)
        if finding.kind != ORPHAN_OBJECT:
            return (
                self._ledger.repair_image(finding.image_id, finding.kind) if finding.image_id else "nothing"
            )
        key = (finding.owner_id, finding.bucket)
        if key != self._key or len(self._waiting) == BATCH:
            self._flush()
            self._key = key
        self._waiting.append(finding.path or "")
        return "removal_ordered"

    def _flush(self) -> None:
        if self._waiting:
            self._ledger.order_removal(*self._key, self._waiting)
            self._waiting = []


def check_same_project(ledger: SweepLedger, objects: ObjectStore) -> None:
    """That the Storage behind SUPABASE_URL lists what the database holds: with the keys of another project
    every original would seem to be lost."""
    if (known := ledger.any_object()) is None:
        return
    bucket, name = known
    try:
        listed = objects.names_below(bucket, name.rpartition("/")[0])
    except StorageError as error:
        raise CliError(
            str(error), remedy="check SUPABASE_URL and its key", code="storage_unreachable"
        ) from error
    if name not in listed and ledger.has_object(bucket, name):
        raise CliError(
            f"Storage does not list {bucket}/{name}, which is in the database",
            remedy="SUPABASE_URL and SUPABASE_DB_URL must be of one project",
            code="not_one_project",
        )


def _verify(objects: ObjectStore, ledger: SweepLedger, stored: Iterable[StoredBytes]) -> Iterator[Finding]:
    """Reads the bytes, a few objects at a time and a few ahead."""
    with ThreadPoolExecutor(READERS, "verify") as pool:
        ahead: deque[Future[Finding | None]] = deque()
        for item in stored:
            ahead.append(pool.submit(_check, objects, item))
            if len(ahead) >= BATCH:
                yield from _still_so(ledger, ahead.popleft().result())
        while ahead:
            yield from _still_so(ledger, ahead.popleft().result())


def _still_so(ledger: SweepLedger, finding: Finding | None) -> Iterator[Finding]:
    """Leaves out what was deleted, rows and all, while it was being read."""
    if finding is not None and ledger.has_object(finding.bucket, finding.path or ""):
        yield finding


def _check(objects: ObjectStore, item: StoredBytes) -> Finding | None:
    part = _part(item)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            found = objects.digest(item.bucket, item.path)
        except ObjectMissingError:
            kind, detail = f"{part}_missing", "a row in storage.objects, and no bytes"
        except StorageError as error:
            kind, detail = "unreadable", str(error)
        else:
            detail = _difference(item, found)
            if not detail:
                return None
            kind = f"{part}_differs"
        # Anything may be a passing fault of Storage.
        if attempt < ATTEMPTS:
            time.sleep(0.2 * attempt)
    return Finding(item.owner_id, kind, item.bucket, item.path, item.image_id, detail)


def _part(item: StoredBytes) -> str:
    """What findings call it."""
    if item.bucket == "public":
        return "thumb" if item.path.endswith("_thumb.webp") else "picture"
    return "original" if item.bucket == "private" else "variant"


def _difference(item: StoredBytes, found: Download) -> str:
    if found.byte_size != item.byte_size:
        return f"{found.byte_size} bytes instead of {item.byte_size}"
    if item.sha256 and found.sha256 != item.sha256:
        return f"SHA-256 {found.sha256} instead of {item.sha256}"
    if is_md5(item.etag) and not matches_etag(found, item.etag):
        return f"MD5 {found.md5} instead of {item.etag}"
    return ""
