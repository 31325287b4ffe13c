"""The figures as tables, once or again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.commands import output
from cli.database import operator
from cli.errors import CliError
from cli.watch import figures

#: Storage is counted this often: it reads every object's row.
STORAGE_SECONDS = 30.0
LIVE = ("queues", "pauses", "workers", "outbox", "failures")


def size(count: int) -> str:
    """Bytes for people, in powers of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def tables(data: dict[str, Any]) -> list[RenderableType]:
    """One table a topic; none where there is nothing to show."""
    shown: list[RenderableType] = []
    if "figures_error" in data:
        shown.append(Text(f"no figures: {data['figures_error']['message']}", style="yellow"))
    queue_names = ("queue", "ready", "scheduled", "paused", "running", "dead", "lag_seconds")
    shown += _table(
        "Queues",
        (*queue_names, ""),
        [[*(row[n] for n in queue_names), "PAUSED" if row["is_paused"] else ""] for row in data["queues"]],
    )
    shown += _table(
        "Paused",
        ("kind", "name", "since", "reason"),
        [[p["kind"], p["name"], _time(p["paused_at"]), p["reason"]] for p in data["pauses"]],
    )
    shown += _table(
        "Workers",
        ("worker", "queues", "threads", "held", "seen", ""),
        [
            [
                w["worker"],
                ", ".join(w["queues"]),
                w["threads"],
                w["held"],
                f"{w['seen_seconds_ago']:.0f} s ago",
                "SILENT" if w["is_silent"] else "",
            ]
            for w in data["workers"]
        ],
    )
    shown += _table(
        "Outbox",
        ("relay", "since", "published", "workers", ""),
        [
            [
                o["relay"],
                _time(o["leading_since"]) if o["relay"] else "",
                o["published"],
                o["workers"],
                "" if o["is_leading"] or not o["workers"] else "NO RELAY",
            ]
            for o in data["outbox"]
        ],
    )
    shown += _table(
        "Failures in the last hour",
        ("", "what", "reason", "count"),
        [[f["source"], f["what"], f["reason"], f["count"]] for f in data["failures"]],
    )
    shown += _table(
        "Storage",
        ("bucket", "objects", "size"),
        [[s["bucket"], s["objects"], size(s["bytes"])] for s in data["storage"]],
    )
    return shown


def _table(title: str, columns: tuple[str, ...], rows: list[list[Any]]) -> list[RenderableType]:
    if not rows:
        return []
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_seconds", " s"), overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    return [table]


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def show(data: dict[str, Any]) -> None:
    """Once, below the rest of `status`."""
    for item in tables(data):
        output.out.print()
        output.out.print(item)


def watch(db_url: str, seconds: float, rounds: int | None, *, as_json: bool) -> None:
    """Until Ctrl-C, or `rounds` times; as JSON one line a round. A database that goes away is waited for."""
    if as_json:
        for data in _rounds(db_url, seconds, rounds):
            sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
            sys.stdout.flush()
        return
    with Live(console=output.out, screen=output.out.is_terminal, auto_refresh=False) as live:
        for data in _rounds(db_url, seconds, rounds):
            head = Text(f"{time.strftime('%H:%M:%S')}  every {seconds:g} s, Ctrl-C ends", style="dim")
            live.update(Group(head, *tables(data)), refresh=True)


def _rounds(db_url: str, seconds: float, rounds: int | None) -> Iterator[dict[str, Any]]:
    stored: list[Any] = []
    stored_at = float("-inf")
    done = 0
    while True:
        try:
            with operator(db_url, "status --watch") as conn:
                while True:
                    if time.monotonic() - stored_at > STORAGE_SECONDS:
                        stored, stored_at = figures.storage(conn), time.monotonic()
                    yield {**figures.live(conn), "storage": stored}
                    done += 1
                    if done == rounds:
                        return
                    time.sleep(seconds)
        except CliError as error:
            empty: dict[str, Any] = {name: [] for name in LIVE}
            yield {**empty, "storage": stored, "figures_error": error.as_dict()}
            done += 1
            if done == rounds:
                return
            time.sleep(seconds)
