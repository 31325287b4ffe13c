"""Rotation of the keys of credentials, over the database's own login. No key and no secret leaves the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

import psycopg

from cli.errors import CliError, NotMigratedError


class CredentialKeys:
    """Context manager over the functions of schema private; each call is one transaction."""

    def __init__(self, db_url: str) -> None:
        self._url = db_url

    def __enter__(self) -> CredentialKeys:
        try:
            self._conn = psycopg.connect(
                self._url, autocommit=True, application_name="imageledger keys", prepare_threshold=None
            )
        except psycopg.OperationalError as error:
            raise CliError(
                str(error).strip(), code="database_unreachable", remedy="see SUPABASE_DB_URL"
            ) from error
        row = self._conn.execute("select to_regprocedure('private.credential_status()')").fetchone()
        if row is None or row[0] is None:
            self._conn.close()
            raise NotMigratedError("the database has no credentials yet", remedy="run `imageledger migrate`")
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def status(self) -> dict[str, Any]:
        """{"has_vault", "newest_key", "in_vault", "by_key", "pending"}."""
        return dict(self._value("select private.credential_status()"))

    def begin(self) -> dict[str, Any]:
        """{"key", "resumed"}: a new key, or the one of a rotation that was stopped."""
        return dict(self._value("select private.begin_rotation()"))

    def rotate(self, after: dict[str, str] | None, batch: int) -> dict[str, Any]:
        """{"rotated", "unreadable", "last"} of the batch after this one; last is None at the end."""
        place = (after["owner_id"], after["site"]) if after else (None, None)
        return dict(self._value("select private.rotate_credentials(%s, %s, %s)", *place, batch))

    def drop_keys(self) -> int:
        """How many keys nothing needed any more."""
        return int(self._value("select private.drop_credential_keys()"))

    def _value(self, sql: LiteralString, *args: object) -> Any:
        row = self._conn.execute(sql, args).fetchone()
        return row[0] if row else None


def rotate(ledger: CredentialKeys, batch: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Continues a rotation that was stopped, or makes a key and begins one; answers what was done."""
    begun = ledger.begin()
    rotated = unreadable = 0
    last = None
    while True:
        done = ledger.rotate(last, batch)
        rotated += done["rotated"]
        unreadable += done["unreadable"]
        last = done["last"]
        if last is None:
            break
        say(f"{rotated} credentials")
    dropped = ledger.drop_keys()
    return {**begun, "rotated": rotated, "unreadable": unreadable, "keys_dropped": dropped, **ledger.status()}
