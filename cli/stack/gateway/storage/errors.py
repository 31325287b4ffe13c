"""The Storage server's errors.

As hosted, the HTTP status of nearly every refusal is 400 and the true code is `statusCode` in the body: that is where
storage3 and supabase-js look. Only 5xx codes are HTTP statuses too.
"""

import psycopg
from starlette.responses import JSONResponse


class StorageError(Exception):
    """An answer of Storage: `status` is the body's statusCode, `code` the newer name, `error` the older one."""

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


def from_database(error: psycopg.Error) -> StorageError:
    """What the Storage server makes of a database error: by SQLSTATE; only 42501 keeps its message."""
    message = error.diag.message_primary or ""
    match error.sqlstate:
        case "42501":
            text = (
                "new row violates row-level security policy" if "row-level security" in message else message
            )
            return access_denied(text)
        case "23505":
            return duplicate("ResourceAlreadyExists")
        case "23503" if "is still referenced from table" in (error.diag.message_detail or ""):
            text = "The resource could not be updated or removed due to a foreign key constraint"
            return StorageError(409, "ResourceReferenced", text)
        case "23503":
            return StorageError(404, "InvalidRequest", "The related resource does not exist")
        case "55P03":
            return StorageError(423, "ResourceLocked", "The resource is locked")
        case "57014":
            return StorageError(544, "DatabaseTimeout", "The connection to the database timed out")
        case "22P02":
            return StorageError(400, "InvalidParameter", message)
        case "42P17":
            return StorageError(
                503,
                "DatabaseInvalidObjectDefinition",
                "The database schema is invalid or incompatible.",
                http_status=400,
            )
        case "42703" | "42P01":
            text = f"There is a database schema mismatch in a trigger or RLS policy: {error.diag.context}"
            return StorageError(503, "DatabaseSchemaMismatch", text, http_status=400)
        case None:
            return StorageError(544, "DatabaseTimeout", "The connection to the database timed out")
        case code if code.startswith(("08", "57P")):
            return StorageError(544, "DatabaseTimeout", "The connection to the database timed out")
        case code:
            return StorageError(500, "DatabaseError", f"database error, code: {code}")
