"""Listings: what lies in a folder (v1), and pages by cursor (v2). Folders are not rows but prefixes of
names."""

import base64
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cli.stack.gateway.http import iso
from cli.stack.gateway.storage.errors import StorageError, invalid_request
from cli.stack.gateway.storage.service import Storage, json_body, whole_number

_V1_COLUMNS = ("name", "updated_at", "created_at", "last_accessed_at")
_V2_COLUMNS = ("name", "updated_at", "created_at")
_MAX_V1 = 1500
_MAX_V2 = 1000

_NO_ROW = """null::uuid as id, null::timestamptz as updated_at, null::timestamptz as created_at,
        null::timestamptz as last_accessed_at, null::jsonb as metadata"""

# `entry` is a file's name, or a folder's up to its slash; names compare without case, as hosted.
_V1 = """
    with matches as (
      select *, strpos(substr(name, length(%(full)s) + 1), '/') as slash
      from storage.objects
      where bucket_id = %(bucket)s and starts_with(lower(name), lower(%(full)s))
    ),
    entries as (
      select left(name, length(%(full)s) + slash - 1) as entry, true as is_folder, {no_row}
      from matches
      where slash > 0
      group by entry
      union all
      select name, false, id, updated_at, created_at, last_accessed_at, metadata
      from matches
      where slash = 0
    )
    select substr(entry, length(%(prefix)s) + 1) as name, id, updated_at, created_at, last_accessed_at,
      metadata
    from entries
    order by {order}
    limit %(limit)s offset %(offset)s
"""

_V2 = """
    with matches as (
      select *,
        case when %(folders)s then strpos(substr(name, length(%(prefix)s) + 1), '/') else 0 end as slash
      from storage.objects
      where bucket_id = %(bucket)s and starts_with(name, %(prefix)s)
    ),
    entries as (
      select left(name, length(%(prefix)s) + slash) as name, true as is_folder, {no_row},
        'epoch'::timestamptz as sort_time
      from matches
      where slash > 0
      group by 1
      union all
      select name, false, id, updated_at, created_at, last_accessed_at, metadata,
        date_trunc('milliseconds', {time_column})
      from matches
      where slash = 0
    )
    select * from entries
    where {after}
    order by {order}
    limit %(limit)s
"""


async def list_v1(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    body = await json_body(request, prefix=str)
    column, order = _sort(body, _V1_COLUMNS)
    search = body.get("search") or ""
    if not isinstance(search, str):
        raise invalid_request("body/search must be string")
    prefix = body["prefix"]
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    by_name = SQL('lower(entry) collate "C" {}').format(SQL(order))
    values = {
        "bucket": request.path_params["bucket"],
        "prefix": prefix,
        "full": prefix + search,
        "limit": min(whole_number(body.get("limit", 100), "body/limit", minimum=1), _MAX_V1),
        "offset": whole_number(body.get("offset", 0), "body/offset", minimum=0),
    }
    statement = SQL(_V1).format(
        no_row=SQL(_NO_ROW),
        order=by_name
        if column == "name"
        else SQL("is_folder desc, {} {}, {}").format(SQL(column), SQL(order), by_name),
    )
    async with storage.db.as_caller(caller, "storage.object.list") as connection:
        rows = await (await connection.execute(statement, values)).fetchall()
    return JSONResponse([_render(row) for row in rows])


async def list_v2(storage: Storage, request: Request) -> Response:
    caller = storage.caller(request)
    body = await json_body(request)
    column, order = _sort(body, _V2_COLUMNS)
    prefix, cursor = body.get("prefix") or "", body.get("cursor") or ""
    if not isinstance(prefix, str) or not isinstance(cursor, str):
        raise invalid_request("body/prefix and body/cursor must be string")
    limit = min(whole_number(body.get("limit", _MAX_V2), "body/limit", minimum=1), _MAX_V2)
    after: dict[str, str] = {}
    if cursor:
        after = _decode_cursor(cursor)
        column, order = after.get("c", "name"), after.get("o", "asc")
        if column not in _V2_COLUMNS or order not in ("asc", "desc"):
            raise _bad_cursor()
    by_time = column != "name"
    comparison = SQL(">" if order == "asc" else "<")
    position: Composable = SQL("true")
    if cursor and by_time:
        position = SQL('(sort_time, name collate "C") {} (%(after_time)s::timestamptz, %(after)s)').format(
            comparison
        )
    elif cursor:
        position = SQL('name collate "C" {} %(after)s').format(comparison)
    direction = SQL(order)
    by_name = SQL('name collate "C" {}').format(direction)
    statement = SQL(_V2).format(
        no_row=SQL(_NO_ROW),
        time_column=SQL(column if by_time else "created_at"),
        after=position,
        order=SQL("sort_time {}, {}").format(direction, by_name) if by_time else by_name,
    )
    values = {
        "bucket": request.path_params["bucket"],
        "prefix": prefix,
        "folders": body.get("with_delimiter") is True,
        "after": after.get("l", ""),
        "after_time": _moment(after.get("a")),
        "limit": limit + 1,
    }
    async with storage.db.as_caller(caller, "storage.object.list_v2") as connection:
        rows = await (await connection.execute(statement, values)).fetchall()
    page = rows[:limit]
    answer: dict[str, Any] = {
        "hasNext": len(rows) > limit,
        "folders": [_render(row) for row in page if row["is_folder"]],
        "objects": [_render(row) for row in page if not row["is_folder"]],
    }
    if answer["hasNext"]:
        last = page[-1]
        answer["nextCursorKey"] = last["name"]
        answer["nextCursor"] = _encode_cursor(last, column, order)
    return JSONResponse(answer)


def _sort(body: dict[str, Any], columns: tuple[str, ...]) -> tuple[str, str]:
    sort = body.get("sortBy") or {}
    column, order = (
        (sort.get("column") or "name", sort.get("order") or "asc") if isinstance(sort, dict) else ("", "")
    )
    if column not in columns or order not in ("asc", "desc"):
        raise invalid_request("body/sortBy must name a column and an order that can be sorted by")
    return column, order


def _render(row: DictRow) -> dict[str, Any]:
    return {
        "name": row["name"],
        "id": str(row["id"]) if row["id"] else None,
        "updated_at": iso(row["updated_at"]),
        "created_at": iso(row["created_at"]),
        "last_accessed_at": iso(row["last_accessed_at"]),
        "metadata": row["metadata"],
    }


def _encode_cursor(last: DictRow, column: str, order: str) -> str:
    lines = [f"l:{last['name']}", f"o:{order}", f"c:{column}"]
    if column != "name":
        lines.append(f"a:{iso(last['sort_time'])}")
    return base64.b64encode("\n".join(lines).encode()).decode()


def _decode_cursor(cursor: str) -> dict[str, str]:
    try:
        lines = base64.b64decode(cursor, validate=True).decode().split("\n")
    except ValueError:
        raise _bad_cursor() from None
    pairs = [line.partition(":") for line in lines]
    if not all(name in ("l", "o", "c", "a") and colon for name, colon, _ in pairs):
        raise _bad_cursor()
    return {name: value for name, _, value in pairs}


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise _bad_cursor() from None


def _bad_cursor() -> StorageError:
    return StorageError(400, "InvalidParameter", "Invalid Parameter continuation token")


def routes(storage: Storage) -> list[Route]:
    endpoint = storage.endpoint
    return [
        Route("/object/list/{bucket}", endpoint(list_v1), methods=["POST"]),
        Route("/object/list-v2/{bucket}", endpoint(list_v2), methods=["POST"]),
    ]
