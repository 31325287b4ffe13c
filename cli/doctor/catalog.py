"""A database's schema as a doctor reads it, and what a freshly migrated one looks like.

`expected.tsv` is written by `python -m cli.doctor.generate` (`make catalog`) and held true by a test: one line an
object, `kind <tab> name <tab> detail`. Only what is ours is compared: a project has tables of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from psycopg.rows import tuple_row

from cli.database import Connection
from cli.doctor.findings import Finding, finding

EXPECTED = Path(__file__).with_name("expected.tsv")
OURS = ["public", "private", "queue", "analytics", "legacy"]
#: Whose privileges matter: everybody who is not an owner or an administrator.
ROLES = ["anon", "authenticated", "service_role", "media_worker", "analyst"]
Catalog = dict[tuple[str, str], str]

_RELATIONS = "c.relnamespace = any(%(ours)s::regnamespace[]) and c.relkind in ('r', 'p', 'v', 'm')"
# Written by `imageledger migrate` about itself; `supabase db push` has a record of its own.
_NOT_BOOKKEEPING = "c.oid is distinct from to_regclass('private.schema_files')"
_TOUCHED = f"(({_RELATIONS}) or c.relnamespace in ('auth'::regnamespace, 'storage'::regnamespace))"
_HASH = "left(encode(sha256(convert_to({}, 'UTF8')), 'hex'), 12)"
_GRANTEE = "case when a.grantee = 0 then 'public' else a.grantee::regrole::text end"
_COUNTED = "(a.grantee = 0 or a.grantee::regrole::text = any(%(roles)s)) and a.privilege_type <> 'MAINTAIN'"
_EXPRESSIONS = (
    "coalesce(pg_get_expr(p.polqual, p.polrelid), '')"
    " || ' / ' || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '')"
)
_EXTENSIONS = "not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')"

_QUERIES: dict[str, str] = {
    "relation": f"""
        select c.oid::regclass::text,
          case when c.relkind in ('r', 'p') then 'table' else 'view' end
          || coalesce(' ' || (select string_agg(o, ' ' order by o) from unnest(c.reloptions) as o
            where o like 'security%%'), '')
        from pg_class as c where {_RELATIONS} and {_NOT_BOOKKEEPING}""",
    "rls": f"""
        select c.oid::regclass::text, case when c.relrowsecurity then 'on' else 'off' end
        from pg_class as c where {_RELATIONS} and c.relkind in ('r', 'p') and {_NOT_BOOKKEEPING}""",
    "column": f"""
        select c.oid::regclass || '.' || quote_ident(a.attname),
          format_type(a.atttypid, a.atttypmod) || case when a.attnotnull then ' not null' else '' end
        from pg_attribute as a join pg_class as c on c.oid = a.attrelid
        where {_RELATIONS} and {_NOT_BOOKKEEPING} and a.attnum > 0 and not a.attisdropped""",
    "constraint": f"""
        select c.oid::regclass || '.' || quote_ident(k.conname),
          k.contype::text || case when k.convalidated then '' else ' not valid' end
        from pg_constraint as k join pg_class as c on c.oid = k.conrelid
        where {_RELATIONS} and {_NOT_BOOKKEEPING} and k.contype <> 'n'""",
    "index": f"""
        select i.indexrelid::regclass::text,
          c.oid::regclass || case when i.indisvalid and i.indisready then '' else ' invalid' end
        from pg_index as i join pg_class as c on c.oid = i.indrelid
        where {_RELATIONS} and {_NOT_BOOKKEEPING}""",
    "function": f"""
        select p.oid::regprocedure::text,
          case when p.prosecdef then 'definer ' else 'invoker ' end || {_HASH.format("p.prosrc")} || ' '
          || coalesce((select string_agg(o, ' ' order by o) from unnest(p.proconfig) as o), '')
        from pg_proc as p
        where p.pronamespace = any(%(ours)s::regnamespace[]) and p.prokind in ('f', 'p') and {_EXTENSIONS}""",
    "trigger": f"""
        select c.oid::regclass || '.' || quote_ident(t.tgname),
          case t.tgenabled when 'D' then 'disabled' when 'A' then 'always' when 'R' then 'replica' else 'on' end
          || ' ' || t.tgtype || ' ' || t.tgfoid::regprocedure
        from pg_trigger as t join pg_class as c on c.oid = t.tgrelid join pg_proc as p on p.oid = t.tgfoid
        where {_TOUCHED} and not t.tgisinternal and p.pronamespace = any(%(ours)s::regnamespace[])""",
    "policy": f"""
        select c.oid::regclass || '.' || quote_ident(p.polname),
          p.polcmd::text || ' ' || p.polpermissive || ' '
          || (select string_agg(case when r = 0 then 'public' else r::regrole::text end, ',' order by r::regrole::text)
            from unnest(p.polroles) as r) || ' '
          || {_HASH.format(_EXPRESSIONS)}
        from pg_policy as p join pg_class as c on c.oid = p.polrelid where {_TOUCHED}""",
    "grant": f"""
        select 'schema ' || n.nspname || '|' || {_GRANTEE} || '|' || a.privilege_type, ''
        from pg_namespace as n, aclexplode(n.nspacl) as a
        where n.nspname = any(%(ours)s) and n.nspname <> 'public' and {_COUNTED}
        union all
        select c.oid::regclass || '|' || {_GRANTEE} || '|' || a.privilege_type, ''
        from pg_class as c, aclexplode(c.relacl) as a
        where (({_RELATIONS}) or (c.relkind = 'S' and c.relnamespace = any(%(ours)s::regnamespace[])))
          and {_NOT_BOOKKEEPING} and {_COUNTED}
        union all
        select c.oid::regclass || '.' || quote_ident(t.attname) || '|' || {_GRANTEE} || '|' || a.privilege_type, ''
        from pg_attribute as t join pg_class as c on c.oid = t.attrelid, aclexplode(t.attacl) as a
        where {_RELATIONS} and {_NOT_BOOKKEEPING} and {_COUNTED}
        union all
        select p.oid::regprocedure || '|' || {_GRANTEE} || '|' || a.privilege_type, ''
        from pg_proc as p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
        where p.pronamespace = any(%(ours)s::regnamespace[]) and {_EXTENSIONS} and {_COUNTED}""",
}  # fmt: skip


def read(conn: Connection) -> Catalog:
    """The catalog of this database: (kind, name) → detail."""
    given = {"ours": OURS, "roles": ROLES}
    catalog: Catalog = {}
    with conn.transaction():
        # Names are then shown with their schemas always.
        conn.execute("set local search_path = ''")
        for kind, query in _QUERIES.items():
            rows = conn.cursor(row_factory=tuple_row).execute(query.encode(), given).fetchall()
            catalog.update({(kind, name): detail.rstrip() for name, detail in rows})
    return catalog


def dump(catalog: Catalog, version: int) -> str:
    """The catalog as text; `version` is the server's major one."""
    lines = [f"{kind}\t{name}\t{detail}".rstrip("\t ") for (kind, name), detail in sorted(catalog.items())]
    return f"# server {version}\n" + "\n".join(lines) + "\n"


