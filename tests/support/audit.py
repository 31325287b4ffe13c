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
    """Waits for what is under way; then rows, objects and files on disk agree."""
    deadline = time.monotonic() + timeout
    with psycopg.connect(stack.db_url, autocommit=True) as conn:
        # All of it each time: a photo that waits to be rendered again agrees now and brings objects later.
        while left := differences(conn) or stray_files(conn, stack):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


def stray_files(conn: psycopg.Connection[Any], stack: Stack) -> set[tuple[str, str, int]]:
    """Files without an object and objects without a file, as (place, name, size): old versions are unlinked after the
    commit. Only the embedded stack's disk can be seen."""
    if stack.kind != "embedded":
        return set()
    before = files_on_disk(stack)
    named = {
        (version, size): (bucket, name)
        for bucket, name, version, size in conn.execute(
            "select bucket_id, name, version, (metadata ->> 'size')::bigint from storage.objects"
        )
    }
    return {("disk", *file) for file in before - named.keys()} | {
        (f"objects of {named[file][0]}", named[file][1], file[1]) for file in named.keys() - before
    }


def files_on_disk(stack: Stack) -> set[tuple[str, int]]:
    """(version, size) of what the gateway's storage folder holds, temporary files too."""
    folders = (Path(stack.home, "storage", name) for name in ("versions", "tmp"))
    found = set()
    for file in (f for folder in folders for f in folder.rglob("*")):
        try:
            if file.is_file():
                found.add((file.name, file.stat().st_size))
        except FileNotFoundError:
            pass  # gone since it was listed
    return found
