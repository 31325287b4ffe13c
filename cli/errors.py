"""The exceptions that commands end with: a stable code, what happened, what to do, an exit code.

Exit codes (the table in cli/README.md): 0 done, 1 failed, 2 wrong use, 3 not running, 4 the database's
schema is not this checkout's, 5 running but not healthy, 6 the database lacks what Supabase provides,
7 sweep or erasure has findings, or a file was refused, 130 interrupted.
"""

from __future__ import annotations

from typing import Any


class CliError(Exception):
    """A failure told to people. `code` is stable snake_case; `remedy` is what to do next."""

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.data: dict[str, Any] = {}
        if code is not None:
            self.code = code

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON; `from_dict` reads it back, also in another process."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
            **({"data": self.data} if self.data else {}),
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> CliError:
        error = CliError(data["message"], remedy=data.get("remedy", ""), code=data.get("code"))
        error.exit_code = int(data.get("exit_code", 1))
        error.data = data.get("data", {})
        return error


class UsageError(CliError):
    """The options or the environment contradict each other or are incomplete."""

    code = "usage"
    exit_code = 2


class NotRunningError(CliError):
    """The embedded stack is needed and does not run."""

    code = "not_running"
    exit_code = 3


class NotMigratedError(CliError):
    """The database's schema is not the one of this checkout."""

    code = "not_migrated"
    exit_code = 4


class UnhealthyError(CliError):
    """The stack runs, but a part of it does not answer."""

    code = "unhealthy"
    exit_code = 5


class MissingSupabaseError(CliError):
    """The database lacks roles, schemas, tables or functions that Supabase provides."""

    code = "supabase_missing"
    exit_code = 6


class FindingsError(CliError):
    """What was looked at is not as it should be, and the answer says how."""

    code = "findings"
    exit_code = 7


class BinaryMissingError(CliError):
    """A pinned binary is not installed or cannot run here."""

    code = "binary_missing"


class StartError(CliError):
    """A part of the stack did not start."""

    code = "start_failed"


class MigrationError(CliError):
    """A SQL file failed; nothing was applied."""

    code = "migration_failed"


class LockedError(CliError):
    """Another process holds the lock that this command needs."""

    code = "locked"
