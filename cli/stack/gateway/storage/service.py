"""What every Storage route needs: the parts, who calls, JSON of the right shape, errors as answers."""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import psycopg_pool
from psycopg.rows import DictRow
from starlette.requests import Request
from starlette.responses import Response

from cli.stack.gateway.db import Caller, Connection, Database, RoleRefusedError
from cli.stack.gateway.http import (
    BadJsonError,
    Body,
    BodyTooLargeError,
    ClientGoneError,
    bearer,
    iso,
    read_json,
)
from cli.stack.gateway.settings import Settings
from cli.stack.gateway.storage.errors import (
    StorageError,
    access_denied,
    entity_too_large,
    from_database,
    invalid_request,
    no_such_bucket,
    no_such_key,
)
from cli.stack.gateway.storage.files import VersionFiles
from cli.stack.gateway.tokens import TokenError, Tokens

logger = logging.getLogger("gateway.storage")

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Storage:
    """The parts that Storage's routes are made of."""

    settings: Settings
    db: Database
    tokens: Tokens
    files: VersionFiles

    def caller(self, request: Request, *, allow_invalid: bool = False) -> Caller:
        """Who asks. Without a valid token: StorageError 403, or, where public buckets are served, a
        stranger."""
        token = bearer(request.headers)
        headers = json.dumps(dict(request.headers))
        try:
            claims = self.tokens.verify(token)
        except TokenError as error:
            if not allow_invalid:
                raise access_denied(str(error)) from None
            return Caller(
                {"role": "anon"}, "", headers, request.method, request.url.path, authenticated=False
            )
        return Caller(claims, token, headers, request.method, request.url.path)

    async def find_bucket(self, caller: Caller, bucket: str, operation: str) -> DictRow:
        """The bucket's row, whoever asks; raises StorageError 404."""
        if "\x00" in bucket:
            raise no_such_bucket()
        async with self.db.as_service(caller, operation) as connection:
            cursor = await connection.execute("select * from storage.buckets where id = %s", (bucket,))
            row = await cursor.fetchone()
        if row is None:
            raise no_such_bucket()
        return row

    def endpoint(self, handler: Callable[["Storage", Request], Awaitable[Response]]) -> Endpoint:
        """A Starlette endpoint that turns every failure into one of Storage's answers."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(self, request)
            except ClientGoneError:
                return StorageError(499, "Aborted", "Request aborted", http_status=499).response()
            except Exception as error:
                refusal = _as_refusal(error)
                if refusal.status >= 500:
                    logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
                return refusal.response()

        return answer


def _as_refusal(error: Exception) -> StorageError:
    match error:
        case StorageError():
            refusal = error
        case RoleRefusedError():
            refusal = access_denied(str(error))
        case BadJsonError():
            refusal = invalid_request(f"Body is not valid JSON: {error}")
        case BodyTooLargeError():
            refusal = entity_too_large("request body")
        case psycopg.errors.UntranslatableCharacter() | UnicodeError():
            refusal = invalid_request("A value cannot be stored: it holds characters that text may not have")
        case psycopg.DataError() if error.sqlstate is None:
            refusal = invalid_request("A value cannot be stored: it holds characters that text may not have")
        case psycopg.Error():
            refusal = from_database(error)
        case psycopg_pool.PoolTimeout():
            refusal = StorageError(544, "DatabaseTimeout", "The connection to the database timed out")
        case _:
            refusal = StorageError(500, "InternalError", "Internal Server Error", error="Internal")
    return refusal


async def draining(body: Body, handler: Awaitable[T]) -> T:
    """Await an upload's handler; if it refuses early, read the rest of the body first, so that the client,
    which is still sending, gets to see the refusal."""
    try:
        return await handler
    except ClientGoneError:
        raise
    except Exception:
        await body.drain()
        raise


async def find_object(connection: Connection, bucket: str, name: str, *, lock: bool = False) -> DictRow:
    """The object's row as far as this transaction's role may see it; raises StorageError 404."""
    row = await find_object_or_none(connection, bucket, name, lock=lock)
    if row is None:
        raise no_such_key()
    return row


async def find_object_or_none(
    connection: Connection, bucket: str, name: str, *, lock: bool = False
) -> DictRow | None:
    query = (
        "select * from storage.objects where bucket_id = %s and name = %s for update"
        if lock
        else "select * from storage.objects where bucket_id = %s and name = %s"
    )
    return await (await connection.execute(query, (bucket, name))).fetchone()


async def json_body(request: Request, **required: type) -> dict[str, Any]:
    """The body as JSON, with these members of these types; raises StorageError 400."""
    body = await read_json(request)
    for name, kind in required.items():
        if name not in body:
            raise invalid_request(f"body must have required property '{name}'")
        if not isinstance(body[name], kind):
            raise invalid_request(f"body/{name} must be {kind.__name__}")
    return body


def whole_number(value: object, name: str, *, minimum: int, maximum: int = 2**53) -> int:
    """A number, or text that spells one, as storage3 sends; raises StorageError 400."""
    if isinstance(value, str) and value.isascii() and value.lstrip("-").isdigit() and len(value) < 17:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid_request(f"{name} must be integer")
    if not minimum <= value <= maximum:
        raise invalid_request(f"{name} must be >= {minimum} and <= {maximum}")
    return value


def render_object(row: DictRow) -> dict[str, Any]:
    """An object's row as JSON."""
    return {
        "name": row["name"],
        "bucket_id": row["bucket_id"],
        "owner": str(row["owner"] or ""),
        "owner_id": row["owner_id"] or "",
        "version": row["version"] or "",
        "id": str(row["id"]),
        "updated_at": iso(row["updated_at"]),
        "created_at": iso(row["created_at"]),
        "last_accessed_at": iso(row["last_accessed_at"]),
        "metadata": row["metadata"],
        "user_metadata": row["user_metadata"],
    }
