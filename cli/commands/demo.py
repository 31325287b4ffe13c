"""demo: a seller from the outside, on real photos."""

from __future__ import annotations

import hashlib
import hmac
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer
from postgrest.exceptions import APIError
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from storage3.exceptions import StorageApiError
from supabase_auth.errors import AuthError

from cli import project
from cli.commands import output
from cli.demo.photos import made_photos, own_photos
from cli.demo.play import Move, Report, Say, play, table_rows
from cli.demo.seller import VARIANT_ROLES, Seller
from cli.demo.studio import Artist, StudioError, StudioReport, play_studio, tree
from cli.errors import CliError, UsageError
from cli.stack import control
from cli.stack.home import Home

EMAIL = "demo@imageledger.test"


def demo(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos to sell: HEIC, HEIF, JPEG, PNG, WebP. Default: four made ones.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    studio: Annotated[bool, typer.Option(help="Also play a session in the generation studio.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
) -> None:
    """Play a seller from the outside, with supabase-py and the anon key only, and show what happened.

    Sign up, save a draft listing, reserve, upload, wait, sign out, sign in, open the listing, download the
    variants. The local stack and its worker are started when they do not run, and stay up. Run it again: the
    same photos are found and not uploaded twice.

    Then a session in the generation studio, as the same user: a prompt, two generations that go on from it, a branch,
    an edit within a mask and a replay, by the provider local. The pictures are saved, and the tree is shown. A
    second run finds the session.

    With SUPABASE_URL and its keys set, it plays on that project as the user DEMO_EMAIL with DEMO_PASSWORD; a
    worker must run for it.

    Examples:  imageledger demo    |    imageledger demo shoe.heic lamp.jpg    |    imageledger demo --no-studio
    """
    began = time.monotonic()
    home = Home.find()
    if not project.is_supabase():
        options = control.UpOptions(worker=True, db_url=control.environment_db_url(os.environ))
        with output.steps("Starting the stack") as say:
            control.up(home, options, say)
    here = project.current(need=("api_url", "anon_key"))
    email, password = _account(home, os.environ)
    folder = home.root / "demo"
    if photos:
        chosen = own_photos(photos)
    else:
        output.err.print(
            "No photos given: making a JPEG (EXIF orientation, GPS), a HEIC, a PNG (alpha) and a WebP."
        )
        chosen = made_photos(folder / "originals")
    try:
        with _progress() as (say, move):
            seller = Seller(here.api_url, here.anon_key, email, password)
            report = play(seller, chosen, folder / "variants", say, move)
            session = None
            if studio:
                artist = Artist(here.api_url, here.anon_key, email, password)
                session = play_studio(artist, folder / "studio", say, move)
    except (APIError, AuthError, StorageApiError, StudioError, httpx.HTTPError, TimeoutError) as error:
        raise _as_cli_error(error) from error
    if as_json:
        output.print_json(report.as_json() | ({"studio": session.as_json()} if session else {}))
    else:
        _show(report, session, here, time.monotonic() - began)
    if report.failed:
        raise CliError(
            "; ".join(f"{image['file_name']}: {image['error']}" for image in report.failed),
            remedy="these files were refused, the others are in the listing",
            code="photos_failed",
        )


def _account(home: Home, env: Mapping[str, str]) -> tuple[str, str]:
    """On the local stack always the same seller; on a real project the one the environment names."""
    if project.is_supabase(env):
        try:
            return env["DEMO_EMAIL"], env["DEMO_PASSWORD"]
        except KeyError as error:
            raise UsageError(
                f"SUPABASE_URL is set, but not {error.args[0]}",
                remedy="name a user of that project with DEMO_EMAIL and DEMO_PASSWORD",
            ) from None
    config = control.load_config(home)
    assert config is not None  # noqa: S101 - the stack has just been started
    # Not from the JWT secret, which may be rotated.
    return EMAIL, hmac.new(config.keys.postgres.encode(), EMAIL.encode(), hashlib.sha256).hexdigest()


@contextmanager
def _progress() -> Iterator[tuple[Say, Move]]:
    """A line a step, with a bar where there is something to count; on stderr."""
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=output.err) as progress:

        def say(step: str) -> None:
            finish()
            progress.add_task(step, total=1)

        def move(done: int, total: int) -> None:
            progress.update(progress.tasks[-1].id, completed=done, total=total)

        def finish() -> None:
            if progress.tasks and not progress.tasks[-1].finished:
                last = progress.tasks[-1]
                progress.update(last.id, completed=last.total)

        yield say, move
        finish()


def _show(report: Report, session: StudioReport | None, here: project.Project, seconds: float) -> None:
    again = f", {report.found} found from an earlier run" if report.found else ""
    title = f"Listing {report.listing_id}: {len(report.images)} photos, {report.uploaded} uploaded now{again}"
    columns = ("image", "original", "upright", *VARIANT_ROLES, "ms to ready")
    output.table(columns, table_rows(report), title=title)
    output.out.print()
    if session:
        output.tree(tree(session))
        output.out.print()
    files: dict[str, object] = {
        "Variants": report.downloads,
        "In Storage": "buckets private (originals) and media (variants), readable by their owner",
    }
    if session:
        files |= {
            "Generations": f"{session.folder} ({session.made} generated now, mask: {session.mask.name})",
            "This month": f"{session.usage['used']} of {session.usage['monthly_generations']} generations used",
        }
    if here.kind == "embedded":
        files |= {
            "API_URL": here.api_url,
            "ANON_KEY": here.anon_key,
            "psql": f"psql {shlex.quote(here.db_url)}",
        }
        files |= {"Stop": "make down  (or: imageledger down); the photos stay for the next start"}
    output.pairs(files)
    output.err.print(f"The images are still there after signing out and in. {seconds:.1f} s.")


def _as_cli_error(error: Exception) -> CliError:
    """PostgREST's, Auth's and Storage's errors in the CLI's shape: code, message, remedy."""
    if isinstance(error, APIError):
        return CliError(
            error.message or str(error), remedy=error.hint or "", code=error.details or error.code
        )
    if isinstance(error, AuthError):
        remedy = "confirm the user's e-mail address, or use the local stack"
        return CliError(error.message, remedy=remedy, code=str(error.code or "auth_failed"))
    if isinstance(error, StorageApiError):
        return CliError(error.message, remedy="see `imageledger logs gateway`", code=str(error.code))
    if isinstance(error, StudioError):
        return CliError(
            str(error), remedy="see `imageledger logs worker`, then run it again", code=error.code
        )
    if isinstance(error, TimeoutError):
        where = "`imageledger status` shows whether a worker runs"
        remedy = where if project.is_supabase() else "see `imageledger logs worker`"
        return CliError(str(error), remedy=remedy, code="not_processed")
    return CliError(str(error) or type(error).__name__, remedy="see `imageledger status`", code="unreachable")
