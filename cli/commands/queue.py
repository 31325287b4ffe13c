"""queue: jobs found, retried, canceled, purged; queues and actors paused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.database import Connection, operator
from cli.errors import CliError, UsageError
from cli.queue import ledger
from cli.queue.ledger import STATES, TARGETS, Wanted

queue = typer.Typer(
    no_args_is_help=True,
    help="Look at jobs; retry, cancel or purge them; pause queues and actors.\n\n"
    "What changes something shows first what it would change, and does it with --yes.\n\n"
    "Examples:  imageledger queue ls --state dead    |    imageledger queue retry --actor process_image --yes",
)

Ids = Annotated[list[int] | None, typer.Argument(help="Ids of jobs.", show_default=False)]
Queue = Annotated[str | None, typer.Option("--queue", help="Only this queue.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Only this actor.")]
Owner = Annotated[UUID | None, typer.Option("--owner", help="Only jobs of this user.")]
State = Annotated[list[str] | None, typer.Option("--state", help=f"One or more of {', '.join(STATES)}.")]
ErrorText = Annotated[str | None, typer.Option("--error", help="Only where the error contains this text.")]
Correlation = Annotated[
    str | None, typer.Option("--correlation", help="Only what this request led to: its correlation id.")
]
All = Annotated[bool, typer.Option("--all", help="All that the command can be about.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it; without, only show what would be done.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept with what was done.")]


@queue.command("ls")
def ls(
    *,
    ids: Ids = None,
    name: Queue = None,
    actor: Actor = None,
    owner: Owner = None,
    state: State = None,
    error: ErrorText = None,
    correlation: Correlation = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="The newest ones.")] = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first. State `paused` is a waiting job of a paused actor.

    Examples:  imageledger queue ls    |    imageledger queue ls --state dead --error timeout    |
    imageledger queue ls --owner 6f1c0c52-3a44-4f0e-9d0b-0d4f2a1c8e11 --json    |
    imageledger queue ls --correlation checkout-4711
    """
    wanted = replace(_wanted(ids, name, actor, owner, state, error), correlation=correlation)
    with _database() as conn:
        counts = ledger.count(conn, wanted)
        jobs = ledger.find(conn, wanted, limit)
    total = sum(row["count"] for row in counts)
    if as_json:
        output.print_json({"total": total, "counts": counts, "jobs": jobs})
        return
    columns = ("id", "queue", "actor", "state", "attempts", "age", "owner", "error")
    output.table(
        columns,
        [
            (
                job["id"],
                job["queue"],
                job["actor"],
                job["state"],
                f"{job['attempts']}/{job['max_attempts']}",
                age(job["created_at"]),
                job["owner_id"],
                first_line(job["error"]),
            )
            for job in jobs
        ],
    )
    output.err.print(f"{len(jobs)} of {total} jobs")


@queue.command("show")
def show(job_id: Annotated[int, typer.Argument(help="The job's id.")], as_json: Json = False) -> None:
    """Show one job whole, and what operators did to it.

    Examples:  imageledger queue show 4711    |    imageledger queue show 4711 --json
    """
    with _database() as conn:
        job = ledger.show(conn, job_id)
    if as_json:
        output.print_json(job)
        return
    history = job.pop("interventions")
    output.pairs({key: "" if value is None else value for key, value in job.items()})
    for entry in history:
        before = entry["before"] or {}
        output.out.print(
            f"{entry['done_at']:%Y-%m-%d %H:%M:%S} {entry['action']} by {entry['done_by']}"
            f"{': ' + entry['reason'] if entry['reason'] else ''}; before: {before.get('state')} after"
            f" {before.get('attempts')} attempts, {first_line(before.get('error')) or 'no error'}",
            markup=False,
        )


