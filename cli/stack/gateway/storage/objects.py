"""Objects come, move and go.

An upload is: the caller's permission, tested by an insert that is rolled back; then the bytes, complete and
on disk; then the row, written as service_role with `owner_id` the caller. Bytes that no row names any more
are unlinked after the commit.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cli.stack.gateway.db import Caller, Connection
from cli.stack.gateway.http import Body, iso
from cli.stack.gateway.storage.errors import (
    access_denied,
    duplicate,
    entity_too_large,
    invalid_request,
    no_such_key,
)
from cli.stack.gateway.storage.files import StoredFile
from cli.stack.gateway.storage.incoming import Incoming, decode_metadata, open_upload
from cli.stack.gateway.storage.limits import MAX_PATHS, check_key, check_mime_type
from cli.stack.gateway.storage.service import (
    Storage,
    draining,
    find_object,
    find_object_or_none,
    json_body,
    render_object,
)

_PLACEHOLDER = ".emptyFolderPlaceholder"


def owner_columns(caller: Caller) -> dict[str, Any]:
    """`owner` holds UUIDs only, `owner_id` whatever the token's subject is."""
    owner: UUID | None = None
    with suppress(ValueError):
        owner = UUID(caller.owner) if caller.owner else None
    return {"owner": owner, "owner_id": caller.owner}


async def probe_upload(
    connection: Connection,
    caller: Caller,
    bucket: str,
    name: str,
    *,
    upsert: bool,
    metadata: dict[str, Any],
    user_metadata: dict[str, Any] | None,
) -> None:
    """Insert the row as the caller and roll it back: raises what policies, triggers and constraints raise."""
    values = {
        "bucket": bucket,
        "name": name,
        "version": "1",
        "metadata": Jsonb(metadata),
        "user_metadata": Jsonb(user_metadata) if user_metadata is not None else None,
        **owner_columns(caller),
    }
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(_UPSERT if upsert else _INSERT, values)
    except psycopg.errors.UniqueViolation:
        raise duplicate() from None


_INSERT = """
    insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
    values (%(bucket)s, %(name)s, %(owner)s, %(owner_id)s, %(version)s, %(metadata)s, %(user_metadata)s)
    returning *
"""
_UPSERT = """
    insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
    values (%(bucket)s, %(name)s, %(owner)s, %(owner_id)s, %(version)s, %(metadata)s, %(user_metadata)s)
    on conflict (name, bucket_id) do update
    set owner = coalesce(excluded.owner, storage.objects.owner),
      owner_id = coalesce(excluded.owner_id, storage.objects.owner_id),
      version = excluded.version, metadata = excluded.metadata, user_metadata = excluded.user_metadata
    returning *
"""


async def write_row(storage: Storage, caller: Caller, operation: str, values: dict[str, Any]) -> DictRow:
    """Commit the row of a stored version as service_role; drop the bytes it replaces, or its own if it
    fails."""
    replaced: DictRow | None = None
    try:
        async with storage.db.as_service(caller, operation) as connection:
            await lock_name(connection, values["bucket"], values["name"])
            replaced = await find_object_or_none(connection, values["bucket"], values["name"], lock=True)
            row = await (await connection.execute(_UPSERT, values)).fetchone()
            assert row is not None  # noqa: S101 - an upsert with returning answers one row or raises
    except BaseException:
        await _drop_unless_committed(storage, caller, values["version"])
        raise
    if replaced is not None:
        storage.files.remove([replaced["version"]])
    return row


async def _drop_unless_committed(storage: Storage, caller: Caller, version: str) -> None:
    """A commit whose answer was lost may have happened: ask before unlinking. If nobody answers, the sweep
    at the next start decides."""
    with suppress(Exception):
        async with storage.db.as_service(caller, "storage.object.upload") as connection:
            cursor = await connection.execute("select from storage.objects where version = %s", (version,))
            if await cursor.fetchone() is None:
                storage.files.remove([version])


async def lock_name(connection: Connection, bucket: str, name: str) -> None:
    """Make writers of one name take turns, also while it has no row."""
    await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{bucket}/{name}",))


