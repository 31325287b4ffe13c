"""The matrix, cell by cell, as each role; and that it has a row for everything there is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.rls.matrix import ACTORS, BUCKETS, COMMANDS, FUNCTIONS, RELATIONS, SCHEMA_USAGE
from tests.sql import generations
from tests.sql.scene import Conn, Scene, call, one, ready, rows, store
from tests.support.roles import as_anon, as_role, as_service, as_user

OUR_SCHEMAS = ["public", "private", "queue", "analytics", "legacy"]
ROLES = ["anon", "authenticated", "service_role", "media_worker", "analyst"]

# Which row of a relation is the owner's, and a change that its owner may make (or a harmless one).
KEYS = {
    "public.plans": ("price_id = 'spare'", "name = name"),
    "public.site_policies": ("true", "tags_max = tags_max"),
    "public.variant_specs": ("role = 'thumb'", "quality = quality"),
    "public.site_policy_events": ("true", "data = data"),
    "public.profiles": ("id = '{owner}'", "display_name = 'x'"),
    "public.listings": ("id = '{listing}'", "title = 'x'"),
    "public.listing_images": ("id = '{image}'", "alt_text = 'x'"),
    "public.image_variants": ("image_id = '{image}'", "width = width"),
    "public.image_events": ("image_id = '{image}'", "event = event"),
    "public.gallery": ("id = '{image}'", "alt_text = 'x'"),
    "public.listing_covers": ("image_id = '{image}'", "alt_text = 'x'"),
    "public.label_images": ("id = '{label}'", "alt_text = 'x'"),
    "public.media_tray": ("id = '{removed}'", "reason = 'x'"),
    "public.saved_lists": ("id = '{saved}'", "name = 'x'"),
    "public.saved_list_items": ("list_id = '{saved}'", "created_at = created_at"),
    "public.saved_list_covers": ("list_id = '{saved}'", "alt_text = 'x'"),
    "public.image_sessions": ("id = '{session}'", "title = 'x'"),
    "public.image_assets": ("job_id = '{job}'", "role = role"),
    "public.generation_jobs": ("id = '{job}'", "progress = progress"),
    "public.image_generation_events": ("job_id = '{job}'", "event = event"),
    "public.renders": ("id = '{render}'", "tags = tags"),
    "public.render_variants": ("render_id = '{render}'", "idx = idx"),
    "public.usage_ledger": ("job_id = '{job}'", "units = units"),
    "public.collections": ("id = '{collection}'", "name = 'x'"),
    "public.collection_items": ("render_id = '{render}'", "created_at = created_at"),
    "public.community_collections": ("id = '{community}'", "name = 'x'"),
    "public.community_items": ("collection_id = '{community}'", "title = 'x'"),
    "public.smart_collection_renders": ("collection_id = '{smart}'", "tags = tags"),
    "public.presets": ("name = 'rustic'", "title = 'x'"),
    "public.prompt_rules": ("name = 'spare'", "reason = 'x'"),
    "public.active_sessions": ("id = '{session}'", "title = 'x'"),
    "public.listing_csv": ("sku = 'OWNED'", "status = 'archived'"),
    "public.sites": ("id = 'ebay'", "name = name"),
    "public.site_rules": ("site_id = 'ebay'", "source = source"),
    "private.listing_csv_rows": ("true", "sku = sku"),
    "public.site_credentials": ("owner_id = '{owner}'", "use_count = use_count"),
    "public.credentials": ("is_set", "site = site"),
    "private.credential_secrets": ("owner_id = '{owner}'", "site = site"),
    "private.credential_keys": ("true", "key = key"),
    "public.fill_fields": ("true", "length_max = length_max"),
    "public.listing_fills": ("owner_id = '{owner}'", "fields = fields"),
    "private.passing_images": ("id = '{image}'", "alt_text = 'x'"),
    "private.visible_covers": ("image_id = '{image}'", "alt_text = 'x'"),
    "private.visible_images": ("id = '{image}'", "alt_text = 'x'"),
    "public.generation_providers": ("name = 'local'", "concurrency_max = 5"),
    "private.provider_calls": ("true", "provider = provider"),
    "private.webhook_events": ("true", "status = status"),
    "private.webhook_secrets": ("true", "source = source"),
    "private.restored_objects": ("true", "name = name"),
    "private.erasures": ("true", "user_id = user_id"),
    "private.schema_files": ("true", "path = path"),
    "legacy.sources": ("true", "url_key = url_key"),
    "legacy.products": ("true", "product_key = product_key"),
    "legacy.images": ("true", "ordinal = ordinal"),
    "legacy.label_decisions": ("true", "verdict = verdict"),
    "legacy.import_runs": ("true", "report = report"),
    "legacy.fetch_hosts": ("true", "host = host"),
    "legacy.report": ("true", "products = products"),
    "legacy.label_review": ("true", "product_key = product_key"),
    "queue.jobs": ("true", "args = args"),
    "private.analytics_snapshots": ("true", "name = name"),
    "private.storage_facts": ("owner_id = '{owner}'", "kind = kind"),
    "analytics.backlog": ("true", "job_count = 1"),
    "analytics.duplicates": ("true", "image_count = 1"),
    "analytics.failures_daily": ("true", "failure_count = 1"),
    "analytics.freshness": ("true", "took_ms = 1"),
    "analytics.generation_failures_daily": ("true", "failure_count = 1"),
    "analytics.generations_daily": ("true", "cost_usd = 1"),
    "analytics.image_activity_hourly": ("true", "event_count = 1"),
    "analytics.image_latency_hourly": ("true", "image_count = 1"),
    "analytics.job_latency_hourly": ("true", "dead_count = 1"),
    "analytics.label_coverage": ("true", "listing_count = 1"),
    "analytics.listing_cohorts": ("true", "listing_count = 1"),
    "analytics.reviews_daily": ("true", "error_count = 1"),
    "analytics.storage_by_format": ("true", "byte_count = 1"),
    "analytics.storage_by_owner": ("owner_id = '{owner}'", "byte_count = 1"),
    "analytics.storage_by_plan": ("true", "byte_count = 1"),
    "analytics.throughput_daily": ("true", "ready_count = 1"),
    "analytics.throughput_hourly": ("true", "ready_count = 1"),
    "analytics.usage_by_plan": ("true", "owner_count = 1"),
    "queue.pauses": ("true", "reason = reason"),
    "queue.interventions": ("true", "reason = reason"),
    "queue.heartbeats": ("true", "held_count = held_count"),
    "queue.publications": ("true", "queue = queue"),
    "queue.relays": ("true", "worker = worker"),
}
INSERTS = {
    "public.listing_csv": "(sku) values ('NEW')",
    "public.sites": "(id, name) values ('fleamarket', 'Flea market')",
    "public.site_rules": "(site_id, rule, value, source, read_on)"
    " values ('generic', 'photos_max', '3', 'Own', '2026-01-01')",
    "public.plans": "(price_id, name, monthly_generations, storage_bytes_max) values ('new', 'New', 1, 1)",
    "public.generation_providers": "(name) values ('other')",
    "public.listings": "default values",
    "public.fill_fields": "(field, length_max, instruction) values ('material', 200, 'What it is made of.')",
    "public.saved_lists": "(name) values ('Sofas')",
    "public.saved_list_items": "(listing_id) values ('{published}')",
    "public.collections": "(name) values ('Kitchens')",
    "public.collection_items": "(collection_id) values (gen_random_uuid())",
    "public.community_collections": "(name) values ('New')",
    "public.community_items": "(collection_id, image_url) values ('{community}', 'https://example.test/a.jpg')",
    "public.presets": "(kind, name, title) values ('style', 'gothic', 'Gothic')",
    "public.prompt_rules": "(name, pattern, reason) values ('new', 'dragons', 'None here.')",
}


class Owned(Scene):
    """The owner has a draft with a ready photo, a label and a removed image."""

    def __init__(self, conn: Conn) -> None:
        super().__init__(conn)
        # Logins of their own, which postgres made and may not act as without being told.
        conn.execute("grant media_worker, analyst to postgres")
        conn.execute("update public.listings set sku = 'OWNED' where id = %s", [self.listing])
        conn.execute("insert into public.plans values ('spare', 'Spare', 1, 1)")
        self.image, self.label, self.removed = ready(conn, self.owner, self.listing, 3)
        call(conn, self.owner, "set_label", self.label, True)
        call(conn, self.owner, "remove_image", self.removed)
        store(conn, f"{self.owner}/logo.png", self.owner, bucket="public")
        # As it is loaded by a server: published without a photo.
        self.published = one(
            conn,
            "insert into public.listings (owner_id, title, status) values (%s, 'Sofa', 'published') returning id",
            self.other,
        )
        with as_user(conn, self.owner):
            self.saved = one(conn, "insert into public.saved_lists (name) values ('Wishes') returning id")
            conn.execute(
                "insert into public.saved_list_items (list_id, listing_id) values (%s, %s)",
                [self.saved, self.published],
            )
        job = generations.made(conn, self.owner)
        self.job, self.session, self.render = job["id"], job["session_id"], job["render_id"]
        with as_user(conn, self.owner):
            self.collection = one(conn, "insert into public.collections (name) values ('Lamps') returning id")
            conn.execute(
                "insert into public.collection_items (collection_id, render_id) values (%s, %s)",
                [self.collection, self.render],
            )
            self.smart = one(
                conn, "insert into public.collections (name, rule) values ('All', '{}') returning id"
            )
        call(conn, self.owner, "set_credential", "etsy", "a-secret")
        call(conn, self.owner, "request_fill", self.listing, ["description"])
        with as_service(conn):
            conn.execute(
                "insert into public.prompt_rules (name, pattern, reason) values ('spare', 'xx', 'x')"
            )
            self.community = one(
                conn, "insert into public.community_collections (name) values ('Best') returning id"
            )
            conn.execute(
                "insert into public.community_items (collection_id, render_id) values (%s, %s)",
                [self.community, self.render],
            )

    def act(self, actor: str) -> AbstractContextManager[None]:
        who: AbstractContextManager[None]
        match actor:
            case "anon":
                who = as_anon(self.conn)
            case "owner" | "other":
                who = as_user(self.conn, getattr(self, actor))
            case "admin":
                who = as_user(self.conn, self.other, app_metadata={"role": "admin"})
            case "service_role":
                who = as_service(self.conn)
            case _:
                who = as_role(self.conn, actor)
        return who

    def fill(self, text: str) -> str:
        return text.format(**{k: str(v) for k, v in vars(self).items()})


@pytest.fixture
def owned(db: psycopg.Connection[Any]) -> Owned:
    return Owned(db)


def outcome(owned: Owned, actor: str, statement: str) -> str:
    """'rows', 'none' or '-' for what this actor gets from the statement, which is undone."""
    try:
        with owned.conn.transaction(force_rollback=True), owned.act(actor):
            return "rows" if owned.conn.execute(statement).rowcount else "none"  # type: ignore[arg-type]
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState):
        return "-"  # the latter: a view that cannot be written by anybody
    except psycopg.errors.NotNullViolation:
        return "rows"  # allowed; what is missing is an owner, which a server has to name


def statement(owned: Owned, relation: str, command: str) -> str:
    key, change = KEYS[relation]
    match command:
        case "select":
            text = f"select 1 from {relation} where {key}"
        case "insert":
            text = f"insert into {relation} {INSERTS.get(relation, 'default values')}"
        case "update":
            text = f"update {relation} set {change} where {key}"
        case _:
            text = f"delete from {relation} where {key}"
    return owned.fill(text)


def count(owned: Owned) -> None:
    """Something for every view of analytics: failures, verdicts, and a round of counting."""
    failed = generations.submit(owned.conn, owned.owner)
    held = generations.lease(owned.conn, failed["id"])
    generations.begin(owned.conn, failed["id"], held)
    generations.fail(owned.conn, failed["id"], held)
    owned.conn.execute(
        "update public.listing_images set review_state = 'allowed', review_provider = 'gemini', reviewed_at = now()"
        " where id = %s",
        [owned.image],
    )
    assert one(owned.conn, "select private.refresh_analytics(100, true)") >= 10


@pytest.mark.parametrize("relation", RELATIONS)
def test_relation(owned: Owned, relation: str) -> None:
    if relation.startswith("analytics.") or relation == "private.storage_facts":
        count(owned)
    # Views and tables of closed schemas: the privilege itself, not the closed door in front of it.
    for schema in ("private", "queue", "legacy"):
        owned.conn.execute(
            f"grant usage on schema {schema} to anon, authenticated, service_role, analyst, media_worker"
        )  # type: ignore[arg-type]
    found = {
        command: dict(
            zip(
                ACTORS,
                (outcome(owned, actor, statement(owned, relation, command)) for actor in ACTORS),
                strict=True,
            )
        )
        for command in COMMANDS
    }
    expected = {
        command: dict(zip(ACTORS, RELATIONS[relation][command].split(), strict=True)) for command in COMMANDS
    }
    assert found == expected


def test_every_relation_has_a_row(owned: Owned) -> None:
    found = rows(
        owned.conn,
        "select relnamespace::regnamespace || '.' || relname from pg_class"
        " where relkind in ('r', 'p', 'v', 'm', 'f') and relnamespace::regnamespace::text = any(%s)",
        OUR_SCHEMAS,
    )
    assert set(found) == set(RELATIONS)
    assert set(KEYS) == set(RELATIONS)


def test_every_function_has_a_row_and_just_its_roles(owned: Owned) -> None:
    found = rows(
        owned.conn,
        "select p.pronamespace::regnamespace || '.' || p.proname, array_remove(array_agg(r), null)"
        " from pg_proc as p"
        " left join unnest(%s::text[]) as r on has_function_privilege(r, p.oid, 'execute')"
        " where p.pronamespace::regnamespace::text in ('public', 'private', 'analytics', 'legacy')"
        " and p.prorettype <> 'trigger'::regtype"
        " and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')"
        " group by p.oid",
        ROLES,
    )
    names = [name for name, _ in found]
    assert len(names) == len(set(names)), "overloads: PostgREST calls by argument names"
    assert {name: set(roles) for name, roles in found} == FUNCTIONS


def test_trigger_functions_and_the_queue_are_nobodys_of_the_api(owned: Owned) -> None:
    found = rows(
        owned.conn,
        "select p.oid::regprocedure::text, r from pg_proc as p, unnest(%s::text[]) as r"
        " where has_function_privilege(r, p.oid, 'execute')"
        " and p.pronamespace::regnamespace::text = any(%s)"
        " and (p.prorettype = 'trigger'::regtype or p.pronamespace = 'queue'::regnamespace)"
        " and r <> 'media_worker'",
        ROLES,
        OUR_SCHEMAS,
    )
    assert found == []


def test_schemas(owned: Owned) -> None:
    found = {
        schema: {
            r
            for r in ROLES
            if owned.conn.execute("select has_schema_privilege(%s, %s, 'usage')", [r, schema]).fetchone()[0]
        }  # type: ignore[index]
        for schema in SCHEMA_USAGE
    }
    assert found == SCHEMA_USAGE
    assert (
        rows(
            owned.conn,
            "select r || ' ' || s from unnest(%s::text[]) as r, unnest(%s::text[]) as s"
            " where has_schema_privilege(r, s, 'create')",
            ROLES,
            OUR_SCHEMAS,
        )
        == []
    )


def test_a_logins_temporary_types_and_tables_stand_in_for_none_of_ours(owned: Owned) -> None:
    """The worker logs in by itself, and may make temporary objects, as everybody may. Were one found where a definer
    says uuid or text, its check would run as the definer."""
    conn = owned.conn
    with owned.act("media_worker"):
        conn.execute("create table pg_temp.seen (who pg_catalog.text)")
        conn.execute(
            "create function pg_temp.look() returns boolean language plpgsql as"
            " $$ begin insert into pg_temp.seen values (current_user); return true; end $$"
        )
        for name in ("uuid", "text", "jsonb", "timestamptz", "int8", "bytea"):
            conn.execute(
                f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.look() or value is null)"  # type: ignore[arg-type]
            )
        conn.execute("create table pg_temp.profiles (id pg_catalog.uuid)")
    with owned.act("media_worker"):
        for call_ in (
            "private.begin_review(gen_random_uuid(), 1, gen_random_uuid())",
            "private.expire_reservations()",
            "private.purge_removed()",
            "private.expire_generations()",
            "private.refresh_analytics(100, true)",
            "queue.send('noop', '{}'::pg_catalog.jsonb)",
            "queue.reap()",
        ):
            conn.execute(f"select {call_}")  # type: ignore[arg-type]
        # By its name, the attack's own value does what it should.
        conn.execute("select '{}'::jsonb")
        assert rows(conn, "select distinct who from pg_temp.seen") == ["media_worker"]


@pytest.mark.parametrize("bucket", BUCKETS)
def test_bucket(owned: Owned, bucket: str) -> None:
    image = f"name like '%{owned.image}%'" if bucket != "public" else "true"
    for command, text in (
        ("select", f"select 1 from storage.objects where bucket_id = '{bucket}' and {image}"),
        (
            "update",
            f"update storage.objects set last_accessed_at = now() where bucket_id = '{bucket}' and {image}",
        ),
    ):
        found = [outcome(owned, actor, text) for actor in ACTORS]
        assert found == BUCKETS[bucket][command].split(), command
    insert = (
        f"insert into storage.objects (bucket_id, name) values ('{bucket}', '{owned.owner}/{uuid4()}.jpg')"
    )
    if bucket != "public":
        assert [outcome(owned, actor, insert) for actor in ACTORS] == ["-"] * 6
    for actor in ACTORS:
        assert outcome(owned, actor, f"delete from storage.objects where bucket_id = '{bucket}'") == "-"


def test_published(owned: Owned) -> None:
    """What becomes everybody's with publishing, and only that."""
    call(owned.conn, owned.owner, "publish_listing", owned.listing)
    seen = {
        relation
        for relation in RELATIONS
        if relation.startswith("public.") and KEYS[relation][0] not in ("true",)
        for actor in ("anon", "other")
        if outcome(owned, actor, statement(owned, relation, "select")) == "rows"
    }
    assert seen == {
        "public.plans",
        "public.variant_specs",
        "public.listings",
        "public.gallery",
        "public.listing_covers",
        "public.community_collections",
        "public.community_items",
        "public.presets",
        "public.sites",
        "public.site_rules",
    }
    for actor in ("anon", "other"):
        for command in ("update", "delete"):
            assert outcome(owned, actor, statement(owned, "public.listings", command)) in {"-", "none"}
        with owned.act(actor):
            names = rows(owned.conn, "select name from storage.objects")
        assert len(names) == 5
        assert all(f"/{owned.image}/" in name for name in names)


