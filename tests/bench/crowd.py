"""A ledger full of other people's photos, in bulk: the stage for measurements and for the guards of plans."""

from __future__ import annotations

from typing import Any

import psycopg

#: Photos of a listing; the last one is its label.
PER_LISTING = 20
#: Photos of an owner.
PER_OWNER = 100

_USERS = """
insert into auth.users (id, aud, role, email)
select gen_random_uuid(), 'authenticated', 'authenticated', n || '@crowd.test' from generate_series(1, %(owners)s) as n
"""
_PROFILES = "insert into public.profiles (id) select id from auth.users on conflict (id) do nothing"
# Every other listing is published.
_LISTINGS = """
insert into public.listings (owner_id, title, price, currency, status)
select u.id, 'Lamp', 12, 'EUR', case mod(n, 2) when 0 then 'published' else 'draft' end
from auth.users as u cross join generate_series(1, %(per_owner)s) as n
where u.email like '%%@crowd.test'
"""
_IMAGES = """
insert into public.listing_images (
  id, listing_id, owner_id, position, is_label, original_path, file_name, mime_type, byte_size, etag,
  width, height, sha256, thumbhash, state, upload_expires_at, uploaded_at, ready_at
)
select
  i.id, i.listing_id, i.owner_id, i.n, i.n = %(per_listing)s - 1,
  i.owner_id || '/listings/' || i.listing_id || '/' || i.id || '.jpg', 'IMG_' || i.n || '.jpg', 'image/jpeg',
  3000000, md5(i.id::text), 4000, 3000, md5(i.id::text) || md5(i.id::text), 'AAAAAAAAAAAAAAAAAAAAAAAAAAAA', 'ready',
  now(), now(), now()
from (
  select gen_random_uuid() as id, l.id as listing_id, l.owner_id, n
  from public.listings as l
  inner join auth.users as u on u.id = l.owner_id
  cross join generate_series(0, %(per_listing)s - 1) as n
  where u.email like '%%@crowd.test'
  offset 0
) as i
"""
_VARIANTS = """
insert into public.image_variants (image_id, role, owner_id, listing_id, path, width, height, byte_size)
select i.id, s.role, i.owner_id, i.listing_id,
  private.variant_path(i.owner_id, i.listing_id, i.id, s.role), s.max_side, s.max_side * 3 / 4, s.max_side * 100
from public.listing_images as i
inner join auth.users as u on u.id = i.owner_id
cross join public.variant_specs as s
where u.email like '%%@crowd.test'
"""
_OBJECTS = """
insert into storage.objects (bucket_id, name, owner, owner_id, metadata, version)
select 'private', i.original_path, i.owner_id, i.owner_id::text,
  '{"size": 3000000, "mimetype": "image/jpeg"}', i.id::text
from public.listing_images as i
inner join auth.users as u on u.id = i.owner_id
where u.email like '%%@crowd.test'
"""
_TABLES = ("public.listings", "public.listing_images", "public.image_variants", "storage.objects")
# Indexes sleep while rows come, and are built in one go. PostgreSQL does the same for a concurrent build.
_INDEXES_SLEEP = """
update pg_index set indisready = false, indisvalid = false where indrelid = any(%s::regclass[]) and not indisprimary
"""


def load(conn: psycopg.Connection[Any], images: int, *, rebuild_indexes: bool = True) -> None:
    """Adds `images` ready photos of images / PER_OWNER new users, with variants and originals' objects.

    `conn` is a superuser's. Triggers and foreign keys are not run for the rows: they are made to fit.
    `rebuild_indexes` is for large loads into empty tables, in autocommit.
    """
    numbers = {
        "owners": images // PER_OWNER,
        "per_owner": PER_OWNER // PER_LISTING,
        "per_listing": PER_LISTING,
    }
    conn.execute("set session_replication_role = replica")
    if rebuild_indexes:
        conn.execute("set maintenance_work_mem = '512MB'")
        conn.execute("set synchronous_commit = off")
        conn.execute(_INDEXES_SLEEP, [list(_TABLES)])
    for statement in (_USERS, _PROFILES, _LISTINGS, _IMAGES, _VARIANTS, _OBJECTS):
        conn.execute(statement, numbers)
    conn.execute("set session_replication_role = origin")
    for table in _TABLES:
        if rebuild_indexes:
            conn.execute(f"reindex table {table}")  # type: ignore[arg-type]
        conn.execute(f"{'vacuum' if rebuild_indexes else ''} analyze {table}")  # type: ignore[arg-type]
    conn.execute("analyze auth.users, public.profiles")
