"""`imageledger migrate` on a project with things of its own: untouched, and names that clash are found first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.sql.test_migrate import EmptyDatabase
from tests.support.schema_dump import schema_dump
from tests.support.stack import Stack

#: A shop that has lived in this project for years, in schemas of our names too.
THEIRS = """
create table public.customers (id bigint generated always as identity primary key, name text not null);
insert into public.customers (name) values ('Ada'), ('Grace');
create table public.orders (
  id uuid primary key default gen_random_uuid(), customer_id bigint references public.customers, total numeric
);
create index orders_customer_id_idx on public.orders (customer_id);
insert into public.orders (customer_id, total) select id, 9.99 from public.customers;
alter table public.orders enable row level security;
create policy select_owner on public.orders for select to authenticated using (total > 0);
create type public.mood as enum ('good', 'bad');
create function public.order_total() returns numeric language sql as 'select sum(total) from public.orders';
create function public.gallery(wall text) returns text language sql as 'select wall';
create view public.totals as select sum(total) as total from public.orders;
create materialized view public.totals_daily as select now() as day, sum(total) as total from public.orders;
grant select on public.totals to anon;
create function public.greet() returns trigger language plpgsql as
  'begin insert into public.customers (name) values (new.email); return new; end';
create trigger on_sign_up after insert on auth.users for each row execute function public.greet();
create policy "Avatars are public" on storage.objects for select using (bucket_id = 'avatars');
create policy select_owner on storage.objects for select to authenticated using (bucket_id = 'avatars');
insert into storage.buckets (id, name, public, file_size_limit) values ('avatars', 'avatars', true, 1000);
insert into storage.objects (bucket_id, name, metadata) values ('avatars', 'ada.png', '{"size": 3}');
create schema private;
comment on schema private is 'The shop''s secrets.';
grant usage on schema private to anon, public;
create table private.secrets (id int primary key, word text);
insert into private.secrets values (1, 'x');
create function private.word() returns text language sql as 'select word from private.secrets';
create schema queue;
create table queue.messages (id bigserial primary key, body jsonb);
insert into queue.messages (body) values ('{"a": 1}');
create schema analytics;
create view analytics.sales as select * from public.totals;
grant usage on schema analytics to authenticated;
grant select on analytics.sales to authenticated, service_role;
create schema legacy;
create sequence legacy.counter;
select nextval('legacy.counter');
"""
ROWS = (
    "public.customers", "public.orders", "private.secrets", "queue.messages", "legacy.counter", "public.totals_daily",
    "storage.objects", "auth.users",
)  # fmt: skip
#: Database-wide, or about what we add to a shared thing: told in cli/migrate/README.md.
_SHARED = ("default privileges: ", "role: ", "publication: ")


@pytest.fixture
def empty(stack: Stack) -> Iterator[EmptyDatabase]:
    database = EmptyDatabase(stack, bootstrapped=True)
    yield database
    database.drop()


def rows(database: EmptyDatabase) -> dict[str, str]:
    """Their data as COPY writes it."""
    found = {}
    with psycopg.connect(database.admin_url) as conn:
        for name in ROWS:
            with conn.cursor() as cursor, cursor.copy(f"copy (select * from {name}) to stdout") as copy:  # type: ignore[arg-type]
                found[name] = b"".join(bytes(piece) for piece in copy).decode()
        with (
            conn.cursor() as cursor,
            cursor.copy("copy (select * from storage.buckets where id = 'avatars') to stdout") as copy,
        ):
            found["avatars"] = b"".join(bytes(piece) for piece in copy).decode()
    return found


def run(database: EmptyDatabase, text: str) -> None:
    with psycopg.connect(database.url, autocommit=True) as conn:
        conn.execute(text.encode())


def schema(database: EmptyDatabase) -> set[str]:
    with psycopg.connect(database.admin_url) as conn:
        return set(schema_dump(conn))


def clashes(database: EmptyDatabase, *options: str) -> list[tuple[str, str]]:
    done = database.cli("--json", *options)
    assert done.returncode == 1, done.stdout + done.stderr
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "names_taken"
    assert "--adopt" in error["remedy"]
    return [(entry["kind"], entry["name"]) for entry in error["data"]["clashes"]]


def test_nothing_of_theirs_is_touched(empty: EmptyDatabase) -> None:
    run(empty, THEIRS)
    with psycopg.connect(empty.admin_url, autocommit=True) as conn:
        conn.execute("insert into auth.users (id, email) values (gen_random_uuid(), 'eve@example.test')")
    data, before = rows(empty), schema(empty)
    assert empty.cli("--plan").returncode == 4
    assert empty.cli().returncode == 0
    after = schema(empty)
    changed = {line for line in before - after if not line.startswith(_SHARED)}
    # We add who may enter three schemas; who might before still may.
    assert {line.split(" | ")[0] for line in changed} == {
        "schema: private", "schema: analytics", "schema: queue"
    }  # fmt: skip
    for line in changed:
        _, owner, grants, comment = line.split(" | ")
        (now,) = [new for new in after if new.startswith(line.split(" | ")[0] + " | ")]
        assert now.split(" | ")[1::2] == [owner, comment]
        for grant in grants.split():
            who, _, rights = grant.partition("=")
            assert any(
                new.startswith(f"{who}=") and rights.split("/")[0] in new
                for new in now.split(" | ")[2].split()
            )
    assert rows(empty) == data
    assert len([line for line in after if "public.listings" in line]) > 10
    # Again, and with everything applied again.
    assert empty.cli("--force").returncode == 0
    assert schema(empty) == after
    assert rows(empty) == data


TAKEN = """
create table public.listings (id int);
create view public.gallery as select 1 as one;
create table public.things (id int);
create index listing_images_listing_id_idx on public.things (id);
create type public.profiles as enum ('a');
create function public.media_rules() returns jsonb language sql as $$ select '{}'::jsonb $$;
create domain public."text/csv" as bytea;
create policy imageledger_insert_owner on storage.objects for insert with check (false);
create function public.f() returns trigger language plpgsql as 'begin return new; end';
create trigger tg_users__create_profile after insert on auth.users for each row execute function public.f();
insert into storage.buckets (id, name) values ('media', 'media'), ('pictures', 'public');
create schema private;
create sequence public.image_events_id_seq;
create table private.schema_files (name text);
create schema queue;
"""


def test_names_that_clash_are_found_first_and_all_at_once(empty: EmptyDatabase) -> None:
    run(empty, TAKEN)
    with psycopg.connect(empty.admin_url, autocommit=True) as admin:
        admin.execute("alter schema queue owner to supabase_admin; revoke all on schema queue from postgres")
        admin.execute("grant select on public.things to analyst")
    before = schema(empty)
    found = clashes(empty)
    assert found == sorted(found)
    names = set(found)
    assert {
        ("relation", "public.listings"),
        ("relation", "public.gallery"),
        ("relation", "private.schema_files"),
        ("type", "public.profiles"),
        ("type", 'public."text/csv"'),
        ("function", "public.media_rules()"),
        ("policy", "storage.objects.imageledger_insert_owner"),
        ("trigger", "auth.users.tg_users__create_profile"),
        ("bucket", "media"),
        ("bucket", "pictures"),
        ("sequence", "public.image_events_id_seq"),
        ("schema", "queue"),
        ("role", "analyst"),
    } <= names
    assert len(names) <= 15
    assert clashes(empty, "--dry-run") == found
    assert clashes(empty, "--plan") == found
    assert clashes(empty, "--force") == found
    assert schema(empty) == before


def test_what_we_applied_ourselves_is_no_clash(empty: EmptyDatabase) -> None:
    assert empty.cli().returncode == 0
    run(empty, "truncate private.schema_files; drop table private.schema_files")
    # By hand, without a record: told, and taken over when that is said.
    assert ("relation", "public.listings") in clashes(empty)
    assert empty.cli("--adopt").returncode == 0
    # A later version brings a table whose name the project has given away since.
    run(
        empty,
        "delete from private.schema_files where path in ('sql/74_saved_lists.sql', 'functions/api/list_cover.sql');"
        "drop table public.saved_list_items, public.saved_lists cascade; create table public.saved_lists (id int)",
    )
    assert clashes(empty) == [("relation", "public.saved_lists")]
    assert list(_only(empty, "select count(*) from public.saved_lists")) == [0]


def _only(database: EmptyDatabase, query: str) -> tuple[Any, ...]:
    with psycopg.connect(database.url) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row
    return tuple(row)
