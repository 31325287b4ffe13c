"""Auth's wire: supabase-py unmodified, and GoTrue's errors to the letter."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from supabase import create_client
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError

from tests.api.gateway_support import (
    PASSWORD,
    access_token,
    http,
    new_email,
    own_gateway,
    service_client,
    signed_up,
)
from tests.support.stack import Stack


def sign_up(stack: Stack, **body: Any) -> httpx.Response:
    return http(stack, "POST", "/auth/v1/signup", content=json.dumps(body))


def refresh(stack: Stack, token: str, url: str | None = None) -> httpx.Response:
    headers = {"apikey": stack.anon_key}
    base = url or stack.api_url
    return httpx.post(
        f"{base}/auth/v1/token?grant_type=refresh_token",
        headers=headers,
        content=json.dumps({"refresh_token": token}),
    )


class TestSignUpAndIn:
    def test_session_and_claims(self, stack: Stack) -> None:
        client = create_client(stack.api_url, stack.anon_key)
        email = new_email().upper()
        response = client.auth.sign_up(
            {"email": email, "password": PASSWORD, "options": {"data": {"name": "Ada"}}}
        )
        assert response.user is not None
        assert response.user.email == email.lower()
        assert response.user.user_metadata["name"] == "Ada"
        assert response.user.email_confirmed_at is not None
        claims = jwt.decode(
            access_token(client), stack.jwt_secret, algorithms=["HS256"], audience="authenticated"
        )
        assert claims["sub"] == response.user.id
        assert claims["role"] == "authenticated"
        assert claims["aal"] == "aal1"
        assert claims["amr"][0]["method"] == "password"
        assert claims["app_metadata"] == {"provider": "email", "providers": ["email"]}
        assert claims["exp"] - claims["iat"] == 3600
        assert claims["iss"].endswith("/auth/v1")
        assert claims["session_id"]
        again = client.auth.sign_in_with_password({"email": email, "password": PASSWORD})
        assert again.user is not None
        assert again.user.id == response.user.id
        assert again.user.identities
        assert again.user.identities[0].provider == "email"

    def test_taken_address(self, stack: Stack) -> None:
        email = new_email()
        assert sign_up(stack, email=email, password=PASSWORD).status_code == 200
        response = sign_up(stack, email=email.upper(), password=PASSWORD)
        assert response.status_code == 422
        assert response.json() == {
            "code": 422,
            "error_code": "user_already_exists",
            "msg": "User already registered",
        }

    def test_error_shape_follows_the_api_version(self, stack: Stack) -> None:
        response = http(
            stack,
            "POST",
            "/auth/v1/token?grant_type=password",
            json={"email": new_email(), "password": PASSWORD},
            headers={"X-Supabase-Api-Version": "2024-01-01"},
        )
        assert response.status_code == 400
        assert response.json() == {"code": "invalid_credentials", "message": "Invalid login credentials"}
        assert response.headers["x-supabase-api-version"] == "2024-01-01"

    def test_weak_password(self, stack: Stack) -> None:
        client = create_client(stack.api_url, stack.anon_key)
        with pytest.raises(AuthWeakPasswordError) as refusal:
            client.auth.sign_up({"email": new_email(), "password": "12345"})
        assert refusal.value.reasons == ["length"]

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({}, 422, "anonymous_provider_disabled"),
            ({"email": "a@example.com"}, 400, "validation_failed"),
            ({"email": "nonsense", "password": PASSWORD}, 400, "validation_failed"),
            ({"email": "a@b@example.com", "password": PASSWORD}, 400, "validation_failed"),
            ({"email": "a@example.com", "password": "x" * 73}, 400, "validation_failed"),
            ({"email": "a@example.com", "password": 7}, 400, "bad_json"),
            ({"email": ["a"], "password": PASSWORD}, 400, "bad_json"),
            ({"phone": "123", "password": PASSWORD}, 400, "phone_provider_disabled"),
            (
                {"email": "nul@example.com", "password": PASSWORD, "data": {"a": "\0"}},
                400,
                "validation_failed",
            ),
            (
                {"email": "sur@example.com", "password": PASSWORD, "data": {"a": "\ud800"}},
                400,
                "validation_failed",
            ),
        ],
    )
    def test_refused(self, stack: Stack, body: dict[str, Any], status: int, code: str) -> None:
        response = sign_up(stack, **body)
        assert (response.status_code, response.json()["error_code"]) == (status, code)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'"x"', b"[" * 100_000])
    def test_not_json(self, stack: Stack, content: bytes) -> None:
        response = http(stack, "POST", "/auth/v1/signup", content=content)
        assert (response.status_code, response.json()["error_code"]) == (400, "bad_json")

    def test_what_is_not_offered_says_so(self, stack: Stack) -> None:
        for method, path, status, code in (
            ("POST", "/otp", 422, "otp_disabled"),
            ("POST", "/recover", 422, "otp_disabled"),
            ("GET", "/authorize?provider=github", 400, "validation_failed"),
            ("POST", "/token?grant_type=pkce", 404, "flow_state_not_found"),
            ("POST", "/token?grant_type=nonsense", 400, "invalid_credentials"),
            ("POST", "/factors", 422, "mfa_totp_enroll_not_enabled"),
        ):
            response = http(stack, method, f"/auth/v1{path}", json={} if method == "POST" else None)
            assert (response.status_code, response.json()["error_code"]) == (status, code), path

    def test_settings_health_and_keys(self, stack: Stack) -> None:
        settings = http(stack, "GET", "/auth/v1/settings").json()
        assert settings["external"]["email"] is True
        assert settings["mailer_autoconfirm"] is True
        assert "development" in http(stack, "GET", "/auth/v1/health").json()["description"]
        assert http(stack, "GET", "/auth/v1/.well-known/jwks.json").json() == {"keys": []}


class TestRefresh:
    def test_rotates(self, stack: Stack) -> None:
        client = signed_up(stack)
        first = client.auth.get_session()
        assert first is not None
        second = client.auth.refresh_session().session
        assert second is not None
        assert second.refresh_token != first.refresh_token
        assert second.user.id == first.user.id

    def test_the_parent_of_the_newest_token_gets_the_newest_again(self, stack: Stack) -> None:
        """The client never saw the answer: it may ask again."""
        first = sign_up(stack, email=new_email(), password=PASSWORD).json()["refresh_token"]
        second = refresh(stack, first).json()["refresh_token"]
        assert refresh(stack, first).json()["refresh_token"] == second

    def test_parallel_refreshes_agree(self, stack: Stack) -> None:
        token = sign_up(stack, email=new_email(), password=PASSWORD).json()["refresh_token"]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: refresh(stack, token), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1

    def test_reuse_ends_the_session(self, stack: Stack, tmp_path: Path) -> None:
        with own_gateway(stack, tmp_path / "storage", GATEWAY_REFRESH_REUSE_INTERVAL="0") as gateway:
            session = sign_up(stack, email=new_email(), password=PASSWORD).json()
            first = session["refresh_token"]
            second = refresh(stack, first, gateway.url).json()["refresh_token"]
            third = refresh(stack, second, gateway.url).json()["refresh_token"]
            stolen = refresh(stack, first, gateway.url)
            assert stolen.status_code == 400
            assert stolen.json()["error_code"] == "refresh_token_already_used"
            assert refresh(stack, third, gateway.url).status_code == 400
            user = http(stack, "GET", "/auth/v1/user", session["access_token"])
            assert (user.status_code, user.json()["error_code"]) == (403, "session_not_found")

    def test_reuse_within_the_interval_is_allowed(self, stack: Stack) -> None:
        first = sign_up(stack, email=new_email(), password=PASSWORD).json()["refresh_token"]
        second = refresh(stack, first).json()["refresh_token"]
        refresh(stack, second)
        assert refresh(stack, first).status_code == 200

    @pytest.mark.parametrize("token", ["unknown", "\0", "\ud800"])
    def test_unknown_token(self, stack: Stack, token: str) -> None:
        response = refresh(stack, token)
        assert response.status_code == 400
        assert response.json()["error_code"] in {"refresh_token_not_found", "validation_failed"}

    def test_missing_token(self, stack: Stack) -> None:
        response = refresh(stack, "")
        assert response.status_code == 400
        assert response.json()["error"] == "invalid_request"


class TestUser:
    def test_reads_and_changes_oneself(self, stack: Stack) -> None:
        client = signed_up(stack)
        email = new_email()
        changed = client.auth.update_user({"data": {"colour": "red"}, "email": email})
        assert changed.user.user_metadata["colour"] == "red"
        assert changed.user.email == email
        answer = client.auth.get_user()
        assert answer is not None
        assert answer.user.email == email
        client.auth.update_user({"data": {"colour": None}})
        answer = client.auth.get_user()
        assert answer is not None
        assert "colour" not in answer.user.user_metadata

    def test_new_password_ends_other_sessions(self, stack: Stack) -> None:
        email = new_email()
        sign_up(stack, email=email, password=PASSWORD)
        here, there = (create_client(stack.api_url, stack.anon_key) for _ in range(2))
        for client in (here, there):
            client.auth.sign_in_with_password({"email": email, "password": PASSWORD})
        here.auth.update_user({"password": "another horse"})
        assert here.auth.get_user() is not None
        with pytest.raises(AuthApiError):
            there.auth.get_user()
        with pytest.raises(AuthApiError) as refusal:
            there.auth.sign_in_with_password({"email": email, "password": PASSWORD})
        assert refusal.value.code == "invalid_credentials"

    def test_refused_changes(self, stack: Stack) -> None:
        client, other = signed_up(stack), signed_up(stack)
        token = access_token(client)
        taken = other.auth.get_user()
        assert taken is not None
        for body, status, code in (
            ({"password": PASSWORD}, 422, "same_password"),
            ({"password": "123"}, 422, "weak_password"),
            ({"email": taken.user.email}, 422, "email_exists"),
            ({"app_metadata": {"role": "admin"}}, 403, "not_admin"),
        ):
            response = http(stack, "PUT", "/auth/v1/user", token, json=body)
            assert (response.status_code, response.json()["error_code"]) == (status, code), body

    def test_sign_out_scopes(self, stack: Stack) -> None:
        email = new_email()
        sign_up(stack, email=email, password=PASSWORD)

        def session() -> str:
            body = {"email": email, "password": PASSWORD}
            answer = http(stack, "POST", "/auth/v1/token?grant_type=password", json=body).json()
            return str(answer["access_token"])

        def alive(token: str) -> bool:
            return http(stack, "GET", "/auth/v1/user", token).status_code == 200

        first, second, third = session(), session(), session()
        assert http(stack, "POST", "/auth/v1/logout?scope=local", first).status_code == 204
        assert [alive(token) for token in (first, second, third)] == [False, True, True]
        assert http(stack, "POST", "/auth/v1/logout?scope=others", second).status_code == 204
        assert [alive(token) for token in (second, third)] == [True, False]
        fourth = session()
        assert http(stack, "POST", "/auth/v1/logout?scope=nonsense", fourth).status_code == 400
        assert http(stack, "POST", "/auth/v1/logout", fourth).status_code == 204
        assert not alive(second)


class TestForgedTokens:
    def test_never_data_and_never_5xx(self, stack: Stack) -> None:
        now = int(time.time())
        good = {"sub": str(uuid4()), "role": "authenticated", "aud": "authenticated", "exp": now + 600}
        secret = stack.jwt_secret
        none = jwt.encode(good, None, algorithm="none")  # type: ignore[arg-type]
        tokens = {
            "other key": (jwt.encode({**good, "role": "service_role"}, "x" * 40), 403),
            "alg none": (none, 403),
            "other algorithm": (jwt.encode(good, secret, algorithm="HS512"), 403),
            "expired": (jwt.encode({**good, "exp": now - 5}, secret), 403),
            "no sub": (jwt.encode({"role": "authenticated", "exp": now + 600}, secret), 403),
            "sub not a UUID": (jwt.encode({**good, "sub": "me"}, secret), 400),
            "nobody": (jwt.encode(good, secret), 403),
            "bad session": (jwt.encode({**good, "session_id": "x"}, secret), 403),
            "garbage": ("a.b.c", 403),
        }
        for name, (token, status) in tokens.items():
            response = http(stack, "GET", "/auth/v1/user", token)
            assert response.status_code == status, (name, response.text)
        for name, (token, _) in tokens.items():
            response = http(stack, "GET", "/auth/v1/admin/users", token)
            assert response.status_code == 403, (name, response.text)

    def test_anon_and_users_are_no_admins(self, stack: Stack) -> None:
        for token in (stack.anon_key, access_token(signed_up(stack))):
            for method, path in (("GET", ""), ("POST", ""), ("DELETE", f"/{uuid4()}")):
                response = http(stack, method, f"/auth/v1/admin/users{path}", token, json={})
                assert (response.status_code, response.json()["error_code"]) == (403, "not_admin")


class TestAdmin:
    def test_life_of_a_user(self, stack: Stack) -> None:
        admin = service_client(stack).auth.admin
        email = new_email()
        created = admin.create_user(
            {
                "email": email,
                "password": PASSWORD,
                "email_confirm": True,
                "user_metadata": {"name": "Bo"},
                "app_metadata": {"plan": "pro"},
            }
        ).user
        assert created.app_metadata == {"provider": "email", "providers": ["email"], "plan": "pro"}
        client = create_client(stack.api_url, stack.anon_key)
        client.auth.sign_in_with_password({"email": email, "password": PASSWORD})
        admin.update_user_by_id(created.id, {"ban_duration": "24h"})
        with pytest.raises(AuthApiError) as refusal:
            client.auth.sign_in_with_password({"email": email, "password": PASSWORD})
        assert refusal.value.code == "user_banned"
        with pytest.raises(AuthApiError):
            client.auth.refresh_session()
        changed = admin.update_user_by_id(
            created.id, {"ban_duration": "none", "password": "changed horse", "app_metadata": {"plan": None}}
        ).user
        assert "plan" not in changed.app_metadata
        client.auth.sign_in_with_password({"email": email, "password": "changed horse"})
        assert admin.get_user_by_id(created.id).user.email == email
        admin.delete_user(created.id)
        with pytest.raises(AuthApiError) as gone:
            admin.get_user_by_id(created.id)
        assert gone.value.code == "user_not_found"
        with psycopg.connect(stack.admin_db_url) as connection:
            row = connection.execute(
                """
                select (select count(*) from auth.users where id = %(id)s),
                  (select count(*) from auth.sessions where user_id = %(id)s),
                  (select count(*) from auth.identities where user_id = %(id)s)
                """,
                {"id": created.id},
            ).fetchone()
        assert row == (0, 0, 0)

    def test_unconfirmed_users_do_not_sign_in(self, stack: Stack) -> None:
        email = new_email()
        service_client(stack).auth.admin.create_user({"email": email, "password": PASSWORD})
        with pytest.raises(AuthApiError) as refusal:
            create_client(stack.api_url, stack.anon_key).auth.sign_in_with_password(
                {"email": email, "password": PASSWORD}
            )
        assert refusal.value.code == "email_not_confirmed"

    def test_pages(self, stack: Stack) -> None:
        for _ in range(3):
            signed_up(stack)
        admin = service_client(stack).auth.admin
        assert len(admin.list_users(page=1, per_page=2)) == 2
        headers = {"apikey": stack.service_role_key}
        path = "/auth/v1/admin/users?page=1&per_page=2"
        response = http(stack, "GET", path, stack.service_role_key, headers=headers)
        total = int(response.headers["x-total-count"])
        assert total >= 3
        assert '</admin/users?page=2&per_page=2>; rel="next"' in response.headers["link"]
        last = -(-total // 2)
        assert f'</admin/users?page={last}&per_page=2>; rel="last"' in response.headers["link"]
        for query in ("page=x", "per_page=-1"):
            response = http(stack, "GET", f"/auth/v1/admin/users?{query}", stack.service_role_key)
            assert response.status_code == 400, query
        for query in ("page=0", "page=99999999999999999999", "per_page=0"):
            response = http(stack, "GET", f"/auth/v1/admin/users?{query}", stack.service_role_key)
            assert response.status_code == 200, query

    def test_refusals(self, stack: Stack) -> None:
        email = new_email()
        sign_up(stack, email=email, password=PASSWORD)
        token = stack.service_role_key
        for method, path, body, status, code in (
            ("POST", "users", {"email": email}, 422, "email_exists"),
            ("POST", "users", {}, 400, "validation_failed"),
            ("POST", "users", {"email": new_email(), "ban_duration": "soon"}, 400, "validation_failed"),
            ("POST", "users", {"email": new_email(), "id": "x"}, 400, "validation_failed"),
            ("GET", "users/x", None, 404, "validation_failed"),
            ("PUT", f"users/{uuid4()}", {}, 404, "user_not_found"),
            ("DELETE", f"users/{uuid4()}", None, 404, "user_not_found"),
            ("POST", "generate_link", {"type": "magiclink", "email": email}, 501, "feature_disabled"),
        ):
            response = http(stack, method, f"/auth/v1/admin/{path}", token, json=body)
            assert (response.status_code, response.json()["error_code"]) == (status, code), (path, body)

    def test_triggers_run_as_auths_own_role(self, stack: Stack) -> None:
        """As hosted: a trigger function that relies on the rights of somebody else must say so."""
        with psycopg.connect(stack.admin_db_url, autocommit=True) as connection:
            connection.execute(
                """
                create function public.t_stamp_role() returns trigger language plpgsql as
                $$begin
                  new.raw_user_meta_data := jsonb_build_object('run_by', current_user);
                  return new;
                end$$;
                create trigger t_stamp_role before insert on auth.users
                for each row when (new.email like 't-role%') execute function public.t_stamp_role();
                """
            )
            try:
                response = sign_up(stack, email=f"t-role{uuid4().hex}@example.com", password=PASSWORD)
            finally:
                connection.execute(
                    "drop trigger t_stamp_role on auth.users; drop function public.t_stamp_role()"
                )
        assert response.json()["user"]["user_metadata"] == {"run_by": "supabase_auth_admin"}

    def test_a_failing_trigger_stops_the_sign_up(self, stack: Stack) -> None:
        with psycopg.connect(stack.admin_db_url, autocommit=True) as connection:
            connection.execute(
                """
                create function public.t_refuse() returns trigger language plpgsql as
                $$begin raise exception 'no'; end$$;
                create trigger t_refuse before insert on auth.users
                for each row when (new.email like 't-refuse%') execute function public.t_refuse();
                """
            )
            email = f"t-refuse{uuid4().hex}@example.com"
            try:
                response = sign_up(stack, email=email, password=PASSWORD)
            finally:
                connection.execute("drop trigger t_refuse on auth.users; drop function public.t_refuse()")
            left = connection.execute("select count(*) from auth.users where email = %s", (email,)).fetchone()
        assert (response.status_code, response.json()["msg"]) == (500, "Database error saving new user")
        assert left == (0,)
