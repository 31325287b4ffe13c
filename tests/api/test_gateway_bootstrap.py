"""bootstrap.sql gives the role postgres what a hosted project gives it: no less and no more."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.support.stack import ROOT, Stack

BOOTSTRAP = (ROOT / "supabase/local/bootstrap.sql").read_text()


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[str]:
    """An empty database of its own with bootstrap.sql applied."""
    name = f"t_bootstrap_{uuid4().hex[:8]}"
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        with psycopg.connect(make_conninfo(stack.admin_db_url, dbname=name), autocommit=True) as inside:
            inside.execute(BOOTSTRAP)  # type: ignore[arg-type]
        yield name
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def postgres(stack: Stack, database: str) -> Iterator[psycopg.Connection]:
    """Logged in as postgres, in a transaction that is rolled back."""
    with psycopg.connect(make_conninfo(stack.db_url, dbname=database)) as connection:
        yield connection
        connection.rollback()


def test_it_can_run_again(stack: Stack, database: str) -> None:
    with psycopg.connect(make_conninfo(stack.admin_db_url, dbname=database), autocommit=True) as admin:
        before = admin.execute("select oid, relname, relacl::text from pg_class order by oid").fetchall()
        admin.execute(BOOTSTRAP)  # type: ignore[arg-type]
        assert (
            admin.execute("select oid, relname, relacl::text from pg_class order by oid").fetchall() == before
        )


@pytest.mark.parametrize(
    "statement",
    [
        "create policy p on storage.objects for select to anon using (true)",
        "create policy p on storage.buckets to anon using (true); drop policy p on storage.buckets",
        "create trigger t after insert on storage.objects for each row execute function public.f()",
        "create trigger t after insert on auth.users for each row execute function public.f();"
        " drop trigger t on auth.users",
        "create table public.x (id uuid primary key references auth.users (id) on delete cascade)",
        "create table public.x (id int); alter publication supabase_realtime add table public.x",
        "insert into storage.buckets (id, name) values ('b', 'b') on conflict (id) do nothing",
        "create extension pg_trgm with schema extensions",
        "create schema private",
        "set local role service_role; reset role; set local role anon",
        "create role t_worker login; grant t_worker to postgres; grant select on storage.objects to t_worker",
    ],
)
def test_postgres_may(postgres: psycopg.Connection, statement: str) -> None:
    postgres.execute("create function public.f() returns trigger language plpgsql as 'begin return new; end'")
    postgres.execute(statement)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "statement",
    [
        "create table storage.x (i int)",
        "create function storage.f() returns int language sql as 'select 1'",
        "create or replace function storage.operation() returns text language sql as 'select null'",
        "create function auth.f() returns int language sql as 'select 1'",
        "alter table storage.objects disable row level security",
        "alter table storage.objects add column x int",
        "alter table storage.objects disable trigger user",
        "alter table auth.users drop column email",
        "drop table storage.objects cascade",
        "drop trigger protect_objects_delete on storage.objects; drop function storage.protect_delete()",
        "create index on storage.objects (owner_id)",
        "comment on table storage.objects is 'mine'",
        "create policy p on storage.objects using (true); comment on policy p on storage.objects is 'p'",
        "delete from storage.objects",
        "delete from storage.buckets",
        "set role supabase_storage_admin",
        "set role supabase_admin",
        "alter role anon superuser",
        "create role x superuser",
        "copy (select 1) to program 'true'",
    ],
)
def test_postgres_may_not(postgres: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        postgres.execute(statement)  # type: ignore[call-overload]


def test_supabases_dangerous_defaults_are_there(postgres: psycopg.Connection) -> None:
    """SQL that is only safe without them is not safe on a hosted project."""
    postgres.execute("create table public.x (i int)")
    postgres.execute("create function public.g() returns int language sql as 'select 1'")
    row = postgres.execute(
        """
        select has_table_privilege('anon', 'public.x', 'insert'),
          has_table_privilege('anon', 'public.x', 'truncate'),
          has_function_privilege('anon', 'public.g()', 'execute')
        """
    ).fetchone()
    assert row == (True, True, True)


def test_timeouts_of_the_api_roles(postgres: psycopg.Connection) -> None:
    rows = postgres.execute(
        """
        select r.rolname || ': ' || c from pg_db_role_setting as s
        join pg_roles as r on r.oid = s.setrole cross join unnest(s.setconfig) as c
        where s.setdatabase = 0
        """
    ).fetchall()
    settings = {row[0] for row in rows}
    assert {"anon: statement_timeout=3s", "authenticated: statement_timeout=8s"} <= settings
    assert "authenticator: statement_timeout=8s" in settings


def test_claims_in_sql(postgres: psycopg.Connection) -> None:
    claims = (
        '{"sub": "5eb51eca-70a0-4195-b510-70c1fa746c5c", "role": "authenticated", "email": "a@example.com"}'
    )
    postgres.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
    row = postgres.execute(
        "select auth.uid()::text, auth.role(), auth.email(), auth.jwt() ->> 'role'"
    ).fetchone()
    assert row == ("5eb51eca-70a0-4195-b510-70c1fa746c5c", "authenticated", "a@example.com", "authenticated")
    postgres.execute("select set_config('request.jwt.claims', '', true)")
    assert postgres.execute("select auth.uid(), auth.jwt()").fetchone() == (None, None)


def test_names_of_objects_in_sql(postgres: psycopg.Connection) -> None:
    row = postgres.execute(
        """
        select storage.foldername('a/b/c.tar.gz'), storage.filename('a/b/c.tar.gz'),
          storage.extension('a/b/c.tar.gz'), storage.foldername('c')
        """
    ).fetchone()
    assert row == (["a", "b"], "c.tar.gz", "gz", [])
