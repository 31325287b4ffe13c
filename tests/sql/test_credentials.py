"""Credentials: written by clients, read by the worker for its job, by nobody else; with pgcrypto and with Vault."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.conftest import FreshDatabase
from tests.sql.scene import Conn, Scene, denied, one, refused, rows
from tests.support.roles import as_anon, as_role, as_service, as_user, new_user
from tests.support.stack import ROOT, Stack

SECRET = "s3cr3t-Schlüssel-🔑"


def add_site(conn: Conn, site: str) -> None:
    """As an operator would."""
    conn.execute("insert into public.sites (id, name) values (%s, %s) on conflict do nothing", [site, site])


def put(conn: Conn, owner: UUID, site: str = "etsy", secret: str | None = SECRET) -> dict[str, Any]:
    if site and site.startswith("site"):
        add_site(conn, site)
    with as_user(conn, owner):
        answer: dict[str, Any] = one(conn, "select public.set_credential(%s, %s)", site, secret)
    return answer


def held_job(conn: Conn, owner: UUID) -> tuple[int, UUID]:
    """A running job of this owner's, as a worker holds it."""
    row = conn.execute(
        "insert into queue.jobs"
        " (priority, queue, actor, args, owner_id, run_at, state, max_attempts, leased_until, lease_token)"
        " values (0, 'default', 'publish', '{}', %s, now(), 'running', 3, now() + interval '1 minute',"
        " gen_random_uuid())"
        " returning id, lease_token",
        [owner],
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def read(conn: Conn, owner: UUID, site: str = "etsy", job: tuple[int, UUID] | None = None) -> str | None:
    """What the worker gets, for a job of the owner's unless another is given."""
    conn.execute("grant media_worker to postgres")
    held = job or held_job(conn, owner)
    with as_role(conn, "media_worker"):
        secret: str | None = one(conn, "select private.read_credential(%s, %s, %s, %s)", owner, site, *held)
    return secret


def page(conn: Conn, owner: UUID) -> dict[str, Any]:
    """The page's rows of one's own entries, by site."""
    with as_user(conn, owner), conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        found = cursor.execute("select * from public.credentials order by site").fetchall()
    return {row["site"]: row for row in found}


class TestLife:
    def test_written_read_replaced_deleted(self, scene: Scene) -> None:
        conn, owner = scene.conn, scene.owner
        answer = put(conn, owner)
        assert (answer["site"], answer["is_set"], answer["last_used_at"]) == ("etsy", True, None)
        assert read(conn, owner) == SECRET
        assert read(conn, owner) == SECRET
        assert rows(conn, "select use_count, last_used_at is not null from public.site_credentials") == [
            (2, True)
        ]
        assert page(conn, owner)["etsy"]["last_used_at"] is not None
        put(conn, owner, secret="another")
        assert read(conn, owner) == "another"
        assert one(conn, "select use_count from public.site_credentials") == 1
        with as_user(conn, owner):
            assert one(conn, "select public.delete_credential('etsy')")["is_set"] is False
            assert one(conn, "select public.delete_credential('etsy')")["is_set"] is False
            assert one(conn, "select public.delete_credential('never')")["is_set"] is False
        assert read(conn, owner) is None
        assert rows(conn, "select site from private.credential_secrets") == []

    @pytest.mark.parametrize(
        ("site", "secret", "code"),
        [
            ("etsy", "", "secret_empty"),
            ("etsy", " \n", "secret_empty"),
            ("etsy", None, "secret_empty"),
            ("etsy", "x" * 16385, "secret_too_long"),
            ("Etsy", SECRET, "site_malformed"),
            ("../etsy", SECRET, "site_malformed"),
            ("", SECRET, "site_malformed"),
            (None, SECRET, "site_malformed"),
            ("e" * 51, SECRET, "site_malformed"),
        ],
    )
    def test_refused_without_a_word_of_it(self, scene: Scene, site: Any, secret: Any, code: str) -> None:
        with refused(code, 422) as info:
            put(scene.conn, scene.owner, site, secret)
        told = "".join(
            str(getattr(info.value.diag, n))
            for n in dir(info.value.diag)
            if n.startswith(("message", "context"))
        )
        assert SECRET not in told
        assert "xxxx" not in told

    def test_the_page_with_nothing(self, scene: Scene) -> None:
        assert not any(row["is_set"] for row in page(scene.conn, scene.owner).values())

    def test_users_do_not_see_each_other(self, scene: Scene) -> None:
        put(scene.conn, scene.owner)
        put(scene.conn, scene.other, secret="theirs")
        assert (read(scene.conn, scene.owner), read(scene.conn, scene.other)) == (SECRET, "theirs")
        with as_user(scene.conn, scene.other):
            scene.conn.execute("select public.delete_credential('etsy')")
        assert read(scene.conn, scene.owner) == SECRET
        assert [row["is_set"] for site, row in page(scene.conn, scene.other).items() if site == "etsy"] in (
            [],
            [False],
        )

    def test_with_the_user_goes_everything(self, scene: Scene) -> None:
        put(scene.conn, scene.owner)
        scene.conn.execute("delete from auth.users where id = %s", [scene.owner])
        assert rows(scene.conn, "select site from public.site_credentials") == []
        assert rows(scene.conn, "select site from private.credential_secrets") == []


class TestPage:
    """Every site, with or without an entry; whatever becomes of the sites, the page stands."""

    def test_every_site(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect(autocommit=True) as conn:
            owner, other = new_user(conn), new_user(conn)
            conn.execute(
                "insert into public.sites (id, name, is_enabled) values ('one', 'One', true), ('two', 'Two', true)"
            )
            put(conn, owner, "one")
            put(conn, owner, "two")
            with refused("site_unknown", 422):
                put(conn, owner, "three")
            conn.execute("update public.sites set is_enabled = false where id = 'one'")
            conn.execute("delete from public.sites where id = 'two'")
            found = page(conn, owner)
            assert (found["one"]["name"], found["one"]["is_enabled"], found["one"]["is_set"]) == (
                "One",
                False,
                True,
            )
            assert (found["two"]["name"], found["two"]["is_enabled"], found["two"]["is_set"]) == (
                None,
                None,
                True,
            )
            theirs = page(conn, other)
            assert theirs["one"]["is_set"] is False
            assert "two" not in theirs
            assert put(conn, owner, "one")["is_set"] is True
            with as_user(conn, owner):
                assert one(conn, "select public.delete_credential('two')")["is_set"] is False
            conn.execute("delete from public.sites where id = 'one'")
            assert [row["is_set"] for row in page(conn, other).values()].count(True) == 0

    def test_no_more_than_a_hundred(self, scene: Scene) -> None:
        scene.conn.execute(
            "insert into public.site_credentials (owner_id, site) select %s, 'site' || n"
            " from generate_series(1, 100) as n",
            [scene.owner],
        )
        with refused("too_many_credentials", 409):
            put(scene.conn, scene.owner)
        assert len([row for row in page(scene.conn, scene.owner).values() if row["is_set"]]) == 100


class TestNobodyElse:
    def test_no_role_of_the_api_reaches_it(self, scene: Scene) -> None:
        put(scene.conn, scene.owner)
        held = held_job(scene.conn, scene.owner)
        scene.conn.execute("grant media_worker, analyst to postgres")
        ways = (
            "select ciphertext from private.credential_secrets",
            "select key from private.credential_keys",
            f"select private.read_credential('{scene.owner}', 'etsy', {held[0]}, '{held[1]}')",
            "select private.unseal_credential(s) from private.credential_secrets as s",
            "select private.rotate_credentials()",
            "select private.credential_phrase(gen_random_uuid(), 'x', 'y')",
            "select private.credential_status()",
        )
        for role in (as_user(scene.conn, scene.owner), as_anon(scene.conn), as_service(scene.conn)):
            with role:
                for way in ways:
                    denied(scene.conn, way)
        with as_role(scene.conn, "media_worker"):
            for way in (*ways[:2], *ways[3:]):
                denied(scene.conn, way)
        with as_role(scene.conn, "analyst"):
            for way in ways:
                denied(scene.conn, way)

    def test_the_worker_reads_for_the_job_it_holds(self, scene: Scene) -> None:
        conn = scene.conn
        put(conn, scene.owner)
        theirs = held_job(conn, scene.other)
        assert read(conn, scene.owner, job=theirs) is None
        job, token = held_job(conn, scene.owner)
        for stale in ((job, uuid4()), (job + 1000, token)):
            with pytest.raises(psycopg.Error) as info, conn.transaction():
                read(conn, scene.owner, job=stale)
            assert info.value.sqlstate == "IL001"
        conn.execute("update queue.jobs set state = 'succeeded', leased_until = null, finished_at = now()")
        with pytest.raises(psycopg.Error), conn.transaction():
            read(conn, scene.owner, job=(job, token))
        assert one(conn, "select use_count from public.site_credentials") == 0

    def test_nothing_holds_it_in_the_clear(self, scene: Scene) -> None:
        """Every text, JSON and byte column of the database."""
        put(scene.conn, scene.owner)
        columns = rows(
            scene.conn,
            "select format('%%I.%%I', c.table_schema, c.table_name), c.column_name, c.data_type"
            " from information_schema.columns as c join information_schema.tables as t using (table_schema, table_name)"
            " where t.table_type = 'BASE TABLE'"
            " and c.table_schema in ('public', 'private', 'queue', 'auth', 'storage')"
            " and c.data_type in ('text', 'jsonb', 'bytea', 'ARRAY', 'character varying')",
        )
        assert ("private.credential_secrets", "ciphertext", "bytea") in columns
        for table, column, kind in columns:
            where = (
                f"position(convert_to(%s, 'UTF8') in {column}) > 0"
                if kind == "bytea"
                else f"position(%s in {column}::text) > 0"
            )
            assert rows(scene.conn, f"select 1 from {table} where {where}", SECRET) == [], f"{table}.{column}"

    def test_moved_or_changed_it_cannot_be_read(self, scene: Scene) -> None:
        conn = scene.conn
        put(conn, scene.owner)
        put(conn, scene.other, secret="theirs")
        put(conn, scene.owner, "ebay", "for ebay")
        conn.execute(
            "update private.credential_secrets as s set ciphertext = o.ciphertext from private.credential_secrets as o"
            " where s.owner_id = %s and o.owner_id = %s and s.site = 'etsy' and o.site = 'etsy'",
            [scene.other, scene.owner],
        )
        assert read(conn, scene.other) is None
        conn.execute(
            "update private.credential_secrets set ciphertext = set_byte(ciphertext, length(ciphertext) - 3, 7)"
            " where owner_id = %s",
            [scene.owner],
        )
        assert read(conn, scene.owner) is None
        assert read(conn, scene.owner, "ebay") is None
        # The page and a new secret do not mind.
        assert page(conn, scene.owner)["etsy"]["is_set"] is True
        put(conn, scene.owner)
        assert read(conn, scene.owner) == SECRET

    def test_the_same_secret_twice_looks_different(self, scene: Scene) -> None:
        put(scene.conn, scene.owner)
        before = one(scene.conn, "select ciphertext from private.credential_secrets")
        put(scene.conn, scene.owner)
        assert one(scene.conn, "select ciphertext from private.credential_secrets") != before


def install_vault(database: FreshDatabase) -> None:
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute((ROOT / "tests/support/vault.sql").read_text())  # type: ignore[arg-type]


def in_vault(database: FreshDatabase) -> list[Any]:
    with psycopg.connect(database.admin_url) as admin:
        return rows(admin, "select decrypted_secret from vault.decrypted_secrets order by 1")


class TestVault:
    def test_kept_by_vault(self, fresh_db: FreshDatabase) -> None:
        install_vault(fresh_db)
        with fresh_db.connect(autocommit=True) as conn:
            owner, other = new_user(conn), new_user(conn)
            put(conn, owner)
            put(conn, other, secret="theirs")
            assert in_vault(fresh_db) == [SECRET, "theirs"]
            assert (
                rows(conn, "select ciphertext, key_id from private.credential_secrets") == [(None, None)] * 2
            )
            assert (read(conn, owner), read(conn, other)) == (SECRET, "theirs")
            put(conn, owner, secret="another")
            assert (read(conn, owner), in_vault(fresh_db)) == ("another", ["another", "theirs"])
            for who in (as_user(conn, owner), as_service(conn), as_role(conn, "media_worker")):
                with who:
                    denied(conn, "select decrypted_secret from vault.decrypted_secrets")
            # Somebody deleted it in Vault itself: the page stands, and it can be written again.
            conn.execute("delete from vault.secrets where name like %s", [f"%{owner}%"])
            assert read(conn, owner) is None
            assert page(conn, owner)["etsy"]["is_set"] is True
            put(conn, owner)
            assert read(conn, owner) == SECRET
            # A row that points at another user's secret reads nothing.
            theirs = one(conn, "select vault_id from private.credential_secrets where owner_id = %s", other)
            conn.execute(
                "alter table private.credential_secrets drop constraint vault_secret_is_of_one_credential"
            )
            mine = one(conn, "select vault_id from private.credential_secrets where owner_id = %s", owner)
            conn.execute("alter table private.credential_secrets disable trigger user")
            point = "update private.credential_secrets set vault_id = %s where owner_id = %s"
            conn.execute(point, [theirs, owner])
            assert read(conn, owner) is None
            conn.execute(point, [mine, owner])
            conn.execute("alter table private.credential_secrets enable trigger user")
            with as_user(conn, owner):
                conn.execute("select public.delete_credential('etsy')")
            assert in_vault(fresh_db) == ["theirs"]
            conn.execute("delete from auth.users where id = %s", [other])
            assert in_vault(fresh_db) == []

    def test_it_comes_and_goes(self, fresh_db: FreshDatabase, stack: Stack) -> None:
        with fresh_db.connect(autocommit=True) as conn:
            owner = new_user(conn)
            put(conn, owner, "etsy", "first")
            put(conn, owner, "ebay", "second")
            install_vault(fresh_db)
            assert (read(conn, owner, "etsy"), in_vault(fresh_db)) == ("first", [])
            put(conn, owner, "ebay", "third")
            assert in_vault(fresh_db) == ["third"]
            done = json.loads(
                stack.cli("keys", "rotate-credentials", "--json", SUPABASE_DB_URL=fresh_db.url).stdout
            )
            assert (done["rotated"], done["resumed"], done["in_vault"], done["pending"]) == (1, True, 2, 0)
            assert in_vault(fresh_db) == ["first", "third"]
            assert read(conn, owner, "etsy") == "first"
            with psycopg.connect(fresh_db.admin_url, autocommit=True) as admin:
                admin.execute("drop schema vault cascade")
            assert read(conn, owner, "etsy") is None
            assert page(conn, owner)["etsy"]["is_set"] is True
            put(conn, owner, "etsy", "fourth")
            assert read(conn, owner, "etsy") == "fourth"
            with as_user(conn, owner):
                conn.execute("select public.delete_credential('ebay')")
            conn.execute("delete from auth.users where id = %s", [owner])
            assert rows(conn, "select site from private.credential_secrets") == []


class TestRotation:
    def test_every_credential_gets_the_new_key(self, fresh_db: FreshDatabase, stack: Stack) -> None:
        def keys(*args: str) -> dict[str, Any]:
            done: dict[str, Any] = json.loads(
                stack.cli("keys", *args, "--json", SUPABASE_DB_URL=fresh_db.url).stdout
            )
            return done

        with fresh_db.connect(autocommit=True) as conn:
            owner, other = new_user(conn), new_user(conn)
            sites = [f"site{n}" for n in range(7)]
            for site in sites:
                put(conn, owner, site, f"secret of {site}")
            old = one(conn, "select key from private.credential_keys")
            dry = keys("rotate-credentials", "--dry-run")
            assert (dry["dry_run"], dry["to_rotate"], dry["newest_key"]) == (True, 7, 1)
            assert keys("credentials")["by_key"] == {"1": 7}

            told = "select site, updated_at from public.site_credentials where owner_id = %s order by site"
            written = rows(conn, told, owner)

            # One that was stopped after its first batch.
            conn.execute("select private.begin_rotation()")
            assert one(conn, "select private.rotate_credentials(batch => 3)")["rotated"] == 3
            assert [read(conn, owner, site) for site in sites] == [f"secret of {site}" for site in sites]
            put(conn, other, "etsy", "new")
            done = keys("rotate-credentials", "--batch", "2")
            assert (done["resumed"], done["rotated"], done["unreadable"], done["keys_dropped"]) == (
                True,
                4,
                0,
                1,
            )
            assert (done["by_key"], done["pending"]) == ({"2": 8}, 0)
            assert rows(conn, "select 1 from private.credential_keys where key = %s", old) == []
            assert [read(conn, owner, site) for site in sites] == [f"secret of {site}" for site in sites]
            assert read(conn, other) == "new"
            # A rotation is no use, and no change of its owner's.
            assert written == rows(conn, told, owner)

            # One that cannot be read keeps its key, and is told of.
            conn.execute("update private.credential_secrets set ciphertext = '\\x00' where site = 'site0'")
            failed = stack.cli(
                "keys",
                "rotate-credentials",
                "--json",
                "--batch",
                "1",
                check=False,
                SUPABASE_DB_URL=fresh_db.url,
            )
            assert failed.returncode == 7
            assert json.loads(failed.stderr.splitlines()[-1])["error"]["code"] == "credentials_unreadable"
            assert json.loads(failed.stdout)["by_key"] == {"2": 1, "3": 7}
            for text in (failed.stdout, failed.stderr):
                assert "secret of" not in text
                assert old.hex() not in text

    def test_while_its_owner_writes(self, fresh_db: FreshDatabase) -> None:
        with fresh_db.connect(autocommit=True) as conn:
            owner = new_user(conn)
            for n in range(10):
                put(conn, owner, f"site{n}", "old")

        def act(n: int) -> None:
            with fresh_db.connect(autocommit=True) as conn:
                if n == 0:
                    for _ in range(5):
                        conn.execute("select private.begin_rotation()")
                        conn.execute("select private.rotate_credentials()")
                        conn.execute("select private.drop_credential_keys()")
                else:
                    for _ in range(5):
                        put(conn, owner, f"site{n}", f"new {n}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(act, range(4)))
        with fresh_db.connect(autocommit=True) as conn:
            assert [read(conn, owner, f"site{n}") for n in range(1, 5)] == ["new 1", "new 2", "new 3", "old"]

    def test_not_migrated(self, stack: Stack) -> None:
        name = f"t_{uuid4().hex[:12]}"
        with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
            admin.execute(f"create database {name} owner postgres")  # type: ignore[arg-type]
            try:
                url = stack.db_url.rsplit("/", 1)[0] + f"/{name}"
                done = stack.cli("keys", "credentials", "--json", check=False, SUPABASE_DB_URL=url)
                assert done.returncode == 4
                assert json.loads(done.stderr)["error"]["code"] == "not_migrated"
            finally:
                admin.execute(f"drop database {name} with (force)")  # type: ignore[arg-type]


def test_a_worker_orders_no_job_to_read_somebodys_credential(scene: Scene) -> None:
    """owner_id of what queue.send takes is a worker's word: enough for fairness, not for a secret."""
    with as_user(scene.conn, scene.owner):
        scene.conn.execute("select public.set_credential('etsy', 'a secret')")
    scene.conn.execute("grant media_worker to postgres")
    with as_role(scene.conn, "media_worker"):
        scene.conn.execute("set local imageledger.sending = 'off'")
        scene.conn.execute("select queue.send('publish', '{}', %s, 'forged')", [scene.owner])
        forged = scene.conn.execute("select id, lease_token from queue.take('forged', 'w', 1)").fetchone()
    assert forged is not None
    assert read(scene.conn, scene.owner, "etsy", forged) is None
    # What comes afterwards in the same transaction is the ledger's own again.
    job = one(scene.conn, "select queue.enqueue('publish', '{}', %s, 'ordered')", scene.owner)
    with as_role(scene.conn, "media_worker"):
        (held,) = scene.conn.execute("select id, lease_token from queue.take('ordered', 'w', 1)").fetchall()
    assert held[0] == job
    assert read(scene.conn, scene.owner, "etsy", held) == "a secret"
