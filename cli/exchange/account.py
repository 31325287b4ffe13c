"""Whose listings: a user's with their own token through the API, or an owner's by an operator through the database.

Both are the same person to the database: the operator's session takes on the owner's role and claims, so row security,
the gate and every check hold for it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol
from uuid import UUID

import httpx
import psycopg
from psycopg import sql
from storage3 import SyncStorageClient
from storage3.exceptions import StorageApiError

from cli.errors import CliError, UsageError
from cli.exchange.csv_text import COLUMNS, PROBLEMS_MAX
from cli.project import Project

#: Rows of one request; also PostgREST's usual limit.
PAGE = 1000
_BATCH = 500

Row = Sequence[str | None]


class RefusedError(CliError):
    """The API or the database refused; the code is its own."""


class Account(Protocol):
    """What the exchange asks of the ledger and of Storage, as one owner."""

    def count(self) -> int: ...
    def rows(self) -> Iterator[Row]: ...
    def import_rows(
        self, header: Sequence[str], rows: Iterable[Row], *, dry_run: Callable[[], bool]
    ) -> dict[str, Any]: ...
    def listing_ids(self, wanted: Sequence[str]) -> list[str]: ...
    def check_site(self, site: str) -> None: ...
    def export_listing(self, listing_id: str, site: str) -> dict[str, Any]: ...
    def url_seconds_max(self) -> int: ...
    def sign(self, paths: Sequence[str], seconds: int) -> dict[str, str]: ...
    def download(self, path: str) -> bytes: ...
    def close(self) -> None: ...


class _Bucket:
    """Bucket media with somebody's key."""

    def __init__(self, project: Project, token: str, apikey: str) -> None:
        url = project.api_url.rstrip("/") + "/storage/v1/"
        headers = {"apikey": apikey, "Authorization": f"Bearer {token}"}
        self._http = httpx.Client(headers=headers, timeout=60)
        self._files = SyncStorageClient(url, headers, http_client=self._http).from_("media")

    def sign(self, paths: Sequence[str], seconds: int) -> dict[str, str]:
        urls: dict[str, str] = {}
        try:
            for start in range(0, len(paths), _BATCH):
                batch = list(paths[start : start + _BATCH])
                for path, answer in zip(batch, self._files.create_signed_urls(batch, seconds), strict=True):
                    if url := answer.get("signedURL"):
                        urls[path] = url
        except (StorageApiError, httpx.HTTPError) as error:
            raise CliError(str(error), remedy="try again", code="storage_failed") from error
        return urls

    def download(self, path: str) -> bytes:
        try:
            return bytes(self._files.download(path))
        except (StorageApiError, httpx.HTTPError) as error:
            raise CliError(f"{path}: {error}", remedy="try again", code="storage_failed") from error

    def close(self) -> None:
        self._http.close()


