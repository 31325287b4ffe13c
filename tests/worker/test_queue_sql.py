"""The queue's SQL: order, fairness, leases, fencing, retries, keys, rights. No worker takes part."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.worker.toys import wait_for

Connection = psycopg.Connection[Any]
ANNA, BERT = uuid4(), uuid4()


def enqueue(db: Connection, actor: str = "noop", **options: Any) -> int:
    names = ", ".join(f"{name} => %({name})s" for name in options)
    row = db.execute(
        f"select queue.enqueue(%(actor)s, '{{}}'{', ' if names else ''}{names})", {"actor": actor, **options}
    ).fetchone()
    assert row
    return int(row[0])


def claim(
    db: Connection, most: int = 1, *, queue: str = "default", worker: str = "w", lease: str | None = "30 s"
) -> list[Any]:
    return db.execute(
        "select id, lease_token, attempts, owner_id from queue.claim(%s, %s, %s, %s::interval)",
        (queue, worker, most, lease),
    ).fetchall()


def state(db: Connection, job: int) -> Any:
    row = db.execute("select state from queue.jobs where id = %s", (job,)).fetchone()
    return row and row[0]


def value(db: Connection, sql: str, *parameters: Any) -> Any:
    row = db.execute(sql, parameters).fetchone()  # type: ignore[arg-type]
    assert row
    return row[0]


# Order and fairness.


def test_one_owners_many_jobs_do_not_hold_up_anothers_single_one(db: Connection) -> None:
    db.execute("select queue.enqueue('noop', '{}', %s) from generate_series(1, 500)", (ANNA,))
    single = enqueue(db, owner_id=BERT)
    first_three = [row[0] for row in claim(db, 3)]
    assert single in first_three


def test_owners_with_a_backlog_take_turns(db: Connection) -> None:
    db.execute("select queue.enqueue('noop', '{}', %s) from generate_series(1, 100)", (ANNA,))
    db.execute("select queue.enqueue('noop', '{}', %s) from generate_series(1, 50)", (BERT,))
    owners = Counter(row[3] for row in claim(db, 60))
    assert owners == {ANNA: 30, BERT: 30}


def test_a_newcomer_does_not_make_up_for_the_past(db: Connection) -> None:
    """Who was idle has no credit: the newcomer shares from now on, and does not go first for long."""
    db.execute("select queue.enqueue('noop', '{}', %s) from generate_series(1, 100)", (ANNA,))
    claim(db, 60)
    db.execute("select queue.enqueue('noop', '{}', %s) from generate_series(1, 100)", (BERT,))
    owners = Counter(row[3] for row in claim(db, 20))
    assert owners == {ANNA: 10, BERT: 10}


def test_what_was_given_back_does_not_let_its_owner_overtake(db: Connection) -> None:
    db.execute("select queue.enqueue('noop', '{}', %s) from generate_series(1, 100)", (ANNA,))
    old = claim(db, 1)
    claim(db, 50)
    release(db, old)
    db.execute("select queue.enqueue('noop', '{}', %s) from generate_series(1, 30)", (BERT,))
    owners = Counter(row[3] for row in claim(db, 21))
    assert owners == {ANNA: 11, BERT: 10}


def test_future_jobs_that_come_due_are_put_in_line_fairly(db: Connection) -> None:
    for owner, hours in ((ANNA, 1), (BERT, 2)):
        db.execute(
            "select queue.enqueue('noop', '{}', %s, run_at => now() + %s * interval '1 hour')"
            " from generate_series(1, 40)",
            (owner, hours),
        )
    assert claim(db, 10) == []
    db.execute("update queue.jobs set run_at = run_at - interval '3 hours'")
    owners = Counter(row[3] for row in claim(db, 20))
    assert owners == {ANNA: 10, BERT: 10}


def test_jobs_without_owner_count_as_one_owner(db: Connection) -> None:
    db.execute("select queue.enqueue('noop', '{}') from generate_series(1, 50)")
    single = enqueue(db, owner_id=ANNA)
    assert single in [row[0] for row in claim(db, 2)]


def test_smaller_priority_number_goes_first(db: Connection) -> None:
    late, soon = enqueue(db, priority=5), enqueue(db, priority=-5)
    assert [row[0] for row in claim(db, 2)] == [soon, late]


def test_queues_are_apart(db: Connection) -> None:
    mine = enqueue(db, queue="slow")
    assert claim(db) == []
    assert [row[0] for row in claim(db, queue="slow")] == [mine]


# Attempts.


def release(db: Connection, rows: list[Any]) -> int:
    return int(
        value(
            db,
            "select queue.release(%s::bigint[], %s::uuid[])",
            [r[0] for r in rows],
            [r[1] for r in rows],
        )
    )


def lease_lost(db: Connection, sql: str, *parameters: Any) -> bool:
    try:
        with db.transaction():
            db.execute(sql, parameters)  # type: ignore[arg-type]
    except psycopg.Error as error:
        if error.sqlstate != "IL001":
            raise
        return True
    return False


def test_complete_ends_the_attempt_once(db: Connection) -> None:
    job = enqueue(db)
    ((_, token, attempts, _),) = claim(db)
    assert attempts == 1
    assert not lease_lost(db, "select queue.complete(%s, %s)", job, token)
    assert state(db, job) == "succeeded"
    assert lease_lost(db, "select queue.complete(%s, %s)", job, token)


def test_a_worker_that_was_given_up_cannot_end_the_job(db: Connection) -> None:
    job = enqueue(db)
    ((_, stale, _, _),) = claim(db, lease="-1 s")
    assert value(db, "select count(*) from queue.reap()") == 1
    db.execute("update queue.jobs set run_at = now()")
    ((_, fresh, attempts, _),) = claim(db)
    assert attempts == 2
    for sql in ("select queue.complete(%s, %s)", "select queue.fail(%s, %s, 'late')"):
        assert lease_lost(db, sql, job, stale)
    assert value(db, "select count(*) from queue.acknowledge(array[%s::bigint], array[%s::uuid])", job, stale)
    assert release(db, [(job, stale)]) == 0
    assert state(db, job) == "running"
    assert not lease_lost(db, "select queue.complete(%s, %s)", job, fresh)


def test_acknowledge_is_repeatable_and_names_the_lost(db: Connection) -> None:
    enqueue(db), enqueue(db)
    rows = claim(db, 2)
    ids, tokens = [r[0] for r in rows], [r[1] for r in rows]
    sql = "select count(*) from queue.acknowledge(%s::bigint[], %s::uuid[])"
    assert value(db, sql, ids, tokens) == 0
    assert value(db, sql, ids, tokens) == 0
    assert value(db, sql, ids, [uuid4(), tokens[1]]) == 1


def test_claim_acknowledges_on_the_way(db: Connection) -> None:
    first, second = enqueue(db), enqueue(db)
    ((_, token, _, _),) = claim(db)
    rows = db.execute(
        "select id, actor from queue.claim('default', 'w', 1, '30 s', %s::bigint[], %s::uuid[])",
        ([first, first], [token, uuid4()]),
    ).fetchall()
    assert rows == [(first, None), (second, "noop")]
    assert state(db, first) == "succeeded"


def test_failures_back_off_exponentially_and_end_dead(db: Connection) -> None:
    job = enqueue(db, max_attempts=4)
    pauses = []
    for attempt in range(1, 5):
        db.execute("update queue.jobs set run_at = now()")
        ((_, token, _, _),) = claim(db)
        expected = "dead" if attempt == 4 else "scheduled"
        assert value(db, "select queue.fail(%s, %s, 'boom')", job, token) == expected
        pauses.append(float(value(db, "select extract(epoch from run_at - now()) from queue.jobs")))
    assert 0.5 <= pauses[0] <= 1
    assert 1 <= pauses[1] <= 2
    assert 2 <= pauses[2] <= 4
    assert value(db, "select error from queue.jobs") == "boom"
    assert claim(db) == []


def test_pauses_are_jittered_and_bounded(db: Connection) -> None:
    seconds = [
        float(row[0])
        for row in db.execute("select extract(epoch from queue.backoff(30000)) from generate_series(1, 50)")
    ]
    assert 150 <= min(seconds) < max(seconds) <= 300


def test_retry_after_is_honoured_up_to_an_hour(db: Connection) -> None:
    for asked, granted in (("100 s", 100), ("1 day", 3600)):
        job = enqueue(db)
        ((_, token, _, _),) = claim(db)
        db.execute("select queue.fail(%s, %s, 'busy', true, %s::interval)", (job, token, asked))
        assert (
            value(db, "select extract(epoch from run_at - now())::int from queue.jobs where id = %s", job)
            == granted
        )


def test_what_cannot_be_retried_is_dead_at_once(db: Connection) -> None:
    job = enqueue(db)
    ((_, token, _, _),) = claim(db)
    assert value(db, "select queue.fail(%s, %s, 'never', false)", job, token) == "dead"


def test_a_job_that_kills_its_worker_ends_dead(db: Connection) -> None:
    job = enqueue(db, max_attempts=3)
    for _ in range(3):
        db.execute("update queue.jobs set run_at = now()")
        assert claim(db, lease="-1 s")
        db.execute("select queue.reap()")
    assert state(db, job) == "dead"
    assert "worker w was lost during attempt 3 of 3" in value(db, "select error from queue.jobs")


def test_reap_leaves_living_leases_alone_but_takes_a_dead_workers(db: Connection) -> None:
    job = enqueue(db)
    claim(db, worker="somebody")
    assert value(db, "select count(*) from queue.reap()") == 0
    assert value(db, "select count(*) from queue.reap(dead_worker => 'another')") == 0
    assert value(db, "select count(*) from queue.reap(dead_worker => 'somebody')") == 1
    assert state(db, job) == "scheduled"


def test_heartbeat_renews_and_names_the_lost(db: Connection) -> None:
    enqueue(db), enqueue(db)
    rows = claim(db, 2, lease="1 s")
    ids, tokens = [r[0] for r in rows], [r[1] for r in rows]
    lost = db.execute(
        "select queue.extend(%s::bigint[], %s::uuid[], '1 hour')", (ids, [tokens[0], uuid4()])
    ).fetchall()
    assert lost == [(ids[1],)]
    left = dict(db.execute("select id, leased_until > now() + interval '50 min' from queue.jobs").fetchall())
    assert left == {ids[0]: True, ids[1]: False}


@pytest.mark.parametrize("lease", ["1 year", "infinity", None])
def test_no_lease_is_longer_than_an_hour(db: Connection, lease: str | None) -> None:
    """Or a job would be stuck with a worker that is gone, however its settings were."""
    longest = "select max(leased_until) <= now() + interval '1 hour' from queue.jobs where state = 'running'"
    job = enqueue(db)
    ((_, token, *_),) = claim(db, lease=lease)
    assert value(db, longest)
    db.execute("select queue.extend(%s::bigint[], %s::uuid[], %s::interval)", ([job], [token], lease))
    assert value(db, longest)
    published = enqueue(db, "published")
    db.execute(
        "select queue.claim_published('default', 'w', %s::bigint[], %s::interval)", ([published], lease)
    )
    assert state(db, published) == "running"
    assert value(db, longest)


def test_release_does_not_count_the_attempt(db: Connection) -> None:
    job = enqueue(db)
    assert release(db, claim(db)) == 1
    assert state(db, job) == "ready"
    assert claim(db)[0][2] == 1


def test_prune_keeps_by_policy(db: Connection) -> None:
    for _ in range(3):
        enqueue(db)
    done, failed, _ = claim(db, 3)
    db.execute("select queue.complete(%s, %s)", done[:2])
    db.execute("select queue.fail(%s, %s, 'x', false)", failed[:2])
    db.execute("update queue.jobs set finished_at = now() - interval '2 days' where finished_at is not null")
    assert value(db, "select queue.prune('3 days', '3 days')") == 0
    assert value(db, "select queue.prune('1 day', '3 days')") == 1
    assert state(db, done[0]) is None
    assert value(db, "select queue.prune('1 day', '1 day')") == 1
    assert value(db, "select count(*) from queue.jobs where state = 'running'") == 1


# Keys.


def test_one_waiting_job_a_key(db: Connection) -> None:
    first = enqueue(db, dedupe_key="k")
    assert enqueue(db, dedupe_key="k") == first
    assert enqueue(db, dedupe_key="other") != first


def test_a_change_while_the_job_runs_is_not_lost(db: Connection) -> None:
    running = enqueue(db, dedupe_key="k")
    ((_, token, _, _),) = claim(db)
    again = enqueue(db, dedupe_key="k")
    assert again != running
    assert enqueue(db, dedupe_key="k") == again
    assert claim(db) == [], "not beside the running one"
    db.execute("select queue.complete(%s, %s)", (running, token))
    assert [row[0] for row in claim(db)] == [again]


def test_a_failed_attempt_gives_way_to_its_successor(db: Connection) -> None:
    running = enqueue(db, dedupe_key="k")
    ((_, token, _, _),) = claim(db)
    successor = enqueue(db, dedupe_key="k")
    assert value(db, "select queue.fail(%s, %s, 'x')", running, token) == "canceled"
    assert [row[0] for row in claim(db)] == [successor]


def test_a_sooner_date_is_taken_over(db: Connection) -> None:
    job = enqueue(db, dedupe_key="k", run_at="2100-01-01")
    assert enqueue(db, dedupe_key="k") == job
    assert [row[0] for row in claim(db)] == [job]


def test_an_open_transaction_keeps_the_waiting_job_it_relies_on(fresh_db: FreshDatabase) -> None:
    """Else the job could run before the change that somebody counts on it to see is committed."""
    with fresh_db.connect(autocommit=True) as one, fresh_db.connect() as two:
        job = enqueue(one, dedupe_key="k")
        assert enqueue(two, dedupe_key="k") == job
        assert claim(one) == []
        two.commit()
        assert [row[0] for row in claim(one)] == [job]


# Transactions, races, notifications.


def test_enqueue_lives_and_dies_with_its_transaction(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect() as one, fresh_db.connect(autocommit=True) as two:
        enqueue(one)
        assert claim(two) == []
        one.rollback()
        assert claim(two) == []
        job = enqueue(one)
        one.commit()
        assert [row[0] for row in claim(two)] == [job]


CLIENT = """
import os, signal, sys
import psycopg

