"""`imageledger doctor`: each fault is planted alone, is named by its code, and nothing else is said."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from cli.database import Connection
from cli.doctor import catalog, generate, rules, run, services
from cli.doctor.findings import CODES, Finding
from cli.doctor.run import Senses
from cli.project import Project
from tests.conftest import FreshDatabase, on_database
from tests.support.stack import ROOT, Stack
from tests.support.worker import WorkerProcess

BEAT = "select queue.beat('host/boot/ns/1/1', '{default}', 2, 0)"


@pytest.fixture(scope="module")
def patient(stack: Stack, template: str) -> Iterator[FreshDatabase]:
    """One database for all that is planted by SQL: in a transaction that is rolled back."""
    database = FreshDatabase(stack, "doctor_patient")
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(f"create database doctor_patient template {template} owner postgres".encode())
    yield database
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute("drop database doctor_patient with (force)")


@pytest.fixture
def operator(patient: FreshDatabase) -> Iterator[Connection]:
    """As the superuser, who can plant anything; healthy but for what the test does."""
    with psycopg.connect(patient.admin_url, row_factory=dict_row) as conn:
        conn.execute(BEAT)
        yield conn
        conn.rollback()


def codes(found: list[Finding]) -> list[str]:
    return sorted({item.code for item in found})


def job(state: str = "ready", actor: str = "noop", **columns: Any) -> str:
    """An insert of one job."""
    values = {
        "queue": "'default'", "actor": f"'{actor}'", "args": "'{}'", "priority": "0", "tag": "0", "run_at": "now()",
        "state": f"'{state}'", "max_attempts": "10", **columns,
    }  # fmt: skip
    return f"insert into queue.jobs ({', '.join(values)}) values ({', '.join(values.values())})"


# Code → statements that plant it, and what must be named.
PLANTED: list[tuple[str, str, str]] = [
    ("relation_missing", "drop view public.media_tray", "public.media_tray"),
    ("view_changed", "alter view public.media_tray reset (security_invoker)", "public.media_tray"),
    ("column_missing", "alter table queue.pauses drop column reason", "queue.pauses.reason"),
    ("column_changed", "alter table public.listing_images alter column file_name drop not null", "file_name"),
    (
        "constraint_missing",
        "alter table public.plans drop constraint storage_bytes_max_is_not_negative",
        "storage_bytes_max_is_not_negative",
    ),
    (
        "constraint_not_valid",
        "alter table public.plans drop constraint storage_bytes_max_is_not_negative;"
        " alter table public.plans add constraint storage_bytes_max_is_not_negative"
        " check (storage_bytes_max >= 0) not valid",
        "storage_bytes_max_is_not_negative",
    ),
    ("index_missing", "drop index queue.jobs_ready_idx", "queue.jobs_ready_idx"),
    (
        "index_invalid",
        "update pg_index set indisvalid = false where indexrelid = 'queue.jobs_scheduled_idx'::regclass",
        "queue.jobs_scheduled_idx",
    ),
    ("function_missing", "drop function queue.prune(interval, interval, int)", "queue.prune"),
    (
        "function_changed",
        "create or replace function private.review_required() returns boolean language sql stable"
        " set search_path = '' as $$ select false $$",
        "private.review_required()",
    ),
    (
        "function_changed",
        "alter function private.reserve_uploads(uuid, jsonb) reset search_path",
        "private.reserve_uploads(uuid,jsonb)",
    ),
    (
        "trigger_missing",
        "drop trigger tg_profiles__enqueue_removal on public.profiles",
        "tg_profiles__enqueue_removal",
    ),
    (
        "trigger_disabled",
        "alter table public.profiles disable trigger tg_profiles__enqueue_removal",
        "tg_profiles__enqueue_removal",
    ),
    ("trigger_disabled", "alter table storage.objects disable trigger user", "storage.objects.tg_"),
    (
        "trigger_changed",
        "create or replace trigger tg_site_policies__stamp before insert on public.site_policies"
        " for each row execute function private.tg__stamp_updated_at()",
        "tg_site_policies__stamp",
    ),
    ("rls_disabled", "alter table public.listings disable row level security", "public.listings"),
    ("rls_disabled", "alter table queue.jobs disable row level security", "queue.jobs"),
    ("policy_missing", "drop policy select_public on public.site_policies", "site_policies.select_public"),
    ("policy_changed", "alter policy select_owner on public.listing_images using (true)", "select_owner"),
    ("policy_changed", "alter policy select_owner on public.listing_images to public", "select_owner"),
    ("policy_extra", "create policy open on public.profiles for select using (true)", "profiles.open"),
    ("grant_missing", "revoke execute on function public.media_rules() from anon", "media_rules"),
    ("grant_missing", "revoke usage on schema queue from media_worker", "schema queue"),
    ("grant_missing", "revoke select on public.listings from authenticated", "public.listings"),
    ("grant_extra", "grant update on public.listing_images to anon", "anon may update"),
    ("grant_extra", "grant update (owner_id) on public.listings to authenticated", "owner_id"),
    ("grant_extra", "grant truncate on public.listings to authenticated", "truncate"),
    ("grant_extra", "grant usage on schema private to anon", "schema private"),
    ("grant_extra", "grant execute on function private.lock_owner(uuid) to authenticated", "lock_owner"),
    ("grant_extra", "grant execute on function queue.enqueue to public", "queue.enqueue"),
    (
        "definer_exposed",
        "create function private.backdoor() returns int language sql security definer"
        " set search_path = '' return 1",
        "private.backdoor()",
    ),
    (
        "default_privileges",
        "alter default privileges for role postgres in schema public grant execute on functions to anon",
        "anon",
    ),
    ("role_attribute", "alter role media_worker bypassrls", "media_worker has bypassrls"),
    ("role_attribute", "alter role authenticated createrole", "authenticated has createrole"),
    ("role_attribute", "alter role authenticator inherit", "authenticator has inherit"),
    ("role_membership", "grant service_role to media_worker", "media_worker in service_role"),
    ("role_membership", "revoke anon from authenticator", "authenticator not in anon"),
    ("setting_pinned", "alter role authenticated set session_replication_role = replica", "replica"),
    ("setting_pinned", "alter role supabase_storage_admin set storage.operation = 'x'", "storage.operation"),
    ("storage_operation_missing", "alter function storage.operation() rename to gone", "storage.operation"),
    ("supabase_missing", "alter table storage.objects rename column metadata to gone", "metadata"),
    ("migration_missing", "delete from private.schema_files where path like '%/claim_jobs.sql'", "claim_jobs"),
    ("migration_missing", "update private.schema_files set sha256 = '' where path = 'sql/10_queue.sql'", "10_queue"),
    (
        "bucket_missing",
        "set local session_replication_role = replica; delete from storage.buckets where id = 'media'",
        "media",
    ),
    ("bucket_changed", "update storage.buckets set file_size_limit = null where id = 'private'", "file_size_limit"),
    ("bucket_changed", "update storage.buckets set public = true where id = 'media'", "public is true"),
    ("bucket_changed", "update storage.buckets set allowed_mime_types = null where id = 'private'", "all"),
    ("site_policy_missing", "delete from public.variant_specs where role = 'card'", "card"),
    ("dead_jobs", job("dead", finished_at="now()"), "1 of noop"),
    (
        "stale_leases",
        job("running", leased_until="now() - interval '5 min'", lease_token="gen_random_uuid()", worker="'w'"),
        "1 of w",
    ),
    ("queue_paused", "select queue.pause('queue', 'default')", "queue default"),
    ("queue_paused", "select queue.pause('actor', 'generate')", "actor generate"),
    ("jobs_parked", job("scheduled", run_at="'infinity'"), "1 of noop"),
    ("queue_lag", job(run_at="now() - interval '1 hour'"), "default, for 3600 s"),
    ("no_worker", "delete from queue.heartbeats", "none was ever seen"),
    (
        "worker_silent",
        "insert into queue.heartbeats values ('other/boot/ns/1/1', '{}', 1, 0, now() - interval '1 day',"
        " now() - interval '1 min')",
        "other/boot/ns/1/1, for 60 s",
    ),
    (
        "setting_pinned",
        "alter role authenticated set default_transaction_isolation = 'repeatable read'",
        "role authenticated: default_transaction_isolation=repeatable read",
    ),
    (
        "relay_missing",
        "update queue.heartbeats set has_broker = true, started_at = now() - interval '1 hour'",
        "1 wait for messages, none was ever seen",
    ),
    (
        "relay_missing",
        "update queue.heartbeats set has_broker = true, started_at = now() - interval '1 hour';"
        " select queue.lead_relay('w', interval '-1 min')",
        "the last one stopped 60 s ago",
    ),
    (
        "published_not_taken",
        f"{job(run_at='''now() - interval '2 min' ''')}; select * from queue.publish('default', 5, '10 s')",
        "1 of default",
    ),
]  # fmt: skip


def plant(conn: Connection, statements: str) -> None:
    conn.execute(statements.encode())


def test_a_healthy_database_has_no_findings(operator: Connection) -> None:
    assert list(run.database(operator)) == []


def test_the_owner_of_the_tables_sees_as_much_as_a_superuser(patient: FreshDatabase) -> None:
    with patient.connect(row_factory=dict_row) as conn:
        conn.execute(BEAT)
        assert list(run.database(conn)) == []
        conn.execute("alter policy select_owner on public.listing_images using (true)")
        conn.execute("alter role media_worker createdb")
        assert codes(list(run.database(conn))) == ["policy_changed", "role_attribute"]
        conn.rollback()


@pytest.mark.parametrize(
    ("code", "statements", "named"), PLANTED, ids=[f"{c}-{i}" for i, (c, _, _) in enumerate(PLANTED)]
)
def test_a_planted_fault_is_named(operator: Connection, code: str, statements: str, named: str) -> None:
    plant(operator, statements)
    found = list(run.database(operator))
    assert codes(found) == [code]
    assert any(named in item.what for item in found), [item.what for item in found]
    assert all(item.remedy for item in found)


def test_a_replaced_worker_is_not_missed(operator: Connection) -> None:
    plant(
        operator,
        "insert into queue.heartbeats values ('host/boot/ns/0/0', '{}', 1, 0, now() - interval '1 day',"
        " now() - interval '1 min')",
    )
    assert list(run.database(operator)) == []


def test_work_that_goes_on_over_a_broker_is_none(operator: Connection) -> None:
    """A relay leads; what is published waits for busy workers, or is somebody's own role."""
    plant(
        operator,
        "select queue.lead_relay('w', interval '5 s');"
        "update queue.heartbeats set has_broker = true, started_at = now() - interval '1 hour', held_count = 2;"
        f"{job(run_at='''now() - interval '2 min' ''')}; select * from queue.publish('default', 5, '10 s');"
        "create role reporting; alter role reporting set default_transaction_isolation = 'serializable'",
    )
    assert list(run.database(operator)) == []


