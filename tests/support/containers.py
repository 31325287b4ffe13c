"""Supabase's own images in Docker, by testcontainers: what `pytest --stack=docker` runs against.

The parts and their settings are those of Supabase's self-hosting compose file, without Studio, Realtime and the rest
that imageledger does not need. Nothing outlives the run: no volume is made, and testcontainers' reaper removes what a
killed run leaves.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors
import jwt
import psycopg
from psycopg import sql
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy

from tests.support.stack import Stack

IMAGES = {
    "db": "supabase/postgres:17.6.1.084",
    "auth": "supabase/gotrue:v2.186.0",
    "rest": "postgrest/postgrest:v14.5",
    "storage": "supabase/storage-api:v1.44.2",
    "gateway": "kong:2.8.1",
}
PORTS = {"db": 5432, "auth": 9999, "rest": 3000, "storage": 5000, "gateway": 8000}
#: Path of the API → the part behind it.
ROUTES = {"/auth/v1/": "auth", "/rest/v1/": "rest", "/storage/v1/": "storage"}
#: What is asked, of the part itself, until it answers 200; PostgREST and PostgreSQL are asked otherwise.
HEALTH = {"auth": "/health", "storage": "/status"}
#: Logins that the image makes without a password that others know.
SERVICE_LOGINS = ("authenticator", "supabase_auth_admin", "supabase_storage_admin")
START_SECONDS = 180


def unavailable() -> str | None:
    """Why there can be no containers here, in one line."""
    try:
        client = docker.from_env(timeout=5)
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, OSError) as error:
        first = str(error).splitlines()[0][:120]
        return f"skipped: --stack=docker needs a Docker daemon, and none answers here ({first})"
    return None


def _random() -> str:
    return secrets.token_hex(24)


@dataclass(frozen=True)
class Secrets:
    """Made for one run; hexadecimal, so that they need no quoting in URLs."""

    password: str = field(default_factory=_random, repr=False)
    jwt_secret: str = field(default_factory=_random, repr=False)
    #: A key is a text that the gateway compares, so it must not depend on when it is asked for.
    issued_at: int = field(default_factory=lambda: int(time.time()))

    def key(self, role: str) -> str:
        """An API key as Supabase makes them: a JWT that names the role."""
        claims = {"role": role, "iss": "supabase", "iat": self.issued_at, "exp": self.issued_at + 24 * 3600}
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")

    def login(self, user: str, address: str = "db:5432") -> str:
        return f"postgresql://{user}:{self.password}@{address}/postgres"


def environments(made: Secrets) -> dict[str, dict[str, str]]:
    """What each part reads from its environment."""
    return {
        "db": {
            "POSTGRES_HOST": "/var/run/postgresql",
            "POSTGRES_PORT": "5432",
            "POSTGRES_DB": "postgres",
            "POSTGRES_PASSWORD": made.password,
            "PGPORT": "5432",
            "PGDATABASE": "postgres",
            "PGPASSWORD": made.password,
            "JWT_SECRET": made.jwt_secret,
            "JWT_EXP": "3600",
        },
        "auth": {
            "GOTRUE_API_HOST": "0.0.0.0",  # noqa: S104 - inside its container
            "GOTRUE_API_PORT": "9999",
            "API_EXTERNAL_URL": "http://localhost:8000",
            "GOTRUE_DB_DRIVER": "postgres",
            "GOTRUE_DB_DATABASE_URL": made.login("supabase_auth_admin"),
            "GOTRUE_SITE_URL": "http://localhost:3000",
            "GOTRUE_DISABLE_SIGNUP": "false",
            "GOTRUE_JWT_ADMIN_ROLES": "service_role",
            "GOTRUE_JWT_AUD": "authenticated",
            "GOTRUE_JWT_DEFAULT_GROUP_NAME": "authenticated",
            "GOTRUE_JWT_EXP": "3600",
            "GOTRUE_JWT_SECRET": made.jwt_secret,
            "GOTRUE_EXTERNAL_EMAIL_ENABLED": "true",
            # No mail server: who signs up is confirmed.
            "GOTRUE_MAILER_AUTOCONFIRM": "true",
        },
        "rest": {
            "PGRST_DB_URI": made.login("authenticator"),
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_JWT_SECRET": made.jwt_secret,
            "PGRST_DB_USE_LEGACY_GUCS": "false",
        },
        "storage": {
            "ANON_KEY": made.key("anon"),
            "SERVICE_KEY": made.key("service_role"),
            "POSTGREST_URL": "http://rest:3000",
            "PGRST_JWT_SECRET": made.jwt_secret,
            "DATABASE_URL": made.login("supabase_storage_admin"),
            "REQUEST_ALLOW_X_FORWARDED_PATH": "true",
            "FILE_SIZE_LIMIT": "52428800",
            "STORAGE_BACKEND": "file",
            "FILE_STORAGE_BACKEND_PATH": "/var/lib/storage",
            "TENANT_ID": "stub",
            "REGION": "stub",
            "GLOBAL_S3_BUCKET": "stub",
            "ENABLE_IMAGE_TRANSFORMATION": "false",
        },
        "gateway": {
            "KONG_DATABASE": "off",
            "KONG_DECLARATIVE_CONFIG": "/home/kong/kong.json",
            "KONG_DNS_ORDER": "LAST,A,CNAME",
            "KONG_PLUGINS": "request-transformer,cors,key-auth",
        },
    }


def gateway_config(made: Secrets) -> dict[str, Any]:
    """Kong's routes: an API key is asked for, and stands for the token where there is none. JSON is YAML too."""
    plugins: list[dict[str, Any]] = [
        {"name": "cors"},
        {"name": "key-auth", "config": {"hide_credentials": False, "key_names": ["apikey"]}},
        {
            "name": "request-transformer",
            "config": {"add": {"headers": ["Authorization:Bearer $(headers.apikey)"]}},
        },
    ]
    # Signed and public addresses of objects carry no key; Storage itself judges every request.
    kinds = {"auth": plugins, "rest": plugins, "storage": [plugins[0]]}
    return {
        "_format_version": "2.1",
        "consumers": [
            {"username": role, "keyauth_credentials": [{"key": made.key(role)}]}
            for role in ("anon", "service_role")
        ],
        "services": [
            {
                "name": part,
                "url": f"http://{part}:{PORTS[part]}/",
                "routes": [{"name": part, "strip_path": True, "paths": [path]}],
                "plugins": kinds[part],
            }
            for path, part in ROUTES.items()
        ],
    }