url, way = sys.argv[1:]
with psycopg.connect(url) as db:
    for n in range(100000 if way == "any" else 3):
        db.execute("insert into public.orders values (%s, %s)", (way, n))
        db.execute("select queue.enqueue('noop', jsonb_build_object('way', %s::text, 'n', %s::int))", (way, n))
        if n == 2 and way == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if n == 2 and way == "at":
            db.pgconn.send_query(b"commit")
            db.pgconn.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        db.commit()
        print(n, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_client_that_is_killed_around_its_commit(fresh_db: FreshDatabase) -> None:
    """Its order and the order's job are both there, or neither; what it was told of is there."""
    with fresh_db.connect(autocommit=True) as db:
        db.execute("create table public.orders (way text, n int)")
        clients = {
            way: subprocess.Popen(
                [sys.executable, "-c", CLIENT, fresh_db.url, way], stdout=subprocess.PIPE, text=True
            )
            for way in ("before", "at", "after", "any")
        }
        assert clients["any"].stdout
        told = [clients["any"].stdout.readline() for _ in range(5)]
        clients["any"].kill()
        for way, client in clients.items():
            assert client.wait(20) == -signal.SIGKILL
            with client.stdout as said:  # type: ignore[union-attr]
                told += said.readlines() if way == "any" else []
        others = (
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        wait_for(lambda: value(db, others) == 0)
        jobs = "select args ->> 'way', (args ->> 'n')::int from queue.jobs"
        assert value(db, f"select count(*) from ({jobs} except all table public.orders) as x") == 0
        assert value(db, f"select count(*) from (table public.orders except all {jobs}) as x") == 0
        numbers = {way: [n for w, n in db.execute(jobs).fetchall() if w == way] for way in clients}
    assert numbers["before"] == [0, 1]
    assert numbers["at"][:2] == [0, 1]
    assert numbers["after"] == [0, 1, 2]
    assert len(told) <= len(numbers["any"]) <= len(told) + 1


def test_ten_claimers_and_no_attempt_twice(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect(autocommit=True) as db:
        db.execute("create table public.log (job_id bigint, attempt int, primary key (job_id, attempt))")
        db.execute("grant insert on public.log to media_worker")
        db.execute("select queue.enqueue('noop', '{}') from generate_series(1, 1000)")
        start = threading.Barrier(10)

        def work(number: int) -> int:
            with fresh_db.connect_worker(autocommit=True) as mine:
                start.wait()
                done: list[Any] = []
                count = 0
                while True:
                    rows = mine.execute(
                        "select id, lease_token, attempts"
                        " from queue.claim('default', %s, 7, '30 s', %s::bigint[], %s::uuid[])",
                        (f"w{number}", [r[0] for r in done], [r[1] for r in done]),
                    ).fetchall()
                    if not rows:
                        return count
                    for job, _, attempt in rows:
                        mine.execute("insert into public.log values (%s, %s)", (job, attempt))
                    count += len(rows)
                    done = rows

        with ThreadPoolExecutor(10) as pool:
            counts = list(pool.map(work, range(10)))
        assert sum(counts) == 1000
        assert value(db, "select count(*) from public.log") == 1000
        assert value(db, "select count(*) from queue.jobs where state <> 'succeeded'") == 0


@pytest.mark.parametrize("function", ["complete", "fail", "reap", "extend", "release", "acknowledge"])
def test_two_connections_one_effect(fresh_db: FreshDatabase, function: str) -> None:
    """Each function against `complete` of the same attempt in an open transaction: one has the effect."""
    calls = {
        "complete": "select queue.complete(%(id)s, %(token)s)",
        "fail": "select queue.fail(%(id)s, %(token)s, 'x')",
        "reap": "select count(*) from queue.reap(dead_worker => 'w')",
        "extend": "select count(*) from queue.extend(array[%(id)s::bigint], array[%(token)s::uuid])",
        "release": "select queue.release(array[%(id)s::bigint], array[%(token)s::uuid])",
        "acknowledge": "select count(*) from"
        " queue.acknowledge(array[%(id)s::bigint], array[%(token)s::uuid])",
    }
    with fresh_db.connect() as one, fresh_db.connect(autocommit=True) as two:
        enqueue(two)
        ((job, token, _, _),) = claim(two)
        one.execute("select queue.complete(%s, %s)", (job, token))

        def other() -> Any:
            try:
                return (
                    value(two, "select 1")
                    and two.execute(
                        calls[function],  # type: ignore[arg-type]
                        {"id": job, "token": token},
                    ).fetchone()
                )
            except psycopg.Error as error:
                return error.sqlstate

        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(other)
            time.sleep(0.1)
            assert answer.done() == (function in {"reap", "extend"}), "these two skip what is being ended"
            one.commit()
            assert answer.result(5) in ("IL001", (0,))
        assert state(two, job) == "succeeded"


def test_notification_names_the_queue_and_equal_ones_collapse(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect(autocommit=True) as listener, fresh_db.connect() as db:
        listener.execute("listen queue_jobs")
        db.execute("select queue.enqueue('noop', '{}', queue => 'q1') from generate_series(1, 500)")
        enqueue(db, queue="later", run_at="2100-01-01")
        db.commit()
        assert [n.payload for n in listener.notifies(timeout=1, stop_after=2)] == ["q1"]


# Plans and volume.


def test_claim_reads_by_index_whatever_the_table_holds(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect(autocommit=True) as db:
        db.execute("alter table queue.jobs set (autovacuum_enabled = off)")
        db.execute(
            "insert into queue.jobs (queue, actor, args, owner_id, priority, tag, run_at,"
            "  state, max_attempts, finished_at)"
            " select 'default', 'noop', '{}', gen_random_uuid(), 0, n,"
            "  now() + (n > 90000)::int * interval '1 day',"
            "  case when n <= 40000 then 'succeeded' when n <= 90000 then 'ready' else 'scheduled' end, 10,"
            "  case when n <= 40000 then now() end"
            " from generate_series(1, 100000) as n"
        )
        # Dead versions at the head of the line, which nobody may clean away: an old snapshot could still read them.
        with fresh_db.connect() as old:
            old.execute("set transaction isolation level repeatable read")
            old.execute("select 1")
            db.execute("update queue.jobs set attempts = 1 where state = 'ready' and tag <= 60000")
            before, took = _sequential_scans(db), []
            for _ in range(20):
                started = time.perf_counter()
                assert len(claim(db, 100)) == 100
                took.append(time.perf_counter() - started)
            assert sorted(took)[18] < 0.5
        assert _sequential_scans(db) == before
        assert value(db, "select max(tag) from queue.jobs where state = 'running'") == 42_000, "out of order"
        plan = value(
            db,
            "explain (format json) select j.id from queue.jobs as j"
            " where j.state = 'ready' and j.queue = 'default'"
            " order by j.priority, j.tag, j.id limit 10 for no key update skip locked",
        )
        assert "jobs_ready_idx" in json.dumps(plan)


def _sequential_scans(db: Connection) -> int:
    db.execute("select pg_stat_force_next_flush()")
    db.execute("select 1")
    return int(value(db, "select seq_scan from pg_stat_user_tables where relid = 'queue.jobs'::regclass"))


# Rights.


FUNCTIONS = "select p.oid::regprocedure::text from pg_proc as p where p.pronamespace = 'queue'::regnamespace"


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_nobody_else_may_touch_the_queue(db: Connection, role: str) -> None:
    functions = [row[0] for row in db.execute(FUNCTIONS).fetchall()]
    assert len(functions) > 10
    for function in functions:
        assert not value(db, "select has_function_privilege(%s, %s, 'execute')", role, function), function
    for right in ("select", "insert", "update", "delete", "truncate", "references", "trigger"):
        assert not value(db, "select has_table_privilege(%s, 'queue.jobs', %s)", role, right), right


def test_the_worker_calls_functions_only(fresh_db: FreshDatabase) -> None:
    with fresh_db.connect(autocommit=True) as db, fresh_db.connect_worker(autocommit=True) as worker:
        enqueue(db)
        ((job, token, _, _),) = claim(worker)
        worker.execute("select queue.complete(%s, %s)", (job, token))
        for sql in (
            "select * from queue.jobs",
            "update queue.jobs set state = 'ready'",
            "delete from queue.jobs",
            "select queue.enqueue('noop', '{}')",
            "select queue.end_attempt(null, '', true, '0')",
            "select queue.bury(null, '')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(sql)  # type: ignore[arg-type]
        assert value(worker, "select queue.send('noop', '{}', delay => '1 hour')") > job


def test_bad_jobs_are_refused(db: Connection) -> None:
    for options in ({"queue": "a b"}, {"queue": "q" * 64}, {"actor": ""}, {"max_attempts": 0}):
        with pytest.raises(psycopg.errors.CheckViolation), db.transaction():
            enqueue(db, **options)
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction():
        db.execute("select queue.enqueue('noop', '[]')")


# Dead letters.


def test_a_dead_job_with_nonsense_still_ends(db: Connection) -> None:
    job = enqueue(db, actor="process_image")
    ((_, token, _, _),) = claim(db)
    db.execute('update queue.jobs set args = \'{"image_id": "nonsense"}\'')
    assert value(db, "select queue.fail(%s, %s, 'x', false)", job, token) == "dead"
