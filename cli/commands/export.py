"""export: listings as the file that a marketplace takes."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands import output
from cli.commands.csv import Email, Owner, account, whole_file
from cli.commands.stack import Json
from cli.errors import FindingsError, UsageError
from cli.exchange import photos, sites
from cli.exchange.account import Account

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def export(  # noqa: PLR0917 - each is an option
    site: Annotated[str, typer.Option(help="ebay, vinted, etsy, shopify, generic, or another row of sites.")],
    listing: Annotated[
        list[str] | None,
        typer.Option(help="A sku or id; again for more. Default: all that are not archived."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file; without it stdout.", dir_okay=False)] = None,
    kind: Annotated[str, typer.Option("--format", help="csv or json. Default: the site's own.")] = "",
    partial: Annotated[
        bool, typer.Option("--partial", help="Write what can be written, in spite of problems.")
    ] = False,
    url_life: Annotated[
        str,
        typer.Option(
            help="How long links to photos live: 90s, 30m, 12h, 7d. Default: the site policy's limit."
        ),
    ] = "",
    copy_files: Annotated[
        Path | None,
        typer.Option(help="Copy the photos into this folder instead of linking them.", file_okay=False),
    ] = None,
    owner: Owner = None,
    email: Email = "",
    as_json: Json = False,
) -> None:
    """Write listings as a marketplace's own file: eBay's and Etsy's columns, Shopify's product CSV, JSON, plain CSV.

    Photos are those that buyers may see, in their order, never the label. What a site's rules (tables sites and
    site_rules) find wrong is told with what to do; then nothing is written and the exit code is 7. With --partial bad
    photos are left out, listings with other problems as well, the rest is written, and the exit code is 0.

    Links are signed and end after --url-life, which site_policies.signed_url_seconds_max limits.

    Examples:  imageledger export --site ebay --email me@example.com --out ebay.csv    |
    imageledger export --site etsy --listing LAMP-1 --copy-files photos --out etsy.csv
    """
    if as_json and out is None:
        raise UsageError("stdout can hold the file or the report", remedy="give --out, or leave out --json")
    if kind not in {"", "csv", "json"}:
        raise UsageError(f"--format {kind} is neither csv nor json")
    chosen = kind or sites.formats_of(site)[0]
    with account(owner, email, need=("api_url", "anon_key", "service_role_key")) as listings:
        listings.check_site(site)
        seconds = 0 if copy_files else _life(url_life, listings.url_seconds_max())
        staging = (
            Path(tempfile.mkdtemp(prefix=".imageledger-", dir=_parent(copy_files))) if copy_files else None
        )
        try:
            ids = listings.listing_ids(listing or [])
            exported = [_one(listings, one, site, seconds, staging) for one in ids]
            lacking = sites.lacking(site, chosen, [payload for payload, _ in exported])
            for (payload, found), more in zip(exported, lacking, strict=True):
                found += [_who(payload) | problem for problem in more]
            problems = [problem for _, found in exported for problem in found]
            # By --partial: a bad photo costs only itself, anything else the listing.
            payloads = [payload for payload, found in exported if _is_bearable(payload, found)]
            if problems and not partial:
                _tell(problems)
                raise _refused(problems)
            text = sites.render(site, chosen, payloads)
            if copy_files and staging:
                _move(staging, copy_files)
        finally:
            if staging:
                shutil.rmtree(staging, ignore_errors=True)
    if out is None:
        sys.stdout.reconfigure(newline="", encoding="utf-8")  # type: ignore[union-attr]
        sys.stdout.write(text)
    else:
        with whole_file(out) as part:
            part.write_text(text, encoding="utf-8", newline="")
    if as_json:
        count = sum(len(payload["photos"]) for payload in payloads)
        output.print_json({"site": site, "listings": len(payloads), "photos": count, "problems": problems})
    elif problems:
        _tell(problems)


def _one(
    listings: Account, listing_id: str, site: str, seconds: int, staging: Path | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A payload with reachable photos, and what is wrong with it."""
    answer = listings.export_listing(listing_id, site)
    payload, problems = answer["payload"], answer["problems"]
    if staging:
        # Copies are written in a format that the site takes.
        problems = [problem for problem in problems if problem["code"] != "photo_format"]
    bad = {p["image_id"] for p in problems if "image_id" in p}
    # What is bad is written by --partial without these photos.
    good = [photo for photo in payload["photos"] if photo["image_id"] not in bad]
    if staging:
        problems += photos.copy(listings, good, payload["rules"], staging, listing_id)
    else:
        problems += photos.link(listings, good, payload["rules"], seconds)
    bad = {p["image_id"] for p in problems if "image_id" in p}
    payload["photos"] = [photo for photo in good if photo["image_id"] not in bad]
    return payload, [_who(payload) | problem for problem in problems]


def _who(payload: dict[str, Any]) -> dict[str, Any]:
    return {"listing_id": payload["listing"]["id"], "sku": payload["listing"]["sku"]}


def _is_bearable(payload: dict[str, Any], found: list[dict[str, Any]]) -> bool:
    """Nothing is wrong but photos, and there are enough of the others."""
    only_photos = all("image_id" in problem or problem["code"] == "photos_too_many" for problem in found)
    return only_photos and len(payload["photos"]) >= payload["rules"].get("photos_min", 0)


def _life(text: str, limit: int) -> int:
    if not text:
        return limit
    match = re.fullmatch(r"(\d{1,7})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--url-life {text} is no time", remedy="write it as 90s, 30m, 12h or 7d")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > limit:
        raise UsageError(
            f"--url-life {text} is longer than the site allows: {limit} seconds",
            remedy="choose a shorter life or --copy-files; an operator can raise site_policies.signed_url_seconds_max",
        )
    return seconds


def _parent(folder: Path) -> Path:
    """Where the copies wait; on the same disk, so that they are moved by a rename."""
    if not folder.parent.is_dir():
        raise UsageError(f"{folder.parent} is not a folder", remedy="make it first")
    return folder.parent


def _move(staging: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for made in staging.iterdir():
        target = folder / made.name
        if target.exists():
            shutil.rmtree(target)
        made.replace(target)


def _tell(problems: list[dict[str, Any]]) -> None:
    from rich.markup import escape  # noqa: PLC0415

    for problem in problems:
        who = problem["sku"] or problem["listing_id"]
        output.err.print(escape(f"{who}: {problem['message']} {problem['remedy']}"), soft_wrap=True)


def _refused(problems: list[dict[str, Any]]) -> FindingsError:
    count = len({problem["listing_id"] for problem in problems})
    error = FindingsError(
        f"nothing was exported: {len(problems)} problems in {count} listings",
        remedy="mend them, or export what is good with --partial",
        code="export_problems",
    )
    error.data = {"problems": problems}
    return error
