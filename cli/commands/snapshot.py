"""snapshot and restore: database and objects together, to one moment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import FindingsError
from cli.snapshot import folder as files

_TAKE = "take"


class _TakesByDefault(TyperGroup):
    """`snapshot FOLDER` is `snapshot take FOLDER`."""

    # The type of the context differs between versions of typer.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = [_TAKE, *args]
        return super().parse_args(ctx, args)


snapshot = typer.Typer(
    cls=_TakesByDefault,
    no_args_is_help=True,
    help="""Copy users, rows and objects, to one moment, into a folder; check such a folder.

    Examples:  imageledger snapshot backup/    |    imageledger snapshot verify backup/
    """,
)
Where = Annotated[Path, typer.Argument(help="The snapshot's folder.", show_default=False)]


@snapshot.command(_TAKE)
def take(
    folder: Where,
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys", help="Also the keys that users' credentials for sites are encrypted with."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is written.")] = False,
    as_json: Json = False,
) -> None:
    """Copy users, rows and objects, to one moment, into a folder (the word `take` may be left out).

    Rows come from one transaction, and the list of objects with them; no object is removed until its bytes are
    copied, while users and workers go on. In the folder of an earlier snapshot, or of one that was stopped, only what
    is new is copied. The folder holds people's data and password hashes: keep it as you keep the database.

    Exit code 0: complete; 7: written, but bytes of some objects are lost or differ from what the database says.

    Examples:  imageledger snapshot backup/ --dry-run    |    imageledger snapshot backup/    |
    imageledger snapshot take backup/ --with-keys --json
    """
    here = project.current(need=("db_url", "api_url", "service_role_key"))
    from cli.snapshot import take as taking  # noqa: PLC0415
    from worker.objects import ObjectStore  # noqa: PLC0415

    with _bar() as progress, ObjectStore(here.api_url, here.service_role_key) as objects:
        done = taking.take(
            here.db_url, objects, files.Folder(folder), progress, with_keys=with_keys, dry_run=dry_run
        )
    answer: dict[str, Any] = {
        "folder": str(folder),
        "dry_run": dry_run,
        "id": done.manifest.id if done.manifest else None,
        "taken_at": done.manifest.taken_at if done.manifest else None,
        "rows": done.row_count,
        "objects": done.object_count,
        "bytes": done.byte_count,
        "copied": done.downloaded,
        "reused": done.reused,
        "credentials": done.manifest.credentials | {"keys": None} if done.manifest else None,
        "troubles": [{"bucket": t.bucket, "name": t.name, "trouble": t.trouble} for t in done.troubles],
    }
    if as_json:
        output.print_json(answer)
    else:
        output.pairs(
            {k: v for k, v in answer.items() if k not in ("troubles", "credentials") and v is not None}
        )
        for trouble in done.troubles[:20]:
            output.err.print(f"{trouble.trouble}: {trouble.bucket}/{trouble.name}", markup=False)
    credentials = done.manifest.credentials if done.manifest else {}
    if credentials.get("sealed") and not with_keys:
        output.err.print(
            f"[yellow]note[/]: {credentials['sealed']} credentials are encrypted with keys that are not in the"
            " snapshot; see --with-keys",
            soft_wrap=True,
        )
    if done.troubles:
        kinds = ", ".join(
            f"{n} {kind}" for kind, n in sorted(Counter(t.trouble for t in done.troubles).items())
        )
        raise FindingsError(
            f"the snapshot is written, but not whole: {kinds} objects",
            remedy="see `imageledger sweep --verify-checksums`: what was lost before cannot be copied",
            code="snapshot_incomplete",
        )


@snapshot.command("verify")
def verify(folder: Where, as_json: Json = False) -> None:
    """Read every file of a snapshot and compare its SHA-256 with the manifest; no database is needed.

    Exit code 0: as it was written; 7: files are missing or damaged, and each is named.

    Examples:  imageledger snapshot verify backup/    |    imageledger snapshot verify backup/ --json
    """
    place = files.Folder(folder)
    manifest = place.read()
    with _bar() as progress:
        files.refuse_damaged(files.verify(place, manifest, progress))
    answer = {
        "folder": str(folder),
        "id": manifest.id,
        "taken_at": manifest.taken_at,
        "rows": sum(table.row_count for table in manifest.tables),
        "objects": manifest.object_count,
        "bytes": manifest.byte_count,
        "troubles": manifest.troubles,
    }
    if as_json:
        output.print_json(answer)
    else:
        output.pairs(answer | {"troubles": json.dumps(manifest.troubles)})


def restore(
    folder: Where,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the ledger's rows that are there first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and tell what would be done.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a snapshot into a migrated project without a ledger of its own: users, rows, objects.

    First every file is verified, then the project is looked at: its schema, that no worker runs, that nothing is there.
    Objects go through Storage; users and rows follow in one transaction, so nobody sees a photo without its bytes.
    Stopped in the middle it has changed no row: the same command goes on. Users keep their passwords and sign in anew.

    With --replace the ledger is put back to that moment: its rows of today are lost. Users stay as they are, also those
    who came since; objects that came since are left over for `imageledger sweep --repair`.

    Exit code 0: done; 7: damaged snapshot, or `imageledger sweep` finds something afterwards.

    Examples:  imageledger restore backup/ --dry-run    |    imageledger restore backup/
    """
    here = project.current(need=("db_url", "api_url", "service_role_key"))
    from cli.snapshot import restore as restoring  # noqa: PLC0415
    from worker.objects import ObjectStore  # noqa: PLC0415

    with _bar() as progress, ObjectStore(here.api_url, here.service_role_key) as objects:
        done = restoring.restore(
            here.db_url, objects, files.Folder(folder), progress, replace=replace, dry_run=dry_run
        )
    if as_json:
        output.print_json(asdict(done))
    else:
        output.pairs({k: v for k, v in asdict(done).items() if k not in ("rows", "findings")})
        output.table(("table", "rows"), sorted(done.rows.items()))
    if done.credentials_lost:
        output.err.print(
            f"[yellow]note[/]: {done.credentials_lost} credentials could not be read here, and were left out",
            soft_wrap=True,
        )
    if done.findings:
        raise FindingsError(
            "restored, but Storage and ledger differ: "
            + ", ".join(f"{count} {kind}" for kind, count in sorted(done.findings.items())),
            remedy="see `imageledger sweep`; what the snapshot lacked already is in its manifest (troubles)",
            code="restored_with_findings",
        )


@contextmanager
def _bar() -> Iterator[files.Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True, disable=not output.err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, step: bar.update(task, completed=done, total=total, description=step)
