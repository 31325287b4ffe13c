"""The operator's questions to queue.jobs, and what is done to many jobs, a batch at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from psycopg import sql

from cli.database import Connection, Row
from cli.errors import CliError

STATES = ("scheduled", "paused", "ready", "running", "succeeded", "dead", "canceled")
FINISHED = ("succeeded", "dead", "canceled")
#: What each command can be about; a filter that names other states finds nothing to do.
TARGETS = {
    "retry": ("dead", "canceled", "scheduled"),
    "cancel": ("scheduled", "paused", "ready", "running"),
    "purge": FINISHED,
}
BATCH = 500
#: A job that is being changed by somebody else is looked at again this often.
ROUNDS = 4
Progress = Callable[[int, int], None]

# Infinity is how a paused actor's jobs are parked, and no moment for Python.
_STATE = "case when run_at = 'infinity' then 'paused' else state end"
_COLUMNS = sql.SQL(
    f"id, queue, actor, owner_id, {_STATE} as state, attempts,"
    " max_attempts, priority, nullif(run_at, 'infinity') as run_at, args, dedupe_key, worker, leased_until, error,"
    " created_at, started_at, finished_at, correlation_id, trace_parent"
)
_ACTIONS = {
    "retry": "select id, outcome from queue.retry(%s, %s)",
    "cancel": "select id, outcome from queue.cancel(%s, %s)",
}


@dataclass(frozen=True)
class Wanted:
    """Which jobs: all that is given must hold. `error` is a part of the error's text, in any case."""

    ids: tuple[int, ...] = ()
    queue: str | None = None
    actor: str | None = None
    owner: UUID | None = None
    states: tuple[str, ...] = ()
    error: str | None = None
    correlation: str | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing narrows it down."""
        return self == Wanted()

    def within(self, states: Sequence[str]) -> Wanted:
        """The same, among jobs in these states only."""
        chosen = tuple(s for s in self.states or states if s in states) or ("none",)
        return replace(self, states=chosen)

    def where(self) -> tuple[sql.Composable, list[Any]]:
        parts: list[tuple[str, Any]] = []
        if self.ids:
            parts.append(("id = any(%s)", list(self.ids)))
        if self.queue:
            parts.append(("queue = %s", self.queue))
        if self.actor:
            parts.append(("actor = %s", self.actor))
        if self.owner:
            parts.append(("owner_id = %s", self.owner))
        if self.states:
            # The column first, for which there are indexes: what is finished can be millions of rows.
            stored = ["scheduled" if state == "paused" else state for state in self.states]
            parts += [("state = any(%s)", stored), (f"{_STATE} = any(%s)", list(self.states))]
        if self.error:
            parts.append(("position(lower(%s) in lower(error)) > 0", self.error))
        if self.correlation:
            parts.append(("correlation_id = %s", self.correlation))
        condition = sql.SQL(" and ").join(sql.SQL(text) for text, _ in parts) if parts else sql.SQL("true")
        return condition, [value for _, value in parts]


def find(conn: Connection, wanted: Wanted, limit: int) -> list[Row]:
    """The newest jobs first."""
    where, values = wanted.where()
    query = sql.SQL("select {} from queue.jobs where {} order by id desc limit %s").format(_COLUMNS, where)
    return conn.execute(query, [*values, limit]).fetchall()


def count(conn: Connection, wanted: Wanted) -> list[Row]:
    """How many, by queue, actor and state."""
    where, values = wanted.where()
    query = sql.SQL(
        "select queue, actor, {} as state, count(*)::int as count from queue.jobs where {}"
        " group by 1, 2, 3 order by 1, 2, 3"
    ).format(sql.SQL(_STATE), where)
    return conn.execute(query, values).fetchall()


def names(conn: Connection, kind: str) -> list[str]:
    """Every queue, or every actor, that has a job."""
    query = sql.SQL("select distinct {} as name from queue.jobs order by 1").format(sql.Identifier(kind))
    return [row["name"] for row in conn.execute(query)]


def show(conn: Connection, job_id: int) -> Row:
    """One job, and what operators did to it. Raises CliError `job_not_found`."""
    found = find(conn, Wanted(ids=(job_id,)), 1)
    history = conn.execute(
        "select action, reason, before, done_by, done_at from queue.interventions where job_id = %s order by id",
        [job_id],
    ).fetchall()
    if not found and not history:
        raise CliError(f"there is no job {job_id}", remedy="see `imageledger queue ls`", code="job_not_found")
    return {**(found[0] if found else {"id": job_id, "state": "purged"}), "interventions": history}


def ids(conn: Connection, wanted: Wanted) -> list[int]:
    """The ids, oldest first."""
    where, values = wanted.where()
    query = sql.SQL("select id from queue.jobs where {} order by id").format(where)
    return [row["id"] for row in conn.execute(query, values)]


def act(
    conn: Connection, action: str, chosen: Sequence[int], reason: str | None, progress: Progress
) -> Counter[str]:
    """Retries or cancels these jobs in batches, each its own transaction; answers how many came to what.

    `busy` is what somebody else was changing all the time, `gone` what was pruned meanwhile.
    """
    outcomes: Counter[str] = Counter()
    left = list(chosen)
    for attempt in range(ROUNDS):
        if attempt:
            time.sleep(0.2 * attempt)
        missed: list[int] = []
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            done = {r["id"]: r["outcome"] for r in conn.execute(_ACTIONS[action].encode(), [batch, reason])}
            outcomes.update(done.values())
            missed += [job_id for job_id in batch if job_id not in done]
            progress(outcomes.total(), len(chosen))
        left = missed
        if not left:
            break
    if left:
        there = conn.execute("select id from queue.jobs where id = any(%s)", [left]).fetchall()
        outcomes["busy"] += len(there)
        outcomes["gone"] += len(left) - len(there)
    return +outcomes


def purge(conn: Connection, chosen: Sequence[int], reason: str | None, progress: Progress) -> Counter[str]:
    """Deletes the finished ones among these jobs, in batches."""
    purged = 0
    for start in range(0, len(chosen), BATCH * 10):
        batch = list(chosen[start : start + BATCH * 10])
        row = conn.execute("select queue.purge(%s, %s) as count", [batch, reason]).fetchone()
        purged += int(row["count"]) if row else 0
        progress(start + len(batch), len(chosen))
    return +Counter({"purged": purged, "not finished": len(chosen) - purged})


def pauses(conn: Connection) -> list[Row]:
    """What is paused."""
    return conn.execute(
        "select kind, name, reason, paused_by, paused_at from queue.pauses order by paused_at"
    ).fetchall()


def pause(conn: Connection, kind: str, name: str, reason: str | None, progress: Progress) -> tuple[bool, int]:
    """Whether it was not paused before, and how many waiting jobs of an actor were taken out of the line."""
    row = conn.execute("select queue.pause(%s, %s, %s) as is_new", [kind, name, reason]).fetchone()
    parked = 0
    while kind == "actor":
        batch = conn.execute("select queue.park(%s, %s) as count", [name, BATCH * 10]).fetchone()
        if not batch or not batch["count"]:
            break
        parked += batch["count"]
        progress(parked, parked)
    return bool(row and row["is_new"]), parked


def resume(conn: Connection, kind: str, name: str) -> int | None:
    """How many jobs are back; None when nothing was paused."""
    row = conn.execute("select queue.resume(%s, %s) as count", [kind, name]).fetchone()
    return row["count"] if row else None