@queue.command("retry")
def retry(
    *,
    ids: Ids = None,
    name: Queue = None,
    actor: Actor = None,
    owner: Owner = None,
    state: State = None,
    error: ErrorText = None,
    every: All = False,
    reason: Reason = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make dead jobs due again, with all their attempts; what they had come to is kept (`queue show`).

    Also canceled ones, and those that wait for their next attempt, if --state or their ids say so. An image or
    a review that was given up waits again. Outcome `superseded`: another job of the same kind waits already;
    `retry_generation instead`, `request_fill instead`: it has failed for its owner, who orders a new one.

    Examples:  imageledger queue retry 4711 --yes    |    imageledger queue retry --error "503" --yes    |
    imageledger queue retry --actor process_image
    """
    wanted = _wanted(ids, name, actor, owner, state or ([] if ids else ["dead"]), error)
    # An unnamed state is a narrowing of ours, not of the caller's.
    narrowed = _narrowed(ids, name, actor, owner, state, error, every)
    _act("retry", wanted, narrowed=narrowed, reason=reason, yes=yes, as_json=as_json)


@queue.command("cancel")
def cancel(
    *,
    ids: Ids = None,
    name: Queue = None,
    actor: Actor = None,
    owner: Owner = None,
    state: State = None,
    error: ErrorText = None,
    every: All = False,
    reason: Reason = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """End jobs that are not finished. A running one's worker loses the lease: its result is refused.

    The image or generation that waited for the job fails with a reason and can be retried. A canceled
    `remove_objects` leaves bytes without rows, which `imageledger sweep --repair` removes.

    Examples:  imageledger queue cancel 4711 --yes    |    imageledger queue cancel --actor generate --state ready
    """
    wanted = _wanted(ids, name, actor, owner, state, error)
    narrowed = _narrowed(ids, name, actor, owner, state, error, every)
    _act("cancel", wanted, narrowed=narrowed, reason=reason, yes=yes, as_json=as_json)


@queue.command("purge")
def purge(
    *,
    ids: Ids = None,
    name: Queue = None,
    actor: Actor = None,
    owner: Owner = None,
    state: State = None,
    error: ErrorText = None,
    every: All = False,
    reason: Reason = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete finished jobs: succeeded, dead, canceled. Waiting and running ones stay.

    Maintenance does it by age (WORKER_KEEP_SUCCEEDED_HOURS, WORKER_KEEP_FAILED_DAYS); this is for sooner.

    Examples:  imageledger queue purge --state dead --actor review_image --yes    |    imageledger queue purge --all
    """
    wanted = _wanted(ids, name, actor, owner, state, error)
    narrowed = _narrowed(ids, name, actor, owner, state, error, every)
    _act("purge", wanted, narrowed=narrowed, reason=reason, yes=yes, as_json=as_json)


@queue.command("pause")
def pause(
    name: Queue = None,
    actor: Actor = None,
    reason: Reason = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """No more jobs of a queue, or of an actor, are begun until `queue resume`; running ones end.

    Jobs can still be ordered, and wait. A pause survives restarts of everything, and is seen in `status`.

    Examples:  imageledger queue pause --actor generate --reason "provider is down" --yes    |
    imageledger queue pause --queue default --yes
    """
    kind, what = _subject(name, actor)
    with _database() as conn:
        if what not in (known := ledger.names(conn, kind)):
            output.err.print(
                f"no job of {kind} {what} is there yet; {kind}s that have some: {', '.join(known) or 'none'}",
                markup=False,
            )
        if not yes:
            _would(f"pause {kind} {what}", kind, what, conn, as_json=as_json)
            return
        with _bar("taking jobs out of the line") as progress:
            is_new, parked = ledger.pause(conn, kind, what, reason, progress)
    if as_json:
        output.print_json({"dry_run": False, kind: what, "was_paused": not is_new, "parked": parked})
    else:
        output.err.print(f"{kind} {what} is paused" + ("" if is_new else " already"), markup=False)


@queue.command("resume")
def resume(name: Queue = None, actor: Actor = None, yes: Yes = False, as_json: Json = False) -> None:
    """End a pause; the workers hear of it at once.

    Examples:  imageledger queue resume --actor generate --yes    |    imageledger queue resume --queue default --yes
    """
    kind, what = _subject(name, actor)
    with _database() as conn:
        if not yes:
            _would(f"resume {kind} {what}", kind, what, conn, as_json=as_json)
            return
        count = ledger.resume(conn, kind, what)
    if count is None:
        raise CliError(f"{kind} {what} is not paused", remedy="see `imageledger status`", code="not_paused")
    if as_json:
        output.print_json({"dry_run": False, kind: what, "resumed": count})
    else:
        output.err.print(f"{kind} {what} goes on; {count} jobs are back in line", markup=False)


def _act(
    action: str, wanted: Wanted, *, narrowed: bool, reason: str | None, yes: bool, as_json: bool
) -> None:
    if not narrowed:
        raise UsageError(
            f"`queue {action}` needs ids or options that say which jobs",
            remedy="such as --actor, --owner, --state, --error; or --all",
        )
    with _database() as conn:
        if wanted.ids:
            _check_ids(conn, wanted.ids)
        wanted = wanted.within(TARGETS[action])
        counts = ledger.count(conn, wanted)
        total = sum(row["count"] for row in counts)
        outcomes: Counter[str] = Counter()
        if yes and total:
            chosen = ledger.ids(conn, wanted)
            with _bar(action) as progress:
                if action == "purge":
                    outcomes = ledger.purge(conn, chosen, reason, progress)
                else:
                    outcomes = ledger.act(conn, action, chosen, reason, progress)
    if as_json:
        output.print_json(
            {"dry_run": not yes, "matched": total, "counts": counts, "outcomes": dict(outcomes)}
        )
    elif not yes:
        output.table(("queue", "actor", "state", "jobs"), [tuple(row.values()) for row in counts])
        output.err.print(f"would {action} {total} jobs; nothing was changed: add --yes to do it")
    else:
        words = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common()) or "nothing to do"
        output.err.print(words, markup=False)
    if left := outcomes["busy"]:
        raise CliError(
            f"{left} jobs were being changed by a worker all the time", remedy="run it again", code="busy"
        )


def _check_ids(conn: Connection, ids: tuple[int, ...]) -> None:
    found = {row["id"] for row in conn.execute("select id from queue.jobs where id = any(%s)", [list(ids)])}
    if missing := [str(job_id) for job_id in ids if job_id not in found]:
        raise CliError(
            f"there is no job {', '.join(missing)}", remedy="see `imageledger queue ls`", code="job_not_found"
        )


def _would(what: str, kind: str, name: str, conn: Connection, *, as_json: bool) -> None:
    wanted = Wanted(states=TARGETS["cancel"], **{kind: name})  # type: ignore[arg-type]
    counts = ledger.count(conn, wanted)
    is_paused = any(row["kind"] == kind and row["name"] == name for row in ledger.pauses(conn))
    if as_json:
        output.print_json({"dry_run": True, kind: name, "is_paused": is_paused, "counts": counts})
        return
    output.table(("queue", "actor", "state", "jobs"), [tuple(row.values()) for row in counts])
    output.err.print(f"would {what}; nothing was changed: add --yes to do it", markup=False)


def _narrowed(*given: Any) -> bool:
    return any(given)


def _subject(name: str | None, actor: str | None) -> tuple[str, str]:
    if bool(name) == bool(actor):
        raise UsageError("name a queue or an actor", remedy="--queue NAME or --actor NAME")
    return ("queue", name) if name else ("actor", str(actor))


def _wanted(  # noqa: PLR0917 - in the order of the options
    ids: list[int] | None,
    name: str | None,
    actor: str | None,
    owner: UUID | None,
    state: list[str] | None,
    error: str | None,
) -> Wanted:
    if unknown := [s for s in state or [] if s not in STATES]:
        raise UsageError(f"there is no state {', '.join(unknown)}", remedy=f"one of {', '.join(STATES)}")
    return Wanted(tuple(ids or ()), name, actor, owner, tuple(state or ()), error)


@contextmanager
def _database() -> Iterator[Connection]:
    with operator(project.current(need=("db_url",)).db_url, "queue") as conn:
        yield conn


@contextmanager
def _bar(what: str) -> Iterator[ledger.Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.err, transient=True, disable=not output.err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def age(moment: datetime | None) -> str:
    """Since when, in the largest unit that fits: 12s, 5m, 3h, 2d."""
    if moment is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def first_line(text: str | None, width: int = 80) -> str:
    """The beginning of an error, for one row of a table."""
    line = (text or "").strip().splitlines()[0] if text and text.strip() else ""
    return line if len(line) <= width else line[: width - 1] + "…"
