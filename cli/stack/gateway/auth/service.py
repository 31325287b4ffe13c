"""What every Auth route needs: the parts, the caller's identity, parameters of the right type, errors as
answers."""

import ipaddress
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import psycopg_pool
from starlette.requests import Request
from starlette.responses import Response

from cli.stack.gateway.auth.errors import AuthError, bad_request, forbidden, invalid
from cli.stack.gateway.auth.sessions import Sessions, is_banned
from cli.stack.gateway.auth.users import User, find_user
from cli.stack.gateway.db import Connection, Database
from cli.stack.gateway.http import BadJsonError, BodyTooLargeError, ClientGoneError, bearer, read_json
from cli.stack.gateway.settings import Settings
from cli.stack.gateway.tokens import Claims, TokenError, Tokens

logger = logging.getLogger("gateway.auth")

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]
Handler = Callable[["Auth", Request], Awaitable[Response]]


@dataclass(frozen=True)
class Auth:
    """The parts that Auth's routes are made of."""

    settings: Settings
    db: Database
    tokens: Tokens
    sessions: Sessions

    def claims(self, request: Request) -> Claims:
        """Verified claims of the bearer token; raises AuthError 401 without one, 403 for a bad one."""
        token = bearer(request.headers)
        if not token:
            raise AuthError(401, "no_authorization", "This endpoint requires a valid Bearer token")
        try:
            return self.tokens.verify(token)
        except TokenError as error:
            message = f"invalid JWT: unable to parse or verify signature, {error}"
            raise forbidden("bad_jwt", message) from None

    def require_admin(self, request: Request) -> None:
        """Raises AuthError unless the token is service_role's."""
        if self.claims(request).get("role") not in ("service_role", "supabase_admin"):
            raise forbidden("not_admin", "User not allowed")

    async def require_user(self, connection: Connection, claims: Claims) -> tuple[User, uuid.UUID | None]:
        """The user that the claims speak of, and their live session's id if the token names one."""
        subject = claims.get("sub")
        if not subject:
            raise forbidden("bad_jwt", "invalid claim: missing sub claim")
        user_id = as_uuid(subject)
        if user_id is None:
            raise bad_request("bad_jwt", "invalid claim: sub claim must be a UUID")
        user = await find_user(connection, user_id)
        if user is None:
            raise forbidden("user_not_found", "User from sub claim in JWT does not exist")
        session_id: uuid.UUID | None = None
        if claims.get("session_id"):
            session_id = as_uuid(claims["session_id"])
            if session_id is None:
                raise forbidden("bad_jwt", "invalid claim: session_id claim must be a UUID")
            cursor = await connection.execute("select from auth.sessions where id = %s", (session_id,))
            if await cursor.fetchone() is None:
                raise forbidden("session_not_found", "Session from session_id claim in JWT does not exist")
        now = await (await connection.execute("select now() as now")).fetchone()
        if now is not None and is_banned(user, now["now"]):
            raise forbidden("user_banned", "User is banned")
        return user, session_id

    def endpoint(self, handler: Handler) -> Endpoint:
        """A Starlette endpoint that turns every failure into one of GoTrue's answers."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(self, request)
            except ClientGoneError:
                return Response(status_code=499)
            except Exception as error:
                refusal = _as_refusal(error)
                if refusal.status >= 500 and refusal.status != 501:
                    logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
                return refusal.response(request)

        return answer


def _as_refusal(error: Exception) -> AuthError:
    match error:
        case AuthError():
            refusal = error
        case BadJsonError():
            refusal = bad_request("bad_json", f"Could not parse request body as JSON: {error}")
        case BodyTooLargeError():
            refusal = AuthError(413, "request_entity_too_large", "Request body is too large")
        case psycopg.DataError() | UnicodeError():
            refusal = invalid("A value cannot be stored: it holds characters that text may not have")
        case psycopg.OperationalError() | psycopg_pool.PoolTimeout():
            refusal = AuthError(503, "unexpected_failure", "The database did not answer")
        case _:
            message = "Unexpected failure, please check server logs for more information"
            refusal = AuthError(500, "unexpected_failure", message)
    return refusal


def as_uuid(value: object) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def param(body: dict[str, Any], name: str, kind: type[T], default: T) -> T:
    """A parameter of the given type, or the default when it is absent or null; raises AuthError bad_json."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        message = f"Could not parse request body as JSON: {name} must be of type {kind.__name__}"
        raise bad_request("bad_json", message)
    return value


async def parameters(request: Request, *, optional: bool = False) -> dict[str, Any]:
    return await read_json(request, optional=optional)


def client_address(request: Request) -> str | None:
    try:
        return str(ipaddress.ip_address(request.client.host)) if request.client else None
    except ValueError:
        return None