@dataclass(frozen=True)
class Upload:
    """One upload's terms: who, where, and whether it may replace what is there."""

    caller: Caller
    bucket: str
    name: str
    operation: str
    upsert: bool
    under_policies: bool = True
    """False when a signed URL is redeemed: the policies were asked when it was signed."""


async def receive(storage: Storage, request: Request, upload: Upload) -> DictRow:
    """Take an upload in: limits, permission, bytes, row."""
    body = Body(request)
    return await draining(body, _receive(storage, request, body, upload))


async def _receive(storage: Storage, request: Request, body: Body, upload: Upload) -> DictRow:
    check_key(upload.name)
    bucket = await storage.find_bucket(upload.caller, upload.bucket, upload.operation)
    incoming = await open_upload(request, body)
    limit = storage.settings.file_size_limit
    if bucket["file_size_limit"] is not None:
        limit = min(limit, bucket["file_size_limit"])
    if upload.name.endswith(_PLACEHOLDER):
        limit = 0
    else:
        check_mime_type(incoming.mime_type, bucket["allowed_mime_types"])
    if incoming.is_raw and (incoming.declared_length or 0) > limit:
        raise entity_too_large()
    scope = storage.db.as_caller if upload.under_policies else storage.db.as_service
    async with scope(upload.caller, upload.operation) as connection:
        await probe_upload(
            connection,
            upload.caller,
            upload.bucket,
            upload.name,
            upsert=upload.upsert,
            metadata={"mimetype": incoming.mime_type, "contentLength": incoming.declared_length},
            user_metadata=incoming.user_metadata,
        )
    stored = await storage.files.store(incoming.chunks, limit)
    values = {
        "bucket": upload.bucket,
        "name": upload.name,
        "version": stored.version,
        "metadata": Jsonb(_metadata(stored, incoming)),
        "user_metadata": Jsonb(incoming.user_metadata or {}),
        **owner_columns(upload.caller),
    }
    return await write_row(storage, upload.caller, upload.operation, values)


def _metadata(stored: StoredFile, incoming: Incoming) -> dict[str, Any]:
    return {
        "eTag": f'"{stored.md5}"',
        "size": stored.size,
        "mimetype": incoming.mime_type,
        "cacheControl": incoming.cache_control,
        "lastModified": iso(stored.modified),
        "contentLength": stored.size,
        "httpStatusCode": 200,
    }


async def upload_object(storage: Storage, request: Request) -> Response:
    replaces = request.method == "PUT"
    upload = Upload(
        storage.caller(request),
        request.path_params["bucket"],
        request.path_params["path"],
        operation="storage.object.upload_update" if replaces else "storage.object.upload",
        upsert=replaces or request.headers.get("x-upsert") == "true",
    )
    row = await receive(storage, request, upload)
    return JSONResponse({"Id": str(row["id"]), "Key": f"{row['bucket_id']}/{row['name']}"})


