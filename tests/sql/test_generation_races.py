"""Worker and owner at the same time: nobody deadlocks, and what succeeded was debited, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.generations import begin, finish, generation, lease, made, submit, write
from tests.sql.scene import Conn, call, one
from tests.support.roles import as_role, as_user, new_user
from tests.worker.toys import wait_for

#: What the rival may be told.
EXPECTED = {"ok", "generation_ended", "generation_not_found"}


def delete_session(conn: Conn, owner: Any, session: Any) -> None:
    with as_user(conn, owner):
        conn.execute("delete from public.image_sessions where id = %s", [session])


@pytest.mark.parametrize("rival", ["cancel", "branch", "session", "user"])
def test_finish_against(fresh_db: FreshDatabase, rival: str) -> None:
    outcomes = set()
    for _ in range(6):
        with fresh_db.connect(autocommit=True) as conn:
            owner = new_user(conn)
            root = made(conn, owner)
            job = submit(conn, owner, session_id=root["session_id"])
            held = lease(conn, job["id"])
            work = begin(conn, job["id"], held)
            assert work is not None
            outputs = write(conn, work["render_id"])

        def act(n: int) -> str:
            with fresh_db.connect(autocommit=True) as conn:
                try:
                    if n == 0:
                        return finish(conn, job["id"], held, outputs)  # noqa: B023
                    match rival:
                        case "cancel":
                            call(conn, owner, "cancel_generation", job["id"])  # noqa: B023
                        case "branch":
                            call(conn, owner, "delete_branch", root["id"])  # noqa: B023
                        case "session":
                            delete_session(conn, owner, job["session_id"])  # noqa: B023
                        case _:
                            conn.execute("delete from auth.users where id = %s", [owner])  # noqa: B023
                except psycopg.Error as error:
                    return str(error.diag.message_detail or error)
            return "ok"

        with ThreadPoolExecutor(2) as pool:
            outcomes |= {tuple(pool.map(act, range(2)))}
        with fresh_db.connect(autocommit=True) as conn:
            debits = one(conn, "select count(*) from public.usage_ledger where owner_id = %s", owner)
            if rival == "user":
                assert debits == 0
            else:
                succeeded = generation(conn, job["id"])["status"] == "succeeded"
                assert debits == 1 + succeeded
            # Either the row tells of the picture, or its removal is ordered.
            path = outputs[0]["image_path"]
            kept = one(conn, "select count(*) from public.render_variants where image_path = %s", path)
            ordered = one(
                conn,
                "select count(*) from queue.jobs where actor = 'remove_objects' and args -> 'paths' ? %s",
                path,
            )
            assert kept == 1 or ordered >= 1
    assert {first for first, _ in outcomes} <= {"succeeded", "canceled", "gone"}
    assert {second for _, second in outcomes} <= EXPECTED


def test_two_ends_in_one_session(fresh_db: FreshDatabase) -> None:
    """A late success meets the next one: the session shows the one that ended last, and says when."""
    for _ in range(6):
        with fresh_db.connect(autocommit=True) as conn:
            owner = new_user(conn)
            late = submit(conn, owner)
            work = [(late, lease(conn, late["id"]))]
            begin(conn, *_key(work[0]))
            conn.execute(
                "update public.generation_jobs set created_at = now() - interval '1 day' where id = %s",
                [late["id"]],
            )
            with as_role(conn, "service_role"):
                assert one(conn, "select private.expire_generations()") == 1
            following = submit(conn, owner, session_id=late["session_id"])
            work.append((following, lease(conn, following["id"])))
            begin(conn, *_key(work[1]))
            outputs = [write(conn, job["render_id"]) for job, _ in work]

        def act(n: int) -> str:
            job, held = work[n]  # noqa: B023
            with fresh_db.connect(autocommit=True) as conn:
                return finish(conn, job["id"], held, outputs[n])  # noqa: B023

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(act, range(2))) == ["succeeded", "succeeded"]
        with fresh_db.connect(autocommit=True) as conn:
            rows = conn.execute(
                "select id, completed_at from public.generation_jobs where owner_id = %s order by completed_at",
                [owner],
            ).fetchall()
            thumb, updated_at = conn.execute(  # type: ignore[misc]
                "select thumbnail_path, updated_at from public.image_sessions where owner_id = %s", [owner]
            ).fetchone()
            last = next(job for job, _ in work if job["id"] == rows[-1][0])
            assert thumb == f"renders/{last['render_id']}/0_thumb.webp"
            assert updated_at >= rows[-1][1]
            assert one(conn, "select sum(units) from public.usage_ledger where owner_id = %s", owner) == 2


def _key(work: tuple[dict[str, Any], Any]) -> tuple[Any, Any]:
    return work[0]["id"], work[1]


@pytest.mark.parametrize("rival", ["cancel_generation", "delete_branch"])
def test_an_owner_who_changes_his_mind_while_it_is_told_to_wait(fresh_db: FreshDatabase, rival: str) -> None:
    """The owner is locked first by whoever cancels, and what he wakes is the very job that goes back to the queue."""
    with fresh_db.connect(autocommit=True) as conn, fresh_db.connect() as user:
        owner = new_user(conn)
        job = submit(conn, owner)["id"]
        held = lease(conn, job)
        assert begin(conn, job, held) is not None

        def park() -> Any:
            with fresh_db.connect(autocommit=True) as own, as_role(own, "service_role"):
                return one(own, "select private.park_generation(%s, %s, %s, '1 minute')", job, *held)

        with ThreadPoolExecutor(1) as pool:
            one(user, "select private.lock_owner(%s)", owner)
            parked = pool.submit(park)
            waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            wait_for(lambda: conn.execute(waits).fetchone(), 10)
            call(user, owner, rival, job)
            user.commit()
            assert parked.result(10) == ("parked" if rival == "cancel_generation" else "gone")
        due = "select run_at <= clock_timestamp() from queue.jobs where actor = 'generate' and finished_at is null"
        assert conn.execute(due).fetchall() == [(True,)]
