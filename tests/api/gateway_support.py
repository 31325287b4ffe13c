"""Helpers for the gateway's tests: raw requests, throw-away users and buckets, a gateway to be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg import sql
from supabase import Client, create_client

from tests.support.stack import ROOT, Stack, clean_environment

PASSWORD = "correct horse"


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid4().hex[:12]}"


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


def service_client(stack: Stack) -> Client:
    return create_client(stack.api_url, stack.service_role_key)


def signed_up(stack: Stack) -> Client:
    """A supabase-py client with a session of a new user."""
    client = create_client(stack.api_url, stack.anon_key)
    client.auth.sign_up({"email": new_email(), "password": PASSWORD})
    return client


def user_id(client: Client) -> str:
    session = client.auth.get_session()
    assert session is not None
    return session.user.id


def access_token(client: Client) -> str:
    session = client.auth.get_session()
    assert session is not None
    return session.access_token


def http(stack: Stack, method: str, path: str, token: str | None = None, **kwargs: Any) -> httpx.Response:
    """A request with the anon key, and a token if given."""
    headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {token or stack.anon_key}"}
    headers |= kwargs.pop("headers", {})
    return httpx.request(method, f"{stack.api_url}{path}", headers=headers, timeout=60, **kwargs)


@contextmanager
def own_folder_bucket(stack: Stack, **options: Any) -> Iterator[str]:
    """A bucket in which authenticated users may do anything below a folder named by their id."""
    bucket = unique("own")
    create_client(stack.api_url, stack.service_role_key).storage.create_bucket(bucket, options=options)
    condition = sql.SQL(
        "bucket_id = {} and (storage.foldername(name))[1] = (select auth.uid())::text"
    ).format(sql.Literal(bucket))
    policy = sql.Identifier(bucket)
    with psycopg.connect(stack.db_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "create policy {} on storage.objects for all to authenticated using ({}) with check ({})"
            ).format(policy, condition, condition)
        )
        try:
            yield bucket
        finally:
            connection.execute(sql.SQL("drop policy {} on storage.objects").format(policy))
            service = service_client(stack)
            service.storage.empty_bucket(bucket)
            service.storage.delete_bucket(bucket)


class OwnGateway:
    """A second gateway on the stack's database with its own storage folder, to be killed and restarted."""

    def __init__(self, stack: Stack, folder: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = clean_environment(
            GATEWAY_PORT=str(self.port),
            GATEWAY_DB_URL=stack.admin_db_url,
            GATEWAY_POSTGREST_URL=f"{stack.api_url}/rest/v1",
            GATEWAY_JWT_SECRET=stack.jwt_secret,
            GATEWAY_STORAGE_DIR=str(folder),
            GATEWAY_ANON_KEY=stack.anon_key,
            GATEWAY_SERVICE_ROLE_KEY=stack.service_role_key,
            **settings,
        )
        self._log = folder.parent / f"gateway-{self.port}.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.stack.gateway"],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health").status_code == 200:
                    return process
            except httpx.TransportError:
                time.sleep(0.05)
        process.kill()
        raise AssertionError(f"the gateway did not start:\n{self._log.read_text()}")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.process = self._start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=15)

    def log(self) -> str:
        return self._log.read_text()

    def resident_bytes(self, field: str = "VmHWM") -> int:
        """Peak (VmHWM) or present (VmRSS) memory of the process."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def versions(self) -> list[Path]:
        return sorted(self.folder.glob("versions/*/*"))

    def temporary(self) -> list[Path]:
        return sorted(self.folder.glob("tmp/*"))


@contextmanager
def own_gateway(stack: Stack, folder: Path, **settings: str) -> Iterator[OwnGateway]:
    gateway = OwnGateway(stack, folder, **settings)
    try:
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.stop()