def test_notifications_that_pile_up_are_named(operator: Connection, patient: FreshDatabase) -> None:
    """Full it is in tests/e2e/test_faults.py, where the queue is small."""
    with patient.connect(application_name="sleeper") as other:
        other.execute("select 1")
        (found,) = rules.notifications(operator, part=-1)
        assert found.code == "notifications_pile_up"
        assert f"{other.info.backend_pid} (postgres, sleeper, since" in found.what


def test_what_others_have_in_the_project_is_none_of_ours(operator: Connection) -> None:
    plant(
        operator,
        "create table public.blog (id int); grant all on public.blog to anon;"
        "create function public.hello() returns int language sql return 1;"
        "grant execute on function public.hello to anon;"
        "create policy theirs on storage.objects for select using (bucket_id = 'avatars')",
    )
    assert list(run.database(operator)) == []


def test_a_policy_reads_alike_in_one_version_only() -> None:
    wanted = {("policy", "public.a.b"): "r true anon 0123"}
    other = {("policy", "public.a.b"): "r true anon 4567"}
    wider = {("policy", "public.a.b"): "r true public 4567"}
    assert codes(list(catalog.compare(wanted, other, same_version=True))) == ["policy_changed"]
    assert codes(list(catalog.compare(wanted, other, same_version=False))) == []
    assert codes(list(catalog.compare(wanted, wider, same_version=False))) == ["policy_changed"]


