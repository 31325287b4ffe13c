"""One port for all: API keys, CORS, the proxy to PostgREST, and supabase-js from npm against it all."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from psycopg import sql

from tests.api.gateway_support import access_token, http, own_folder_bucket, signed_up, unique, user_id
from tests.support.processes import wait_until
from tests.support.stack import ROOT, Stack, clean_environment


@pytest.fixture(scope="module")
def table(stack: Stack) -> Iterator[str]:
    """A table of numbers that everybody may read and users may fill, known to PostgREST."""
    name = unique("t-wire")
    identifier = sql.Identifier(name)
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                """
                create table public.{table} (id int primary key, note text, owner_id uuid default auth.uid());
                revoke all on public.{table} from anon, authenticated;
                grant select on public.{table} to anon, authenticated;
                grant insert on public.{table} to authenticated;
                insert into public.{table} select i, 'n' || i from generate_series(1, 50) as i;
                """
            ).format(table=identifier)
        )
        try:
            deadline = time.monotonic() + 10
            while http(stack, "GET", f"/rest/v1/{name}?limit=1").status_code != 200:
                assert time.monotonic() < deadline, "PostgREST did not notice the new table"
                time.sleep(0.05)
            yield name
        finally:
            connection.execute(sql.SQL("drop table public.{}").format(identifier))


class TestApiKey:
    @pytest.mark.parametrize("path", ["/rest/v1/", "/auth/v1/settings", "/auth/v1/user", "/graphql/v1"])
    def test_is_asked_for(self, stack: Stack, path: str) -> None:
        response = httpx.get(f"{stack.api_url}{path}")
        assert (response.status_code, response.json()) == (401, {"message": "No API key found in request"})
        response = httpx.get(f"{stack.api_url}{path}", headers={"apikey": "nonsense"})
        expected = (401, {"message": "Invalid authentication credentials"})
        assert (response.status_code, response.json()) == expected

    def test_a_users_token_is_no_key(self, stack: Stack) -> None:
        token = access_token(signed_up(stack))
        response = httpx.get(f"{stack.api_url}/rest/v1/", headers={"apikey": token})
        assert response.status_code == 401

    def test_stands_in_for_a_token(self, stack: Stack, table: str) -> None:
        url = f"{stack.api_url}/rest/v1/{table}?limit=1"
        assert httpx.get(url, headers={"apikey": stack.anon_key}).status_code == 200
        assert httpx.get(f"{url}&apikey={stack.anon_key}").json() == [
            {"id": 1, "note": "n1", "owner_id": None}
        ]

    def test_graphql_is_refused(self, stack: Stack) -> None:
        assert (
            http(stack, "POST", "/graphql/v1", json={"query": "{__schema{types{name}}}"}).status_code == 404
        )

    @pytest.mark.parametrize(
        "path", ["/", "/functions/v1/x", "/realtime/v1/websocket", "/storage/v1/x", "/auth/v1/x"]
    )
    def test_unknown_paths(self, stack: Stack, path: str) -> None:
        assert http(stack, "GET", path).status_code == 404

    def test_says_what_it_is(self, stack: Stack) -> None:
        response = httpx.get(f"{stack.api_url}/health")
        assert "development" in response.text
        assert "development" in response.headers["x-gateway"]


class TestCors:
    @pytest.mark.parametrize("path", ["/rest/v1/x", "/auth/v1/token", "/storage/v1/object/a/b"])
    def test_preflight(self, stack: Stack, path: str) -> None:
        response = httpx.options(
            f"{stack.api_url}{path}",
            headers={
                "Origin": "http://localhost:3000",
                "Access-Control-Request-Method": "PATCH",
                "Access-Control-Request-Headers": "apikey,authorization,x-client-info",
            },
        )
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "*"
        assert "PATCH" in response.headers["access-control-allow-methods"]
        assert response.headers["access-control-allow-headers"] == "apikey,authorization,x-client-info"

    def test_answers_and_refusals_are_open(self, stack: Stack, table: str) -> None:
        origin = {"Origin": "http://localhost:3000"}
        for response in (
            http(stack, "GET", f"/rest/v1/{table}", headers=origin),
            http(stack, "GET", "/auth/v1/user", headers=origin),
            http(stack, "GET", "/storage/v1/object/a/b", headers=origin),
            httpx.get(f"{stack.api_url}/rest/v1/", headers=origin),
        ):
            assert response.headers.get_list("access-control-allow-origin") == ["*"]
            assert len(response.headers.get_list("access-control-expose-headers")) == 1


class TestRest:
    def test_headers_pass_both_ways(self, stack: Stack, table: str) -> None:
        path = f"/rest/v1/{table}?order=id"
        response = http(stack, "GET", path, headers={"Range": "2-4", "Prefer": "count=exact"})
        assert [row["id"] for row in response.json()] == [3, 4, 5]
        assert (response.status_code, response.headers["content-range"]) == (206, "2-4/50")
        head = http(stack, "HEAD", path, headers={"Prefer": "count=exact"})
        assert (head.headers["content-range"], head.content) == ("0-49/50", b"")
        csv = http(stack, "GET", f"{path}&limit=1&select=id,note", headers={"Accept": "text/csv"})
        assert (csv.headers["content-type"], csv.text) == ("text/csv; charset=utf-8", "id,note\n1,n1")
        wait_until(
            lambda: "GET" in http(stack, "OPTIONS", path).headers.get("allow", ""),
            10,
            "PostgREST knows the table",
        )
        assert http(stack, "GET", "/rest/v1/", stack.service_role_key).json()["swagger"] == "2.0"

    def test_the_query_is_not_rewritten(self, stack: Stack, table: str) -> None:
        response = http(stack, "GET", f"/rest/v1/{table}?note=in.(%22n1%22,n2)&select=a:id&order=id.desc")
        assert response.json() == [{"a": 2}, {"a": 1}]

    def test_writes_as_the_caller(self, stack: Stack, table: str) -> None:
        client = signed_up(stack)
        row = client.table(table).insert({"id": 1000, "note": "x"}).execute().data[0]
        assert isinstance(row, dict)
        assert row["owner_id"] == user_id(client)
        body = 'id,note\n1001,a\n1002,"b, c"\n'
        headers = {"Content-Type": "text/csv", "Prefer": "return=representation"}
        response = http(
            stack, "POST", f"/rest/v1/{table}", access_token(client), content=body, headers=headers
        )
        assert [row["note"] for row in response.json()] == ["a", "b, c"]
        streamed = http(
            stack,
            "POST",
            f"/rest/v1/{table}",
            access_token(client),
            content=iter([b'[{"id": 1003', b"}]"]),
            headers={"Content-Type": "application/json"},
        )
        assert streamed.status_code == 201
        assert http(stack, "POST", f"/rest/v1/{table}", json={"id": 1}).status_code == 401

    def test_forged_tokens(self, stack: Stack, table: str) -> None:
        now = int(time.time())
        good: dict[str, Any] = {"sub": "me", "role": "authenticated", "exp": now + 600}
        none = jwt.encode(good, None, algorithm="none")  # type: ignore[arg-type]
        for token, status in (
            (jwt.encode({**good, "role": "service_role"}, "x" * 40), 401),
            (none, 401),
            (jwt.encode({**good, "exp": now - 60}, stack.jwt_secret), 401),
            (jwt.encode({**good, "role": "postgres"}, stack.jwt_secret), 403),
            (jwt.encode({**good, "role": "supabase_admin"}, stack.jwt_secret), 403),
        ):
            assert http(stack, "GET", f"/rest/v1/{table}", token).status_code == status
        token = jwt.encode(good, stack.jwt_secret)
        assert http(stack, "POST", f"/rest/v1/{table}", token, json={"id": 2000}).status_code == 400


def test_supabase_js(stack: Stack) -> None:
    """supabase-js as it comes from npm: sign-up to sign-out, every method of its storage clients."""
    with own_folder_bucket(stack) as bucket:
        done = subprocess.run(
            ["node", str(ROOT / "tests/e2e/gateway_supabase_js.mjs")],
            env=clean_environment(
                API_URL=stack.api_url,
                ANON_KEY=stack.anon_key,
                SERVICE_ROLE_KEY=stack.service_role_key,
                BUCKET=bucket,
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["checks"] > 30
