"""Buckets, under row level security on storage.buckets."""

from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cli.stack.gateway.http import iso
from cli.stack.gateway.storage.errors import StorageError, duplicate, invalid_request, no_such_bucket
from cli.stack.gateway.storage.limits import check_allowed_types, check_bucket_name, parse_size
from cli.stack.gateway.storage.objects import owner_columns
from cli.stack.gateway.storage.service import Storage, json_body, whole_number

_SORTABLE = ("id", "name", "created_at", "updated_at")


async def create(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    body = await json_body(request, name=str)
    name = check_bucket_name(body["name"])
    bucket_id = check_bucket_name(body.get("id") or name)
    if body.get("type") not in (None, "STANDARD"):
        raise StorageError(409, "FeatureNotEnabled", "The feature analytics is not enabled for this resource")
    values = {
        "id": bucket_id,
        "name": name,
        "public": _boolean(body, "public"),
        "limit": parse_size(body.get("file_size_limit"), storage.settings.file_size_limit),
        "types": check_allowed_types(body.get("allowed_mime_types")),
        **owner_columns(caller),
    }
    try:
        async with storage.db.as_caller(caller, "storage.bucket.create") as connection:
            await connection.execute(
                """
                insert into storage.buckets (
                  id, name, owner, owner_id, public, file_size_limit, allowed_mime_types
                )
                values (%(id)s, %(name)s, %(owner)s, %(owner_id)s, %(public)s, %(limit)s, %(types)s)
                """,
                values,
            )
    except psycopg.errors.UniqueViolation:
        raise duplicate("BucketAlreadyExists") from None
    return JSONResponse({"name": name})


async def list_all(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    query = request.query_params
    column, order = query.get("sortColumn", "id"), query.get("sortOrder", "asc").lower()
    if column not in _SORTABLE or order not in ("asc", "desc"):
        raise invalid_request(
            "querystring/sortColumn or sortOrder must be equal to one of the allowed values"
        )
    values = {
        "search": query.get("search", ""),
        "limit": whole_number(query["limit"], "querystring/limit", minimum=1) if "limit" in query else None,
        "offset": whole_number(query.get("offset", "0"), "querystring/offset", minimum=0),
    }
    statement = SQL(
        """
        select * from storage.buckets where strpos(lower(name), lower(%(search)s)) > 0 or %(search)s = ''
        order by {} {} limit %(limit)s offset %(offset)s
        """
    ).format(SQL(column), SQL(order))
    async with storage.db.as_caller(caller, "storage.bucket.list") as connection:
        rows = await (await connection.execute(statement, values)).fetchall()
    return JSONResponse([_render(row) for row in rows])


async def get_one(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    async with storage.db.as_caller(caller, "storage.bucket.get") as connection:
        cursor = await connection.execute("select * from storage.buckets where id = %s", (_bucket(request),))
        row = await cursor.fetchone()
    if row is None:
        raise no_such_bucket()
    return JSONResponse(_render(row))


async def update(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    bucket = check_bucket_name(_bucket(request))
    body = await json_body(request)
    if not body.keys() & {"public", "file_size_limit", "allowed_mime_types"}:
        raise invalid_request("body must have required property 'public'")
    values = {
        "id": bucket,
        "public": _boolean(body, "public") if "public" in body else None,
        "set_limit": "file_size_limit" in body,
        "limit": parse_size(body.get("file_size_limit"), storage.settings.file_size_limit),
        "set_types": "allowed_mime_types" in body,
        "types": check_allowed_types(body.get("allowed_mime_types")),
    }
    async with storage.db.as_caller(caller, "storage.bucket.update") as connection:
        cursor = await connection.execute(
            """
            update storage.buckets
            set public = coalesce(%(public)s, public),
              file_size_limit = case when %(set_limit)s then %(limit)s::bigint else file_size_limit end,
              allowed_mime_types = case when %(set_types)s then %(types)s::text[] else allowed_mime_types end
            where id = %(id)s
            """,
            values,
        )
    if cursor.rowcount == 0:
        raise no_such_bucket()
    return JSONResponse({"message": "Successfully updated"})


async def empty(storage: Storage, request: Request) -> Response:
    """Delete every object of a bucket whose objects the caller can see. At once, where the hosted server
    queues it."""
    caller = storage.caller(request)
    operation = "storage.bucket.empty"
    bucket = _bucket(request)
    async with storage.db.as_caller(caller, operation) as connection:
        cursor = await connection.execute("select from storage.buckets where id = %s", (bucket,))
        if await cursor.fetchone() is None:
            raise no_such_bucket()
        cursor = await connection.execute(
            "select from storage.objects where bucket_id = %s limit 1", (bucket,)
        )
        any_visible = await cursor.fetchone() is not None
    if any_visible:
        async with storage.db.as_service(caller, operation) as connection:
            cursor = await connection.execute(
                "delete from storage.objects where bucket_id = %s returning version", (bucket,)
            )
            rows = await cursor.fetchall()
        storage.files.remove(row["version"] for row in rows)
    return JSONResponse({"message": "Empty bucket has been queued. Completion may take up to an hour."})


async def delete(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    bucket = _bucket(request)
    await storage.find_bucket(caller, bucket, "storage.bucket.delete")
    async with storage.db.as_service(caller, "storage.bucket.delete") as connection:
        cursor = await connection.execute(
            "select from storage.objects where bucket_id = %s limit 1", (bucket,)
        )
        if await cursor.fetchone() is not None:
            raise StorageError(409, "ResourceNotEmpty", "The bucket you tried to delete is not empty")
    async with storage.db.as_caller(caller, "storage.bucket.delete") as connection:
        cursor = await connection.execute("delete from storage.buckets where id = %s", (bucket,))
    if cursor.rowcount == 0:
        raise no_such_bucket()
    return JSONResponse({"message": "Successfully deleted"})


def _bucket(request: Request) -> str:
    bucket: str = request.path_params["bucket"]
    if "\x00" in bucket:
        raise no_such_bucket()
    return bucket


def _boolean(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if value in ("true", "false"):
        return bool(value == "true")
    if value is not None and not isinstance(value, bool):
        raise invalid_request(f"body/{name} must be boolean")
    return bool(value)


def _render(row: DictRow) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "owner": str(row["owner"] or ""),
        "public": row["public"],
        "type": row["type"],
        "file_size_limit": row["file_size_limit"],
        "allowed_mime_types": row["allowed_mime_types"],
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }


def routes(storage: Storage) -> list[Route]:
    endpoint = storage.endpoint
    return [
        *(
            route
            for path in ("/bucket", "/bucket/")
            for route in (
                Route(path, endpoint(list_all), methods=["GET"]),
                Route(path, endpoint(create), methods=["POST"]),
            )
        ),
        Route("/bucket/{bucket}/empty", endpoint(empty), methods=["POST"]),
        Route("/bucket/{bucket}", endpoint(get_one), methods=["GET"]),
        Route("/bucket/{bucket}", endpoint(update), methods=["PUT"]),
        Route("/bucket/{bucket}", endpoint(delete), methods=["DELETE"]),
    ]