def test_an_empty_database_is_not_migrated(stack: Stack) -> None:
    name = "doctor_empty"
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(f"create database {name} owner postgres".encode())
    try:
        url = on_database(stack.admin_db_url, name)
        with psycopg.connect(url, row_factory=dict_row) as conn:
            assert codes(list(run.database(conn))) == ["supabase_missing"]
            conn.execute((ROOT / "supabase/local/bootstrap.sql").read_bytes())
            assert codes(list(run.database(conn))) == ["not_migrated"]
            conn.rollback()
    finally:
        with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)".encode())


def test_what_is_expected_is_what_the_files_make(template: str, stack: Stack) -> None:
    """Fails after a change of the SQL: run `make catalog`."""
    assert catalog.EXPECTED.read_text() == generate.text(on_database(stack.db_url, template))


# Services, clock and disk: on the stack itself.


@pytest.fixture
def here(stack: Stack) -> Project:
    return Project(
        "embedded", stack.api_url, stack.anon_key, stack.service_role_key, stack.db_url, stack.worker_db_url
    )


@contextmanager
def on_stack(stack: Stack) -> Iterator[Connection]:
    with psycopg.connect(stack.admin_db_url, row_factory=dict_row, autocommit=True) as conn:
        yield conn


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_service_that_does_not_answer_is_named(here: Project) -> None:
    found = list(services.answers(replace(here, api_url=closed_port()), None))
    assert codes(found) == ["auth_down", "rest_down", "storage_down"]


