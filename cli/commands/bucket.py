"""bucket: from one S3-compatible store to another, behind Supabase Storage."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Annotated

import typer

from cli import project
from cli.bucket import move
from cli.bucket.store import Store
from cli.commands import output
from cli.commands.stack import Json
from cli.database import operator
from cli.errors import CliError, FindingsError

bucket = typer.Typer(
    no_args_is_help=True,
    help="Move the objects of a self-hosted Storage from one S3-compatible store to another (RUNBOOK.md).\n\n"
    "Examples:  imageledger bucket copy --dry-run    |    imageledger bucket prune",
)

Tenant = Annotated[
    str, typer.Option(envvar="STORAGE_TENANT_ID", help="The folder in the store: Storage's TENANT_ID.")
]


@bucket.command("copy")
def copy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare only, copy nothing.")] = False,
    tenant: Tenant = "stub",
    only: Annotated[str | None, typer.Option("--bucket", help="Only this bucket of Storage's.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Objects at a time.")] = 8,
    as_json: Json = False,
) -> None:
    """Copy every object that Storage knows from the old store to the new one, with its type, caching, parts and ETag.

    What is there already, with the size and ETag that Storage has noted, is left alone: run a stopped run again.
    The old store is only read. The stores are named by S3_FROM_BUCKET, S3_FROM_ENDPOINT (none: Amazon), S3_FROM_REGION,
    S3_FROM_ACCESS_KEY_ID, S3_FROM_SECRET_ACCESS_KEY, and S3_TO_BUCKET and so on. Needs imageledger[s3].

    Exit code 0: all is in the new store (--dry-run: could be); 7: objects are missing in the old store, or failed.

    Examples:  imageledger bucket copy --dry-run    |    imageledger bucket copy --threads 32 --tenant stub
    """
    here = project.current(need=("db_url",))
    source, target = (Store.of_environment(side, os.environ) for side in ("FROM", "TO"))
    with operator(here.db_url, "bucket") as conn, output.steps("Comparing" if dry_run else "Copying") as say:

        def progress(tally: move.Tally) -> None:
            if tally.objects % 500 == 0:
                say(f"{tally.objects} objects, {tally.copied} copied")

        tally = move.copy(
            conn,
            source,
            target,
            tenant=tenant,
            bucket=only,
            threads=threads,
            dry_run=dry_run,
            progress=progress,
        )
    if as_json:
        output.print_json(asdict(tally))
    else:
        output.pairs({k: v for k, v in asdict(tally).items() if k != "findings"})
        for finding in tally.findings:
            output.err.print(f"{finding['what']}: {finding['key']}: {finding['detail']}", markup=False)
    if tally.missing or tally.failed:
        raise FindingsError(
            f"{tally.missing} objects are missing in the old store, {tally.failed} failed",
            remedy="run it again for those that failed; `imageledger sweep --repair` mends what is missing",
        )


@bucket.command("prune")
def prune(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete them; else only tell.")] = False,
    tenant: Tenant = "stub",
    as_json: Json = False,
) -> None:
    """Find what lies in the new store and is not known to Storage: removed between two copies. With --yes delete it.

    Nobody can reach such objects, and nothing else would ever remove them. Only below the tenant's folder of the store
    of S3_TO_…, and only while Storage does not write into it yet: an upload's bytes are there before its row.

    Examples:  imageledger bucket prune    |    imageledger bucket prune --yes --json
    """
    here = project.current(need=("db_url",))
    target = Store.of_environment("TO", os.environ)
    with operator(here.db_url, "bucket") as conn:
        result = move.prune(conn, target, tenant=tenant, delete=yes)
    if as_json:
        output.print_json(result)
    else:
        output.pairs({k: v for k, v in result.items() if k != "keys"})
        for key in result["keys"]:
            output.err.print(key, markup=False)
    if yes and result["deleted"] < result["unknown"]:
        raise CliError(
            f"{result['unknown'] - result['deleted']} objects could not be deleted",
            remedy="check what the keys of S3_TO_… may do, and run it again",
            code="store_failed",
        )
