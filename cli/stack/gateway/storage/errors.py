"""The Storage server's errors.

As hosted, the HTTP status of nearly every refusal is 400 and the true code is `statusCode` in the body:
that is where storage3 and supabase-js look. Only 5xx codes are HTTP statuses too.
"""

import psycopg
from starlette.responses import JSONResponse


class StorageError(Exception):
    """An answer of Storage: `status` is the body's statusCode, `code` the newer name, `error` the older
    one."""

    def __init__(
        self, status: int, code: str, message: str, *, error: str = "", http_status: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.error = error or code
        self.http_status = http_status or (status if status >= 500 else 400)

    def response(self) -> JSONResponse:
        content = {
            "statusCode": str(self.status),
            "code": self.code,
            "error": self.error,
            "message": self.message,
        }
        return JSONResponse(content, status_code=self.http_status, headers={"cache-control": "no-store"})


def access_denied(message: str = "Access denied") -> StorageError:
    return StorageError(403, "AccessDenied", message, error="Unauthorized")


def no_such_bucket() -> StorageError:
    return StorageError(404, "NoSuchBucket", "Bucket not found", error="Bucket not found")


def no_such_key() -> StorageError:
    return StorageError(404, "NoSuchKey", "Object not found", error="not_found")


def duplicate(code: str = "KeyAlreadyExists") -> StorageError:
    return StorageError(409, code, "The resource already exists", error="Duplicate")


def entity_too_large(entity: str = "object") -> StorageError:
    message = f"The {entity} exceeded the maximum allowed size"
    return StorageError(413, "EntityTooLarge", message, error="Payload too large")


def invalid_mime_type(mime_type: str) -> StorageError:
    message = f"mime type {mime_type} is not supported"
    return StorageError(415, "InvalidMimeType", message, error="invalid_mime_type")


def invalid_key(key: str) -> StorageError:
    return StorageError(400, "InvalidKey", f"Invalid key: {key}")


def invalid_request(message: str) -> StorageError:
    return StorageError(400, "InvalidRequest", message)


_TIMEOUT = (544, "DatabaseTimeout", "The connection to the database timed out")
_BY_SQLSTATE: dict[str, tuple[int, str, str]] = {
    "55P03": (423, "ResourceLocked", "The resource is locked"),
    "57014": _TIMEOUT,
    "42P17": (503, "DatabaseInvalidObjectDefinition", "The database schema is invalid or incompatible."),
}


def from_database(error: psycopg.Error) -> StorageError:
    """What the Storage server makes of a database error: by SQLSTATE, and mostly without its message."""
    state, message = error.sqlstate or "", error.diag.message_primary or ""
    if state == "42501":
        hidden = "row-level security" in message
        return access_denied("new row violates row-level security policy" if hidden else message)
    if state in ("23503", "23505"):
        return _foreign_key(error) if state == "23503" else duplicate("ResourceAlreadyExists")
    if state == "22P02":
        return StorageError(400, "InvalidParameter", message)
    if state in ("42703", "42P01"):
        text = f"There is a database schema mismatch in a trigger or RLS policy: {error.diag.context}"
        return StorageError(503, "DatabaseSchemaMismatch", text, http_status=400)
    if not state or state.startswith(("08", "57P")):
        return StorageError(*_TIMEOUT)
    unknown = (500, "DatabaseError", f"database error, code: {state}")
    status, code, text = _BY_SQLSTATE.get(state, unknown)
    return StorageError(status, code, text, http_status=400 if status == 503 else 0)


def _foreign_key(error: psycopg.Error) -> StorageError:
    if "is still referenced from table" in (error.diag.message_detail or ""):
        text = "The resource could not be updated or removed due to a foreign key constraint"
        return StorageError(409, "ResourceReferenced", text)
    return StorageError(404, "InvalidRequest", "The related resource does not exist")