class UserAccount:
    """A signed-in user, with the anon key."""

    def __init__(self, project: Project, token: str) -> None:
        headers = {"apikey": project.anon_key, "Authorization": f"Bearer {token}"}
        self._rest = httpx.Client(
            base_url=project.api_url.rstrip("/") + "/rest/v1/",
            headers=headers,
            timeout=httpx.Timeout(600, connect=10),
        )
        self._bucket = _Bucket(project, token, project.anon_key)

    @classmethod
    def sign_in(cls, project: Project, email: str, password: str) -> UserAccount:
        try:
            answer = httpx.post(
                project.api_url.rstrip("/") + "/auth/v1/token?grant_type=password",
                headers={"apikey": project.anon_key},
                json={"email": email, "password": password},
                timeout=30,
            )
        except httpx.HTTPError as error:
            raise CliError(str(error), remedy="see `imageledger status`", code="unreachable") from error
        if answer.is_error:
            raise RefusedError(
                "e-mail address or password is wrong, or the address is not confirmed",
                remedy="check --email and IMAGELEDGER_PASSWORD",
                code="sign_in_failed",
            )
        return cls(project, str(answer.json()["access_token"]))

    def close(self) -> None:
        self._rest.close()
        self._bucket.close()

    def count(self) -> int:
        answer = self._ask("GET", "listing_csv?select=sku&limit=1", headers={"Prefer": "count=exact"})
        return int(answer.headers["content-range"].rpartition("/")[2])

    def rows(self) -> Iterator[Row]:
        """By sku, page by page: each page begins behind the last sku of the one before. Those without sku come last."""
        params = {"order": "sku", "limit": str(PAGE), "sku": "not.is.null"}
        while page := self._ask("GET", "listing_csv", params=params).json():
            yield from (tuple(row[name] for name in COLUMNS) for row in page)
            params |= {"sku": f"gt.{page[-1]['sku']}"}
        offset = 0
        params = {"sku": "is.null", "order": "title,description", "limit": str(PAGE)}
        while page := self._ask("GET", "listing_csv", params=params | {"offset": str(offset)}).json():
            yield from (tuple(row[name] for name in COLUMNS) for row in page)
            offset += len(page)

    def import_rows(
        self, header: Sequence[str], rows: Iterable[Row], *, dry_run: Callable[[], bool]
    ) -> dict[str, Any]:
        """One request, one transaction. The body is sent as it is read, so that it is never whole in memory here."""

        def body() -> Iterator[bytes]:
            yield b'{"rows": ['
            between = b""
            for row in rows:
                yield between + json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False).encode()
                between = b","
            # Last: a row that cannot be read makes it a check of the others.
            yield b'], "dry_run": ' + (b"true" if dry_run() else b"false") + b"}"

        def blocks() -> Iterator[bytes]:
            parts = body()
            while block := b"".join(islice(parts, 200)):
                yield block

        answer = self._ask(
            "POST", "rpc/import_listings", content=blocks(), headers={"Content-Type": "application/json"}
        )
        return dict(answer.json())

    def listing_ids(self, wanted: Sequence[str]) -> list[str]:
        user = {"owner_id": f"eq.{self._user_id()}", "select": "id,sku", "order": "sku,id"}
        if not wanted:
            ids: list[str] = []
            params = user | {"status": "neq.archived", "limit": str(PAGE)}
            while page := self._ask("GET", "listings", params=params | {"offset": str(len(ids))}).json():
                ids += [row["id"] for row in page]
            return ids
        return [self._find(user, name) for name in wanted]

    def _find(self, user: dict[str, str], name: str) -> str:
        key = "id" if _is_uuid(name) else "sku"
        found = self._ask("GET", "listings", params=user | {key: f"eq.{name}"}).json()
        return str(found[0]["id"]) if found else _not_found(name)

    def _user_id(self) -> str:
        try:
            return str(self._ask("GET", "profiles", params={"select": "id"}).json()[0]["id"])
        except IndexError:
            raise RefusedError(
                "the token is nobody's", remedy="sign in again", code="not_signed_in"
            ) from None

    def check_site(self, site: str) -> None:
        """Raise RefusedError unless there is such a site: also where there is no listing to ask with."""
        if not self._ask("GET", "sites", params={"id": f"eq.{site}", "is_enabled": "is.true"}).json():
            raise _no_site(site)

    def export_listing(self, listing_id: str, site: str) -> dict[str, Any]:
        return dict(
            self._ask("POST", "rpc/export_listing", json={"listing_id": listing_id, "site": site}).json()
        )

    def url_seconds_max(self) -> int:
        return int(
            self._ask("GET", "site_policies?select=signed_url_seconds_max").json()[0][
                "signed_url_seconds_max"
            ]
        )

    def sign(self, paths: Sequence[str], seconds: int) -> dict[str, str]:
        return self._bucket.sign(paths, seconds)

    def download(self, path: str) -> bytes:
        return self._bucket.download(path)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._rest.request(method, path, **more)
        except httpx.HTTPError as error:
            raise CliError(str(error), remedy="see `imageledger status`", code="unreachable") from error
        if answer.is_error:
            raise _refusal(answer)
        return answer


