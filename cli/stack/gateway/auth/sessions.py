"""Sessions: access tokens, rotating refresh tokens, sign-out."""

import secrets
import time
import uuid
from datetime import timedelta
from typing import Any

from cli.stack.gateway.auth.errors import AuthError, bad_request
from cli.stack.gateway.auth.users import User, find_user, render_user
from cli.stack.gateway.db import Connection
from cli.stack.gateway.settings import Settings
from cli.stack.gateway.tokens import Tokens

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def is_banned(user: User, now: Any) -> bool:
    return user["banned_until"] is not None and user["banned_until"] > now


class Sessions:
    """Starts, continues and ends sessions inside the transaction that it is given."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self._settings = settings
        self._tokens = tokens

    async def start(
        self, connection: Connection, user: User, user_agent: str, address: str | None
    ) -> dict[str, Any]:
        """A new session after a password was checked: GoTrue's token answer."""
        session_id = uuid.uuid4()
        await connection.execute(
            """
            insert into auth.sessions (id, user_id, created_at, updated_at, aal, user_agent, ip)
            values (%s, %s, now(), now(), 'aal1', %s, %s)
            """,
            (session_id, user["id"], user_agent, address),
        )
        refresh_token = await _grant(connection, user, session_id, parent=None)
        cursor = await connection.execute(
            "update auth.users set last_sign_in_at = now(), updated_at = now() where id = %s returning *",
            (user["id"],),
        )
        current = await cursor.fetchone() or user
        return await self._answer(connection, current, session_id, int(time.time()), refresh_token)

    async def refresh(self, connection: Connection, token: str) -> dict[str, Any] | AuthError:
        """Swap a refresh token for the next one.

        Within the reuse interval, or as the parent of the newest token (its answer was lost), a used token
        is still
        good; otherwise it was stolen and the whole session ends. That verdict is returned, not raised: the
        transaction that ends the session must commit.
        """
        found = await _lock_token(connection, token)
        user = await find_user(connection, uuid.UUID(found["user_id"])) if found else None
        if found is None or user is None:
            raise bad_request("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        if is_banned(user, found["now"]):
            raise bad_request("user_banned", "Invalid Refresh Token: User Banned")
        session_id: uuid.UUID = found["session_id"]
        issued: str | None = None
        if found["revoked"]:
            cursor = await connection.execute(
                """
                select token, parent from auth.refresh_tokens
                where session_id = %s and not revoked
                order by id desc limit 1
                """,
                (session_id,),
            )
            active = await cursor.fetchone()
            reuse_until = found["updated_at"] + timedelta(seconds=self._settings.refresh_reuse_interval)
            if active is not None and active["parent"] == token:
                issued = active["token"]
            elif found["now"] > reuse_until:
                await connection.execute("delete from auth.sessions where id = %s", (session_id,))
                return bad_request("refresh_token_already_used", "Invalid Refresh Token: Already Used")
        if issued is None:
            await connection.execute(
                "update auth.refresh_tokens set revoked = true, updated_at = clock_timestamp() where id = %s",
                (found["id"],),
            )
            issued = await _grant(connection, user, session_id, parent=token)
        await connection.execute(
            """
            update auth.sessions set refreshed_at = now() at time zone 'utc', updated_at = now()
            where id = %s
            """,
            (session_id,),
        )
        return await self._answer(connection, user, session_id, int(found["started_at"].timestamp()), issued)

    async def _answer(
        self, connection: Connection, user: User, session_id: uuid.UUID, signed_in: int, refresh_token: str
    ) -> dict[str, Any]:
        claims = {
            "iss": f"{self._settings.external_url}/auth/v1",
            "sub": str(user["id"]),
            "aud": user["aud"],
            "email": user["email"] or "",
            "phone": user["phone"] or "",
            "app_metadata": user["raw_app_meta_data"] or {},
            "user_metadata": user["raw_user_meta_data"] or {},
            "role": user["role"],
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": signed_in}],
            "session_id": str(session_id),
            "is_anonymous": user["is_anonymous"],
        }
        lifetime = self._settings.jwt_exp
        return {
            "access_token": self._tokens.sign(claims, lifetime),
            "token_type": "bearer",
            "expires_in": lifetime,
            "expires_at": int(time.time()) + lifetime,
            "refresh_token": refresh_token,
            "user": await render_user(connection, user),
        }


async def end_sessions(
    connection: Connection,
    user_id: uuid.UUID,
    *,
    only: uuid.UUID | None = None,
    keep: uuid.UUID | None = None,
) -> None:
    """End one session, all but one, or all of a user's; their refresh tokens go with them."""
    await connection.execute(
        """
        delete from auth.sessions
        where user_id = %(user)s
          and (%(only)s::uuid is null or id = %(only)s)
          and (%(keep)s::uuid is null or id <> %(keep)s)
        """,
        {"user": user_id, "only": only, "keep": keep},
    )


async def _lock_token(connection: Connection, token: str) -> dict[str, Any] | None:
    """The token's row and its session's, locked so that refreshes of one session take turns."""
    cursor = await connection.execute(
        """
        select t.session_id
        from auth.refresh_tokens as t join auth.sessions as s on s.id = t.session_id
        where t.token = %s
        for update of s
        """,
        (token,),
    )
    if await cursor.fetchone() is None:
        return None
    cursor = await connection.execute(
        """
        select t.*, s.created_at as started_at, clock_timestamp() as now
        from auth.refresh_tokens as t join auth.sessions as s on s.id = t.session_id
        where t.token = %s
        """,
        (token,),
    )
    return await cursor.fetchone()


async def _grant(connection: Connection, user: User, session_id: uuid.UUID, parent: str | None) -> str:
    token = "".join(secrets.choice(_ALPHABET) for _ in range(24))
    await connection.execute(
        """
        insert into auth.refresh_tokens (
          instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id
        )
        values ('00000000-0000-0000-0000-000000000000', %s, %s, false, now(), now(), %s, %s)
        """,
        (token, str(user["id"]), parent, session_id),
    )
    return token
