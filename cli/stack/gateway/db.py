"""Transactions on the stack's database in the role that the hosted service would have.

The gateway logs in once, as superuser. Every transaction steps down before its first statement: to the
role of the caller for what row level security decides, to service_role for what Storage writes, to
supabase_auth_admin for Auth. The session itself becomes authenticator's, as PostgREST's is: a token can
name no role that authenticator may not take.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from cli.stack.gateway.tokens import Claims

Connection = psycopg.AsyncConnection[DictRow]

SERVICE_CLAIMS: Claims = {"role": "service_role"}


class RoleRefusedError(Exception):
    """The token's role does not exist or may not be taken."""


@dataclass(frozen=True)
class Caller:
    """Who asks: verified claims, and what policies can see of the request."""

    claims: Claims
    token: str = ""
    headers: str = "{}"
    method: str = ""
    path: str = ""
    authenticated: bool = True

    @property
    def role(self) -> str:
        role = self.claims.get("role")
        return role if isinstance(role, str) and role else "anon"

    @property
    def owner(self) -> str | None:
        subject = self.claims.get("sub")
        return subject if isinstance(subject, str) and subject else None


class Database:
    """A pool of connections; `open` before use, `close` at the end."""

    def __init__(self, url: str, size: int) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs={"row_factory": dict_row, "autocommit": True, "application_name": "gateway"},
            min_size=1,
            max_size=size,
            timeout=10,
            # Pauses between attempts double until then, and a request begins anew: with the default of five
            # minutes nobody would be served for up to two of them after the database is back.
            reconnect_timeout=5,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Connect; raises psycopg_pool.PoolTimeout when the database does not answer within 30 s."""
        await self._pool.open(wait=True, timeout=30)

    async def close(self) -> None:
        await self._pool.close(timeout=5)

    @asynccontextmanager
    async def connection(self, timeout: float = 10) -> AsyncIterator[Connection]:
        """A bare connection of the login itself: for health checks and the sweep at start, not for
        requests."""
        async with self._pool.connection(timeout) as connection:
            yield connection

    @asynccontextmanager
    async def as_caller(self, caller: Caller, operation: str) -> AsyncIterator[Connection]:
        """A transaction under row level security, as the caller. Raises RoleRefusedError for a role out of
        reach."""
        async with self._pool.connection() as connection, connection.transaction():
            await _step_down_to_storage(connection, caller, operation)
            yield connection

    @asynccontextmanager
    async def as_service(self, caller: Caller, operation: str) -> AsyncIterator[Connection]:
        """A transaction as service_role with service_role's claims: row level security does not apply."""
        service = Caller(SERVICE_CLAIMS, headers=caller.headers, method=caller.method, path=caller.path)
        async with self.as_caller(service, operation) as connection:
            yield connection

    @asynccontextmanager
    async def as_auth(self) -> AsyncIterator[Connection]:
        """A transaction as supabase_auth_admin, in which triggers on auth.users run as they do when
        hosted."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "select set_config('session_authorization', 'supabase_auth_admin', true),"
                " set_config('search_path', 'auth', true)"
            )
            yield connection


_STEP_DOWN: LiteralString = """
    select set_config('session_authorization', 'authenticator', true),
      set_config('role', %(role)s, true),
      set_config('search_path', 'storage, public, extensions', true),
      set_config('request.jwt.claim.role', %(role)s, true),
      set_config('request.jwt.claim.sub', %(sub)s, true),
      set_config('request.jwt', %(token)s, true),
      set_config('request.jwt.claims', %(claims)s, true),
      set_config('request.headers', %(headers)s, true),
      set_config('request.method', %(method)s, true),
      set_config('request.path', %(path)s, true),
      set_config('storage.operation', %(operation)s, true),
      set_config('storage.allow_delete_query', 'true', true)
"""


async def _step_down_to_storage(connection: Connection, caller: Caller, operation: str) -> None:
    values: dict[str, Any] = {
        "role": caller.role,
        "sub": caller.owner or "",
        "token": caller.token,
        "claims": json.dumps(caller.claims),
        "headers": caller.headers,
        "method": caller.method,
        "path": caller.path,
        "operation": operation,
    }
    try:
        await connection.execute(_STEP_DOWN, values)
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.InvalidParameterValue,
        psycopg.DataError,
    ) as error:
        raise RoleRefusedError(str(error)) from error
