"""sweep and erasure: that Storage holds what the ledger says, and nothing of whom was deleted."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import FindingsError, UsageError
from cli.sweep import run
from cli.sweep.findings import KINDS, Finding, Tally
from cli.sweep.ledger import SweepLedger

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def sweep(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found; else only tell.")] = False,
    verify_checksums: Annotated[
        bool, typer.Option("--verify-checksums", help="Read every object and compare its bytes.")
    ] = False,
    owner: Annotated[UUID | None, typer.Option(help="Only what belongs to this user.")] = None,
    older_than: Annotated[
        str, typer.Option(help="Leave alone what changed within this time: 90s, 15m, 1h, 2d.")
    ] = "1h",
    as_json: Json = False,
) -> None:
    """Compare Storage and the ledger both ways, by owner; with --repair make them agree.

    Found are objects without rows, rows without objects, missing or wrong variants, uploads that went unnoticed
    and images stuck without a job, renders without their pictures or thumbnails; with --verify-checksums also wrong
    or missing bytes. What is under way (reservations, processing, removals that are ordered) is no finding.

    --repair orders the removal of objects without rows, has images with missing or wrong variants rendered again
    (hidden until then), and marks images whose original is lost as failed, with the reason. A render's thumbnail is
    made again; a picture that is gone cannot be, so it is marked as lost, where its owner sees it, and in the
    history. A worker does the work; once it is done a second run finds nothing. Without --repair nothing is changed.

    Exit code 0: nothing found, or all of it mended; 7: findings are left.

    Examples:  imageledger sweep    |    imageledger sweep --repair    |    imageledger sweep --verify-checksums --json
    """
    need = ("db_url", "api_url", "service_role_key") if verify_checksums else ("db_url",)
    here = project.current(need=need)
    wishes = run.Wishes(repair=repair, verify=verify_checksums, owner=owner)
    grace = _duration(older_than)
    # Most commands, and a sweep without --verify-checksums, need no Storage client.
    from worker.objects import ObjectStore  # noqa: PLC0415

    with _bar() as progress, SweepLedger(here.db_url, grace) as ledger, _Findings(as_json) as findings:
        if verify_checksums:
            with ObjectStore(here.api_url, here.service_role_key) as objects:
                tally = run.sweep(ledger, objects, wishes, findings.add, progress)
        else:
            tally = run.sweep(ledger, None, wishes, findings.add, progress)
        findings.end(tally, ledger.in_flight())
    if tally.total and not as_json:
        _tell(tally, repair=repair)
    elif not as_json:
        output.err.print("nothing was found: Storage and the ledger agree")
    left = tally.unrepaired if repair else tally.total
    if left:
        raise FindingsError(
            f"{left} findings" + (" could not be mended" if repair else ""),
            remedy="see the findings (--json lists each)" if repair else "run `imageledger sweep --repair`",
        )


def erasure(
    user_id: Annotated[UUID, typer.Argument(help="The deleted user's id.")],
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing is left, or the timeout.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds for --wait.")] = 300,
    as_json: Json = False,
) -> None:
    """Prove that a deleted user left nothing: rows by table, objects by bucket, removals under way, with times.

    Everything is counted now. Exit code 0: nothing is left; 7: something is, or the user was not deleted.

    Examples:  imageledger erasure 6f1c…  |  imageledger erasure 6f1c… --wait --json
    """
    here = project.current(need=("db_url",))
    deadline = time.monotonic() + timeout
    with SweepLedger(here.db_url, timedelta()) as ledger, output.steps("Waiting for removals") as say:
        report = ledger.erasure_report(user_id)
        while wait and not report["is_complete"] and time.monotonic() < deadline:
            say(f"{sum(report['objects'].values())} objects left")
            time.sleep(0.5)
            report = ledger.erasure_report(user_id)
    if as_json:
        output.print_json(report)
    else:
        _show_erasure(report)
    if not report["is_complete"]:
        rows = {name: count for name, count in report["rows"].items() if count}
        deleted = "auth.users" not in rows
        raise FindingsError(
            "something of the user is left" if deleted else "the user was not deleted",
            remedy="a worker must run; see `imageledger sweep`" if deleted else "delete the user first",
            code="erasure_incomplete" if deleted else "user_exists",
        )
    if report["erased_at"] is None:
        output.err.print(f"nothing is recorded of {user_id}: check the id", markup=False)


class _Findings:
    """The answer on stdout; as JSON it is written as it comes, since there may be very many findings."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._is_first = True

    def __enter__(self) -> _Findings:
        if self._as_json:
            sys.stdout.write('{"findings": [')
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def add(self, finding: Finding, outcome: str) -> None:
        if self._as_json:
            entry = finding.as_json() | ({"repair": outcome} if outcome else {})
            sys.stdout.write(("\n  " if self._is_first else ",\n  ") + json.dumps(entry, ensure_ascii=False))
            self._is_first = False

    def end(self, tally: Tally, in_flight: dict[str, int]) -> None:
        if self._as_json:
            rest = {
                "count": tally.total,
                "kinds": dict(tally.by_kind),
                "owners": {owner: dict(kinds) for owner, kinds in sorted(tally.by_owner.items())},
                "repairs": dict(tally.repairs),
                "in_flight": in_flight,
                "verified": {"objects": tally.verified_objects, "bytes": tally.verified_bytes},
            }
            sys.stdout.write("],\n" + json.dumps(rest, indent=2)[2:] + "\n")


def _tell(tally: Tally, *, repair: bool) -> None:
    kinds = [kind for kind in KINDS if tally.by_kind[kind]]
    rows = [
        (who, *(counts[kind] or None for kind in kinds)) for who, counts in sorted(tally.by_owner.items())
    ]
    output.table(("owner", *kinds), rows)
    for kind in kinds:
        output.err.print(f"{kind}: {KINDS[kind]}", highlight=False)
    if repair:
        done = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in sorted(tally.repairs.items()))
        output.err.print(f"repairs: {done or 'none'}; a worker does what was ordered")


def _show_erasure(report: dict[str, Any]) -> None:
    output.pairs(
        {
            "user": report["user_id"],
            "deleted": report["erased_at"] or "not recorded",
            "media then": f"{report['object_count']} objects, {report['byte_count']} bytes"
            if report["erased_at"]
            else "not recorded",
            "last removal confirmed": report["last_removal_at"] or "none",
            "all objects gone": report["completed_at"] or "not recorded",
            "removals waiting": report["removals"]["waiting"],
            "removals given up": report["removals"]["dead"],
            "checked": report["checked_at"],
        }
    )
    counts = [("table", name, count) for name, count in sorted(report["rows"].items())]
    counts += [("bucket", name, count) for name, count in sorted(report["objects"].items())]
    output.table(("", "name", "left"), counts)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if not match:
        raise UsageError(f"--older-than {text!r} is no duration", remedy="write 90s, 15m, 1h or 2d")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


@contextmanager
def _bar() -> Iterator[run.Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True, disable=not output.err.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, step: bar.update(task, completed=done, total=total, description=step)
