"""What only service_role may call: users as an operator manages them."""

from typing import Any
from urllib.parse import urlencode

import psycopg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cli.stack.gateway.auth.errors import AuthError, bad_request, invalid, unprocessable
from cli.stack.gateway.auth.service import Auth, as_uuid, param, parameters
from cli.stack.gateway.auth.sessions import end_sessions
from cli.stack.gateway.auth.users import (
    User,
    ban_until,
    check_password,
    clean_email,
    create_user,
    find_user,
    hash_password,
    render_user,
    render_users,
    update_user,
)
from cli.stack.gateway.db import Connection

_PER_PAGE = 50
_MAX_PER_PAGE = 10_000
_MAX_PAGE = 2**31
_EMAIL_EXISTS = "A user with this email address has already been registered"


async def list_users(auth: Auth, request: Request) -> Response:
    """A page of users, newest first; the total and links to the other pages are in headers."""
    auth.require_admin(request)
    page = max(1, _page_number(request, "page", 1))
    per_page = min(_page_number(request, "per_page", _PER_PAGE), _MAX_PER_PAGE)
    async with auth.db.as_auth() as connection:
        cursor = await connection.execute(
            "select count(*) as total from auth.users where aud = 'authenticated'"
        )
        row = await cursor.fetchone()
        cursor = await connection.execute(
            """
            select * from auth.users where aud = 'authenticated'
            order by created_at desc, id limit %s offset %s
            """,
            (per_page, (page - 1) * per_page),
        )
        users = await render_users(connection, await cursor.fetchall())
    total = row["total"] if row else 0
    pages = -(-total // per_page) if per_page else 0
    query = sorted({**request.query_params, "page": ""}.items())

    def link(number: int, relation: str) -> str:
        pairs = [(name, str(number) if name == "page" else value) for name, value in query]
        return f'</admin/users?{urlencode(pairs)}>; rel="{relation}"'

    links = ([link(page + 1, "next")] if pages > page else []) + [link(pages, "last")]
    headers = {"link": ", ".join(links), "x-total-count": str(total)}
    return JSONResponse({"users": users, "aud": "authenticated"}, headers=headers)


async def create(auth: Auth, request: Request) -> Response:
    auth.require_admin(request)
    body = await parameters(request)
    email = param(body, "email", str, "")
    if not email:
        raise invalid("Cannot create a user without either an email or phone")
    email = clean_email(email)
    password, hashed = param(body, "password", str, ""), param(body, "password_hash", str, "")
    if password and hashed:
        raise invalid("Only a password or a password hash should be provided")
    if password:
        check_password(password, 0)
        hashed = await hash_password(password)
    user_id = param(body, "id", str, "")
    if user_id and as_uuid(user_id) is None:
        raise invalid("ID must conform to the uuid v4 format")
    role = param(body, "role", str, "") or "authenticated"
    confirmed = param(body, "email_confirm", bool, False)
    duration = param(body, "ban_duration", str, "")
    try:
        async with auth.db.as_auth() as connection:
            user = await create_user(
                connection,
                user_id=as_uuid(user_id) if user_id else None,
                email=email,
                password_hash=hashed or None,
                confirmed=confirmed,
                role=role,
                app_metadata=param(body, "app_metadata", dict, {}),
                user_metadata=param(body, "user_metadata", dict, {}),
                banned_until=await _ban(connection, duration) if duration else None,
            )
            return JSONResponse(await render_user(connection, user))
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name == "users_email_partial_key":
            raise unprocessable("email_exists", _EMAIL_EXISTS) from None
        raise AuthError(500, "unexpected_failure", "Database error creating new user") from error
    except (psycopg.errors.RaiseException, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
        raise AuthError(500, "unexpected_failure", "Database error creating new user") from error


async def get_one(auth: Auth, request: Request) -> Response:
    auth.require_admin(request)
    async with auth.db.as_auth() as connection:
        return JSONResponse(await render_user(connection, await _load(connection, request)))


async def update(auth: Auth, request: Request) -> Response:
    auth.require_admin(request)
    body = await parameters(request)
    changes: dict[str, Any] = {
        "role": param(body, "role", str, "") or None,
        "confirm": param(body, "email_confirm", bool, False),
    }
    if email := param(body, "email", str, ""):
        changes["email"] = clean_email(email)
    if body.get("password") is not None:
        password = param(body, "password", str, "")
        check_password(password, auth.settings.password_min_length)
        changes["encrypted_password"] = await hash_password(password)
    for name, column in (("app_metadata", "raw_app_meta_data"), ("user_metadata", "raw_user_meta_data")):
        if body.get(name) is not None:
            changes[column] = param(body, name, dict, {})
    duration = param(body, "ban_duration", str, "")
    try:
        async with auth.db.as_auth() as connection:
            user = await _load(connection, request)
            if duration:
                changes["banned_until"] = await _ban(connection, duration)
            user = await update_user(connection, user, changes)
            if "encrypted_password" in changes:
                await end_sessions(connection, user["id"])
            return JSONResponse(await render_user(connection, user))
    except psycopg.errors.UniqueViolation:
        raise unprocessable("email_exists", _EMAIL_EXISTS) from None


async def delete(auth: Auth, request: Request) -> Response:
    """Delete the row in auth.users, and by its foreign keys all that hangs on it."""
    auth.require_admin(request)
    body = await parameters(request, optional=True)
    if param(body, "should_soft_delete", bool, False):
        raise AuthError(501, "feature_disabled", "Soft deletion is not available in this stack")
    try:
        async with auth.db.as_auth() as connection:
            user = await _load(connection, request)
            await connection.execute("delete from auth.users where id = %s", (user["id"],))
    except (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.errors.RaiseException) as error:
        raise AuthError(500, "unexpected_failure", "Database error deleting user") from error
    return JSONResponse({})


async def generate_link(auth: Auth, request: Request) -> Response:
    auth.require_admin(request)
    raise AuthError(501, "feature_disabled", "Links by mail are not available in this stack")


async def _load(connection: Connection, request: Request) -> User:
    user_id = as_uuid(request.path_params["user_id"])
    if user_id is None:
        raise AuthError(404, "validation_failed", "user_id must be an UUID")
    user = await find_user(connection, user_id)
    if user is None:
        raise AuthError(404, "user_not_found", "User not found")
    return user


async def _ban(connection: Connection, duration: str) -> Any:
    row = await (await connection.execute("select now() as now")).fetchone()
    return ban_until(duration, row["now"]) if row else None


def _page_number(request: Request, name: str, default: int) -> int:
    value = request.query_params.get(name, "")
    if not value:
        return default
    if not value.isascii() or not value.isdigit():
        raise bad_request(
            "validation_failed", f'Bad Pagination Parameters: parsing "{value}": invalid syntax'
        )
    return min(int(value), _MAX_PAGE)


def routes(auth: Auth) -> list[Route]:
    endpoint = auth.endpoint
    return [
        Route("/admin/users", endpoint(list_users), methods=["GET"]),
        Route("/admin/users", endpoint(create), methods=["POST"]),
        Route("/admin/users/{user_id}", endpoint(get_one), methods=["GET"]),
        Route("/admin/users/{user_id}", endpoint(update), methods=["PUT"]),
        Route("/admin/users/{user_id}", endpoint(delete), methods=["DELETE"]),
        Route("/admin/generate_link", endpoint(generate_link), methods=["POST"]),
    ]
