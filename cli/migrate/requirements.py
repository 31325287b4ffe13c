"""What a database must have before our SQL can be applied: all that every Supabase project has."""

from __future__ import annotations

from typing import Any

import psycopg

from cli.errors import MissingSupabaseError

OLDEST_VERSION = 15

# One row for each thing that is missing, in the order of this list.
_MISSING = """
with wanted (kind, name, there) as (
  select 'role', r.name, exists (select from pg_catalog.pg_roles where rolname = r.name)
  from unnest(array['anon', 'authenticated', 'service_role', 'authenticator']) as r (name)
  union all
  select 'schema', s.name, exists (select from pg_catalog.pg_namespace where nspname = s.name)
  from unnest(array['auth', 'storage', 'extensions']) as s (name)
  union all
  select 'table', t.name, to_regclass(t.name) is not null
  from unnest(array['auth.users', 'storage.buckets', 'storage.objects']) as t (name)
  union all
  select 'column', c.relation || '.' || c.name, exists (
    select from pg_catalog.pg_attribute
    where attrelid = to_regclass(c.relation) and attname = c.name and not attisdropped
  )
  from (values
    ('auth.users', 'raw_user_meta_data'),
    ('storage.buckets', 'allowed_mime_types'), ('storage.buckets', 'file_size_limit'),
    ('storage.objects', 'owner_id'), ('storage.objects', 'metadata'), ('storage.objects', 'version')
  ) as c (relation, name)
  where to_regclass(c.relation) is not null
  union all
  select 'function', f.name, to_regprocedure(f.name) is not null
  from unnest(array[
    'auth.uid()', 'auth.jwt()', 'auth.role()', 'storage.foldername(text)', 'storage.filename(text)'
  ]) as f (name)
  union all
  select 'extension', 'pgcrypto', exists (select from pg_catalog.pg_extension where extname = 'pgcrypto')
  union all
  select 'privilege', 'create schemas in database ' || current_database(),
    pg_catalog.has_database_privilege(current_database(), 'create')
)
select kind, name from wanted where not there
"""


def missing(conn: psycopg.Connection[Any]) -> list[str]:
    """What is missing, such as `role anon` and `table auth.users`; empty when all is there."""
    gaps = []
    version = conn.info.server_version // 10_000
    if version < OLDEST_VERSION:
        gaps.append(f"PostgreSQL {OLDEST_VERSION} or newer (this is {version})")
    # The caller may have an empty or odd search_path; every name above carries its schema.
    gaps += [f"{kind} {name}" for kind, name in conn.execute(_MISSING).fetchall()]
    return gaps


def check(conn: psycopg.Connection[Any]) -> None:
    """Raises MissingSupabaseError that lists every gap."""
    if gaps := missing(conn):
        info = conn.info
        error = MissingSupabaseError(
            f"the database {info.dbname} on {info.host}:{info.port} lacks what Supabase provides:\n"
            + "\n".join(f"  - {gap}" for gap in gaps),
            remedy="use a Supabase project's database or `imageledger up`; on a bare PostgreSQL a superuser "
            "may run supabase/local/bootstrap.sql first",
        )
        error.data = {"missing": gaps}
        raise error