@pytest.mark.parametrize(
    ("path", "code"), [("/auth/", "auth_down"), ("/storage/", "storage_down"), ("/rest/", "rest_down")]
)
def test_one_service_down_is_told_from_the_others(
    here: Project, path: str, code: str, gate: Callable[[str], str]
) -> None:
    found = list(services.answers(replace(here, api_url=gate(path)), None))
    assert codes(found) == [code]


@pytest.fixture
def gate(stack: Stack) -> Iterator[Callable[[str], str]]:
    """A proxy to the stack that answers 503 below one path."""
    broken = ""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith(broken):
                self.send_response(503)
                self.end_headers()
                return
            kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            answer = httpx.get(stack.api_url + self.path, headers=kept, timeout=10)
            self.send_response(answer.status_code)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def start(path: str) -> str:
        nonlocal broken
        broken = path
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    server.shutdown()
    server.server_close()


def test_another_projects_keys_are_named(here: Project) -> None:
    wrong = here.service_role_key[:-4] + "AAAA"
    found = list(services.answers(replace(here, service_role_key=wrong), None))
    assert codes(found) == ["key_refused"]


def test_a_stale_schema_cache_is_named(stack: Stack, here: Project) -> None:
    with on_stack(stack) as conn:
        conn.execute("alter event trigger pgrst_ddl_watch disable")
        conn.execute("alter event trigger pgrst_drop_watch disable")
        try:
            conn.execute("create function public.brand_new(a int) returns int language sql return a")
            conn.execute("create view public.brand_view with (security_invoker) as select 1 as a")
            (found,) = list(services.answers(here, conn))
            assert (found.code, found.what.partition(": ")[2]) == (
                "rest_schema_stale",
                "not known: brand_view, rpc/brand_new",
            )
        finally:
            conn.execute("drop function public.brand_new(int)")
            conn.execute("drop view public.brand_view")
            conn.execute("alter event trigger pgrst_ddl_watch enable")
            conn.execute("alter event trigger pgrst_drop_watch enable")
            conn.execute("notify pgrst, 'reload schema'")


