"""What a stranger finds at the doors: tokens, hidden schemas, functions, plans, the API's own description."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest

from tests.support.people import Person
from tests.support.stack import Stack

PUBLIC_PATHS = {
    "/plans", "/site_policies", "/variant_specs", "/listings", "/gallery", "/listing_covers", "/sites", "/site_rules",
    "/fill_fields", "/presets", "/community_collections", "/community_items",
    "/rpc/media_rules", "/rpc/webhook_replicate",
}  # fmt: skip
TABLES = ["listings", "listing_images", "image_variants", "image_events", "profiles"]


def rest(stack: Stack, method: str, path: str, token: str | None = None, **kwargs: Any) -> httpx.Response:
    headers = {"apikey": stack.anon_key} | kwargs.pop("headers", {})
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.request(method, f"{stack.api_url}/rest/v1/{path}", headers=headers, timeout=30, **kwargs)


def forged(stack: Stack, secret: str | None = None, algorithm: str = "HS256", **claims: Any) -> str:
    payload = {"aud": "authenticated", "exp": int(time.time()) + 3600, **claims}
    return jwt.encode(payload, stack.jwt_secret if secret is None else secret, algorithm)


class TestTokens:
    @pytest.mark.parametrize("service", ["rest", "storage", "auth"])
    def test_forged_tokens(self, stack: Stack, person: Person, service: str) -> None:
        listing = person.new_listing()
        path = {
            "rest": f"/rest/v1/listings?id=eq.{listing}",
            "storage": f"/storage/v1/object/info/authenticated/private/{person.id}/x.jpg",
            "auth": "/auth/v1/user",
        }[service]
        tokens = {
            "signed with another key": forged(stack, "x" * 40, role="service_role"),
            "alg none": jwt.encode({"role": "service_role", "sub": person.id}, "", "none"),
            "expired": forged(stack, role="authenticated", sub=person.id, exp=int(time.time()) - 3600),
            "role postgres": forged(stack, role="postgres", sub=person.id),
            "role supabase_admin": forged(stack, role="supabase_admin", sub=person.id),
            "role media_worker": forged(stack, role="media_worker", sub=person.id),
            "no subject": forged(stack, role="authenticated"),
            "subject is no uuid": forged(stack, role="authenticated", sub="' or 1=1"),
            "not a token": "x.y.z",
            "one letter": "x",
        }
        if service == "auth":
            # Auth looks the user up and heeds no role: with the right signature these are that user.
            tokens = {name: token for name, token in tokens.items() if not name.startswith("role ")}
        for name, token in tokens.items():
            headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {token}"}
            response = httpx.get(f"{stack.api_url}{path}", headers=headers, timeout=30)
            assert response.status_code < 500, (name, response.text)
            assert response.status_code >= 400 or response.json() == [], (name, response.text)

    def test_what_each_forgery_is_answered(self, stack: Stack, person: Person) -> None:
        """To the status, by PostgREST, for a read, a write and a function."""
        listing = person.new_listing(title="mine")
        good: dict[str, Any] = {"role": "authenticated", "sub": person.id}
        now = int(time.time())
        head, body, _ = forged(stack, **good).split(".")
        service = forged(stack, "x" * 40, role="service_role")
        tokens = {
            "another key": (service, 401),
            "alg none": (jwt.encode(good, "", "none"), 401),
            "no signature": (f"{head}.{body}.", 401),
            "two parts": (f"{head}.{body}", 401),
            "other claims": (f"{head}.{service.split('.')[1]}.{forged(stack, **good).split('.')[2]}", 401),
            "expired": (forged(stack, **good, exp=now - 3600), 401),
            "not yet": (forged(stack, **good, nbf=now + 3600), 401),
            "key in the header": (
                jwt.encode(good, "x" * 40, headers={"jwk": {"kty": "oct", "k": "eHh4"}, "kid": "../x", "jku": "http://x"}),
                401,
            ),
            "role postgres": (forged(stack, **good | {"role": "postgres"}), 403),
            "role supabase_admin": (forged(stack, **good | {"role": "supabase_admin"}), 403),
            "role media_worker": (forged(stack, **good | {"role": "media_worker"}), 403),
            "role analyst": (forged(stack, **good | {"role": "analyst"}), 403),
            "role authenticator": (forged(stack, **good | {"role": "authenticator"}), 403),
            "role none": (forged(stack, **good | {"role": "none"}), 403),
            "a role that is words": (forged(stack, **good | {"role": 'anon"; reset role; --'}), 400),
            "sub is no uuid": (forged(stack, **good | {"sub": "' or 1=1"}), 400),
        }  # fmt: skip
        for name, (token, status) in tokens.items():
            answers = [
                rest(stack, "GET", f"listings?id=eq.{listing}", token),
                rest(stack, "PATCH", f"listings?id=eq.{listing}", token, json={"title": "x"}),
                rest(stack, "POST", "rpc/publish_listing", token, json={"listing_id": listing}),
            ]
            found = [a.status_code for a in answers]
            assert found == [status] * 3, (name, found, [a.text for a in answers])
        # Signed by us, and nobody: the anonymous role, or a user without an id.
        for name, claims in {
            "no sub": {"role": "authenticated"},
            "no role": {"sub": person.id},
            "null": good | {"sub": None},
        }.items():
            token = forged(stack, **claims)
            assert rest(stack, "GET", f"listings?id=eq.{listing}", token).json() == [], name
            assert rest(
                stack, "PATCH", f"listings?id=eq.{listing}", token, json={"title": "x"}
            ).status_code in {204, 401}
            assert rest(stack, "POST", "listings", token, json={"title": "x"}).status_code in {401, 403}, name
            assert rest(
                stack, "POST", "rpc/publish_listing", token, json={"listing_id": listing}
            ).status_code in {401, 404}
        # What users write about themselves makes nobody of them.
        token = forged(stack, **good, user_metadata={"role": "service_role"}, app_metadata={"roles": ["service_role"]},
                       is_admin=True)  # fmt: skip
        assert rest(stack, "GET", "site_policy_events", token).status_code == 403
        (row,) = person.rest("GET", f"listings?id=eq.{listing}").json()
        assert row["title"] == "mine"

    @pytest.mark.parametrize("table", TABLES)
    @pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
    def test_anon_writes_nowhere(self, stack: Stack, table: str, method: str) -> None:
        key, column = ("id", "display_name") if table == "profiles" else ("owner_id", "listing_id")
        body: dict[str, Any] = {} if method == "DELETE" else {"json": {column: str(uuid4())}}
        if table == "listings" and body:
            body = {"json": {"title": "x"}}
        response = rest(stack, method, f"{table}?{key}=eq.{uuid4()}", **body)
        assert (response.status_code, response.json()["code"]) == (401, "42501"), response.text

    def test_no_key(self, stack: Stack) -> None:
        response = httpx.get(f"{stack.api_url}/rest/v1/listings", timeout=30)
        assert response.status_code == 401


class TestHiddenRooms:
    @pytest.mark.parametrize("schema", ["queue", "private", "analytics", "legacy", "auth", "storage"])
    def test_other_schemas(self, stack: Stack, person: Person, schema: str) -> None:
        for key in ("Accept-Profile", "Content-Profile"):
            method = "GET" if key == "Accept-Profile" else "POST"
            response = rest(
                stack,
                method,
                "jobs",
                person.access_token,
                headers={key: schema},
                **({"json": {}} if method == "POST" else {}),
            )
            assert response.status_code == 406, response.text

    @pytest.mark.parametrize("table", ["jobs", "queue.jobs", "users", "objects", "migrations"])
    def test_tables_that_are_not_public(self, stack: Stack, person: Person, table: str) -> None:
        assert rest(stack, "GET", table, person.access_token).status_code == 404

    @pytest.mark.parametrize(
        "function",
        [
            "pg_notify",
            "set_config",
            "dblink",
            "dblink_exec",
            "http_get",
            "http_post",
            "net.http_post",
            "queue.claim",
            "query_to_xml",
            "pg_ls_dir",
            "current_setting",
            "graphql",
            "enqueue",
            "claim",
            "complete",
            "begin_image",
            "finish_image",
            "fail_image",
            "pg_read_file",
            "lo_import",
            "pg_sleep",
            "handle_new_user",
        ],
    )
    def test_functions_that_are_not_api(self, stack: Stack, person: Person, function: str) -> None:
        response = rest(stack, "POST", f"rpc/{function}", person.access_token, json={})
        assert response.status_code == 404
        assert response.json()["code"] == "PGRST202"

    def test_every_function_called_without_a_user(self, stack: Stack, person: Person) -> None:
        """With somebody's real ids. Only what is on this list answers anon."""
        allowed = {"media_rules"}
        listing = person.new_listing(title="Lamp")
        (row,) = person.reserve(listing, ("a.jpg", "image/jpeg", 10))
        file = {"file_name": "a.jpg", "mime_type": "image/jpeg", "byte_size": 10}
        named = {
            "listing_id": listing, "image_id": row["image_id"], "image_ids": [row["image_id"]], "files": [file],
            "file": file, "owner_id": person.id, "site": "ebay", "mode": "imagine",
        }  # fmt: skip
        by_type = {
            "uuid": str(uuid4()), "uuid[]": [str(uuid4())], "text": "x", "text[]": ["x"], "jsonb": {}, "boolean": True,
            "integer": 1, "timestamp with time zone": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        with psycopg.connect(stack.db_url) as conn:
            functions = conn.execute(
                "select proname, coalesce(proargnames[1:pronargs], '{}'), proargtypes::oid[]::regtype[]::text[]"
                " from pg_proc where pronamespace = 'public'::regnamespace and prorettype <> 'trigger'::regtype"
                " and obj_description(oid) is not null and prokind = 'f'"
            ).fetchall()
        assert len(functions) > 25
        for name, arguments, types in functions:
            # Complete, so that it is not for want of an argument that nothing is found.
            body = {a: named.get(a, by_type.get(t)) for a, t in zip(arguments, types, strict=False)}
            response = rest(stack, "POST", f"rpc/{name}", json=body)
            if name in allowed:
                assert response.status_code == 200
            elif name == "webhook_replicate":  # everybody's to call, and refused without a signature
                assert response.json()["details"] == "webhook_not_signed", response.text
            elif any(t.startswith("public.") or t in {"listings", "saved_lists"} for t in types):
                # Of a row: a column that PostgREST computes, none that it calls.
                assert response.json()["code"] == "PGRST202", (name, response.text)
            else:
                assert (response.status_code, response.json()["code"]) == (401, "42501"), (
                    name,
                    response.text,
                )

    @pytest.mark.parametrize("kind", ["trigger", "private"])
    def test_no_internal_function_is_a_path(self, stack: Stack, person: Person, kind: str) -> None:
        """Of triggers, and of the schemas that are not exposed: not found, by whatever name."""
        where = "prorettype = 'trigger'::regtype" if kind == "trigger" else "true"
        with psycopg.connect(stack.db_url) as conn:
            names = conn.execute(
                f"select distinct proname from pg_proc where {where} and pronamespace::regnamespace::text"
                " in ('public', 'private', 'queue', 'legacy', 'analytics', 'extensions', 'auth', 'storage')"
                " and not exists (select from pg_proc as p where p.proname = pg_proc.proname"
                "   and p.pronamespace = 'public'::regnamespace and p.prorettype <> 'trigger'::regtype)"
                " and obj_description(oid) is not null"
            ).fetchall()
        assert len(names) > 20
        url = f"{stack.api_url}/rest/v1/rpc/"
        with httpx.Client(base_url=url, headers=person.headers, timeout=30) as client:
            for (name,) in names:
                response = client.post(name, json={})
                assert (response.status_code, response.json()["code"]) == (404, "PGRST202"), (
                    name,
                    response.text,
                )

    def test_graphql(self, stack: Stack, person: Person) -> None:
        headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {person.access_token}"}
        body = {"query": "{ queueJobsCollection { edges { node { id } } } }"}
        response = httpx.post(f"{stack.api_url}/graphql/v1", json=body, headers=headers, timeout=30)
        assert response.status_code >= 400

    @pytest.mark.parametrize(
        "kind",
        [
            "plan+json",
            "plan+text",
            "plan",
            'plan+json; for="application/json"; options=analyze|verbose|settings',
        ],
    )
    def test_query_plans(self, stack: Stack, person: Person, kind: str) -> None:
        headers = {"Accept": f"application/vnd.pgrst.{kind}"}
        for method, path, body in (
            ("GET", "listings", {}),
            ("GET", "listings?select=*,listing_images(*)", {}),
            ("PATCH", "listings?title=eq.x", {"json": {"title": "x"}}),
            ("POST", "rpc/media_rules", {"json": {}}),
        ):
            response = rest(stack, method, path, person.access_token, headers=headers, **body)
            assert response.status_code in {406, 415}, (path, response.text)

    def test_the_description_for_anon(self, stack: Stack) -> None:
        """Only what a visitor may read or call; the names of everything else are not told."""
        response = rest(stack, "GET", "")
        if response.status_code != 200:  # as a project may have it
            assert response.status_code in {401, 404}
            return
        if stack.kind == "embedded":
            assert set(response.json()["paths"]) == {"/"} | PUBLIC_PATHS
        text = response.text
        for word in (
            "queue",
            "credential",
            "usage_ledger",
            "prompt_rules",
            "reserve_uploads",
            "tg_",
            "email",
        ):
            assert word not in "".join(response.json()["paths"]) + "".join(response.json()["definitions"]), (
                word
            )
        assert "media_worker" not in text


class TestPersonalData:
    def test_emails_of_others_are_nowhere(self, stack: Stack, person: Person, other: Person) -> None:
        listing = other.new_listing(title="theirs")
        other.reserve(listing, ("a.jpg", "image/jpeg", 10))
        for path in [*TABLES, "plans", "gallery", "media_tray", "label_images"]:
            for token in (person.access_token, None):
                response = rest(stack, "GET", path, token)
                assert other.email not in response.text
                assert other.id not in response.text

    def test_no_email_column_in_public(self, stack: Stack) -> None:
        with psycopg.connect(stack.db_url) as conn:
            rows = conn.execute(
                "select table_name, column_name from information_schema.columns"
                " where table_schema = 'public' and column_name ~ 'e_?mail'"
            ).fetchall()
        assert rows == []


class TestStaticSafety:
    """The catalog itself: what must hold for every table, view and function, also for the next one."""

    @pytest.fixture
    def catalog(self, db: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        return db

    def test_every_table_has_rls(self, catalog: psycopg.Connection[Any]) -> None:
        rows = catalog.execute(
            "select oid::regclass::text from pg_class where relkind in ('r', 'p') and not relrowsecurity"
            " and relnamespace::regnamespace::text in ('public', 'private', 'queue', 'analytics', 'legacy')"
        ).fetchall()
        assert rows == []

    def test_every_view_is_security_invoker(self, catalog: psycopg.Connection[Any]) -> None:
        rows = catalog.execute(
            "select oid::regclass::text from pg_class"
            " where relkind = 'v' and relnamespace = 'public'::regnamespace"
            " and not coalesce(reloptions, '{}') @> '{security_invoker=true}'"
        ).fetchall()
        assert rows == []

    def test_no_materialised_view_or_foreign_table_is_exposed(self, catalog: psycopg.Connection[Any]) -> None:
        rows = catalog.execute(
            "select oid::regclass::text from pg_class"
            " where relkind in ('m', 'f') and relnamespace = 'public'::regnamespace"
        ).fetchall()
        assert rows == []

    def test_every_function_pins_its_search_path(self, catalog: psycopg.Connection[Any]) -> None:
        rows = catalog.execute(
            "select p.oid::regprocedure::text from pg_proc p"
            " where pronamespace::regnamespace::text in ('public', 'private', 'queue', 'analytics', 'legacy')"
            " and not coalesce(proconfig, '{}') && array['search_path=\"\"', 'search_path=']"
            # An SQL-standard body is bound at creation and needs no path.
            " and prosqlbody is null"
            # An aggregate has none; its transition functions do.
            " and prokind <> 'a'"
            # Inlined, for speed, into functions that pin theirs; operators only.
            " and p.oid <> 'legacy.entries(jsonb, text, text, text, int)'::regprocedure"
            " and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')"
        ).fetchall()
        assert rows == []

    def test_definers_live_outside_public(self, catalog: psycopg.Connection[Any]) -> None:
        rows = catalog.execute(
            "select oid::regprocedure::text from pg_proc"
            " where pronamespace = 'public'::regnamespace and prosecdef"
        ).fetchall()
        assert rows == []

    def test_what_comes_next_is_nobodys(self, catalog: psycopg.Connection[Any]) -> None:
        """Supabase grants new functions and tables to everybody: a revoke from public alone would leave that."""
        catalog.execute(
            "create function public.t_next() returns int language sql security definer as 'select 1'"
        )
        catalog.execute(
            "create function private.t_next() returns int language sql security definer as 'select 1'"
        )
        catalog.execute("create table public.t_next (id int)")
        catalog.execute("create table private.t_next (id int)")
        for role in ("anon", "authenticated"):
            for check in (
                "has_function_privilege(%s, 'public.t_next()', 'execute')",
                "has_function_privilege(%s, 'private.t_next()', 'execute')",
                "has_table_privilege(%s, 'public.t_next', 'truncate, references, trigger')",
                "has_table_privilege(%s, 'private.t_next', 'select, insert, update, delete, truncate')",
            ):
                assert catalog.execute(f"select {check}", [role]).fetchone() == (False,), check  # type: ignore[arg-type]

    @pytest.mark.parametrize("role", ["anon", "authenticated"])
    def test_nobody_may_truncate(self, catalog: psycopg.Connection[Any], role: str) -> None:
        rows = catalog.execute(
            "select c.oid::regclass::text, privilege from pg_class c,"
            " unnest(array['TRUNCATE', 'REFERENCES', 'TRIGGER']) as privilege"
            " where c.relkind in ('r', 'p', 'v') and c.relnamespace::regnamespace::text"
            " in ('public', 'private', 'queue', 'analytics', 'legacy')"
            " and has_table_privilege(%s, c.oid, privilege)",
            [role],
        ).fetchall()
        assert rows == []

    @pytest.mark.parametrize("role", ["anon", "authenticated"])
    def test_no_function_of_private_rooms_but_the_policies_own(
        self, catalog: psycopg.Connection[Any], role: str
    ) -> None:
        rows = catalog.execute(
            "select p.oid::regprocedure::text from pg_proc p"
            " where has_function_privilege(%s, p.oid, 'execute')"
            " and has_schema_privilege(%s, p.pronamespace, 'usage')"
            " and p.pronamespace::regnamespace::text in ('queue', 'analytics', 'legacy')",
            [role, role],
        ).fetchall()
        assert rows == []

    def test_realtime_streams_nothing_whose_deletes_tell(self, catalog: psycopg.Connection[Any]) -> None:
        rows = catalog.execute(
            "select schemaname || '.' || tablename from pg_publication_tables"
            " where pubname = 'supabase_realtime'"
        ).fetchall()
        # DELETE events are sent without RLS: only tables whose keys tell nothing may be in it.
        assert {row[0] for row in rows} <= {
            "public.generation_jobs",
            "public.image_sessions",
            "public.listing_fills",
        }
