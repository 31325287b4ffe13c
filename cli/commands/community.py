"""community: the collections that everybody sees."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

import typer

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import CliError, UsageError
from cli.operators.desk import Connection, desk, one

community = typer.Typer(
    no_args_is_help=True,
    help="List, make and fill the collections that everybody sees.\n\n"
    "An item is a picture of a user's render or an https address elsewhere. Removing one takes a link away, "
    "never a render. Renders are their owners': ask before you show one.\n\n"
    'Examples:  imageledger community ls    |    imageledger community create "Bright kitchens"',
)

CollectionId = Annotated[UUID, typer.Argument(help="The collection's id: see `imageledger community ls`.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be, and change nothing.")]


@community.command("ls")
def ls(
    collection: Annotated[UUID | None, typer.Argument(help="Only this one, with its items.")] = None,
    as_json: Json = False,
) -> None:
    """List the collections as visitors see them, featured first; of one, its items too.

    Examples:  imageledger community ls    |    imageledger community ls 6f1c… --json
    """
    with desk(project.current(need=("db_url",)).db_url) as conn:
        found = conn.execute(
            "select c.id, c.name, c.description, c.is_featured, c.position, count(i.id) as item_count"
            " from public.community_collections as c"
            " left join public.community_items as i on i.collection_id = c.id"
            " where %(id)s::uuid is null or c.id = %(id)s"
            " group by c.id order by c.is_featured desc, c.position, c.id",
            {"id": collection},
        ).fetchall()
        items = []
        if collection is not None:
            _known(conn, collection)
            items = conn.execute(
                "select id, title, render_id, variant_idx, image_path, image_url, apply_settings, position"
                " from public.community_items where collection_id = %(id)s order by position, id",
                {"id": collection},
            ).fetchall()
    if as_json:
        output.print_json(found[0] | {"items": items} if collection else found)
        return
    output.table(
        ("id", "name", "featured", "position", "items"),
        [
            (c["id"], c["name"], "yes" if c["is_featured"] else "", c["position"], c["item_count"])
            for c in found
        ],
    )
    if items:
        output.table(
            ("item", "title", "picture", "position"),
            [(i["id"], i["title"], i["image_url"] or i["image_path"], i["position"]) for i in items],
        )


@community.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    description: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    featured: Annotated[bool, typer.Option("--featured", help="Among the first.")] = False,
    position: Annotated[int, typer.Option(help="Place among its like.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a collection; answers its id.

    Examples:  imageledger community create "Bright kitchens" --featured
    """
    with desk(project.current(need=("db_url",)).db_url) as conn:
        made = one(
            conn,
            "insert into public.community_collections (name, description, is_featured, position)"
            " values (%(name)s, %(description)s, %(featured)s, %(position)s) returning *",
            {"name": name, "description": description, "featured": featured, "position": position},
        )
    _answer(made, as_json)


@community.command("feature")
def feature(
    collection: CollectionId,
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
    position: Annotated[int | None, typer.Option(help="Its place, too.")] = None,
    as_json: Json = False,
) -> None:
    """Put a collection among the first, or no longer.

    Examples:  imageledger community feature 6f1c… --position 1    |    imageledger community feature 6f1c… --off
    """
    with desk(project.current(need=("db_url",)).db_url) as conn:
        _known(conn, collection)
        changed = one(
            conn,
            "update public.community_collections set is_featured = %(on)s, position = coalesce(%(at)s, position)"
            " where id = %(id)s returning *",
            {"id": collection, "on": not off, "at": position},
        )
    _answer(changed, as_json)


@community.command("add")
def add(
    collection: CollectionId,
    *,
    render: Annotated[UUID | None, typer.Option(help="A user's render.")] = None,
    variant: Annotated[int, typer.Option(min=0, help="Which picture of the render.")] = 0,
    url: Annotated[str | None, typer.Option(help="A picture elsewhere, https.")] = None,
    title: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    settings: Annotated[
        str, typer.Option(help="JSON: arguments of submit_generation that give a picture this look.")
    ] = "{}",
    position: Annotated[int, typer.Option(help="Place in the collection.")] = 0,
    as_json: Json = False,
) -> None:
    """Put a render or an outside picture into a collection; answers the item's id.

    Examples:  imageledger community add 6f1c… --render 0b2e… --settings '{"style": "modern"}'    |
    imageledger community add 6f1c… --url https://example.com/a.jpg --title "Oak"
    """
    if (render is None) == (url is None):
        raise UsageError("an item has either a render or a URL", remedy="give --render or --url")
    try:
        apply_settings = json.loads(settings)
    except json.JSONDecodeError as error:
        raise UsageError(f"--settings is no JSON: {error}", remedy='write \'{"style": "modern"}\'') from error
    with desk(project.current(need=("db_url",)).db_url) as conn:
        _known(conn, collection)
        if render is not None and not one(
            conn,
            "select 1 from public.render_variants where render_id = %(id)s and idx = %(idx)s",
            {"id": render, "idx": variant},
        ):
            raise CliError(
                f"no picture {variant} of render {render}", remedy="check the id", code="render_not_found"
            )
        made = one(
            conn,
            "insert into public.community_items"
            " (collection_id, render_id, variant_idx, image_url, title, apply_settings, position)"
            " values (%(collection)s, %(render)s, %(variant)s, %(url)s, %(title)s, %(settings)s::jsonb, %(position)s)"
            " returning *",
            {
                "collection": collection,
                "render": render,
                "variant": variant if render else None,
                "url": url,
                "title": title,
                "settings": json.dumps(apply_settings),
                "position": position,
            },
        )
    _answer(made, as_json)


@community.command("remove")
def remove(
    which: Annotated[UUID, typer.Argument(help="An item's id, or a collection's with all its items.")],
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove an item or a whole collection. Renders and outside pictures stay where they are.

    Examples:  imageledger community remove 6f1c… --dry-run
    """
    with desk(project.current(need=("db_url",)).db_url, dry_run=dry_run) as conn:
        gone = one(
            conn,
            "with item as (delete from public.community_items where id = %(id)s returning id),"
            " collection as (delete from public.community_collections where id = %(id)s returning id)"
            " select (select count(*) from item) + (select count(*) from collection) as found,"
            " exists (select from collection) as is_collection,"
            " (select count(*) from public.community_items where collection_id = %(id)s or id = %(id)s) as items",
            {"id": which},
        )
    if not gone or not gone["found"]:
        raise _missing(which)
    kind = "collection" if gone["is_collection"] else "item"
    if dry_run:
        output.err.print("dry run: nothing was changed; this is what would be")
    if as_json:
        output.print_json({"removed": kind, "id": which, "items": gone["items"], "dry_run": dry_run})
    else:
        output.out.print(f"{kind} {which} removed, {gone['items']} items")


def _known(conn: Connection, collection: UUID) -> None:
    if not one(conn, "select 1 from public.community_collections where id = %(id)s", {"id": collection}):
        raise _missing(collection)


def _missing(which: UUID) -> CliError:
    return CliError(
        f"nothing in the community has the id {which}",
        remedy="see `imageledger community ls`",
        code="not_found",
    )


def _answer(row: dict[str, Any] | None, as_json: bool) -> None:
    if as_json:
        output.print_json(row)
    elif row:
        output.out.print(str(row["id"]))
