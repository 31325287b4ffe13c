"""A database's schema as sorted lines: what two ways made must be the same, line by line."""

from __future__ import annotations

from typing import Any

import psycopg

OURS = ("public", "private", "queue", "analytics", "legacy")
# Tables of the platform that carry triggers and policies of ours.
_TOUCHED = (*OURS, "auth", "storage")
# Written by the tools that apply the files, about themselves.
_BOOKKEEPING = ("private.schema_files",)


def _acl(column: str) -> str:
    """An access list in one order, whatever the order of the grants was."""
    return f"(select string_agg(a::text, ' ' order by a::text) from unnest({column}) as a)"


_QUERIES: dict[str, str] = {
    "schema": f"""
        select n.nspname, n.nspowner::regrole::text, {_acl("n.nspacl")},
          obj_description(n.oid, 'pg_namespace')
        from pg_namespace as n where n.nspname = any(%(touched)s)""",
    "relation": f"""
        select c.oid::regclass::text, c.relkind::text, c.relowner::regrole::text, {_acl("c.relacl")},
          c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
          c.relpersistence::text, c.relreplident::text,
          obj_description(c.oid, 'pg_class'),
          case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
          case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end
        from pg_class as c
        where c.relnamespace = any(%(namespaces)s) and c.relkind not in ('i', 'I', 't', 'c')""",
    "column": f"""
        select a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
          pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text,
          a.attcollation::regcollation::text,
          {_acl("a.attacl")}, col_description(a.attrelid, a.attnum)
        from pg_attribute as a
        join pg_class as c on c.oid = a.attrelid
        left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where c.relnamespace = any(%(namespaces)s) and c.relkind not in ('i', 'I', 't', 'S')
          and a.attnum > 0 and not a.attisdropped""",
    "constraint": """
        select conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated,
          obj_description(oid, 'pg_constraint')
        from pg_constraint where connamespace = any(%(namespaces)s)""",
    "index": """
        select indrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid,
          obj_description(indexrelid, 'pg_class')
        from pg_index join pg_class as c on c.oid = indexrelid
        where c.relnamespace = any(%(namespaces)s)""",
    "function": f"""
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid), p.proowner::regrole::text,
          {_acl("p.proacl")}, obj_description(p.oid, 'pg_proc')
        from pg_proc as p where p.pronamespace = any(%(namespaces)s) and p.prokind in ('f', 'p')""",
    "type": f"""
        select t.oid::regtype::text, t.typtype::text, t.typowner::regrole::text, {_acl("t.typacl")},
          (select string_agg(e.enumlabel, ',' order by e.enumsortorder)
           from pg_enum as e where e.enumtypid = t.oid),
          (select string_agg(pg_get_constraintdef(k.oid), ',' order by k.conname)
           from pg_constraint as k where k.contypid = t.oid)
        from pg_type as t where t.typnamespace = any(%(namespaces)s) and t.typtype in ('e', 'd', 'r')""",
    "sequence": """
        select schemaname, sequencename, data_type::text, start_value, min_value, max_value, increment_by,
          cycle
        from pg_sequences where schemaname = any(%(ours)s)""",
    "trigger": """
        select t.tgrelid::regclass::text, pg_get_triggerdef(t.oid), t.tgenabled::text,
          obj_description(t.oid, 'pg_trigger')
        from pg_trigger as t
        join pg_class as c on c.oid = t.tgrelid
        join pg_namespace as n on n.oid = c.relnamespace
        where not t.tgisinternal and n.nspname = any(%(touched)s)""",
    "policy": """
        select schemaname, tablename, policyname, permissive, cmd, roles::text, qual, with_check
        from pg_policies where schemaname = any(%(touched)s)""",
    "policy comment": """
        select polrelid::regclass::text, polname, obj_description(oid, 'pg_policy') from pg_policy""",
    "default privileges": f"""
        select d.defaclrole::regrole::text, coalesce(n.nspname, '*'), d.defaclobjtype::text,
          {_acl("d.defaclacl")}
        from pg_default_acl as d left join pg_namespace as n on n.oid = d.defaclnamespace""",
    "role": """
        select r.rolname, r.rolsuper, r.rolinherit, r.rolcanlogin, r.rolbypassrls, r.rolcreaterole,
          (select string_agg(m.roleid::regrole::text, ' ' order by m.roleid::regrole::text)
           from pg_auth_members as m where m.member = r.oid)
        from pg_roles as r where r.rolname not like 'pg\\_%%'""",
    "event trigger": """
        select evtname, evtevent, evtfoid::regprocedure::text, evtenabled::text from pg_event_trigger""",
    "extension": "select extname, extnamespace::regnamespace::text from pg_extension",
    "publication": """
        select pubname, schemaname, tablename, attnames::text, rowfilter from pg_publication_tables""",
    "bucket": """
        select id, name, public, file_size_limit, allowed_mime_types from storage.buckets""",
}


def schema_dump(conn: psycopg.Connection[Any]) -> list[str]:
    """Every object of our schemas, and our triggers and policies on the platform's, one line each.

    Includes definitions, owners, privileges, comments and row level security; not rows, except the buckets.
    """
    lines: list[str] = []
    with conn.transaction():
        # Names are then shown with their schemas always.
        conn.execute("set local search_path = ''")
        namespaces = [
            row[0]
            for row in conn.execute("select oid from pg_namespace where nspname = any(%s)", [list(OURS)])
        ]
        given = {"touched": list(_TOUCHED), "ours": list(OURS), "namespaces": namespaces}
        for kind, query in _QUERIES.items():
            rows = conn.execute(query.encode(), given).fetchall()
            lines += [
                f"{kind}: " + " | ".join("" if cell is None else str(cell) for cell in row) for row in rows
            ]
    return sorted(line for line in lines if not any(name in line for name in _BOOKKEEPING))
