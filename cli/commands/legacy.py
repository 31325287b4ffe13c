"""legacy: from a JSONB array of picture addresses in each tenant's schema to listings and images, and back."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import CliError, UsageError
from cli.legacy import decisions
from cli.legacy.database import DOUBTFUL, LegacyDatabase

legacy = typer.Typer(
    no_args_is_help=True,
    help="Move pictures out of a JSONB column of other schemas into listings and images, and back.\n\n"
    "map → plan → import → report → review → fetch; restore and drop-column at the end. The source is only read "
    "until restore or drop-column is told to --apply.\n\n"
    "Examples:  imageledger legacy map    |    imageledger legacy plan    |    imageledger legacy import --all",
)
review = typer.Typer(
    no_args_is_help=True,
    help="Labels that the import was not sure of: look, confirm, correct.\n\n"
    "Examples:  imageledger legacy review ls    |    imageledger legacy review score",
)
legacy.add_typer(review, name="review")

Schemas = Annotated[list[str] | None, typer.Option("--schema", help="This schema; may be repeated.")]
All = Annotated[bool, typer.Option("--all", help="Every mapped schema.")]
One = Annotated[str | None, typer.Option("--schema", help="Only this schema.")]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; else only tell what it would do.")]


@legacy.command("map")
def map_schema(
    schema: Annotated[str | None, typer.Argument(help="The tenant's schema, literally.")] = None,
    owner: Annotated[str | None, typer.Argument(help="Whose it is: id or e-mail address of a user.")] = None,
    *,
    table: Annotated[str, typer.Option(help="The table of products.")] = "products",
    key: Annotated[str, typer.Option(help="Its key column.")] = "id",
    images: Annotated[str, typer.Option(help="Its column of pictures, jsonb.")] = "images",
    column: Annotated[
        list[str] | None, typer.Option(help="LISTING=SOURCE: title=name; default: by the usual names.")
    ] = None,
    url_key: Annotated[str, typer.Option(help="Member of an object that holds the address.")] = "url",
    order_key: Annotated[str, typer.Option(help="Member of an object that holds its place.")] = "order",
    base_url: Annotated[str | None, typer.Option(help="What relative addresses are below.")] = None,
    as_json: Json = False,
) -> None:
    """Say whose a schema is; without arguments list the schemas that have products.images.

    Examples:  imageledger legacy map  |  imageledger legacy map user_17 anna@example.com  |
    imageledger legacy map shop_a 6f1c… --table items --images pics --column title=caption
    """
    with _database() as database:
        if schema is None:
            rows = database.candidates()
            if as_json:
                output.print_json({"schemas": rows})
            else:
                output.table(
                    ("schema", "owner", "imported", "column"),
                    [
                        (
                            r["schema"],
                            r["owner_id"] or "not mapped",
                            "yes" if r["imported"] else "",
                            "dropped" if r["column_dropped"] else "",
                        )
                        for r in rows
                    ],
                )
            return
        if owner is None:
            raise UsageError("whose is it?", remedy="imageledger legacy map SCHEMA OWNER")
        options = {
            "table_name": table,
            "key_column": key,
            "images_column": images,
            "columns": dict(_pair(text) for text in column or ()),
            "url_key": url_key,
            "order_key": order_key,
            "base_url": base_url,
        }
        row = database.map_schema(schema, database.user_id(owner), options)
    if as_json:
        output.print_json(row)
    else:
        names = ", ".join(f"{target} from {source}" for target, source in row["columns"].items())
        output.err.print(f"{schema} belongs to {row['owner_id']}; {names or 'pictures only'}", markup=False)


@legacy.command()
def plan(schema: Schemas = None, as_json: Json = False) -> None:
    """Count what an import would do, without writing anything.

    Examples:  imageledger legacy plan --schema user_17
    """
    with _database() as database:
        rows = [
            database.plan(name)
            for name in _progress(_chosen(database, schema, everything=not schema), "plan")
        ]
    _show(rows, as_json, ("schema", "products", "entries", "images", "labels", "oddities"))


@legacy.command("import")
def import_(
    schema: Schemas = None,
    everything: All = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do all of it, checks included, and take it back.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import products and pictures, a schema a transaction; the source is only read.

    What is imported is not imported again: after an interruption run the same command. Each schema's counts are
    checked before its transaction ends; one that does not add up is not imported, and the others are.

    Examples:  imageledger legacy import --all --dry-run  |  imageledger legacy import --schema user_17
    """
    rows: list[dict[str, Any]] = []
    failed: list[CliError] = []
    with _database() as database:
        for name in _progress(_chosen(database, schema, everything=everything), "import"):
            try:
                rows.append(database.import_images(name, dry_run=dry_run))
            except CliError as error:
                failed.append(error)
                rows.append({"schema": name, "error": error.as_dict()})
    _show(rows, as_json, ("schema", "products", "known", "images", "labels", "oddities", "seconds"))
    if failed:
        raise CliError(
            f"{len(failed)} of {len(rows)} schemas were not imported; the first: {failed[0].message}",
            remedy=failed[0].remedy,
            code=failed[0].code,
        )


