"""All objects of a project from one store to another, by the list that Storage itself keeps: storage.objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cli.bucket.store import ChangedError, Store
from cli.database import Connection

_PAGE = 1000
_TOLD = 100
# By id: the table may change meanwhile, and nothing that was there at the beginning and stays is left out.
_OBJECTS = """
select o.id::text as id, concat_ws('/', o.bucket_id, o.name, o.version) as key,
  (o.metadata ->> 'size')::bigint as byte_size, trim('"' from o.metadata ->> 'eTag') as etag
from storage.objects as o
where (%(after)s::uuid is null or o.id > %(after)s::uuid) and (%(bucket)s::text is null or o.bucket_id = %(bucket)s)
order by o.id
limit %(page)s
"""
_UNKNOWN = """
select k.key from unnest(%(keys)s::text[]) as k (key)
where not exists (
  select from storage.objects as o
  where o.bucket_id = split_part(k.key, '/', 1)
  and o.name = any (array[
    -- With its version below it, as Storage writes it; without, as older versions did.
    substring(k.key from '^[^/]+/(.*)/[^/]+$'), substring(k.key from '^[^/]+/(.*)$')
  ])
  and concat_ws('/', o.bucket_id, o.name, o.version) = k.key
)
"""


@dataclass(frozen=True)
class Object:
    """One row of storage.objects; `key` is below the tenant's folder."""

    key: str
    byte_size: int | None
    etag: str | None


@dataclass
class Tally:
    """What a run came to; `findings` holds the first hundred of what is wrong."""

    dry_run: bool
    objects: int = 0
    there: int = 0
    copied: int = 0
    copied_bytes: int = 0
    etags_changed: int = 0
    missing: int = 0
    failed: int = 0
    findings: list[dict[str, str]] = field(default_factory=list)

    def find(self, what: str, key: str, detail: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if len(self.findings) < _TOLD:
            self.findings.append({"what": what, "key": key, "detail": detail})


def objects(conn: Connection, bucket: str | None) -> Iterator[list[Object]]:
    """Pages of what Storage knows."""
    after = None
    while True:
        rows = conn.execute(_OBJECTS, {"after": after, "bucket": bucket, "page": _PAGE}).fetchall()
        if not rows:
            return
        after = rows[-1]["id"]
        yield [Object(row["key"], row["byte_size"], row["etag"]) for row in rows]


def copy(
    conn: Connection,
    source: Store,
    target: Store,
    *,
    tenant: str,
    bucket: str | None = None,
    threads: int = 8,
    dry_run: bool = False,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Copy what is not yet there as it should be. Can be stopped and run again at any time."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

    tally = Tally(dry_run=dry_run)

    def one(item: Object) -> Callable[[], None]:
        key = f"{tenant}/{item.key}"
        try:
            return _one(item, key)
        except ChangedError as error:
            reason = str(error)
        except (BotoCoreError, ClientError) as error:
            reason = f"{type(error).__name__}: {error}"
        return lambda: tally.find("failed", key, reason)

    def _one(item: Object, key: str) -> Callable[[], None]:
        there = target.find(key)
        if there is not None and (there.byte_size, there.etag) == (item.byte_size, item.etag):
            return lambda: _add(tally, there=1)
        stored = source.find(key)
        if stored is None:
            return lambda: tally.find("missing", key, "the old store has no such object")
        if there == stored:
            return lambda: _add(tally, there=1)
        if dry_run:
            return lambda: _add(tally, copied=1, copied_bytes=stored.byte_size)
        sent = source.copy_to(target, key)
        changed = int(sent.etag != stored.etag)
        return lambda: _add(tally, copied=1, copied_bytes=sent.byte_size, etags_changed=changed)

    with ThreadPoolExecutor(threads) as pool:
        for page in objects(conn, bucket):
            for note in pool.map(one, page):
                tally.objects += 1
                note()
                progress(tally)
    return tally


def prune(conn: Connection, target: Store, *, tenant: str, delete: bool) -> dict[str, Any]:
    """Keys of the new store that Storage does not know: objects that were removed between two copies."""
    known = unknown = deleted = 0
    examples: list[str] = []
    for page in target.pages(f"{tenant}/"):
        bare = [key.removeprefix(f"{tenant}/") for key in page]
        strays = [f"{tenant}/{row['key']}" for row in conn.execute(_UNKNOWN, {"keys": bare})]
        known += len(page) - len(strays)
        unknown += len(strays)
        examples += strays[: max(0, _TOLD - len(examples))]
        if delete and strays:
            deleted += target.delete(strays)
    return {"dry_run": not delete, "known": known, "unknown": unknown, "deleted": deleted, "keys": examples}


def _add(tally: Tally, **counts: int) -> None:
    for name, count in counts.items():
        setattr(tally, name, getattr(tally, name) + count)