def container(
    part: str, env: Mapping[str, str], network: Network, files: Mapping[str, str]
) -> DockerContainer:
    """One part, not yet started, known to the others by its name."""
    made = DockerContainer(IMAGES[part]).with_network(network).with_network_aliases(part)
    made.with_exposed_ports(PORTS[part]).with_envs(**env)
    for path, text in files.items():
        made.with_copy_into_container(text.encode(), path)
    if part in HEALTH:
        made.waiting_for(
            HttpWaitStrategy(PORTS[part], HEALTH[part])
            .for_status_code(200)
            .with_startup_timeout(START_SECONDS)
        )
    if part == "db":
        made.with_command(["postgres", "-c", "config_file=/etc/postgresql/postgresql.conf"])
    return made


@contextmanager
def supabase(folder: Path) -> Iterator[Stack]:
    """A Supabase of five containers, migrated, with a login for the worker, until the end of the block."""
    made = Secrets()
    env = environments(made)
    with ExitStack() as closing:
        network = closing.enter_context(Network())

        def start(part: str, files: Mapping[str, str] | None = None) -> str:
            running = closing.enter_context(container(part, env[part], network, files or {}))
            return f"{running.get_container_host_ip()}:{running.get_exposed_port(PORTS[part])}"

        database = start("db")
        # The server that sets the image up listens on its socket only: who answers over TCP is the real one.
        _wait_for_database(made.login("supabase_admin", database))
        _give_passwords(made.login("supabase_admin", database), SERVICE_LOGINS, made.password)
        for part in ("auth", "rest", "storage"):
            start(part)
        config = json.dumps(gateway_config(made), indent=2)
        gateway = start("gateway", {env["gateway"]["KONG_DECLARATIVE_CONFIG"]: config})
        stack = Stack(
            kind="docker",
            folder=folder,
            api_url=f"http://{gateway}",
            anon_key=made.key("anon"),
            service_role_key=made.key("service_role"),
            db_url=made.login("postgres", database),
            worker_db_url=made.login("media_worker", database),
            given_jwt_secret=made.jwt_secret,
            given_analyst_db_url=made.login("analyst", database),
        )
        stack.cli("migrate")
        _give_passwords(stack.db_url, ("media_worker", "analyst"), made.password)
        _wait_until_healthy(stack)
        yield stack


def _wait_for_database(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with psycopg.connect(url, connect_timeout=5) as conn:
                conn.execute("select 1")
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _give_passwords(url: str, roles: tuple[str, ...], password: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for role in roles:
            conn.execute(
                sql.SQL("alter role {} with login password {}").format(
                    sql.Identifier(role), sql.Literal(password)
                )
            )


def _wait_until_healthy(stack: Stack) -> None:
    """Until `imageledger status` finds Auth, REST and Storage behind the gateway, and the schema."""
    deadline = time.monotonic() + START_SECONDS
    while (done := stack.cli("status", "--json", check=False)).returncode != 0:
        if time.monotonic() > deadline:
            raise AssertionError(f"the containers do not become healthy\n{done.stdout}\n{done.stderr}")
        time.sleep(1)
