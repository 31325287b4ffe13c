"""The API reference in Markdown: what the database's own comments, grants and functions say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

_HEAD = """# API reference

Made by `make types` from the database's own comments, grants and functions; do not edit. How things work together is in
[README.md](README.md). Roles: `anon` is a visitor with the anon key, `authenticated` a signed-in user. Row security
narrows further: one's own rows, and what is published. A column's type is followed by `?` where it can be null.
"""

_RELATIONS: LiteralString = """
select c.oid, c.relname as name, c.relkind in ('r', 'p') as is_table, obj_description(c.oid, 'pg_class') as comment
from pg_class as c
where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
order by c.relname
"""
_COLUMNS: LiteralString = """
select a.attrelid as oid, a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
  not a.attnotnull and c.relkind in ('r', 'p') as is_nullable, col_description(a.attrelid, a.attnum) as comment,
  array(
    select r.role || ' ' || p.privilege
    from unnest(array['anon', 'authenticated']) as r (role), unnest(array['insert', 'update']) as p (privilege)
    where has_column_privilege(r.role, a.attrelid, a.attnum, p.privilege)
  ) as writers
from pg_attribute as a
inner join pg_class as c on c.oid = a.attrelid
where c.relnamespace = %(schema)s::regnamespace and a.attnum > 0 and not a.attisdropped
  and c.relkind in ('r', 'p', 'v', 'm')
order by a.attrelid, a.attnum
"""
_GRANTS: LiteralString = """
select c.oid, r.role, p.privilege
from pg_class as c, unnest(array['anon', 'authenticated']) as r (role),
  unnest(array['select', 'insert', 'update', 'delete']) with ordinality as p (privilege, place)
where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
  and case when p.privilege = 'delete' then has_table_privilege(r.role, c.oid, p.privilege)
    else has_any_column_privilege(r.role, c.oid, p.privilege) end
order by c.oid, r.role, p.place
"""
_KEYS: LiteralString = """
select k.conrelid as oid, k.conname as name, k.confrelid::regclass::text as target,
  array(
    select a.attname::text from unnest(k.conkey) with ordinality as u (n, place)
    inner join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.n order by u.place
  ) as columns
from pg_constraint as k
where k.contype = 'f' and k.connamespace = %(schema)s::regnamespace
order by k.conrelid, k.conname
"""
_FUNCTIONS: LiteralString = """
select p.oid, p.proname as name, pg_get_function_arguments(p.oid) as arguments,
  pg_get_function_result(p.oid) as result, obj_description(p.oid, 'pg_proc') as comment,
  array(
    select r from unnest(array['anon', 'authenticated', 'service_role']) as r
    where has_function_privilege(r, p.oid, 'execute')
  ) as roles
from pg_proc as p
where p.pronamespace = 'public'::regnamespace and p.prokind = 'f' and p.prorettype <> 'trigger'::regtype
  and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')
order by p.proname
"""
_BODIES: LiteralString = """
select p.pronamespace::regnamespace || '.' || p.proname as name, pg_get_functiondef(p.oid) as body
from pg_proc as p
where p.pronamespace::regnamespace::text in ('public', 'private', 'queue') and p.prokind = 'f'
"""
_TRIGGERS: LiteralString = """
select distinct t.tgrelid as oid, t.tgfoid::regproc::text as name
from pg_trigger as t where not t.tgisinternal
"""
_CALL = re.compile(r"\b((?:public|private|queue)\.[a-z_0-9]+)\s*\(")
_REFUSAL = re.compile(r"\brefuse\(\s*(\d{3}), '([a-z_]+)'")


@dataclass(frozen=True, order=True)
class Refusal:
    """An error that clients see."""

    status: int
    code: str


Row = dict[str, Any]


@dataclass(frozen=True)
class _Schema:
    """Tables and views of one schema; the rest by the relation's oid."""

    relations: list[Row]
    columns: dict[int, list[Row]]
    grants: dict[int, list[Row]]
    keys: dict[int, list[Row]]


class _Catalogue:
    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        with conn.transaction():
            # Names then come with their schemas, whoever asks.
            conn.execute("set local search_path = ''")
            self.bodies: dict[str, str] = defaultdict(str)
            for row in self.rows(_BODIES):
                self.bodies[row["name"]] += row["body"]
            self.functions = self.rows(_FUNCTIONS)
            self.triggers = self.grouped(_TRIGGERS)
            self.schemas = {
                name: _Schema(
                    self.rows(_RELATIONS, name),
                    self.grouped(_COLUMNS, name),
                    self.grouped(_GRANTS, name),
                    self.grouped(_KEYS, name),
                )
                for name in ("public", "analytics")
            }

    def rows(self, query: LiteralString, schema: str = "public") -> list[Row]:
        with self._conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, {"schema": schema}).fetchall()

    def grouped(self, query: LiteralString, schema: str = "public") -> dict[int, list[Row]]:
        found: dict[int, list[Row]] = defaultdict(list)
        for row in self.rows(query, schema):
            found[row["oid"]].append(row)
        return found

    def refusals(self, names: Iterable[str]) -> list[Refusal]:
        """What these functions, and those that they call by name, can refuse with."""
        seen: set[str] = set()
        waiting = list(names)
        found: set[Refusal] = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.bodies:
                continue
            seen.add(name)
            body = self.bodies[name]
            found |= {Refusal(int(status), code) for status, code in _REFUSAL.findall(body)}
            waiting += _CALL.findall(body)
        return sorted(found)