class TestCatalog:
    """What holds for every object of ours, also for the next one."""

    def test_policies_name_their_roles_and_check_what_is_written(self, owned: Owned) -> None:
        found = rows(
            owned.conn,
            "select schemaname || '.' || tablename || ' ' || policyname from pg_policies"
            " where schemaname = any(%s) and (roles @> '{public}' or cmd = 'ALL'"
            " or (cmd in ('INSERT', 'UPDATE') and coalesce(with_check, 'true') = 'true'))",
            [*OUR_SCHEMAS, "storage"],
        )
        assert found == []

    def test_one_policy_a_command_and_role(self, owned: Owned) -> None:
        found = rows(
            owned.conn,
            "select tablename, cmd, r from pg_policies, unnest(roles) as r where schemaname = any(%s)"
            " group by schemaname, tablename, cmd, r having count(*) > 1",
            [*OUR_SCHEMAS, "storage"],
        )
        assert found == []

    def test_everything_exposed_is_described(self, owned: Owned) -> None:
        found = rows(
            owned.conn,
            "select c.oid::regclass || coalesce('.' || a.attname, '') from pg_class as c"
            " left join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
            " where c.relkind in ('r', 'v') and c.relnamespace = 'public'::regnamespace"
            " and (obj_description(c.oid) is null or col_description(c.oid, a.attnum) is null)"
            " union all"
            " select p.oid::regprocedure::text from pg_proc as p"
            " where p.pronamespace::regnamespace::text in ('public', 'private')"
            " and obj_description(p.oid) is null",
        )
        assert found == []

    def test_every_foreign_key_has_an_index_and_says_on_delete(self, owned: Owned) -> None:
        found = rows(
            owned.conn,
            "select c.conrelid::regclass || ' ' || c.conname from pg_constraint as c"
            " where c.contype = 'f' and c.connamespace::regnamespace::text = any(%s)"
            " and (c.confdeltype = 'a' or not exists ("
            "   select from pg_index as i where i.indrelid = c.conrelid"
            "   and i.indkey[0] = any(c.conkey)"
            "   and (i.indkey[0:cardinality(c.conkey) - 1] <@ c.conkey or i.indisprimary)"
            " ))",
            OUR_SCHEMAS,
        )
        assert found == []

    def test_constraints_state_a_truth(self, owned: Owned) -> None:
        """No generated names: an error shows the constraint's, and a person reads it."""
        found = rows(
            owned.conn,
            "select conrelid::regclass || ' ' || conname from pg_constraint"
            " where connamespace::regnamespace::text in ('public', 'private') and contype in ('c', 'u', 'x', 'f')"
            " and conname ~ '_(check|key|fkey|excl)[0-9]*$'",
        )
        assert found == []
