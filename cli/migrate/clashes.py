"""Names that a project uses already for something of its own: all of them are found before anything is applied.

What our files would make is in the catalogue of `doctor` (relations, indexes, functions, policies, triggers); buckets,
roles, sequences and what a `drop … if exists` names are looked for besides. In a database that has our record the names
are ours; there only those of files that are new to it are looked at, and an object without a comment is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from cli.doctor.catalog import expected
from cli.errors import CliError
from cli.migrate.files import SqlFile

SCHEMAS = ["private", "queue", "analytics", "legacy"]
BUCKETS = ["private", "media", "public"]
_PLATFORM = ("auth.users.", "storage.objects.")
_SEQUENCES = re.compile(r"\bon sequence ([a-z_]+\.[a-z_]+(?:,\s*[a-z_]+\.[a-z_]+)*)")
_MADE = re.compile(
    r"^create (?:or replace )?(?:table|view|materialized view|function)(?: if not exists)? ([a-z_]+\.[a-z_0-9]+)",
    re.M,
)

_RECORDED = """
select exists (
  select from pg_catalog.pg_attribute where attrelid = to_regclass('private.schema_files') and attname = 'sha256'
)
"""
# `supabase db push` keeps a record of its own, with our files' names.
_PUSHED = "select exists (select from supabase_migrations.schema_migrations where name = '00_foundation')"

_TAKEN = """
with wanted (kind, name) as (select * from unnest(%(kinds)s::text[], %(names)s::text[]))
select w.kind, w.name, case c.relkind when 'v' then 'a view' when 'm' then 'a materialized view'
    when 'i' then 'an index' when 'S' then 'a sequence' when 'c' then 'a composite type' else 'a table' end
from wanted as w join pg_catalog.pg_class as c on c.oid = to_regclass(w.name)
where w.kind in ('relation', 'index', 'sequence')
union all
select 'type', w.name, 'a type' from wanted as w join pg_catalog.pg_type as t on t.oid = to_regtype(w.name)
where w.kind = 'relation' and t.typrelid = 0
union all
select 'type', format_type(t.oid, null), 'a domain of another type'
from pg_catalog.pg_type as t
where t.oid = to_regtype('public."text/csv"') and (t.typtype <> 'd' or t.typbasetype <> 'text'::regtype)
union all
select w.kind, w.name, 'a function with the same arguments' from wanted as w
where w.kind = 'function' and to_regprocedure(w.name) is not null
union all
select w.kind, w.name, 'a policy' from wanted as w
join pg_catalog.pg_policy as p on p.polrelid::regclass::text || '.' || quote_ident(p.polname) = w.name
where w.kind = 'policy'
union all
select w.kind, w.name, 'a trigger' from wanted as w
join pg_catalog.pg_trigger as t on t.tgrelid::regclass::text || '.' || quote_ident(t.tgname) = w.name
where w.kind = 'trigger'
union all
select 'bucket', b.id, 'a bucket' from storage.buckets as b
where b.id = any(%(buckets)s) or b.name = any(%(buckets)s)
union all
select 'schema', s.name, 'no right to create in it' from unnest(%(schemas)s::text[]) as s (name)
where to_regnamespace(s.name) is not null and not has_schema_privilege(s.name, 'create')
union all
select 'role', r.rolname, 'a role with other rights' from pg_catalog.pg_roles as r
where r.rolname in ('media_worker', 'analyst') and (
  r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolbypassrls or r.rolreplication or r.rolinherit
  or exists (select from pg_catalog.pg_auth_members as m where m.member = r.oid)
  or exists (
    select from pg_catalog.pg_shdepend as d
    where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid
      and d.dbid = (select oid from pg_catalog.pg_database where datname = current_database())
  )
)
order by 1, 2
"""

_UNCOMMENTED = """
select case when c.relkind in ('v', 'm') then 'a view' else 'a table' end, format('%%I.%%I', n.nspname, c.relname)
from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
where n.nspname || '.' || c.relname = any(%(made)s) and obj_description(c.oid, 'pg_class') is null
union all
select 'a function with the same arguments', p.oid::regprocedure::text
from pg_catalog.pg_proc as p
where p.oid = any(select to_regprocedure(f) from unnest(%(functions)s::text[]) as f)
  and obj_description(p.oid, 'pg_proc') is null
order by 2
"""


@dataclass(frozen=True)
class Clash:
    """`kind`: bucket, function, index, policy, relation, role, schema, sequence, trigger, type."""

    kind: str
    name: str
    what: str


def find(conn: psycopg.Connection[Any], files: Sequence[SqlFile]) -> list[Clash]:
    """Everything of the project's own that the files would change or fail on; looks only."""
    with conn.transaction():
        # Names are then shown with their schemas, as the catalogue has them.
        conn.execute("set local search_path = ''")
        if _one(conn, _RECORDED):
            known = {row[0] for row in conn.execute("select path from private.schema_files").fetchall()}
            return _in_new_files(conn, [file for file in files if file.path not in known]) if known else []
        if _one(conn, "select to_regclass('supabase_migrations.schema_migrations') is not null") and _one(
            conn, _PUSHED
        ):
            return []
        wanted = list(_wanted(files))
        given = {
            "kinds": [kind for kind, _ in wanted],
            "names": [name for _, name in wanted],
            "buckets": BUCKETS,
            "schemas": SCHEMAS,
        }
        return [Clash(*row) for row in conn.execute(_TAKEN.encode(), given).fetchall()]


def check(conn: psycopg.Connection[Any], files: Sequence[SqlFile]) -> None:
    """Raises CliError `names_taken` with the whole list."""
    clashes = find(conn, files)
    if not clashes:
        return
    lines = "\n".join(f"  - {clash.kind} {clash.name}: {clash.what}" for clash in clashes)
    error = CliError(
        f"the project has {len(clashes)} things of its own under names that imageledger needs:\n{lines}",
        remedy="nothing was applied; rename or move yours, or use another project. If they are imageledger's, "
        "applied without a record: --adopt",
        code="names_taken",
    )
    error.data = {"clashes": [asdict(clash) for clash in clashes]}
    raise error


def _wanted(files: Iterable[SqlFile]) -> Iterable[tuple[str, str]]:
    catalog, _ = expected()
    for kind, name in catalog:
        on_platform = kind in ("policy", "trigger") and name.startswith(_PLATFORM)
        if on_platform or kind in ("relation", "index", "function"):
            yield kind, name
    yield "relation", "private.schema_files"
    named = {
        name for file in files for found in _SEQUENCES.findall(file.text) for name in re.split(r",\s*", found)
    }
    for name in sorted(named):
        yield "sequence", name


def _in_new_files(conn: psycopg.Connection[Any], files: Sequence[SqlFile]) -> list[Clash]:
    made = sorted({name for file in files for name in _MADE.findall(file.text)})
    catalog, _ = expected()
    functions = [name for kind, name in catalog if kind == "function" and name.partition("(")[0] in made]
    rows = conn.execute(_UNCOMMENTED.encode(), {"made": made, "functions": functions}).fetchall()
    return [Clash("function" if "function" in what else "relation", name, what) for what, name in rows]


def _one(conn: psycopg.Connection[Any], query: Any) -> bool:
    row = conn.execute(query).fetchone()
    return bool(row and row[0])
