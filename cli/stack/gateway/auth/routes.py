"""What users call: sign up, sign in, refresh, read and change oneself, sign out."""

import uuid
from typing import Any

import psycopg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cli.stack.gateway.auth import admin
from cli.stack.gateway.auth.errors import AuthError, bad_request, forbidden, invalid, unprocessable
from cli.stack.gateway.auth.service import Auth, Handler, client_address, param, parameters
from cli.stack.gateway.auth.sessions import end_sessions, is_banned
from cli.stack.gateway.auth.users import (
    check_password,
    clean_email,
    create_user,
    find_user_by_email,
    hash_password,
    password_matches,
    render_user,
    update_user,
)

_PROVIDERS = (
    *(
        "anonymous_users",
        "apple",
        "azure",
        "bitbucket",
        "discord",
        "email",
        "facebook",
        "figma",
        "fly",
        "github",
    ),
    *("gitlab", "google", "kakao", "keycloak", "linkedin", "linkedin_oidc", "notion", "phone", "slack"),
    *("slack_oidc", "snapchat", "spotify", "twitch", "twitter", "workos", "zoom"),
)
_VERIFIED = {"email_verified": True, "phone_verified": False}


async def sign_up(auth: Auth, request: Request) -> Response:
    body = await parameters(request)
    email, password = param(body, "email", str, ""), param(body, "password", str, "")
    data: dict[str, Any] = param(body, "data", dict, {})
    if param(body, "phone", str, ""):
        raise bad_request("phone_provider_disabled", "Phone signups are disabled")
    if not email:
        raise unprocessable("anonymous_provider_disabled", "Anonymous sign-ins are disabled")
    if not password:
        raise invalid("Signup requires a valid password")
    check_password(password, auth.settings.password_min_length)
    email = clean_email(email)
    hashed = await hash_password(password)
    user_id = uuid.uuid4()
    try:
        async with auth.db.as_auth() as connection:
            user = await create_user(
                connection,
                user_id=user_id,
                email=email,
                password_hash=hashed,
                confirmed=True,
                user_metadata=data | {"sub": str(user_id), "email": email} | _VERIFIED,
                identity_data=data | _VERIFIED,
            )
            answer = await auth.sessions.start(
                connection, user, request.headers.get("user-agent", ""), client_address(request)
            )
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name == "users_email_partial_key":
            raise unprocessable("user_already_exists", "User already registered") from None
        raise AuthError(500, "unexpected_failure", "Database error saving new user") from error
    except psycopg.OperationalError:
        raise
    except psycopg.DatabaseError as error:
        if error.sqlstate and error.sqlstate.startswith("22"):
            raise
        raise AuthError(500, "unexpected_failure", "Database error saving new user") from error
    return JSONResponse(answer)


