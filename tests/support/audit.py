"""The audit after every fault: Storage holds what the ledger says, object by object, byte by byte."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psycopg

from tests.support.stack import Stack

_EXPECTED = """
select 'private', original_path, byte_size from public.listing_images
where state <> 'awaiting_upload' and error_code is distinct from 'original_missing'
union all
select 'media', path, byte_size from public.image_variants
union all
select bucket, path, byte_size from public.image_assets as a
where a.role <> 'output' or exists (
  select from public.render_variants as v where v.asset_id = a.id and v.lost_code is distinct from 'picture_missing'
)
union all
-- A thumbnail's size is nobody's promise.
select 'public', v.thumb_path, coalesce((o.metadata ->> 'size')::bigint, -1)
from public.render_variants as v left join storage.objects as o on o.bucket_id = 'public' and o.name = v.thumb_path
"""
_FOUND = """
select o.bucket_id, o.name, (o.metadata ->> 'size')::bigint from storage.objects as o
where o.bucket_id = 'media' or (o.bucket_id = 'public' and o.name like 'renders/%')
-- Inputs that no generation has read yet are known to nobody but their owner.
or (o.bucket_id = 'private' and (split_part(o.name, '/', 2) <> 'inputs' or exists (
  select from public.image_assets as a where a.bucket = 'private' and a.path = o.name
)))
"""


def differences(conn: psycopg.Connection[Any]) -> set[tuple[str, str, int]]:
    """Objects that stand on one side only, or on both with different sizes."""
    expected = set(conn.execute(_EXPECTED).fetchall())
    found = set(conn.execute(_FOUND).fetchall())
    return expected ^ found


def assert_ledger_is_storage(stack: Stack, timeout: float = 30) -> None:
    """Waits for removals that are under way; then rows, objects and files on disk agree."""
    deadline = time.monotonic() + timeout
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        while left := differences(conn):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
        (total,) = conn.execute(
            "select coalesce(sum((metadata ->> 'size')::bigint), 0) from storage.objects"
        ).fetchone()  # type: ignore[misc]
        while bytes_on_disk(stack) != total:  # old versions are unlinked after the commit
            assert time.monotonic() < deadline, (bytes_on_disk(stack), total)
            time.sleep(0.1)


def bytes_on_disk(stack: Stack) -> int:
    """What the gateway's storage folder holds, temporary files too."""
    folders = (Path(stack.home, "storage", name) for name in ("versions", "tmp"))
    return sum(f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file())
