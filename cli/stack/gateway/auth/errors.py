"""GoTrue's errors, in the shape that the client's API version expects."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

API_VERSION_HEADER = "x-supabase-api-version"
API_VERSION = "2024-01-01"


class AuthError(Exception):
    """An answer of Auth: HTTP status, GoTrue's error code, a message for people."""

    def __init__(self, status: int, code: str, message: str, *, reasons: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reasons = reasons

    def response(self, request: Request) -> JSONResponse:
        """{code, message} for clients that ask for 2024-01-01 or later, {code, error_code, msg} for older
        ones."""
        headers = {"x-sb-error-code": self.code}
        content: dict[str, Any]
        if request.headers.get(API_VERSION_HEADER, "") >= API_VERSION:
            headers[API_VERSION_HEADER] = API_VERSION
            content = {"code": self.code, "message": self.message}
        else:
            content = {"code": self.status, "error_code": self.code, "msg": self.message}
        if self.reasons is not None:
            content["weak_password"] = {"reasons": self.reasons}
        return JSONResponse(content, status_code=self.status, headers=headers)


def bad_request(code: str, message: str) -> AuthError:
    return AuthError(400, code, message)


def forbidden(code: str, message: str) -> AuthError:
    return AuthError(403, code, message)


def unprocessable(code: str, message: str) -> AuthError:
    return AuthError(422, code, message)


def invalid(message: str) -> AuthError:
    return AuthError(400, "validation_failed", message)
