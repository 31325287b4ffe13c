"""Schema analytics: what its views count, that counting is fresh and harmless, and that its role gets no further."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.conftest import FreshDatabase, throw_away
from tests.rls.matrix import ANALYTICS
from tests.sql import generations
from tests.sql.scene import Conn, Scene, call, new_listing, one, ready, rows, upload
from tests.support.roles import as_user, new_user
from tests.support.stack import Stack
from worker.config import Settings
from worker.database import open_pool
from worker.maintenance import Maintenance

TOUR = (Path(__file__).parents[2] / "sql/ANALYTICS.md").read_text()
QUESTIONS = re.findall(
    r"^##+ ([^\n]+)\n(?:(?!^##).)*?^```sql\n(select.+?);\n```\n\n(?:```text\n(.+?)```)?", TOUR, re.M | re.S
)
# Words of users that no view may hold.
SECRETS = (
    "seller@secret.test",
    "SECRET-PROMPT",
    "SECRET-FILE",
    "SECRET-TITLE",
    "SECRET-MODEL",
    "SECRET-REASON",
)


class Shop(Scene):
    """Something for every view to count, with words in it that must not come out."""

    def __init__(self, conn: Conn) -> None:
        super().__init__(conn)
        self.seller = new_user(conn, "seller@secret.test")
        self.draft = new_listing(conn, self.seller, title="SECRET-TITLE")
        self.shown = new_listing(conn, self.seller, title="SECRET-TITLE", price=1, currency="EUR")
        self.images = ready(conn, self.seller, self.shown, 3)
        call(conn, self.seller, "set_label", self.images[2], True)
        call(conn, self.seller, "publish_listing", self.shown)
        self.again = ready(conn, self.seller, self.draft, 2)
        conn.execute(
            "update public.listing_images set file_name = 'SECRET-FILE', sha256 = repeat('a', 64), byte_size = 1000,"
            " uploaded_at = ready_at - interval '2 seconds' where id = any(%s)",
            [[*self.images[:2], self.again[0]]],
        )
        conn.execute(
            "update public.listing_images set review_state = 'rejected', review_provider = 'gemini',"
            " review_reason = 'SECRET-REASON', reviewed_at = clock_timestamp() where id = %s",
            [self.again[1]],
        )
        (broken,) = upload(conn, self.seller, self.draft, 1)
        conn.execute(
            "update public.listing_images set state = 'failed', error = 'SECRET-REASON', error_code = 'not_an_image'"
            " where id = %s",
            [broken],
        )
        generations.made(conn, self.seller, prompt="SECRET-PROMPT")
        failed = generations.submit(conn, self.seller, prompt="SECRET-PROMPT", model="SECRET-MODEL")
        held = generations.lease(conn, failed["id"])
        generations.begin(conn, failed["id"], held)
        generations.fail(conn, failed["id"], held, code="refused")
        conn.execute(
            "insert into public.usage_ledger (owner_id, kind, units, reason)"
            " values (%s, 'adjustment', -2, 'SECRET-REASON')",
            [self.seller],
        )
        conn.execute(
            "update queue.jobs set state = 'dead', error = 'SECRET-REASON', finished_at = now(), started_at = run_at,"
            " lease_token = null where id = (select min(id) from queue.jobs where state = 'ready')"
        )


@pytest.fixture(scope="module")
def counted(stack: Stack, template: str) -> Iterator[FreshDatabase]:
    """A database with a shop in it, committed and counted once."""
    with throw_away(stack, template) as database:
        with database.connect() as conn:
            Shop(conn)
        with database.connect(autocommit=True) as conn:
            assert one(conn, "select private.refresh_analytics(100, true)") >= 10
        yield database


@pytest.fixture
def analyst(counted: FreshDatabase) -> Iterator[psycopg.Connection[Any]]:
    """Logged in as the role, not switched to it."""
    with psycopg.connect(counted.analyst_url, autocommit=True) as conn:
        yield conn


def table(conn: Conn, query: str) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


class TestNumbers:
    def test_throughput(self, analyst: Conn) -> None:
        (day,) = table(analyst, "select * from throughput_daily")
        assert [day[f"{name}_count"] for name in ("reserved", "uploaded", "ready", "failed", "removed")] == [
            6,
            6,
            5,
            1,
            0,
        ]
        assert table(analyst, "select sum(ready_count) as n from throughput_hourly") == [{"n": 5}]

    def test_latency(self, analyst: Conn) -> None:
        found = {row["stage"]: row for row in table(analyst, "select * from image_latency_hourly")}
        assert found["processing"]["image_count"] == 5
        assert found["processing"]["max_seconds"] == 2
        assert found["processing"]["p50_seconds"] <= found["processing"]["p95_seconds"] <= 2
        assert found["review"]["image_count"] == 1
        jobs = {row["actor"]: row for row in table(analyst, "select * from job_latency_hourly")}
        assert jobs["process_image"]["succeeded_count"] == 5
        assert jobs["generate"]["succeeded_count"] == 2

    def test_failures(self, analyst: Conn) -> None:
        found = {
            (r["subject"], r["reason"]): r["failure_count"]
            for r in table(analyst, "select * from failures_daily")
        }
        dead = {key for key in found if key[0] == "job"}
        assert len(dead) == 1
        assert {key: n for key, n in found.items() if key not in dead} == {
            ("photo", "not_an_image"): 1,
            ("generation", "refused"): 1,
        }

    def test_storage(self, analyst: Conn) -> None:
        found = {(r["kind"], r["format"]): r for r in table(analyst, "select * from storage_by_owner")}
        assert found["original", "image/jpeg"]["object_count"] == 6
        assert found["variant", "image/webp"]["object_count"] == 25
        assert found["generation_output", "image/webp"]["byte_count"] == 100
        assert len({r["owner_id"] for r in found.values()}) == 1
        by_format = table(analyst, "select sum(byte_count) as n from storage_by_format")
        assert by_format == [{"n": sum(r["byte_count"] for r in found.values())}]
        (free,) = table(analyst, "select * from storage_by_plan where price_id = 'free'")
        assert free["owner_count"] == 3
        assert free["byte_count"] == found["original", "image/jpeg"]["byte_count"]

    def test_duplicates(self, analyst: Conn) -> None:
        found = {r.pop("scope"): list(r.values())[:4] for r in table(analyst, "select * from duplicates")}
        assert found == {"listing": [5, 1, 1, 1000], "owner": [5, 1, 2, 2000], "site": [5, 1, 2, 2000]}

    def test_labels(self, analyst: Conn) -> None:
        found = {
            r.pop("listing_status"): list(r.values()) for r in table(analyst, "select * from label_coverage")
        }
        assert found["published"] == [1, 1, 1, 100, 2]
        # The scene's own empty drafts are among them.
        assert found["draft"] == [3, 1, 0, 0, 2]

    def test_reviews(self, analyst: Conn) -> None:
        (row,) = table(analyst, "select * from reviews_daily")
        assert (row["provider"], row["allowed_count"], row["rejected_count"], row["rejected_percent"]) == (
            "gemini",
            0,
            1,
            100,
        )

    def test_cohorts(self, analyst: Conn) -> None:
        (week,) = table(analyst, "select * from listing_cohorts")
        assert week["listing_count"] == 4
        assert week["with_images_count"] == 2
        assert (week["draft_count"], week["published_count"], week["ever_published_count"]) == (3, 1, 1)
        assert week["published_in_1_day_count"] == 1
        assert week["median_hours_to_publish"] == 0

    def test_generations(self, analyst: Conn) -> None:
        good, bad = table(analyst, "select * from generations_daily order by model")
        assert (good["model"], good["succeeded_count"], good["success_percent"]) == ("m-1", 1, 100)
        assert (good["cost_usd"], good["cost_usd_per_success"]) == (0.25, 0.25)
        assert (bad["model"], bad["failed_count"], bad["success_percent"]) == ("other", 1, 0)

    def test_usage(self, analyst: Conn) -> None:
        (row,) = table(analyst, "select * from usage_by_plan")
        assert (row["price_id"], row["owner_count"], row["generation_count"], row["adjustment_units"]) == (
            "free",
            1,
            1,
            -2,
        )
        assert row["spent_owner_count"] == 0

    def test_backlog(self, analyst: Conn, counted: FreshDatabase) -> None:
        with counted.connect() as conn:
            waiting = one(
                conn, "select count(*) from queue.jobs where state in ('ready', 'running', 'scheduled')"
            )
        assert waiting
        assert table(analyst, "select sum(job_count) as n from backlog") == [{"n": waiting}]


def test_nothing_that_a_person_has_written_is_in_a_view(analyst: Conn) -> None:
    for name in ANALYTICS:
        (text,) = rows(analyst, f"select coalesce(string_agg(v::text, ' '), '') from {name} as v")
        assert name == "backlog" or text or name == "failures_daily", f"{name} is empty: nothing was tried"
        assert not [secret for secret in SECRETS if secret.lower() in text.lower()], name
    columns = rows(
        analyst,
        "select a.attname from pg_attribute as a join pg_class as c on c.oid = a.attrelid"
        " where c.relnamespace = 'analytics'::regnamespace and c.relkind in ('v', 'm') and a.attnum > 0",
    )
    assert not {"email", "prompt", "path", "file_name", "title", "error", "display_name", "alt_text"} & set(
        columns
    )


def test_every_view_and_column_is_described(analyst: Conn) -> None:
    found = rows(
        analyst,
        "select c.relname || coalesce('.' || a.attname, '') from pg_class as c"
        " left join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0"
        " where c.relnamespace = 'analytics'::regnamespace and c.relkind in ('v', 'm')"
        " and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)",
    )
    assert found == []


class TestTour:
    """sql/ANALYTICS.md."""

    def test_there_are_ten_questions_and_every_block_is_run(self) -> None:
        numbered = [title for title, *_ in QUESTIONS if re.match(r"\d+\. ", title)]
        assert [title.split(".")[0] for title in numbered] == [str(n) for n in range(1, 11)]
        blocks = re.findall(r"^```sql\nselect", TOUR, re.M)
        assert len(QUESTIONS) == len(blocks) == 11
        assert all(answer for *_, answer in QUESTIONS)

    @pytest.mark.parametrize(("title", "query", "answer"), QUESTIONS, ids=[q[0][:30] for q in QUESTIONS])
    def test_question(self, analyst: Conn, title: str, query: str, answer: str) -> None:
        cursor = analyst.execute(query.encode())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        assert names == [word.strip() for word in answer.splitlines()[0].split("|")]
        found = cursor.fetchall()
        assert found
        assert any(value for row in found for value in row if not isinstance(value, str))

    def test_the_short_ones_in_the_text(self, analyst: Conn, counted: FreshDatabase) -> None:
        inline = re.findall(r"(?<!`)`(select [^`]+)`", TOUR)
        assert inline
        for query in inline:
            assert rows(analyst, query)
        with counted.connect() as conn:
            as_owner = re.findall(r"``((?:select|update) [^`]+)``", TOUR)
            assert len(as_owner) == 2
            for query in as_owner:
                conn.execute(query.encode())
            conn.rollback()


class TestFreshness:
    def test_what_is_due_is_counted_and_nothing_else(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect_worker(autocommit=True) as worker, fresh_db.connect(autocommit=True) as conn:
            total = one(conn, "select count(*) from analytics.freshness")
            assert one(worker, "select private.refresh_analytics(100)") == total
            assert one(worker, "select private.refresh_analytics(100)") == 0
            assert rows(conn, "select distinct is_late from analytics.freshness") == [False]
            conn.execute(
                "update private.analytics_snapshots set tried_at = now() - interval '1 day',"
                " refreshed_at = now() - interval '1 day' where name = 'label_coverage'"
            )
            assert rows(conn, "select name from analytics.freshness where is_late") == ["label_coverage"]
            assert one(worker, "select private.refresh_analytics()") == 1
            assert rows(conn, "select name from analytics.freshness where is_late") == []

    def test_news_are_counted_soon_where_counting_is_cheap(self, fresh_db: FreshDatabase) -> None:
        """Nobody waits six hours for the first photos; where nothing happens, nothing is counted in vain."""
        with fresh_db.connect_worker(autocommit=True) as worker, fresh_db.connect(autocommit=True) as conn:
            refresh = "select private.refresh_analytics(100)"
            assert one(worker, refresh) > 0
            conn.execute(
                "update private.analytics_snapshots set took_ms = 10, tried_at = now() - interval '70 seconds',"
                " refreshed_at = now() - interval '70 seconds'"
            )
            assert one(worker, refresh) == 0
            conn.execute("select queue.enqueue('remove_objects', '{}')")
            conn.execute("update queue.jobs set state = 'succeeded', finished_at = now()")
            conn.execute(
                "update private.analytics_snapshots set took_ms = 60000 where name <> 'label_coverage'"
            )
            assert one(worker, refresh) == 1
            assert one(worker, refresh) == 0

    def test_a_round_of_maintenance_counts(self, fresh_db: FreshDatabase) -> None:

        settings = Settings(db_url=fresh_db.worker_url)
        with fresh_db.connect(autocommit=True) as conn, open_pool(fresh_db.worker_url, "test", 1) as pool:
            Scene(conn)
            while Maintenance(settings, pool).round():
                pass
            assert one(conn, "select listing_count from analytics.label_coverage") == 2
            assert one(conn, "select count(*) from private.analytics_snapshots where tried_at is null") == 0

    def test_one_that_fails_does_not_keep_the_others_from_it(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect(autocommit=True) as conn:
            conn.execute("drop materialized view analytics.label_coverage cascade")
            total = one(conn, "select count(*) from analytics.freshness")
            assert one(conn, "select private.refresh_analytics(100, true)") == total
            assert rows(conn, "select name from private.analytics_snapshots where error is not null") == [
                "label_coverage"
            ]
            assert one(conn, "select private.refresh_analytics(100)") == 0

    def test_readers_do_not_wait(self, counted: FreshDatabase, analyst: Conn) -> None:
        """A count that has not been committed: what was there before is read on, at once."""
        with counted.connect() as conn:
            conn.execute("select private.refresh_analytics(100, true)")
            analyst.execute("set lock_timeout = '1s'")
            for name in ANALYTICS:
                analyst.execute(f"select * from {name}".encode())
            # Another worker finds nothing to do, and does not wait either.
            with counted.connect_worker() as worker:
                worker.execute("set lock_timeout = '1s'")
                assert one(worker, "select private.refresh_analytics(100, true)") == 0
            conn.rollback()

    def test_a_deleted_user_is_gone_at_once(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect(autocommit=True) as conn:
            with conn.transaction():
                shop = Shop(conn)
            conn.execute("select private.refresh_analytics(100, true)")
            assert one(
                conn, "select count(*) from analytics.storage_by_owner where owner_id = %s", shop.seller
            )
            conn.execute("delete from auth.users where id = %s", [shop.seller])
            assert (
                one(conn, "select count(*) from analytics.storage_by_owner where owner_id = %s", shop.seller)
                == 0
            )
            # What is stored no more goes with the next count.
            with conn.transaction():
                (image,) = ready(conn, shop.owner, shop.listing, 1)
            conn.execute("select private.refresh_analytics(100, true)")
            assert one(conn, "select count(*) from analytics.storage_by_owner") == 2
            with as_user(conn, shop.owner):
                conn.execute("delete from public.listing_images where id = %s", [image])
            conn.execute("select private.refresh_analytics(100, true)")
            assert one(conn, "select count(*) from analytics.storage_by_owner") == 0
            assert rows(conn, "select sum(submitted_count) from analytics.generations_daily") == [None]

    def test_another_definition_is_built_anew_and_the_same_is_not(self, db: Conn) -> None:
        define = "select private.define_snapshot('numbers', 99, '1 hour', 'n', %s)"
        assert one(db, define, "select 1 as n")
        assert not one(db, define, "select 1 as n")
        db.execute("update private.analytics_snapshots set refresh_every = '2 hours' where name = 'numbers'")
        assert one(db, define, "select 2 as n, 3 as m")
        assert rows(db, "select * from analytics.numbers") == [(2, 3)]
        assert (
            one(db, "select refresh_every::text from analytics.freshness where name = 'numbers'")
            == "02:00:00"
        )

    def test_a_large_database_is_counted_by_the_worker(self, fresh_db: FreshDatabase) -> None:
        """A migration would hold the tables' locks for as long as counting takes."""
        with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
            admin.execute("update pg_class set reltuples = 1e6 where oid = 'public.listing_images'::regclass")
        with fresh_db.connect(autocommit=True) as conn:
            assert one(conn, "select private.define_snapshot('numbers', 99, '1 hour', 'n', 'select 1 as n')")
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                conn.execute("select * from analytics.numbers")
            assert rows(conn, "select name from analytics.freshness where is_late and name = 'numbers'")
            conn.execute("select private.refresh_analytics(100)")
            assert rows(conn, "select * from analytics.numbers") == [(1)]
            assert not rows(conn, "select name from analytics.freshness where is_late")

    def test_what_an_operator_has_set_stays(self, db: Conn) -> None:
        db.execute("alter role analyst set statement_timeout = '2min'")
        db.execute((Path(__file__).parents[2] / "sql/99_analytics.sql").read_bytes())
        config = one(db, "select rolconfig from pg_roles where rolname = 'analyst'")
        assert "statement_timeout=2min" in config