class OperatorAccount:
    """An owner's listings through the database, as the owner."""

    def __init__(self, project: Project, owner: UUID) -> None:
        self._owner = owner
        self._project = project
        self._bucket = (
            _Bucket(project, project.service_role_key, project.service_role_key) if project.api_url else None
        )
        try:
            self._conn = psycopg.connect(project.db_url, application_name="imageledger exchange")
        except psycopg.OperationalError as error:
            raise CliError(str(error), remedy="check SUPABASE_DB_URL", code="database_unreachable") from error
        # Meant for requests, and set for the session: one transaction takes a whole file.
        self._conn.execute("set statement_timeout = 0")
        if not self._one("select exists (select from public.profiles where id = %s)", owner):
            raise UsageError(f"there is no user {owner}", remedy="see auth.users for the ids")
        self._conn.commit()

    def close(self) -> None:
        self._conn.close()
        if self._bucket:
            self._bucket.close()

    def _one(self, query: str, *args: Any) -> Any:
        row = self._conn.execute(query, args).fetchone()
        return row[0] if row else None

    def _become_owner(self) -> None:
        claims = {"role": "authenticated", "aud": "authenticated", "sub": str(self._owner)}
        self._conn.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
        self._conn.execute("set local role authenticated")

    def count(self) -> int:
        return int(self._one("select count(*) from public.listings where owner_id = %s", self._owner))

    def rows(self) -> Iterator[Row]:
        """One snapshot, by a cursor of the server: as many rows in memory as it fetches at a time."""
        with self._conn.transaction():
            self._become_owner()
            with self._conn.cursor(name="listing_csv") as cursor:
                cursor.itersize = PAGE
                names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
                cursor.execute(
                    sql.SQL("select {} from public.listing_csv order by sku, title, description").format(
                        names
                    )
                )
                yield from cursor

    def import_rows(
        self, header: Sequence[str], rows: Iterable[Row], *, dry_run: Callable[[], bool]
    ) -> dict[str, Any]:
        """COPY to where the view's trigger puts rows too, then the same function that checks and writes them."""
        names = sql.SQL(", ").join(map(sql.Identifier, header))
        try:
            with self._conn.transaction():
                with self._conn.cursor().copy(
                    sql.SQL("copy private.listing_csv_rows ({}) from stdin").format(names)
                ) as copy:
                    for row in rows:
                        copy.write_row(row)
                report = self._one(
                    "select private.import_listing_csv(%s, %s, %s)", self._owner, dry_run(), PROBLEMS_MAX
                )
        except psycopg.Error as error:
            raise _database_refusal(error) from error
        return dict(report)

    def listing_ids(self, wanted: Sequence[str]) -> list[str]:
        if not wanted:
            query = "select id::text from public.listings where owner_id = %s and status <> 'archived' order by sku, id"
            return [row[0] for row in self._conn.execute(query, [self._owner]).fetchall()]
        ids = []
        for name in wanted:
            key = "id::text" if _is_uuid(name) else "sku"
            found = self._one(
                f"select id::text from public.listings where owner_id = %s and {key} = %s",  # noqa: S608
                self._owner,
                name.lower() if _is_uuid(name) else name,
            )
            ids.append(found or _not_found(name))
        return ids

    def check_site(self, site: str) -> None:
        """Raise RefusedError unless there is such a site: also where there is no listing to ask with."""
        if not self._one("select exists (select from public.sites where id = %s and is_enabled)", site):
            raise _no_site(site)

    def export_listing(self, listing_id: str, site: str) -> dict[str, Any]:
        try:
            with self._conn.transaction():
                self._become_owner()
                return dict(self._one("select public.export_listing(%s, %s)", listing_id, site))
        except psycopg.Error as error:
            raise _database_refusal(error) from error

    def url_seconds_max(self) -> int:
        return int(self._one("select signed_url_seconds_max from public.site_policies"))

    def sign(self, paths: Sequence[str], seconds: int) -> dict[str, str]:
        return self._storage.sign(paths, seconds)

    def download(self, path: str) -> bytes:
        return self._storage.download(path)

    @property
    def _storage(self) -> _Bucket:
        if self._bucket is None:
            raise UsageError(
                "photos need Storage, and only SUPABASE_DB_URL is set",
                remedy="set SUPABASE_URL, SUPABASE_ANON_KEY and SUPABASE_SERVICE_ROLE_KEY as well",
            )
        return self._bucket


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name.lower()
    except ValueError:
        return False


def _not_found(name: str) -> str:
    raise RefusedError(
        f"no listing has the sku or id {name}",
        remedy="see `imageledger csv export`",
        code="listing_not_found",
    )


def _no_site(site: str) -> RefusedError:
    return RefusedError(
        f"there is no site {site}, or it is switched off",
        remedy="read the table sites",
        code="site_not_found",
    )


def _refusal(answer: httpx.Response) -> CliError:
    """PostgREST's error: our codes stand in `details`, others in `code`."""
    try:
        body = dict(answer.json())
    except ValueError:
        body = {"message": answer.text[:300]}
    code = str(body.get("code") or "")
    details = str(body.get("details") or "")
    if code == "57014":
        return RefusedError(
            "the database's time limit for requests ended it; nothing was changed",
            remedy="import fewer rows at a time, or as an operator with --owner",
            code="too_slow",
        )
    ours = details if code.startswith("PT") else code
    return RefusedError(
        str(body.get("message") or f"HTTP {answer.status_code}"),
        remedy=str(body.get("hint") or ("sign in again" if answer.status_code == 401 else "")),
        code=ours or f"http_{answer.status_code}",
    )


def _database_refusal(error: psycopg.Error) -> CliError:
    code = error.diag.message_detail if (error.sqlstate or "").startswith("PT") else None
    return RefusedError(
        error.diag.message_primary or str(error),
        remedy=error.diag.message_hint or "",
        code=code or "database_error",
    )