async def move(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    operation = "storage.object.move"
    body = await json_body(request, bucketId=str, sourceKey=str, destinationKey=str)
    source = (body["bucketId"], body["sourceKey"])
    target = (_text(body, "destinationBucket") or body["bucketId"], check_key(body["destinationKey"]))
    values = {
        "bucket": target[0],
        "name": target[1],
        "source_bucket": source[0],
        "source_name": source[1],
        **owner_columns(caller),
    }
    async with (
        storage.db.as_caller(caller, operation) as connection,
        connection.transaction(force_rollback=True),
    ):
        await find_object(connection, *source)
        await _rename(connection, values)
    async with storage.db.as_service(caller, operation) as connection:
        for name in sorted({source, target}):
            await lock_name(connection, *name)
        row = await _rename(connection, values)
    return JSONResponse({"message": "Successfully moved", "Id": str(row["id"]), "Key": row["name"]})


async def _rename(connection: Connection, values: dict[str, Any]) -> DictRow:
    try:
        cursor = await connection.execute(
            """
            update storage.objects
            set bucket_id = %(bucket)s, name = %(name)s,
              owner = coalesce(%(owner)s, owner), owner_id = coalesce(%(owner_id)s, owner_id)
            where bucket_id = %(source_bucket)s and name = %(source_name)s
            returning *
            """,
            values,
        )
    except psycopg.errors.UniqueViolation:
        raise duplicate() from None
    row = await cursor.fetchone()
    if row is None:
        raise no_such_key()
    return row


async def copy(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    operation = "storage.object.copy"
    body = await json_body(request, bucketId=str, sourceKey=str, destinationKey=str)
    target = (_text(body, "destinationBucket") or body["bucketId"], check_key(body["destinationKey"]))
    changes = body.get("metadata") or {}
    keep = body.get("copyMetadata", True) is not False
    if not isinstance(changes, dict):
        raise invalid_request("body/metadata must be object")
    async with storage.db.as_caller(caller, operation) as connection:
        source = await find_object(connection, body["bucketId"], body["sourceKey"])
        metadata = dict(source["metadata"] or {})
        user_metadata = source["user_metadata"]
        if not keep:
            metadata |= {
                key: changes[key] for key in ("cacheControl", "mimetype") if isinstance(changes.get(key), str)
            }
            user_metadata = decode_metadata(request.headers.get("x-metadata"))
        await probe_upload(
            connection,
            caller,
            *target,
            upsert=request.headers.get("x-upsert") == "true",
            metadata=metadata,
            user_metadata=user_metadata,
        )
    try:
        version = await storage.files.duplicate(source["version"])
    except FileNotFoundError:
        raise no_such_key() from None
    values = {
        "bucket": target[0],
        "name": target[1],
        "version": version,
        "metadata": Jsonb(metadata),
        "user_metadata": Jsonb(user_metadata) if user_metadata is not None else None,
        **owner_columns(caller),
    }
    row = await write_row(storage, caller, operation, values)
    return JSONResponse(render_object(row) | {"Id": str(row["id"]), "Key": f"{target[0]}/{target[1]}"})


async def remove_one(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    operation = "storage.object.delete"
    target = (request.path_params["bucket"], check_key(request.path_params["path"]))
    async with storage.db.as_service(caller, operation) as connection:
        await find_object(connection, *target)
    async with storage.db.as_caller(caller, operation) as connection:
        cursor = await connection.execute(
            "delete from storage.objects where bucket_id = %s and name = %s returning version", target
        )
        row = await cursor.fetchone()
    if row is None:
        raise access_denied()
    storage.files.remove([row["version"]])
    return JSONResponse({"message": "Successfully deleted"})


async def remove_many(storage: Storage, request: Request) -> Response:
    """Delete what the caller may delete of the named objects; answers those, and is silent about the
    others."""
    caller = storage.caller(request)
    body = await json_body(request, prefixes=list)
    names = body["prefixes"]
    if not names or not all(isinstance(name, str) for name in names):
        raise invalid_request("body/prefixes must be a list of at least one string")
    if len(names) > MAX_PATHS:
        raise invalid_request(f"Bulk object requests are limited to {MAX_PATHS} objects per request.")
    async with storage.db.as_caller(caller, "storage.object.delete_many") as connection:
        cursor = await connection.execute(
            "delete from storage.objects where bucket_id = %s and name = any(%s) returning *",
            (request.path_params["bucket"], names),
        )
        rows = await cursor.fetchall()
    storage.files.remove(row["version"] for row in rows)
    return JSONResponse([render_object(row) for row in rows])


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise invalid_request(f"body/{name} must be string")
    return value


def routes(storage: Storage) -> list[Route]:
    endpoint = storage.endpoint
    return [
        Route("/object/move", endpoint(move), methods=["POST"]),
        Route("/object/copy", endpoint(copy), methods=["POST"]),
        Route("/object/{bucket}", endpoint(remove_many), methods=["DELETE"]),
        Route("/object/{bucket}/{path:path}", endpoint(upload_object), methods=["POST", "PUT"]),
        Route("/object/{bucket}/{path:path}", endpoint(remove_one), methods=["DELETE"]),
    ]
