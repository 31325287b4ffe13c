"""Users of the running stack, each with an unmodified supabase-py client that holds the anon key."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from supabase import Client, ClientOptions, create_client

from tests.support.stack import Stack

PASSWORD = "correct horse battery staple"


def new_client(stack: Stack, key: str | None = None) -> Client:
    """A client as a browser would have it; with `key`, one that holds another key."""
    options = ClientOptions(auto_refresh_token=False, persist_session=False)
    return create_client(stack.api_url, key or stack.anon_key, options=options)


@dataclass
class Person:
    """A signed-in user and what a test does in their name."""

    stack: Stack
    email: str
    id: str
    client: Client
    access_token: str

    @classmethod
    def sign_up(cls, stack: Stack, email: str | None = None) -> Person:
        client = new_client(stack)
        address = email or f"{uuid4()}@example.test"
        if stack.kind == "outside":
            # A hosted project mails a confirmation for each sign-up, and a few an hour only.
            new_client(stack, stack.service_role_key).auth.admin.create_user(
                {"email": address, "password": PASSWORD, "email_confirm": True}
            )
            answer = client.auth.sign_in_with_password({"email": address, "password": PASSWORD})
        else:
            answer = client.auth.sign_up({"email": address, "password": PASSWORD})
        assert answer.user is not None
        assert answer.session is not None
        return cls(stack, address, answer.user.id, client, answer.session.access_token)

    def sign_in_again(self) -> Person:
        """The same user in a new browser."""
        client = new_client(self.stack)
        answer = client.auth.sign_in_with_password({"email": self.email, "password": PASSWORD})
        assert answer.session is not None
        return Person(self.stack, self.email, self.id, client, answer.session.access_token)

    @property
    def headers(self) -> dict[str, str]:
        return {"apikey": self.stack.anon_key, "Authorization": f"Bearer {self.access_token}"}

    def rest(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """A raw request to PostgREST: what a client library would not send."""
        headers = self.headers | kwargs.pop("headers", {})
        return httpx.request(
            method, f"{self.stack.api_url}/rest/v1/{path}", headers=headers, timeout=30, **kwargs
        )

    def storage(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """A raw request to Storage."""
        headers = self.headers | kwargs.pop("headers", {})
        return httpx.request(
            method, f"{self.stack.api_url}/storage/v1/{path}", headers=headers, timeout=30, **kwargs
        )

    def new_listing(self, **columns: Any) -> str:
        rows: Any = self.client.table("listings").insert(columns).execute().data
        return str(rows[0]["id"])

    def reserve(self, listing_id: str, *files: tuple[str, str, int]) -> list[dict[str, str]]:
        """Reserve (file_name, mime_type, byte_size) each; answers image_id, bucket, path."""
        body = [{"file_name": n, "mime_type": m, "byte_size": s} for n, m, s in files]
        answer: Any = self.client.rpc("reserve_uploads", {"listing_id": listing_id, "files": body}).execute()
        return list(answer.data)

    def upload(self, listing_id: str, *files: tuple[str, str, bytes]) -> list[dict[str, str]]:
        """Reserve and send (file_name, mime_type, bytes) each."""
        reserved = self.reserve(listing_id, *((n, m, len(b)) for n, m, b in files))
        for row, (_, mime_type, data) in zip(reserved, files, strict=True):
            self.client.storage.from_(row["bucket"]).upload(row["path"], data, {"content-type": mime_type})
        return reserved

    def images(self, listing_id: str) -> list[dict[str, Any]]:
        query = (
            self.client.table("listing_images").select("*, image_variants(*)").eq("listing_id", listing_id)
        )
        rows: Any = query.order("position").execute().data
        return list(rows)

    def wait_until_settled(self, listing_id: str, timeout: float = 60) -> list[dict[str, Any]]:
        """The listing's images once all are ready or failed."""
        deadline = time.monotonic() + timeout
        while True:
            rows = self.images(listing_id)
            if all(row["state"] in {"ready", "failed"} for row in rows):
                return rows
            if time.monotonic() > deadline:
                raise AssertionError([(row["id"], row["state"], row["error"]) for row in rows])
            time.sleep(0.05)


def objects_below(stack: Stack, owner: str) -> dict[str, set[str]]:
    """Every object below this owner's folders, by bucket: what Storage lists, not what the ledger says."""
    service = new_client(stack, stack.service_role_key)

    def walk(bucket: str, folder: str) -> set[str]:
        found: set[str] = set()
        offset = 0
        while True:
            options: Any = {"limit": 1000, "offset": offset}
            entries = service.storage.from_(bucket).list(folder, options)
            for entry in entries:
                name = f"{folder}/{entry['name']}"
                found |= {name} if entry.get("id") else walk(bucket, name)
            if len(entries) < 1000:
                return found
            offset += 1000

    return {bucket: walk(bucket, owner) for bucket in ("private", "media", "public")}