@legacy.command()
def report(as_json: Json = False) -> None:
    """What was imported, by schema, counted now: images by where their bytes are, labels, oddities.

    Examples:  imageledger legacy report --json
    """
    with _database() as database:
        rows = database.report()
    names = (
        "schema_name",
        "products",
        "listings",
        "images",
        "labels",
        "labels_to_review",
        "fetched",
        "waiting",
    )
    _show(rows, as_json, (*names, "fetch_failures", "deleted_since", "oddities"))


@review.command("ls")
def review_ls(
    schema: One = None,
    below: Annotated[float, typer.Option(help="Confidence below this.", min=0, max=1.01)] = DOUBTFUL,
    decided: Annotated[bool, typer.Option("--decided", help="Decided ones too.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, to fill the column verdict.")] = False,
    as_json: Json = False,
) -> None:
    """List products whose label is doubtful, the most doubtful first, with what speaks for and against it.

    Examples:  imageledger legacy review ls  |  imageledger legacy review ls --csv > labels.csv
    """
    with _database() as database:
        found = database.reviews(schema, below, decided=decided)
        if as_csv:
            decisions.write(found, sys.stdout)
            return
        rows = list(found)
    if as_json:
        output.print_json({"reviews": rows})
        return
    output.table(
        ("schema", "product", "label", "of", "confidence", "for", "against", "better"),
        [
            (
                r["schema"],
                r["product"],
                r["label"],
                r["image_count"],
                r["confidence"],
                " ".join(r["speaks_for"]),
                " ".join(r["speaks_against"]),
                r["suggested"],
            )
            for r in rows
        ],
    )