ATTEMPTS = (
    "select * from public.listings",
    "select * from public.profiles",
    "select * from public.site_policies",
    "select * from auth.users",
    "select * from storage.objects",
    "select * from queue.jobs",
    "select * from private.storage_facts",
    "select * from private.analytics_snapshots",
    "select auth.uid()",
    "select public.media_rules()",
    "select public.usage_summary()",
    "select private.refresh_analytics(1)",
    "select private.as_word('x')",
    "select private.erasure_report(gen_random_uuid())",
    "select queue.enqueue('process_image', '{}')",
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select pg_stat_file('/etc/passwd')",
    "select lo_import('/etc/passwd')",
    "copy (select 1) to program 'true'",
    "copy freshness to '/tmp/freshness'",
    "set role postgres",
    "set role service_role",
    "set role media_worker",
    "set session authorization postgres",
    "create table analytics.mine (n int)",
    "create table public.mine (n int)",
    "create schema mine",
    "create function analytics.mine() returns int language sql return 1",
    "create function public.mine() returns int language sql return 1",
    "create extension postgres_fdw",
    "create role mine",
    "alter role analyst superuser",
    "refresh materialized view analytics.duplicates",
    "drop materialized view analytics.duplicates cascade",
    "create or replace view analytics.freshness as select 1 as name",
    "alter view analytics.freshness set (security_invoker = true)",
    "insert into analytics.label_coverage default values",
    "update analytics.storage_by_owner set byte_count = 0",
    "delete from analytics.storage_by_owner",
    "truncate analytics.storage_by_owner",
    "begin; lock table analytics.storage_by_owner in access exclusive mode",
    "alter system set work_mem = '1GB'",
)


