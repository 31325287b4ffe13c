"""What `imageledger doctor` can find: one code each, how bad it is, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

_MIGRATE = "imageledger migrate --force"

#: Code → severity, what it means, remedy, and a command where one helps.
CODES: dict[str, tuple[Severity, str, str, str]] = {
    "database_down": ("error", "the database cannot be reached", "start it; check SUPABASE_DB_URL", ""),
    "supabase_missing": ("error", "what Supabase provides is not there", "use a Supabase project's database", ""),
    "not_migrated": ("error", "the schema was never applied", "apply it", "imageledger migrate"),
    "migration_missing": ("error", "files differ from what was applied", "apply them", "imageledger migrate"),
    "relation_missing": ("error", "a table or view is gone", "apply the schema again", _MIGRATE),
    "view_changed": ("error", "a view's security options differ", "apply the schema again", _MIGRATE),
    "column_missing": ("error", "a column is gone", "restore it, then apply the schema again", _MIGRATE),
    "column_changed": ("error", "a column's type or rule differs", "change it back; see sql/", ""),
    "constraint_missing": ("error", "a constraint is gone", "add it again; see the table's file in sql/", ""),
    "constraint_not_valid": ("error", "a constraint is not validated", "alter table … validate constraint", ""),
    "index_missing": ("warning", "an index is gone", "apply the schema again", _MIGRATE),
    "index_invalid": ("warning", "an index was not built to its end", "reindex it: reindex index concurrently …", ""),
    "function_missing": ("error", "a function is gone", "apply the schema again", _MIGRATE),
    "function_changed": ("error", "a function is not the one of the files", "apply the schema again", _MIGRATE),
    "trigger_missing": ("error", "a trigger is gone", "apply the schema again", _MIGRATE),
    "trigger_changed": ("error", "a trigger does something else", "apply the schema again", _MIGRATE),
    "trigger_disabled": ("error", "a trigger does not fire", "alter table … enable trigger …", ""),
    "rls_disabled": ("error", "row level security is off", "apply the schema again", _MIGRATE),
    "policy_missing": ("error", "a policy is gone", "apply the schema again", _MIGRATE),
    "policy_changed": ("error", "a policy says something else", "apply the schema again", _MIGRATE),
    "policy_extra": ("error", "a policy that is not ours widens access", "drop policy … if nobody needs it", ""),
    "grant_missing": ("error", "a role lacks a privilege", "apply the schema again", _MIGRATE),
    "grant_extra": ("error", "a role has a privilege that it must not have", "revoke … from …", ""),
    "definer_exposed": (
        "error", "an unknown SECURITY DEFINER function is open to the API's roles", "revoke execute on function …", ""
    ),
    "default_privileges": (
        "error", "new functions would be open to the API's roles", "apply the schema again", _MIGRATE
    ),
    "role_missing": ("error", "a role is gone", "apply the schema again", _MIGRATE),
    "role_attribute": ("error", "a role is more powerful than it must be", "alter role …", ""),
    "role_membership": ("error", "a role's memberships differ", "grant or revoke", ""),
    "setting_pinned": ("error", "a setting that rules rest on is fixed for a role or database", "alter … reset …", ""),
    "storage_operation_missing": (
        "error", "Storage does not say which operation it does, so copies cannot be told from uploads",
        "upgrade Storage to a version that has the function storage.operation()", "",
    ),
    "bucket_missing": ("error", "a bucket is gone", "apply the schema again", _MIGRATE),
    "bucket_changed": ("error", "a bucket's limits differ from the site's policy", "apply the schema again", _MIGRATE),
    "site_policy_missing": ("error", "a row of the site's policy is gone", "apply the schema again", _MIGRATE),
    "dead_jobs": (
        "warning", "jobs were given up", "read their errors, then retry or purge them",
        "imageledger queue ls --state dead",
    ),
    "stale_leases": (
        "warning", "jobs lie with workers that are gone, and nobody takes them back",
        "start a worker with maintenance (WORKER_MAINTENANCE_SECONDS > 0)", "",
    ),
    "queue_paused": ("warning", "a queue or an actor is paused", "resume it when the reason is gone", ""),
    "jobs_parked": (
        "warning", "jobs of an actor are parked, though it is not paused", "pause the actor and resume it", ""
    ),
    "queue_lag": ("warning", "jobs wait for long", "start more workers, or look why they are slow",
                  "imageledger status --watch"),
    "no_worker": ("error", "no worker gives a sign of life", "start one", "imageledger worker"),
    "worker_silent": ("warning", "a worker has stopped without a word", "look at its log and start it again", ""),
    "relay_missing": (
        "warning", "workers wait for messages, and no relay publishes jobs",
        "start one, or workers without BROKER_RELAY=off; until then they look into the table every 5 seconds",
        "imageledger relay",
    ),
    "published_not_taken": (
        "warning", "jobs were published to the message broker, and nobody takes them",
        "start a worker for the queue; BROKER_URL and BROKER_NAMESPACE must be the same for relay and workers", "",
    ),
    "notifications_pile_up": (
        "warning", "notifications (NOTIFY) are not taken away: above a half jobs begin at the next poll only, and when"
        " it is full nobody else's NOTIFY can commit",
        "end the session that listens with a transaction open: select pg_terminate_backend(…)", "",
    ),
    "auth_down": ("error", "Auth does not answer", "look at its log", ""),
    "rest_down": ("error", "PostgREST does not answer", "look at its log", ""),
    "storage_down": ("error", "Storage does not answer", "look at its log", ""),
    "key_refused": ("error", "a key is refused", "use the keys of this project: see its API settings", ""),
    "schema_exposed": (
        "error", "PostgREST serves a schema that must stay closed", "take it out of PostgREST's schemas (API settings)",
        "",
    ),
    "rest_schema_stale": (
        "error", "PostgREST does not know the schema of today", "notify pgrst, 'reload schema'", ""
    ),
    "clock_skew": ("warning", "this machine's clock and the database's differ", "switch time synchronisation on", ""),
    "disk_low": ("warning", "the disk with the stack's folder is nearly full", "free space; see the runbook", ""),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """`what` names the object; `command` may be run as it stands."""

    code: str
    severity: Severity
    what: str
    remedy: str
    command: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def finding(code: str, subject: str, *, remedy: str = "", command: str = "") -> Finding:
    """The finding of this code about `subject`."""
    severity, meaning, usual, usual_command = CODES[code]
    return Finding(code, severity, f"{meaning}: {subject}", remedy or usual, command or usual_command)
