"""policy: the site's limits and switches, with their meanings."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import psycopg
import typer
from psycopg import sql

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.database import Connection, Row, operator
from cli.errors import CliError, UsageError

policy = typer.Typer(
    no_args_is_help=True,
    help="The site's limits and switches (site_policies).\n\n"
    "Examples:  imageledger policy get    |    imageledger policy set upload_batch_max 20",
)

_COLUMNS = """
select a.attname as name, format_type(a.atttypid, a.atttypmod) as type,
  pg_get_expr(d.adbin, d.adrelid) as default_expression, col_description(a.attrelid, a.attnum) as meaning
from pg_attribute as a
left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = 'public.site_policies'::regclass and a.attnum > 0 and not a.attisdropped
  and a.attname not in ('id', 'created_at', 'updated_at')
order by a.attnum
"""


@policy.command("get")
def get(
    name: Annotated[str | None, typer.Argument(help="One of them. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Show values, defaults and what they mean.

    Examples:  imageledger policy get    |    imageledger policy get undo_seconds --json
    """
    with operator(project.current(need=("db_url",)).db_url, "policy") as conn:
        entries = _read(conn)
    if name is not None:
        entries = [_pick(entries, name)]
    if as_json:
        output.print_json({"policy": entries} if name is None else entries[0])
        return
    output.table(
        ("name", "value", "default", "meaning"),
        [
            (e["name"], _words(e["value"]), "" if e["is_default"] else _words(e["default"]), e["meaning"])
            for e in entries
        ],
    )


@policy.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="Its name: see `policy get`.")],
    value: Annotated[
        str, typer.Argument(help="The new value; lists separated by commas; `default` for the default.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the value, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Change one. It counts at once, for what is done from now on; the database's constraints decide what is sensible.

    Examples:  imageledger policy set images_per_listing_max 24 --dry-run    |
    imageledger policy set image_mime_types image/jpeg,image/png    |    imageledger policy set undo_seconds default
    """
    with operator(project.current(need=("db_url",)).db_url, "policy") as conn:
        before = _pick(_read(conn), name)
        _write(conn, before, value, dry_run=dry_run)
        after = before["value_after"]
    if as_json:
        output.print_json({"name": name, "before": before["value"], "after": after, "dry_run": dry_run})
    else:
        verb = "would be" if dry_run else "is now"
        output.err.print(f"{name} {verb} {_words(after)} (was {_words(before['value'])})", markup=False)


def _read(conn: Connection) -> list[Row]:
    columns = conn.execute(_COLUMNS).fetchall()
    values = conn.execute("select * from public.site_policies").fetchone()
    if values is None:
        raise CliError(
            "the site's policy has no row",
            remedy="run `imageledger migrate --force`",
            code="site_policy_missing",
        )
    defaults = {
        c["name"]: conn.execute(sql.SQL("select {} as v").format(sql.SQL(c["default_expression"]))).fetchone()
        for c in columns
        if c["default_expression"]
    }
    entries = []
    for column in columns:
        default = defaults.get(column["name"])
        value = values[column["name"]]
        entries.append(
            {
                "name": column["name"],
                "value": value,
                "default": default["v"] if default else None,
                "is_default": bool(default) and default["v"] == value,  # type: ignore[index]
                "type": column["type"],
                "meaning": column["meaning"],
            }
        )
    return entries


def _pick(entries: list[Row], name: str) -> Row:
    for entry in entries:
        if entry["name"] == name:
            return entry
    near = difflib.get_close_matches(name, [e["name"] for e in entries], n=3)
    raise UsageError(
        f"there is no policy {name!r}",
        remedy=f"perhaps {', '.join(near)}; see `imageledger policy get`"
        if near
        else "see `imageledger policy get`",
    )


def _write(conn: Connection, entry: Row, value: str, *, dry_run: bool) -> None:
    """Changes the row, or only tries to; the new value, as the database has it, is put into `entry`."""
    given: Any = value
    if entry["type"].endswith("[]") and not value.startswith("{"):
        given = [part.strip() for part in value.split(",") if part.strip()]
    column = sql.Identifier(entry["name"])
    new = (
        sql.SQL("default")
        if value == "default"
        else sql.SQL("{}::{}").format(sql.Literal(given), sql.SQL(entry["type"]))
    )
    query = sql.SQL("update public.site_policies set {} = {} returning {} as value").format(
        column, new, column
    )
    try:
        with conn.transaction(force_rollback=dry_run):
            row = conn.execute(query).fetchone()
    except psycopg.errors.CheckViolation as error:
        rule = conn.execute(
            "select pg_get_constraintdef(oid) as rule from pg_constraint"
            " where conrelid = 'public.site_policies'::regclass and conname = %s",
            [error.diag.constraint_name],
        ).fetchone()
        raise CliError(
            f"{value} is refused for {entry['name']}: {error.diag.constraint_name}",
            remedy=f"the rule is {rule['rule']}" if rule else "",
            code="policy_refused",
        ) from error
    except psycopg.DataError as error:
        raise CliError(
            f"{value!r} is no {entry['type']} for {entry['name']}: {error.diag.message_primary}",
            remedy=f"such as {_words(entry['value'])}",
            code="policy_refused",
        ) from error
    entry["value_after"] = row["value"] if row else None


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