def test_clocks_that_differ_are_named(operator: Connection) -> None:
    assert list(services.clock(operator)) == []
    for shift, word in ((-120.0, "behind"), (90.0, "ahead of")):
        (found,) = services.clock(operator, lambda shift=shift: time.time() + shift)
        assert (found.code, word in found.what) == ("clock_skew", True)


def test_a_slow_answer_is_no_skew(operator: Connection) -> None:
    moments = iter([time.time() - 30, time.time() + 30])
    assert list(services.clock(operator, lambda: next(moments))) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    usage = namedtuple("usage", "total used free")
    gib = 1024**3
    assert list(services.disk(tmp_path, lambda _: usage(100 * gib, 50 * gib, 50 * gib))) == []
    for free in (0.5, 4.0):
        (found,) = services.disk(tmp_path, lambda _, free=free: usage(100 * gib, 0, free * gib))
        assert found.code == "disk_low"


def test_a_database_that_is_down_is_named_and_the_rest_still_asked(here: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = run.examine(
        replace(here, db_url=f"postgresql://x@127.0.0.1:{port}/postgres"), None, lambda _: None
    )
    assert codes(found) == ["database_down"]


def test_a_schema_that_postgrest_serves_is_named(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "CLOSED", ("queue", "public"))
    (found,) = services.answers(here, None)
    assert (found.code, found.what.partition(": ")[2]) == ("schema_exposed", "public")


def test_a_role_that_is_gone_is_named_with_what_it_lacks(operator: Connection) -> None:
    plant(operator, "alter role analyst rename to gone")
    assert codes(list(run.database(operator))) == ["grant_missing", "role_missing"]


def test_every_code_is_tested() -> None:
    source = Path(__file__).read_text()
    assert {code for code in CODES if f'"{code}"' not in source} == set()


def test_every_code_is_in_the_readme_with_its_severity() -> None:
    text = (ROOT / "cli/README.md").read_text().split("## What `doctor` finds")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (error|warning) \|", text, re.MULTILINE))
    assert listed == {code: severity for code, (severity, *_) in CODES.items()}


# The command.


def test_a_healthy_stack_has_no_findings(stack: Stack, person: Any) -> None:
    with WorkerProcess(stack, WORKER_MAINTENANCE_SECONDS="0"):
        with on_stack(stack) as conn:
            conn.execute("delete from queue.heartbeats")
            conn.execute("delete from queue.jobs where state = 'dead'")
            _until(conn, "select count(*) > 0 as ok from queue.heartbeats")
        done = stack.cli("doctor", "--json", check=False)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer) == (0, {"healthy": True, "errors": 0, "warnings": 0, "findings": []})
        outside = stack.cli(
            "doctor",
            "--json",
            SUPABASE_URL=stack.api_url,
            SUPABASE_ANON_KEY=stack.anon_key,
            SUPABASE_SERVICE_ROLE_KEY=stack.service_role_key,
            SUPABASE_DB_URL=stack.db_url,
        )
        assert json.loads(outside.stdout)["healthy"] is True


def test_findings_have_an_exit_code_and_remedies(stack: Stack) -> None:
    with on_stack(stack) as conn:
        conn.execute("select queue.pause('actor', 'nobody')")
        try:
            done = stack.cli("doctor", "--json", check=False)
            shown = stack.cli("doctor", check=False)
        finally:
            conn.execute("select queue.resume('actor', 'nobody')")
    found = {item["code"]: item for item in json.loads(done.stdout)["findings"]}
    assert (done.returncode, shown.returncode) == (7, 7)
    assert found["queue_paused"]["command"] == "imageledger queue resume --actor nobody --yes"
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "findings"
    assert "imageledger queue resume --actor nobody --yes" in shown.stdout


def test_senses_are_this_machines_by_default() -> None:
    assert Senses().disk_usage(Path("/")).total > 0


def _until(conn: Connection, query: str) -> None:
    deadline = time.monotonic() + 20
    while not conn.execute(query.encode()).fetchone()["ok"]:  # type: ignore[index]
        assert time.monotonic() < deadline
        time.sleep(0.1)
