"""What analysts' views cost at a million photos: each round of counting, and each view read as the role analyst.

    python -m tests.bench.bench_analytics [--images 1000000] [--check] [--json]

Beside the crowd's photos: three events, and for one photo in twenty a finished job and a generation with its debit.
`counted` is one refresh as a worker does it, while readers read on; `read` is `select *`, result included.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.bench import crowd
from tests.bench.databases import Databases
from tests.support.stack import run_cli, start_stack

#: Targets in milliseconds: a reader's patience, and what a round may take of a worker's maintenance.
READ_MAX, COUNT_MAX = 1_000, 15_000

_MORE = (
    """
    insert into public.image_events (owner_id, listing_id, image_id, event, actor, data, created_at)
    select i.owner_id, i.listing_id, i.id, e.event, 'user', e.data, now() - random() * interval '90 days'
    from public.listing_images as i cross join (values
      ('reserved', '{}'::jsonb), ('uploaded', '{"byte_size": 3000000}'), ('processed', '{"width": 4000}')
    ) as e (event, data)
    """,
    """
    update public.listing_images set uploaded_at = now() - random() * interval '90 days' where random() < 0.05
    """,
    """
    insert into queue.jobs (queue, actor, args, priority, run_at, state, max_attempts, attempts, started_at,
      finished_at)
    select 'default', 'process_image', '{}', 0, now() - interval '1 hour', 'succeeded', 10, 1,
      now() - interval '1 hour' + random() * interval '1 minute', now()
    from public.listing_images as i where random() < 0.05
    """,
    """
    insert into public.generation_jobs (owner_id, mode, provider, model, status, completed_at, cost, duration_ms,
      created_at, started_at)
    select i.owner_id, 'imagine', 'local', 'm-' || i.position % 3, 'succeeded', now(), 0.01, 4000 * random(),
      now() - random() * interval '90 days', now()
    from public.listing_images as i where random() < 0.05
    """,
    """
    insert into public.usage_ledger (owner_id, job_id, kind, units, created_at)
    select j.owner_id, j.id, 'debit', 1, j.created_at from public.generation_jobs as j
    """,
)


def fill(conn: psycopg.Connection[Any], images: int) -> None:
    crowd.load(conn, images)
    conn.execute("set session_replication_role = replica")
    for statement in _MORE:
        conn.execute(statement.encode())
    conn.execute("set session_replication_role = origin")
    conn.execute(
        "vacuum analyze public.image_events, public.listing_images, queue.jobs, public.generation_jobs"
    )
    conn.execute("analyze public.usage_ledger")


def bench(images: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as closing:
        home = Path(folder) / "home"
        closing.callback(run_cli, home, "down")
        stack = start_stack(home)
        began = time.monotonic()
        database = closing.enter_context(
            Databases(stack).new(ledger=True, fill=lambda conn: fill(conn, images))
        )
        loaded = time.monotonic() - began
        as_analyst = make_conninfo(
            **(conninfo_to_dict(stack.analyst_db_url) | {"dbname": conninfo_to_dict(database.url)["dbname"]})
        )
        with psycopg.connect(database.url, autocommit=True) as owner:
            owner.execute("select private.refresh_analytics(100, true)")  # the first one writes every row
            owner.execute("select private.refresh_analytics(100, true)")
            counted = dict(
                owner.execute("select name, took_ms from analytics.freshness order by name").fetchall()
            )
        read = {}
        with psycopg.connect(as_analyst, autocommit=True) as analyst:
            names = analyst.execute(
                "select relname from pg_class where relnamespace = 'analytics'::regnamespace and relkind in ('v', 'm')"
                " order by relname"
            ).fetchall()
            for (name,) in names:
                query = sql.SQL("select * from {}").format(sql.Identifier(name))
                analyst.execute(query)
                began = time.perf_counter()
                rows = analyst.execute(query).fetchall()
                read[name] = {"ms": round((time.perf_counter() - began) * 1000, 1), "rows": len(rows)}
    missed = [f"{name}: counted in {took} ms" for name, took in counted.items() if took > COUNT_MAX]
    missed += [f"{name}: read in {found['ms']} ms" for name, found in read.items() if found["ms"] > READ_MAX]
    return {
        "images": images,
        "load_seconds": round(loaded),
        "counted_ms": counted,
        "read": read,
        "missed": missed,
    }


def table(result: dict[str, Any]) -> str:
    """For reading."""
    lines = [f"{result['images']} photos, loaded in {result['load_seconds']} s; milliseconds"]
    lines += [f"{'':28} {'counted':>8} {'read':>8} {'rows':>8}"]
    for name, found in result["read"].items():
        took = result["counted_ms"].get(name, "")
        lines.append(f"{name:28} {took:>8} {found['ms']:>8} {found['rows']:>8}")
    return "\n".join(lines + ([f"missed: {line}" for line in result["missed"]] or ["every target is met"]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = bench(options.images)
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 1 if options.check and result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
