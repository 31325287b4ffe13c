"""`imageledger migrate`: all or nothing, again and again, one at a time, and clear about what is wrong."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cli.errors import CliError, LockedError, MigrationError, MissingSupabaseError
from cli.migrate import apply
from cli.migrate.files import SqlFile, linked_files, schema_files, unlinked, write_links
from cli.migrate.statements import place, split
from cli.stack.binaries import find_supabase
from tests.support.schema_dump import schema_dump
from tests.support.stack import ROOT, Stack, clean_environment

BOOTSTRAP = (ROOT / "supabase/local/bootstrap.sql").read_bytes()


class EmptyDatabase:
    """A database of its own; a `bootstrapped` one has what a new Supabase project has, nothing of ours."""

    def __init__(self, stack: Stack, *, bootstrapped: bool, template: str = "template1") -> None:
        self.stack = stack
        self.name = f"m_{uuid4().hex[:12]}"
        with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
            admin.execute(
                sql.SQL("create database {} template {} owner postgres").format(
                    sql.Identifier(self.name), sql.Identifier(template)
                )
            )
        if bootstrapped:
            with psycopg.connect(self.admin_url, autocommit=True) as admin:
                admin.execute(BOOTSTRAP)

    def _url(self, url: str) -> str:
        return make_conninfo(**(conninfo_to_dict(url) | {"dbname": self.name}))

    @property
    def url(self) -> str:
        return self._url(self.stack.db_url)

    @property
    def admin_url(self) -> str:
        return self._url(self.stack.admin_db_url)

    def dump(self) -> list[str]:
        with psycopg.connect(self.admin_url) as conn:
            return schema_dump(conn)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.stack.cli("migrate", "--db-url", self.url, *arguments, check=False)

    def drop(self) -> None:
        with psycopg.connect(self.stack.admin_db_url, autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(self.name)))


@pytest.fixture
def empty(stack: Stack) -> Iterator[EmptyDatabase]:
    database = EmptyDatabase(stack, bootstrapped=True)
    yield database
    database.drop()


@pytest.fixture
def migrated(stack: Stack, template: str) -> Iterator[EmptyDatabase]:
    """No longer empty: for tests that begin where a migration has ended."""
    database = EmptyDatabase(stack, bootstrapped=False, template=template)
    yield database
    database.drop()


def sql_file(path: str, text: str) -> SqlFile:
    return SqlFile(path, text, hashlib.sha256(text.encode()).hexdigest())


def with_broken(text: str, after: int = 8) -> list[SqlFile]:
    """All files, and one among them that fails: early, as those before it are applied each time."""
    files = schema_files()
    return [*files[:after], sql_file("sql/55_broken.sql", text), *files[after:]]


def test_a_second_run_changes_nothing(empty: EmptyDatabase) -> None:
    before = empty.dump()
    first = json.loads(empty.cli("--json").stdout)
    once = empty.dump()
    assert first["applied"] == [file.path for file in schema_files()]
    assert len(once) > len(before) + 100

    again = json.loads(empty.cli("--json").stdout)
    assert (again["up_to_date"], again["applied"]) == (True, [])
    assert empty.dump() == once

    forced = json.loads(empty.cli("--json", "--force").stdout)
    assert forced["applied"] == first["applied"]
    assert empty.dump() == once


def test_db_push_makes_the_same_schema(stack: Stack, empty: EmptyDatabase) -> None:
    pushed = EmptyDatabase(stack, bootstrapped=True)
    try:
        given = conninfo_to_dict(pushed.url)
        url = "postgresql://{user}:{password}@{host}:{port}/{dbname}?sslmode=disable".format(**given)
        done = subprocess.run(
            [find_supabase(), "db", "push", f"--remote={url}", "--yes"],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert empty.cli().returncode == 0
        by_push, by_migrate = set(pushed.dump()), set(empty.dump())
        assert not by_push ^ by_migrate
        # A project that was pushed to is updated by migrate: same end, nothing lost on the way.
        assert pushed.cli().returncode == 0
        assert set(pushed.dump()) == by_migrate
    finally:
        pushed.drop()


def test_every_file_has_its_link_and_links_sort_by_folder() -> None:
    assert unlinked() == []
    targets = list(linked_files().values())
    folders = [target.rpartition("/")[0] for target in targets]
    assert folders == sorted(folders, key=["sql", "functions/worker", "functions/api"].index)
    assert [t for t in targets if t.startswith("sql/")] == sorted(t for t in targets if t.startswith("sql/"))


def test_dry_run_and_plan_leave_no_trace(empty: EmptyDatabase) -> None:
    before = empty.dump()
    plan = empty.cli("--plan", "--json")
    assert plan.returncode == 4
    assert {item["state"] for item in json.loads(plan.stdout)["files"]} == {"new"}
    dry = json.loads(empty.cli("--dry-run", "--json").stdout)
    assert dry["committed"] is False
    assert dry["applied"]
    assert empty.dump() == before

    assert empty.cli().returncode == 0
    assert empty.cli("--plan").returncode == 0
    with psycopg.connect(empty.url, autocommit=True) as conn:
        conn.execute("update private.schema_files set sha256 = 'old' where path = 'sql/00_foundation.sql'")
        conn.execute("insert into private.schema_files values ('sql/99_gone.sql', 'x')")
    states = {f["path"]: f["state"] for f in json.loads(empty.cli("--plan", "--json").stdout)["files"]}
    assert states["sql/00_foundation.sql"] == "changed"
    assert states["sql/99_gone.sql"] == "removed"
    assert states["sql/10_queue.sql"] == "unchanged"


@pytest.mark.parametrize(
    ("text", "where", "sqlstate", "said"),
    [
        ("-- größe\nselect 1;\n\n  selct 2;\n", (4, 3), "42601", 'syntax error at or near "selct"'),
        ("select 1;\nselect 'é', no_such_column\n  from pg_class;", (2, 13), "42703", "no_such_column"),
        ("select 1;\n/* a /* b */ c */ do $$\nbegin\n  perform 1/0;\nend $$;", (2, 19), "22012", "by zero"),
        ("create table private.t (\n  a int\n);\nselect 1 from", (4, 14), "42601", "at end of input"),
        ("select 1;\ncommit;", (2, 1), "", "transaction control"),
        ("create table pg_catalog.x ();", (1, 14), "42501", "permission denied"),
    ],
)
def test_a_failing_file_is_named_and_nothing_is_applied(
    empty: EmptyDatabase, text: str, where: tuple[int, int], sqlstate: str, said: str
) -> None:
    before = empty.dump()
    with pytest.raises(MigrationError) as caught:
        apply.migrate(empty.url, with_broken(text))
    error = caught.value
    assert (error.data["line"], error.data["column"]) == where, error.message
    assert error.data["file"] == "sql/55_broken.sql"
    assert error.data["sqlstate"] == sqlstate
    assert said in error.message
    assert error.message.startswith(f"sql/55_broken.sql:{where[0]}:{where[1]}: ")
    assert error.exit_code != 0
    assert empty.dump() == before


def test_a_failing_file_keeps_detail_hint_and_context(empty: EmptyDatabase) -> None:
    text = "do $$ begin raise exception 'no tea' using detail = 'the pot is empty', hint = 'fill it'; end $$;"
    with pytest.raises(MigrationError) as caught:
        apply.migrate(empty.url, with_broken(text))
    for part in (
        "no tea",
        "detail: the pot is empty",
        "hint: fill it",
        "context: PL/pgSQL",
        "sqlstate: P0001",
    ):
        assert part in caught.value.message


def test_a_failed_update_keeps_the_schema_that_was(migrated: EmptyDatabase) -> None:
    before = migrated.dump()
    with pytest.raises(MigrationError):
        apply.migrate(
            migrated.url,
            with_broken("drop table public.listing_images cascade; select 1/0;", len(schema_files())),
        )
    assert migrated.dump() == before


def test_a_database_without_supabase_is_refused_with_the_whole_list(stack: Stack) -> None:
    bare = EmptyDatabase(stack, bootstrapped=False)
    try:
        with pytest.raises(MissingSupabaseError) as caught:
            apply.migrate(bare.url, schema_files())
        gaps = caught.value.data["missing"]
        # Roles belong to the cluster, which is the stack's: they are there.
        assert {
            "schema auth",
            "schema storage",
            "schema extensions",
            "table auth.users",
            "table storage.buckets",
            "table storage.objects",
            "function auth.uid()",
            "function storage.foldername(text)",
            "extension pgcrypto",
        } <= set(gaps)
        with psycopg.connect(bare.admin_url, autocommit=True) as admin:
            admin.execute(BOOTSTRAP)
            admin.execute("alter table storage.objects drop column owner_id")
            admin.execute("drop function auth.uid() cascade")
        done = bare.cli()
        assert done.returncode == 6
        assert "column storage.objects.owner_id" in done.stderr
        assert "function auth.uid()" in done.stderr
        assert "table auth.users" not in done.stderr
        assert "remedy" in done.stderr
    finally:
        bare.drop()


def test_an_unreachable_database_is_a_clear_error() -> None:
    with pytest.raises(CliError) as caught:
        apply.migrate("postgresql://nobody@127.0.0.1:1/postgres", schema_files())
    assert caught.value.code == "database_unreachable"


def test_two_at_the_same_time_take_turns(empty: EmptyDatabase) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: apply.migrate(empty.url, schema_files()), range(4)))
    applied = [bool(outcome.applied) for outcome in outcomes]
    assert applied.count(True) == 1
    once = empty.dump()
    apply.migrate(empty.url, schema_files(), force=True)
    assert empty.dump() == once


def test_a_lock_that_is_let_go_is_waited_for(
    migrated: EmptyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "LOCK_TIMEOUT", "100ms")
    with psycopg.connect(migrated.url) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("lock table public.listing_images in access share mode")
        running = pool.submit(apply.migrate, migrated.url, schema_files(), force=True)
        with psycopg.connect(migrated.admin_url, autocommit=True) as watch:
            _wait_until_blocked(watch)
        holder.commit()
        assert running.result(30).applied


def test_a_lock_that_is_kept_ends_in_a_clear_error(
    migrated: EmptyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = migrated.dump()
    monkeypatch.setattr(apply, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(apply, "ATTEMPTS", 2)
    with psycopg.connect(migrated.url) as holder:
        holder.execute("lock table public.listing_images in access share mode")
        with pytest.raises(LockedError, match="a table is in use"):
            apply.migrate(migrated.url, schema_files(), force=True)
    monkeypatch.setattr(apply, "LOCK_SECONDS", 0.2)
    with psycopg.connect(migrated.url) as holder:
        holder.execute("select pg_advisory_xact_lock(%s)", [apply.LOCK_ID])
        with pytest.raises(LockedError, match="another migration"):
            apply.migrate(migrated.url, schema_files(), force=True)
    assert migrated.dump() == before


def _wait_until_blocked(watch: psycopg.Connection[Any]) -> None:
    for _ in range(200):
        row = watch.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'imageledger migrate' and wait_event_type = 'Lock'"
        ).fetchone()
        if row and row[0]:
            return
        watch.execute("select pg_sleep(0.02)")
    raise AssertionError("the migration never waited for the lock")


def test_a_superuser_hands_over_to_postgres(empty: EmptyDatabase) -> None:
    apply.migrate(empty.admin_url, schema_files())
    with psycopg.connect(empty.admin_url) as conn:
        owners = conn.execute(
            "select distinct relowner::regrole::text from pg_class"
            " where relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'queue'::regnamespace)"
        ).fetchall()
    assert owners == [("postgres",)]


def test_the_record_is_not_for_clients(migrated: EmptyDatabase) -> None:
    with psycopg.connect(migrated.url) as conn:
        for role in ("anon", "authenticated", "service_role", "media_worker"):
            row = conn.execute(
                "select has_table_privilege(%s, 'private.schema_files', 'select, insert, update, delete')",
                [role],
            ).fetchone()
            assert row == (False,), role


def test_statements_are_found_where_they_are() -> None:
    text = "-- é\n/* a /* ö */ ; */ select ';ü';\n\ncreate function f() returns int return $x$;$x$::int;"
    found = split(sql_file("sql/x.sql", text))
    assert [text[s.offset : s.offset + 6] for s in found] == ["select", "create"]
    assert [place(text, s.offset) for s in found] == [(2, 19), (4, 1)]
    assert found[0].text == "select ';ü'"


def test_links_keep_their_timestamps(tmp_path: Path) -> None:
    for path in ("sql/00_a.sql", "sql/10_b.sql", "functions/worker/do_x.sql", "functions/api/do_z.sql"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("select 1;")
    added, removed = write_links(tmp_path)
    assert (len(added), removed) == (4, [])
    first = linked_files(tmp_path)
    assert list(first.values()) == [
        "sql/00_a.sql",
        "sql/10_b.sql",
        "functions/worker/do_x.sql",
        "functions/api/do_z.sql",
    ]
    # A project that was pushed to knows the old names: new files come beside them, not in their place.
    (tmp_path / "functions/api/do_a.sql").write_text("select 2;")
    (tmp_path / "sql/05_between.sql").write_text("select 3;")
    (tmp_path / "functions/worker/do_x.sql").unlink()
    assert unlinked(tmp_path) == [
        "sql/05_between.sql",
        "functions/api/do_a.sql",
        "supabase/migrations/20250102000000_do_x.sql",
    ]
    added, removed = write_links(tmp_path)
    assert added == ["20250101000500_05_between.sql", "20250103000100_do_a.sql"]
    assert removed == ["20250102000000_do_x.sql"]
    second = linked_files(tmp_path)
    assert {name: target for name, target in first.items() if "do_x" not in name}.items() <= second.items()
    assert write_links(tmp_path) == ([], [])
    assert not (tmp_path / "supabase/migrations" / added[0]).readlink().is_absolute()

    (tmp_path / "supabase/migrations/20260101000000_stray.sql").write_text("select 4;")
    assert unlinked(tmp_path) == ["supabase/migrations/20260101000000_stray.sql"]
    with pytest.raises(CliError, match="not a link"):
        write_links(tmp_path)


def test_no_database_at_all_is_a_clear_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "migrate", "--json"],
        cwd=ROOT,
        env=clean_environment(IMAGELEDGER_HOME=str(tmp_path / "none")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert json.loads(done.stderr)["error"]["code"] == "not_running"