@review.command()
def confirm(
    schema: One = None,
    product: Annotated[list[str] | None, typer.Argument(help="Keys of products; none: all below.")] = None,
    at_least: Annotated[
        float | None, typer.Option(help="All undecided ones that are at least this sure.", min=0, max=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Confirm labels as they were imported.

    Examples:  imageledger legacy review confirm --schema user_17 4711 4712  |
    imageledger legacy review confirm --at-least 0.6
    """
    if bool(product) == (at_least is not None) or (product and schema is None):
        raise UsageError("say which", remedy="give --schema and keys of products, or --at-least a confidence")
    with _database() as database:
        if product:
            chosen = [{"schema": schema or "", "product": key, "label": "ok"} for key in product]
        else:
            chosen = [
                {"schema": row["schema"], "product": row["product"], "label": "ok"}
                for row in database.reviews(schema, 1.01, decided=False)
                if row["confidence"] >= (at_least or 0)
            ]
        _tell(database.decide(chosen), as_json)


@review.command()
def correct(
    schema: One = None,
    product: Annotated[str | None, typer.Argument(help="Key of the product.")] = None,
    label: Annotated[str | None, typer.Argument(help="Index in the JSONB array, from 0, or none.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Many: columns schema, product, verdict.")] = None,
    as_json: Json = False,
) -> None:
    """Make another picture the label, or none; with --csv many at once, all or nothing.

    A verdict is ok, none, or the label's index; rows without one are left alone.

    Examples:  imageledger legacy review correct --schema user_17 4711 2  |
    imageledger legacy review correct --csv labels.csv
    """
    if csv is not None and product is None:
        chosen = decisions.read(csv)
    elif csv is None and schema is not None and product is not None and label is not None:
        chosen = [{"schema": schema, "product": product, "label": label}]
    else:
        raise UsageError("say which", remedy="give --schema, a product and its label, or --csv a file")
    with _database() as database:
        _tell(database.decide(chosen), as_json)


@review.command()
def score(schema: One = None, as_json: Json = False) -> None:
    """Look at imported pictures whose bytes are in Storage for signs of a label: print, plain ground, bars.

    What `legacy fetch` copies is looked at when it comes; this is for bytes that came another way.

    Examples:  imageledger legacy review score
    """
    here = project.current(need=("db_url", "api_url", "service_role_key"))
    # Pixels and Storage are needed by this command alone.
    from cli.legacy.score import score_all  # noqa: PLC0415
    from worker.objects import ObjectStore  # noqa: PLC0415

    with (
        LegacyDatabase(here.db_url) as database,
        ObjectStore(here.api_url, here.service_role_key) as objects,
        _bar("score") as (bar, task),
    ):
        counts = score_all(database, objects, schema, lambda done: bar.update(task, completed=done))
    _tell(counts, as_json)


@legacy.command()
def fetch(
    *,
    schema: One = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Add to the hosts that may be asked: cdn.example.com, *.example.com, host:8443."),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Also what failed before.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until workers have done it.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds for --wait.")] = 3600,
    as_json: Json = False,
) -> None:
    """Order the copy of the pictures behind the addresses into Storage; workers do it.

    Only hosts on the list are asked, and never one whose address is private. Pictures that came are processed like
    every upload. Run again after an interruption: what is ordered or copied is not ordered again.

    Examples:  imageledger legacy fetch --allow-host cdn.example.com --wait  |  imageledger legacy fetch --retry
    """
    counts = {"seen": 0, "queued": 0, "host_not_allowed": 0}
    with _database() as database:
        hosts = database.allow_hosts(allow_host or ())
        total = database.waiting(schema)
        after: UUID | None = None
        with _bar("order", total) as (bar, task):
            while True:
                page = database.queue_fetches(schema, after, 1000, retry=retry)
                if page["last_id"] is None:
                    break
                after = UUID(page["last_id"])
                for name in counts:
                    counts[name] += page[name]
                bar.update(task, completed=counts["seen"])
        if wait:
            _wait(database, timeout)
        answer = counts | {"hosts": hosts, "waiting": database.waiting(schema)}
    _tell(answer, as_json)


@legacy.command()
def restore(
    schema: Schemas = None, everything: All = False, apply: Apply = False, as_json: Json = False
) -> None:
    """Give the source's column the values that were imported, byte for byte; make it again if it was dropped.

    Examples:  imageledger legacy restore --all  |  imageledger legacy restore --schema user_17 --apply
    """
    with _database() as database:
        rows = [
            database.restore(name, dry_run=not apply)
            for name in _progress(_chosen(database, schema, everything=everything), "restore")
        ]
    _show(rows, as_json, ("schema", "restored", "same", "not_imported", "gone_from_source", "column_created"))
    _remind(apply)


@legacy.command("drop-column")
def drop_column(
    schema: Schemas = None, everything: All = False, apply: Apply = False, as_json: Json = False
) -> None:
    """Drop the source's column, if all of it was imported as it is; `legacy restore` brings it back.

    Examples:  imageledger legacy drop-column --all  |  imageledger legacy drop-column --schema user_17 --apply
    """
    with _database() as database:
        rows = [
            database.drop_column(name, dry_run=not apply)
            for name in _progress(_chosen(database, schema, everything=everything), "drop")
        ]
    _show(rows, as_json, ("schema", "dropped", "same"))
    _remind(apply)


def _database() -> LegacyDatabase:
    return LegacyDatabase(project.current(need=("db_url",)).db_url)


def _pair(text: str) -> tuple[str, str]:
    target, equals, source = text.partition("=")
    if not equals or not target or not source:
        raise UsageError(f"--column {text!r} is no pair", remedy="write LISTING=SOURCE: title=name")
    return target, source


def _chosen(database: LegacyDatabase, schemas: list[str] | None, *, everything: bool) -> list[str]:
    if bool(schemas) == everything:
        raise UsageError("which schemas?", remedy="give --schema, or --all for every mapped one")
    return schemas or database.mapped()


@contextmanager
def _bar(what: str, total: int | None = None) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True, disable=not output.err.is_terminal) as bar:
        yield bar, bar.add_task(what, total=total)


def _progress(names: list[str], what: str) -> Iterator[str]:
    with _bar(what, len(names)) as (bar, task):
        for done, name in enumerate(names):
            # Names are tenants': shown as they are, never as markup.
            bar.update(task, completed=done, description=what)
            if not output.err.is_terminal and done % 100 == 0:
                output.err.print(f"{what}: {done} of {len(names)} schemas", markup=False)
            yield name


def _wait(database: LegacyDatabase, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    total = database.fetches_waiting()
    with _bar("copy", total) as (bar, task):
        while left := database.fetches_waiting():
            if time.monotonic() > deadline:
                raise CliError(
                    f"{left} pictures are not copied yet",
                    remedy="a worker must run: `imageledger worker`; then wait again",
                    code="legacy_fetch_timeout",
                )
            bar.update(task, completed=max(0, total - left))
            time.sleep(0.5)


def _show(rows: list[dict[str, Any]], as_json: bool, names: tuple[str, ...]) -> None:
    if as_json:
        output.print_json({"schemas": rows})
        return
    cells = [
        [
            ", ".join(f"{k} {v}" for k, v in sorted(value.items())) if isinstance(value, dict) else value
            for value in (row.get(name) for name in names)
        ]
        for row in rows
    ]
    output.table(tuple(name.replace("_", " ") for name in names), cells)


def _tell(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    else:
        output.pairs({name.replace("_", " "): value for name, value in answer.items()})


def _remind(applied: bool) -> None:
    if not applied:
        output.err.print("nothing was changed; with --apply it is done")