def expected(path: Path = EXPECTED) -> tuple[Catalog, int]:
    """What a freshly migrated database looks like, and the major version of the server that it was."""
    first, *lines = path.read_text().splitlines()
    catalog: Catalog = {}
    for line in lines:
        kind, name, *detail = line.split("\t")
        catalog[kind, name] = detail[0] if detail else ""
    return catalog, int(first.split()[-1])


_MISSING = {
    "relation": "relation_missing",
    "column": "column_missing",
    "constraint": "constraint_missing",
    "index": "index_missing",
    "function": "function_missing",
    "trigger": "trigger_missing",
    "policy": "policy_missing",
    "grant": "grant_missing",
}
_CHANGED = {
    "relation": "view_changed",
    "rls": "rls_disabled",
    "column": "column_changed",
    "constraint": "constraint_not_valid",
    "index": "index_invalid",
    "function": "function_changed",
    "policy": "policy_changed",
}


def compare(wanted: Catalog, found: Catalog, *, same_version: bool) -> Iterator[Finding]:
    """What is missing, changed and too much. Expressions read alike in the same major version only."""
    for (kind, name), detail in wanted.items():
        there = found.get((kind, name))
        if there is None:
            # Of a table that is gone it is enough to say so.
            if kind in _MISSING and (
                kind in ("relation", "function") or not _lies_in_missing(name, wanted, found)
            ):
                yield finding(_MISSING[kind], f"{kind} {name}")
        elif there != detail:
            yield from _changed(kind, name, detail, there, same_version=same_version)
    yield from _too_much(wanted, found)


def _changed(kind: str, name: str, wanted: str, there: str, *, same_version: bool) -> Iterator[Finding]:
    if kind == "trigger":
        state = there.split(maxsplit=1)[0]
        code = "trigger_disabled" if state != wanted.split(maxsplit=1)[0] else "trigger_changed"
        table, _, trigger = name.rpartition(".")
        mode = "always " if wanted.startswith("always") else ""
        remedy = f"alter table {table} enable {mode}trigger {trigger}" if code == "trigger_disabled" else ""
        yield finding(code, name, remedy=remedy)
    elif kind == "policy" and not same_version and wanted.split()[:-1] == there.split()[:-1]:
        return
    elif kind == "index":
        yield finding("index_invalid", name, remedy=f"reindex index concurrently {name}")
    else:
        yield finding(_CHANGED[kind], f"{name} is {there}, not {wanted}")


def _lies_in_missing(name: str, wanted: Catalog, found: Catalog) -> bool:
    """Whether the relation or function that this is about is missing itself."""
    subject = name.partition("|")[0]
    return any(
        kind in ("relation", "function") and (kind, owner) not in found
        for kind, owner in (
            ("relation", subject),
            ("relation", subject.rpartition(".")[0]),
            ("function", subject),
        )
        if (kind, owner) in wanted
    )


def _too_much(wanted: Catalog, found: Catalog) -> Iterator[Finding]:
    relations = {name for kind, name in wanted if kind == "relation"}
    columns = {name for kind, name in wanted if kind == "column"}
    functions = {name for kind, name in wanted if kind == "function"}
    for (kind, name), detail in found.items():
        if (kind, name) in wanted:
            continue
        if kind == "policy" and name.rpartition(".")[0] in relations and " true " in detail:
            table, _, policy = name.rpartition(".")
            yield finding("policy_extra", name, remedy=f"drop policy {policy} on {table}")
        elif kind == "grant":
            subject, role, privilege = name.split("|")
            if subject in relations | columns | functions or subject.startswith("schema "):
                verb = privilege.lower()
                if subject in columns:
                    table, _, column = subject.rpartition(".")
                    verb, subject = f"{verb} ({column})", table
                target = f"function {subject}" if subject in functions else subject
                yield finding(
                    "grant_extra",
                    f"{role} may {verb} {target}",
                    remedy=f"revoke {verb} on {target} from {role}",
                )
            elif (
                role in ("public", "anon", "authenticated")
                and subject.startswith(("private.", "queue."))
                and found.get(("function", subject), "").startswith("definer")
            ):
                yield finding(
                    "definer_exposed", subject, remedy=f"revoke execute on function {subject} from {role}"
                )