async def token(auth: Auth, request: Request) -> Response:
    grant = request.query_params.get("grant_type", "")
    body = await parameters(request)
    if grant == "password":
        return JSONResponse(await _password_grant(auth, request, body))
    if grant == "refresh_token":
        refresh_token = param(body, "refresh_token", str, "")
        if not refresh_token:
            return JSONResponse(
                {"error": "invalid_request", "error_description": "refresh_token required"}, status_code=400
            )
        async with auth.db.as_auth() as connection:
            answer = await auth.sessions.refresh(connection, refresh_token)
        if isinstance(answer, AuthError):
            raise answer
        return JSONResponse(answer)
    if grant == "pkce":
        raise AuthError(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
    if grant in ("id_token", "web3"):
        raise invalid("Unsupported provider: provider is not enabled")
    raise bad_request("invalid_credentials", "unsupported_grant_type")


async def _password_grant(auth: Auth, request: Request, body: dict[str, Any]) -> dict[str, Any]:
    email, password = param(body, "email", str, ""), param(body, "password", str, "")
    if param(body, "phone", str, ""):
        raise unprocessable("phone_provider_disabled", "Phone logins are disabled")
    if not email:
        raise invalid("missing email or phone")
    wrong = bad_request("invalid_credentials", "Invalid login credentials")
    if "\x00" in email:
        raise wrong
    async with auth.db.as_auth() as connection:
        user = await find_user_by_email(connection, email.lower())
        now = await (await connection.execute("select now() as now")).fetchone()
    if user is None or now is None:
        raise wrong
    if is_banned(user, now["now"]):
        raise bad_request("user_banned", "User is banned")
    if not await password_matches(password, user["encrypted_password"]):
        raise wrong
    if user["email_confirmed_at"] is None:
        raise bad_request("email_not_confirmed", "Email not confirmed")
    async with auth.db.as_auth() as connection:
        return await auth.sessions.start(
            connection, user, request.headers.get("user-agent", ""), client_address(request)
        )


async def get_user(auth: Auth, request: Request) -> Response:
    claims = auth.claims(request)
    async with auth.db.as_auth() as connection:
        user, _ = await auth.require_user(connection, claims)
        return JSONResponse(await render_user(connection, user))


async def change_user(auth: Auth, request: Request) -> Response:
    """Password, email (confirmed at once: there is no mail here) and own metadata."""
    claims = auth.claims(request)
    body = await parameters(request)
    email, password = param(body, "email", str, ""), body.get("password")
    changes: dict[str, Any] = {}
    async with auth.db.as_auth() as connection:
        user, session_id = await auth.require_user(connection, claims)
    if body.get("app_metadata") is not None:
        raise forbidden("not_admin", "Updating app_metadata requires admin privileges")
    if param(body, "phone", str, ""):
        raise unprocessable("phone_provider_disabled", "Phone logins are disabled")
    if password is not None:
        password = param(body, "password", str, "")
        check_password(password, auth.settings.password_min_length)
        if await password_matches(password, user["encrypted_password"]):
            raise unprocessable("same_password", "New password should be different from the old password.")
        changes["encrypted_password"] = await hash_password(password)
    if email and clean_email(email) != user["email"]:
        changes["email"] = clean_email(email)
    if data := param(body, "data", dict, {}):
        changes["raw_user_meta_data"] = data
    try:
        async with auth.db.as_auth() as connection:
            user = await update_user(connection, user, changes)
            if password is not None:
                await end_sessions(connection, user["id"], keep=session_id)
            return JSONResponse(await render_user(connection, user))
    except psycopg.errors.UniqueViolation:
        message = "A user with this email address has already been registered"
        raise unprocessable("email_exists", message) from None


async def sign_out(auth: Auth, request: Request) -> Response:
    scope = request.query_params.get("scope") or "global"
    claims = auth.claims(request)
    if scope not in ("global", "local", "others"):
        raise invalid(f'Unsupported logout scope "{scope}"')
    async with auth.db.as_auth() as connection:
        user, session_id = await auth.require_user(connection, claims)
        if session_id is None or scope == "global":
            await end_sessions(connection, user["id"])
        elif scope == "local":
            await end_sessions(connection, user["id"], only=session_id)
        else:
            await end_sessions(connection, user["id"], keep=session_id)
    return Response(status_code=204)


async def settings(_auth: Auth, _request: Request) -> Response:
    return JSONResponse(
        {
            "external": {provider: provider == "email" for provider in _PROVIDERS},
            "disable_signup": False,
            "mailer_autoconfirm": True,
            "phone_autoconfirm": False,
            "sms_provider": "",
            "saml_enabled": False,
            "passkeys_enabled": False,
        }
    )


async def health(_auth: Auth, _request: Request) -> Response:
    description = "The embedded stack's stand-in for GoTrue: for development only"
    return JSONResponse({"version": "embedded", "name": "GoTrue", "description": description})


async def jwks(_auth: Auth, _request: Request) -> Response:
    """No public keys: tokens are signed with a shared secret."""
    return JSONResponse({"keys": []})


def refused(status: int, code: str, message: str) -> Handler:
    """A route that this stack has only to refuse it as GoTrue does where the feature is off."""

    async def refuse(_auth: Auth, _request: Request) -> Response:
        raise AuthError(status, code, message)

    return refuse


_NO_MAIL = refused(422, "otp_disabled", "This stack sends no mail and no messages: use a password")
_NO_PROVIDER = refused(400, "validation_failed", "Unsupported provider: provider is not enabled")
_REFUSED: dict[str, Handler] = {
    "/otp": _NO_MAIL,
    "/magiclink": _NO_MAIL,
    "/recover": _NO_MAIL,
    "/resend": _NO_MAIL,
    "/invite": _NO_MAIL,
    "/reauthenticate": _NO_MAIL,
    "/authorize": _NO_PROVIDER,
    "/callback": _NO_PROVIDER,
    "/verify": refused(403, "otp_expired", "Token has expired or is invalid"),
    "/sso": refused(404, "saml_provider_disabled", "SAML 2.0 is disabled"),
    "/factors": refused(422, "mfa_totp_enroll_not_enabled", "MFA enroll is disabled for TOTP"),
    "/user/identities/authorize": refused(404, "manual_linking_disabled", "Manual linking is disabled"),
}


def routes(auth: Auth) -> list[Route]:
    """Auth's routes, relative to /auth/v1."""
    endpoint = auth.endpoint
    return [
        Route("/signup", endpoint(sign_up), methods=["POST"]),
        Route("/token", endpoint(token), methods=["POST"]),
        Route("/user", endpoint(get_user), methods=["GET"]),
        Route("/user", endpoint(change_user), methods=["PUT"]),
        Route("/logout", endpoint(sign_out), methods=["POST"]),
        Route("/settings", endpoint(settings), methods=["GET"]),
        Route("/health", endpoint(health), methods=["GET"]),
        Route("/.well-known/jwks.json", endpoint(jwks), methods=["GET"]),
        *admin.routes(auth),
        *(Route(path, endpoint(handler), methods=["GET", "POST"]) for path, handler in _REFUSED.items()),
    ]