# The latter two: a view that nobody can write, whatever the privilege.
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.WrongObjectType,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


class TestNoFurther:
    """With the role's own defaults lifted: what holds is privileges."""

    @pytest.mark.parametrize("statement", ATTEMPTS)
    def test_refused(self, analyst: Conn, statement: str) -> None:
        analyst.execute("set default_transaction_read_only = off")
        with pytest.raises(
            (
                psycopg.errors.InsufficientPrivilege,
                psycopg.errors.WrongObjectType,
                psycopg.errors.ObjectNotInPrerequisiteState,
            )
        ):
            analyst.execute(statement.encode())

    def test_read_only_unless_lifted(self, analyst: Conn) -> None:
        for statement in (
            "create temporary table mine (n int)",
            "create function pg_temp.f() returns int return 1",
        ):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                analyst.execute(statement.encode())

    def test_a_function_in_the_query_sees_only_what_the_view_shows(self, analyst: Conn) -> None:
        """Cheap functions are run early; below a view's own conditions and sums they would be told raw rows."""
        analyst.execute("set default_transaction_read_only = off")
        analyst.execute(
            "create function pg_temp.leak(anything text) returns boolean cost 0.0000001 language plpgsql as"
            " $$ begin raise notice 'seen %', anything; return true; end $$"
        )
        seen: list[str] = []
        analyst.add_notice_handler(lambda notice: seen.append(str(notice.message_primary)))
        for name in ANALYTICS:
            seen.clear()
            shown = rows(analyst, f"select v::text from {name} as v")
            analyst.execute(f"select 1 from {name} as v where pg_temp.leak(v::text)".encode())
            assert sorted(seen) == sorted(f"seen {row}" for row in shown), name
        # A row that the view leaves out, by a column that it shows.
        seen.clear()
        analyst.execute("select 1 from backlog where pg_temp.leak(state)")
        assert {text.split()[-1] for text in seen} <= {"ready", "running", "scheduled"}

    def test_catalogs_tell_no_rows(self, analyst: Conn) -> None:
        assert rows(
            analyst,
            "select distinct schemaname::text from pg_stats where schemaname !~ '^pg_'"
            " and schemaname <> 'information_schema'",
        ) in ([], ["analytics"])
        texts = rows(
            analyst,
            "select query from pg_stat_activity where usename <> 'analyst' and backend_type = 'client backend'",
        )
        assert set(texts) <= {"<insufficient privilege>"}
        assert rows(analyst, "select * from pg_auth_members where member = 'analyst'::regrole") == []
        assert (
            rows(
                analyst,
                "select p.oid::regprocedure::text from pg_proc as p where p.pronamespace::regnamespace::text"
                " in ('public', 'private', 'queue', 'analytics', 'legacy') and has_function_privilege(p.oid, 'execute')"
                " and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')",
            )
            == []
        )
        assert (
            rows(
                analyst,
                "select c.oid::regclass::text from pg_class as c where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')"
                " and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'analytics')"
                " and c.relnamespace::regnamespace::text !~ '^pg_(toast|temp)'"
                " and has_schema_privilege(c.relnamespace, 'usage') and c.relname !~ '^pg_stat_statements'"
                " and case c.relkind when 'S' then has_sequence_privilege(c.oid, 'usage, select, update')"
                " else has_any_column_privilege(c.oid, 'select, insert, update') end",
            )
            == []
        )

    def test_a_long_statement_ends(self, counted: FreshDatabase, analyst: Conn) -> None:
        settings = {
            name: one(analyst, "select current_setting(%s)", name)
            for name in (
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "lock_timeout",
                "default_transaction_read_only",
            )
        }
        assert settings == {
            "statement_timeout": "30s",
            "idle_in_transaction_session_timeout": "1min",
            "lock_timeout": "5s",
            "default_transaction_read_only": "on",
        }
        assert one(analyst, "select rolconnlimit from pg_roles where rolname = 'analyst'") == 10
        with (
            psycopg.connect(
                counted.analyst_url, options="-c statement_timeout=200ms", autocommit=True
            ) as short,
            pytest.raises(psycopg.errors.QueryCanceled),
        ):
            short.execute("select count(*) from generate_series(1, 1e12)")
