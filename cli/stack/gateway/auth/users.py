"""Users and their passwords: rows of auth.users and auth.identities."""

import asyncio
import re
import uuid
from datetime import datetime, timedelta
from typing import Any

import bcrypt
from psycopg.types.json import Jsonb

from cli.stack.gateway.auth.errors import AuthError, bad_request, invalid
from cli.stack.gateway.db import Connection
from cli.stack.gateway.http import iso

User = dict[str, Any]

MAX_PASSWORD_BYTES = 72
BCRYPT_ROUNDS = 10

_EMAIL = re.compile(
    r"[^@\s\x00-\x1f\"(),:;<>\[\]\\]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def clean_email(email: str) -> str:
    """The address in lower case; raises AuthError when it is none."""
    if not email:
        raise invalid("An email address is required")
    lowered = email.lower()
    if len(lowered) > 255 or not _EMAIL.fullmatch(lowered):
        raise invalid("Unable to validate email address: invalid format")
    return lowered


def check_password(password: str, min_length: int) -> None:
    """Raises AuthError weak_password with the reasons, or validation_failed for one that bcrypt would cut
    off."""
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise invalid(f"Password cannot be longer than {MAX_PASSWORD_BYTES} characters")
    if len(password) < min_length:
        message = f"Password should be at least {min_length} characters."
        raise AuthError(422, "weak_password", message, reasons=["length"])
    if "\x00" in password:
        raise invalid("Password cannot contain NUL")


async def hash_password(password: str) -> str:
    """bcrypt, in a thread: it takes tens of milliseconds of CPU."""
    hashed = await asyncio.to_thread(bcrypt.hashpw, password.encode(), bcrypt.gensalt(BCRYPT_ROUNDS))
    return hashed.decode()


async def password_matches(password: str, hashed: str | None) -> bool:
    encoded = password.encode()
    if not hashed or len(encoded) > MAX_PASSWORD_BYTES or b"\x00" in encoded:
        return False
    try:
        return await asyncio.to_thread(bcrypt.checkpw, encoded, hashed.encode())
    except ValueError:
        return False


def ban_until(duration: str, now: datetime) -> datetime | None:
    """The end of a ban given as a Go duration ("24h", "1h30m"), None for "none"; raises AuthError
    otherwise."""
    if duration == "none":
        return None
    parts = _DURATION.findall(duration)
    if not parts or "".join(value + unit for value, unit in parts) != duration:
        raise invalid(f'invalid format for ban duration: time: invalid duration "{duration}"')
    try:
        return now + timedelta(seconds=sum(float(value) * _UNIT_SECONDS[unit] for value, unit in parts))
    except OverflowError:
        raise invalid(f'invalid format for ban duration: time: invalid duration "{duration}"') from None


async def find_user(connection: Connection, user_id: uuid.UUID) -> User | None:
    return await _find(connection, "id", user_id)


async def find_user_by_email(connection: Connection, email: str) -> User | None:
    return await _find(connection, "email", email)


async def _find(connection: Connection, column: str, value: object) -> User | None:
    query = (
        "select * from auth.users where id = %s"
        if column == "id"
        else "select * from auth.users where email = %s and is_sso_user = false"
    )
    return await (await connection.execute(query, (value,))).fetchone()


async def create_user(
    connection: Connection,
    *,
    user_id: uuid.UUID | None = None,
    email: str,
    password_hash: str | None,
    confirmed: bool,
    role: str = "authenticated",
    aud: str = "authenticated",
    app_metadata: dict[str, Any] | None = None,
    user_metadata: dict[str, Any] | None = None,
    banned_until: datetime | None = None,
    identity_data: dict[str, Any] | None = None,
) -> User:
    """Insert a user with its email identity. A taken address is a psycopg UniqueViolation."""
    app = {"provider": "email", "providers": ["email"], **(app_metadata or {})}
    cursor = await connection.execute(
        """
        insert into auth.users (
          instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, confirmation_token,
          recovery_token, email_change_token_new, email_change, raw_app_meta_data, raw_user_meta_data,
          banned_until, created_at, updated_at
        )
        values (
          '00000000-0000-0000-0000-000000000000', %(id)s, %(aud)s, %(role)s, %(email)s, %(hash)s,
          case when %(confirmed)s then now() end, '', '', '', '', %(app)s, %(data)s,
          %(banned_until)s, now(), now()
        )
        returning *
        """,
        {
            "id": user_id or uuid.uuid4(),
            "aud": aud,
            "role": role,
            "email": email,
            "hash": password_hash,
            "confirmed": confirmed,
            "app": Jsonb({key: value for key, value in app.items() if value is not None}),
            "data": Jsonb(user_metadata or {}),
            "banned_until": banned_until,
        },
    )
    user = await cursor.fetchone()
    assert user is not None  # noqa: S101 - an insert with returning answers one row or raises
    identity = {"email_verified": False, "phone_verified": False, **(identity_data or {})}
    identity |= {"sub": str(user["id"]), "email": email}
    await connection.execute(
        """
        insert into auth.identities (
          provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at
        )
        values (%s, %s, %s, 'email', now(), now(), now())
        """,
        (str(user["id"]), user["id"], Jsonb(identity)),
    )
    return user


async def update_user(connection: Connection, user: User, changes: dict[str, Any]) -> User:
    """Set columns of a user (keys are column names of ours, never a client's); metadata is merged by key."""
    values = dict(changes)
    for column in ("raw_app_meta_data", "raw_user_meta_data"):
        if column in values:
            merged = {**(user[column] or {}), **values[column]}
            values[column] = Jsonb({key: value for key, value in merged.items() if value is not None})
    cursor = await connection.execute(
        """
        update auth.users
        set email = coalesce(%(email)s, email),
          encrypted_password = coalesce(%(encrypted_password)s, encrypted_password),
          email_confirmed_at = coalesce(email_confirmed_at, case when %(confirm)s then now() end),
          role = coalesce(%(role)s, role),
          raw_app_meta_data = coalesce(%(raw_app_meta_data)s, raw_app_meta_data),
          raw_user_meta_data = coalesce(%(raw_user_meta_data)s, raw_user_meta_data),
          banned_until = case when %(set_ban)s then %(banned_until)s else banned_until end,
          updated_at = now()
        where id = %(id)s
        returning *
        """,
        {
            "email": None,
            "encrypted_password": None,
            "confirm": False,
            "role": None,
            "raw_app_meta_data": None,
            "raw_user_meta_data": None,
            "banned_until": None,
            "set_ban": "banned_until" in values,
            "id": user["id"],
            **values,
        },
    )
    updated = await cursor.fetchone()
    if updated is None:
        raise bad_request("user_not_found", "User not found")
    if values.get("email"):
        await connection.execute(
            """
            update auth.identities
            set identity_data = identity_data
                || jsonb_build_object('email', %s::text, 'email_verified', %s::boolean),
              updated_at = now()
            where user_id = %s and provider = 'email'
            """,
            (values["email"], updated["email_confirmed_at"] is not None, user["id"]),
        )
    return updated


async def render_users(connection: Connection, users: list[User]) -> list[dict[str, Any]]:
    """Users as GoTrue's JSON, each with its identities."""
    cursor = await connection.execute(
        "select * from auth.identities where user_id = any(%s) order by created_at",
        ([user["id"] for user in users],),
    )
    identities: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for row in await cursor.fetchall():
        identities.setdefault(row["user_id"], []).append(_render_identity(row))
    return [_render_user(user, identities.get(user["id"], [])) for user in users]


async def render_user(connection: Connection, user: User) -> dict[str, Any]:
    return (await render_users(connection, [user]))[0]


_OPTIONAL_TIMES = (
    "email_confirmed_at",
    "invited_at",
    "phone_confirmed_at",
    "confirmation_sent_at",
    "confirmed_at",
    "recovery_sent_at",
    "last_sign_in_at",
    "banned_until",
    "deleted_at",
)


def _render_user(user: User, identities: list[dict[str, Any]]) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "id": str(user["id"]),
        "aud": user["aud"] or "",
        "role": user["role"] or "",
        "email": user["email"] or "",
        "phone": user["phone"] or "",
        "app_metadata": user["raw_app_meta_data"] or {},
        "user_metadata": user["raw_user_meta_data"] or {},
        "identities": identities,
        "created_at": iso(user["created_at"], precision="microseconds"),
        "updated_at": iso(user["updated_at"], precision="microseconds"),
        "is_anonymous": user["is_anonymous"],
    }
    times = {name: user[name] for name in _OPTIONAL_TIMES if user[name] is not None}
    return rendered | {name: iso(value, precision="microseconds") for name, value in times.items()}


def _render_identity(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "identity_id": str(row["id"]),
        "id": row["provider_id"],
        "user_id": str(row["user_id"]),
        "identity_data": row["identity_data"],
        "provider": row["provider"],
        "last_sign_in_at": iso(row["last_sign_in_at"], precision="microseconds"),
        "created_at": iso(row["created_at"], precision="microseconds"),
        "updated_at": iso(row["updated_at"], precision="microseconds"),
        "email": row["email"] or "",
    }