def reference(conn: psycopg.Connection[Any]) -> str:
    """The document; `conn` is a login that sees all definitions, such as postgres."""
    catalogue = _Catalogue(conn)
    public = catalogue.schemas["public"].relations
    lines = [
        _HEAD,
        *_contents(catalogue, public),
        "## Functions",
        "",
        *_functions(catalogue),
        "## Tables",
        "",
        *_relations(catalogue, "public", (r for r in public if r["is_table"])),
        "## Views",
        "",
        *_relations(catalogue, "public", (r for r in public if not r["is_table"])),
        "## Errors",
        "",
        *_errors(catalogue),
        "## Analytics",
        "",
        "For the role `analyst`, and not exposed to clients: [ANALYTICS.md](../sql/ANALYTICS.md).",
        "",
        *_relations(catalogue, "analytics", catalogue.schemas["analytics"].relations),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _contents(catalogue: _Catalogue, relations: list[Row]) -> Iterator[str]:
    functions = {row["name"] for row in catalogue.functions}
    tables = [row["name"] for row in relations if row["is_table"]]
    views = [row["name"] for row in relations if not row["is_table"]]

    def links(names: Iterable[str]) -> str:
        return ", ".join(_link(name, functions) for name in names)

    yield f"- Functions: {', '.join(f'[{name}](#{name})' for name in sorted(functions))}"
    yield f"- Tables: {links(tables)}"
    yield f"- Views: {links(views)}"
    yield "- [Errors](#errors)"
    yield "- [Analytics](#analytics)"
    yield ""


def _link(relation: str, functions: set[str]) -> str:
    """To a table or view: the second heading of its name where a function has the same, since functions come first."""
    return f"[{relation}](#{relation}{'-1' if relation in functions else ''})"


def _functions(catalogue: _Catalogue) -> Iterator[str]:
    functions = {row["name"] for row in catalogue.functions}
    for row in catalogue.functions:
        yield f"### {row['name']}()"
        yield ""
        yield row["comment"] or ""
        yield ""
        yield f"`POST /rest/v1/rpc/{row['name']}`, for {_names(row['roles'])}."
        yield ""
        if " " not in row["arguments"] and row["arguments"]:
            yield f"Takes {_type(row['arguments'], functions)}: it is named in `select` and embedded, not called."
            yield ""
        elif row["arguments"]:
            yield "| argument | type | default |"
            yield "| --- | --- | --- |"
            for argument in re.split(r", (?=[a-z_0-9]+ )", row["arguments"]):
                name, _, rest = argument.partition(" ")
                kind, _, default = rest.partition(" DEFAULT ")
                yield f"| `{name}` | {kind} | {_code(default.partition('::')[0])} |"
            yield ""
        yield f"Answers {_type(row['result'], functions)}."
        yield ""
        if found := catalogue.refusals([f"public.{row['name']}"]):
            yield "Refuses with " + ", ".join(f"{e.status} `{e.code}`" for e in found) + "."
            yield ""


def _relations(catalogue: _Catalogue, schema: str, relations: Iterable[Row]) -> Iterator[str]:
    parts = catalogue.schemas[schema]
    for row in relations:
        oid, writable = row["oid"], False
        yield f"### {row['name']}"
        yield ""
        yield row["comment"] or ""
        yield ""
        allowed: dict[str, list[str]] = defaultdict(list)
        for grant in parts.grants[oid]:
            allowed[grant["role"]].append(grant["privilege"])
            writable |= grant["privilege"] in ("insert", "update")
        if schema == "public":
            told = "; ".join(f"`{role}`: {', '.join(what)}" for role, what in allowed.items())
            yield (told or "Not for clients") + "."
            yield ""
        yield "| column | type | " + ("written by | " if writable else "") + "meaning |"
        yield "| --- | --- | " + ("--- | " if writable else "") + "--- |"
        for column in parts.columns[oid]:
            who = f"{_writers(column['writers'])} | " if writable else ""
            mark = "?" if column["is_nullable"] else ""
            yield f"| `{column['name']}` | {column['type']}{mark} | {who}{_cell(column['comment'])} |"
        yield ""
        for key in parts.keys[oid]:
            target = key["target"].removeprefix("public.")
            yield f"- `{key['name']}`: {_names(key['columns'])} → `{target}`"
        if parts.keys[oid]:
            yield ""
        if found := catalogue.refusals(t["name"] for t in catalogue.triggers[oid]):
            yield "Writing refuses with " + ", ".join(f"{e.status} `{e.code}`" for e in found) + "."
            yield ""


def _errors(catalogue: _Catalogue) -> Iterator[str]:
    where: dict[Refusal, list[str]] = defaultdict(list)
    for row in catalogue.functions:
        for refusal in catalogue.refusals([f"public.{row['name']}"]):
            where[refusal].append(f"[{row['name']}](#{row['name']})")
    for row in catalogue.schemas["public"].relations:
        for refusal in catalogue.refusals(t["name"] for t in catalogue.triggers[row["oid"]]):
            where[refusal].append(_link(row["name"], {f["name"] for f in catalogue.functions}))
    yield "What each means is in [README.md](README.md#errors), what Storage answers too."
    yield ""
    yield "| status | code | where |"
    yield "| --- | --- | --- |"
    for refusal in sorted(where):
        yield f"| {refusal.status} | `{refusal.code}` | {', '.join(where[refusal])} |"
    yield ""


def _type(name: str, functions: set[str]) -> str:
    """A type; a table's name leads to its columns."""
    bare = name.removeprefix("SETOF ")
    words = "rows of " if bare != name else ""
    if bare.startswith("public."):
        return f"{words or 'a row of '}{_link(bare.removeprefix('public.'), functions)}"
    return f"{words}`{bare}`"


def _writers(writers: list[str]) -> str:
    verbs = sorted({writer.split()[1] for writer in writers})
    return ", ".join(verbs)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")
