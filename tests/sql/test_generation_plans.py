"""The lists that users of the studio open, the calls they make and the worker's claim read by index only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.bench import studio_crowd
from tests.bench.ledger_work import Work, claims, plans, sequential_scans
from tests.bench.studio_work import WORK, sample
from tests.conftest import FreshDatabase

#: Users with thousands of sessions, whose lists must not be read whole.
BUSY = "busy.test"
#: What the plan of a list must show: its index, in its order, so that nothing is sorted.
ORDERED = {
    "own succeeded generations, newest 20": "generation_jobs_owner_id_status_created_at_idx",
    "sessions, newest 12": "image_sessions_owner_id_updated_at_idx",
    "favourites, newest 30": "collection_items_owner_id_collection_id_created_at_idx",
    "community, featured first, 20": "community_collections_is_featured_position_idx",
    "list_renders, a page of 30": "renders_owner_id_created_at_idx",
    "session_timeline of 200 generations": "generation_jobs_session_id_created_at_idx",
}


@pytest.fixture(scope="module")
def crowd(shared_db: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection that sees ten thousand generations of forty users, and as many of two; rolled back."""
    with psycopg.connect(shared_db.admin_url) as conn:
        studio_crowd.load(conn, 10_000, rebuild_indexes=False)
        studio_crowd.load(conn, 10_000, domain=BUSY, small_sessions=2400, rebuild_indexes=False)
        yield conn
        conn.rollback()


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.name)
def test_plans_are_index_access_only(crowd: psycopg.Connection[Any], work: Work) -> None:
    """Every plan of every statement, those inside functions and triggers too."""
    (who,) = sample(crowd, 1)
    told = plans(crowd, work, who)
    assert told
    for plan in told:
        # Forty profiles are a page.
        assert not sequential_scans(plan) - {"profiles"}, plan


@pytest.mark.parametrize("name", ORDERED)
def test_a_list_is_read_in_the_order_of_its_index(crowd: psycopg.Connection[Any], name: str) -> None:
    """However many rows the user has: a page's worth of them."""
    work = next(w for w in WORK if w.name == name)
    (who,) = sample(crowd, 1, BUSY)
    plan = "".join(plans(crowd, work, who))
    assert re.search(f"Index (Only )?Scan using {ORDERED[name]}", plan), plan
    read = [int(n) for n in re.findall(r"actual time=\S+ rows=(\d+) loops=1\)", plan)]
    assert max(read) <= 200, plan


def test_a_page_of_renders_begins_where_the_one_before_ended(crowd: psycopg.Connection[Any]) -> None:
    """The cursor is an index condition: the pages before it are not read again."""
    work = next(w for w in WORK if "list_renders" in w.name)
    (who,) = sample(crowd, 1, BUSY)
    plan = "".join(plans(crowd, work, who))
    assert re.search(r"Index Cond: \(.*ROW\(created_at, id\) < ROW", plan), plan


@pytest.mark.parametrize(
    ("where", "value", "index"),
    [
        ("id = $1", "job", "(generation_jobs_pkey|generation_is_known_by_its_owner)"),
        (
            "status = any($1::text[])",
            "statuses",
            "generation_jobs_owner_id_(in_flight|status_created_at)_idx",
        ),
    ],
    ids=["one", "in flight"],
)
def test_polling_is_one_index_look_up(
    crowd: psycopg.Connection[Any], where: str, value: str, index: str
) -> None:
    """As PostgREST asks: under row security, prepared, and often enough that PostgreSQL has settled on a plan."""
    owner, job = crowd.execute(  # type: ignore[misc]
        "select owner_id, id from public.generation_jobs where status = 'queued' limit 1"
    ).fetchone()
    literal = {"job": f"'{job}'", "statuses": "'{queued,starting,processing}'"}[value]
    query = f"select id, status, progress, error, render_id from public.generation_jobs where {where}"
    with claims(crowd, WORK[0], owner), crowd.transaction(force_rollback=True):
        crowd.execute(f"prepare poll as {query}")  # type: ignore[arg-type]
        for _ in range(10):
            crowd.execute(f"execute poll ({literal})")  # type: ignore[arg-type]
        row = crowd.execute(f"explain (analyze, format json) execute poll ({literal})").fetchone()  # type: ignore[arg-type]
        crowd.execute("deallocate poll")
    assert row
    (told,) = row[0] if isinstance(row[0], list) else json.loads(row[0])
    node = told["Plan"]
    # Row security's (select auth.uid()) is an InitPlan: it reads no table.
    scans = [node, *(n for n in node.get("Plans", []) if n.get("Parent Relationship") != "InitPlan")]
    assert {n["Node Type"] for n in scans} in ({"Index Scan"}, {"Bitmap Heap Scan", "Bitmap Index Scan"}), (
        told
    )
    assert re.fullmatch(index, scans[-1]["Index Name"]), told
    assert (node["Actual Rows"], node.get("Rows Removed by Filter", 0)) == (1, 0), told
