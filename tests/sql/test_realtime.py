"""What streams to clients, what a DELETE tells those whom it does not concern."""

from __future__ import annotations

import psycopg

from tests.conftest import FreshDatabase
from tests.sql.generations import made
from tests.sql.scene import Conn, Scene, one, rows
from tests.support.roles import as_user
from tests.support.stack import ROOT

PUBLISHED = {"generation_jobs", "image_sessions"}
#: Published by the file of their own topic.
ELSEWHERE = {"listing_fills"}


def published(conn: Conn) -> set[str]:
    return set(
        rows(
            conn,
            "select tablename::text from pg_publication_tables"
            " where pubname = 'supabase_realtime' and schemaname = 'public'",
        )
    )


def apply(conn: Conn) -> None:
    conn.execute((ROOT / "sql/99_realtime.sql").read_text())  # type: ignore[arg-type]


def test_progress_joins_the_publication_where_there_is_one(scene: Scene) -> None:
    conn = scene.conn
    assert published(conn) == PUBLISHED | ELSEWHERE
    conn.execute("drop publication supabase_realtime")
    apply(conn)
    assert published(conn) == set()
    # Empty, as a Supabase project has it; again: no change.
    conn.execute("create publication supabase_realtime")
    for _ in range(2):
        apply(conn)
        assert published(conn) == PUBLISHED
    # What an operator published besides stays, and what was taken out comes back.
    conn.execute("alter publication supabase_realtime drop table public.image_sessions")
    conn.execute("alter publication supabase_realtime add table public.plans")
    assert one(conn, "select private.publish_progress()") == 1
    assert published(conn) == PUBLISHED | {"plans"}


def test_a_publication_of_all_tables_or_of_somebody_else_stops_no_migration(fresh_db: FreshDatabase) -> None:
    with psycopg.connect(fresh_db.admin_url) as admin:
        admin.execute("drop publication supabase_realtime")
        admin.execute("create publication supabase_realtime for all tables")
        admin.execute("set local role postgres")
        apply(admin)
        admin.execute("reset role")
        admin.execute("drop publication supabase_realtime")
        admin.execute("create publication supabase_realtime")
        notices: list[str] = []
        admin.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        admin.execute("set local role postgres")
        apply(admin)
        assert published(admin) == set()
        assert any("not ours to change" in notice for notice in notices)


def test_a_delete_tells_a_random_id_and_nothing_else(scene: Scene) -> None:
    """Of everything that is published: the replica identity is the primary key, and that is one random uuid."""
    conn = scene.conn
    conn.execute("alter table public.generation_jobs replica identity full")
    apply(conn)
    found = conn.execute(
        "select c.relname::text, c.relreplident::text, array_agg(a.attname::text),"
        " bool_and(a.atttypid = 'uuid'::regtype),"
        " bool_and(pg_get_expr(d.adbin, d.adrelid) = 'gen_random_uuid()')"
        " from pg_publication_tables as p"
        " join pg_class as c on c.oid = format('%I.%I', p.schemaname, p.tablename)::regclass"
        " join pg_constraint as k on k.conrelid = c.oid and k.contype = 'p'"
        " join pg_attribute as a on a.attrelid = c.oid and a.attnum = any(k.conkey)"
        " join pg_attrdef as d on d.adrelid = c.oid and d.adnum = a.attnum"
        " where p.pubname = 'supabase_realtime' group by 1, 2 order by 1"
    ).fetchall()
    assert found == [(table, "d", ["id"], True, True) for table in sorted(PUBLISHED | ELSEWHERE)]
    # The id is no part of the name of an object that everybody may read.
    job = made(conn, scene.owner)
    names = rows(conn, "select name from storage.objects where bucket_id = 'public'")
    assert names
    assert not any(str(job[key]) in name for key in ("id", "session_id") for name in names)


def test_what_streams_is_its_owners_and_nothing_is_broadcast(scene: Scene) -> None:
    """Realtime asks the table's own row security, as the subscriber. There is no channel of ours to join."""
    conn = scene.conn
    made(conn, scene.owner)
    for table in PUBLISHED | ELSEWHERE:
        relation = f"public.{table}"
        assert one(conn, "select relrowsecurity from pg_class where oid = %s::regclass", relation)
        assert not one(conn, "select has_any_column_privilege('anon', %s, 'select')", relation)
        with as_user(conn, scene.other):
            assert rows(conn, f"select 1 from {relation}") == []
    with as_user(conn, scene.owner):
        assert rows(conn, "select 1 from public.generation_jobs")
    senders = rows(
        conn,
        "select oid::regprocedure::text from pg_proc"
        " where pronamespace::regnamespace::text in ('public', 'private', 'queue', 'legacy', 'analytics')"
        " and prosrc ~* 'realtime\\.(send|broadcast)|pg_notify'",
    )
    # The one payload that every login can hear: the name of a queue.
    assert senders == ["queue.notify(text)"]
    assert rows(conn, "select policyname from pg_policies where schemaname = 'realtime'") == []
