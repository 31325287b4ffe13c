"""credit: what users may generate in this month beyond their plan, or less."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.operators.desk import Connection, Row, desk, find_user, one

credit = typer.Typer(
    no_args_is_help=True,
    help="Show a user's month, grant generations beyond the plan, or take some back.\n\n"
    "Every change is an entry of usage_ledger with a reason, which the user can read; none is ever changed or "
    "deleted. Credits count in the month (UTC) they are granted in.",
)

User = Annotated[str, typer.Argument(help="The user's id or e-mail address.")]
Amount = Annotated[int, typer.Argument(min=1, max=1_000_000, help="How many generations.")]
Reason = Annotated[str, typer.Option(help="Why: for the user, and for whoever audits.")]
Key = Annotated[
    str | None, typer.Option(help="Your own word for this change: the same key changes once, however often.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be, and change nothing.")]


@credit.command("show")
def show(user: User, as_json: Json = False) -> None:
    """Show a user's plan, what was used, credits, what remains, and the month's adjustments.

    Examples:  imageledger credit show ann@example.com    |    imageledger credit show 6f1c… --json
    """
    with desk(project.current(need=("db_url",)).db_url) as conn:
        found = find_user(conn, user)
        month = _month(conn, found)
        entries = conn.execute(
            "select created_at, -units as amount, reason, adjusted_by, idempotency_key from public.usage_ledger"
            " where owner_id = %(id)s and kind = 'adjustment' and created_at >= private.month_begin()"
            " order by id",
            found,
        ).fetchall()
    if as_json:
        output.print_json(month | {"adjustments": entries})
        return
    _tell(month)
    if entries:
        output.table(
            ("at", "amount", "reason", "by"),
            [
                (f"{e['created_at']:%Y-%m-%d %H:%M}", f"{e['amount']:+d}", e["reason"], e["adjusted_by"])
                for e in entries
            ],
        )


@credit.command("grant")
def grant(
    user: User,
    amount: Amount,
    *,
    reason: Reason,
    key: Key = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Add generations to a user's month, beyond the plan.

    Examples:  imageledger credit grant ann@example.com 10 --reason "Outage of 3 May" --key outage-0503
    """
    _adjust(user, amount, reason, key, dry_run=dry_run, as_json=as_json)


@credit.command("take")
def take(
    user: User,
    amount: Amount,
    *,
    reason: Reason,
    key: Key = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Take generations from a user's month, at most what remains; one that is under way is not taken away.

    Examples:  imageledger credit take ann@example.com 5 --reason "Granted twice" --dry-run
    """
    _adjust(user, -amount, reason, key, dry_run=dry_run, as_json=as_json)


def _adjust(who: str, amount: int, reason: str, key: str | None, *, dry_run: bool, as_json: bool) -> None:
    with desk(project.current(need=("db_url",)).db_url, dry_run=dry_run) as conn:
        found = find_user(conn, who)
        entry = one(
            conn,
            "select id, -units as amount, reason, adjusted_by, idempotency_key, created_at"
            " from public.adjust_credits(%(id)s, %(amount)s, %(reason)s, %(key)s)",
            {"id": found["id"], "amount": amount, "reason": reason, "key": key},
        )
        month = _month(conn, found)
    if dry_run:
        output.err.print("dry run: nothing was changed; this is what would be")
    if as_json:
        output.print_json(month | {"entry": entry, "dry_run": dry_run})
    else:
        _tell(month)


def _month(conn: Connection, user: Row) -> dict[str, Any]:
    usage = one(conn, "select private.usage_of(%(id)s) as usage", user)
    return {"user_id": str(user["id"]), "email": user["email"], **(usage["usage"] if usage else {})}


def _tell(month: dict[str, Any]) -> None:
    output.pairs(
        {
            "user": f"{month['user_id']} {month['email'] or ''}".strip(),
            "plan": f"{month['plan']} ({month['monthly_generations']} a month)",
            "used": month["used"],
            "credits": f"{month['credits']:+d}",
            "remaining": month["remaining"],
            "resets at": month["resets_at"],
        }
    )
