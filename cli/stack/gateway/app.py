"""The application: one port, three services and a health page."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import psycopg_pool
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from cli.stack.gateway.auth import routes as auth_routes
from cli.stack.gateway.auth.service import Auth
from cli.stack.gateway.auth.sessions import Sessions
from cli.stack.gateway.correlation import Correlation
from cli.stack.gateway.db import Database
from cli.stack.gateway.http import ApiKey, Cors
from cli.stack.gateway.rest import RestProxy
from cli.stack.gateway.settings import Settings
from cli.stack.gateway.storage import buckets, listing, objects, serving, signing
from cli.stack.gateway.storage.files import VersionFiles
from cli.stack.gateway.storage.service import Storage
from cli.stack.gateway.tokens import Tokens

logger = logging.getLogger("gateway")

NOTICE = "imageledger embedded stack: for development and tests only"

_OPEN_AUTH_PATHS = frozenset(
    {
        "/auth/v1/verify",
        "/auth/v1/callback",
        "/auth/v1/authorize",
        "/auth/v1/health",
        "/auth/v1/.well-known/jwks.json",
    }
)


def needs_api_key(path: str) -> bool:
    """Storage judges tokens itself, so that public and signed URLs work in an <img>; the rest asks for a
    key."""
    if path.startswith("/auth/v1"):
        return path not in _OPEN_AUTH_PATHS
    return path.startswith(("/rest/v1", "/graphql/v1"))


def create_app(settings: Settings) -> Starlette:
    """The gateway as an ASGI application; its lifespan connects to the database and tidies the storage
    folder."""
    database = Database(settings.db_url, settings.pool_size)
    tokens = Tokens(settings.jwt_secret)
    files = VersionFiles(settings.storage_dir)
    auth = Auth(settings, database, tokens, Sessions(settings, tokens))
    storage = Storage(settings, database, tokens, files)
    rest = RestProxy(settings.postgrest_url)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await database.open()
        try:
            files.prepare()
            await _sweep(database, files)
            logger.info("%s, on http://%s:%d", NOTICE, settings.host, settings.port)
            yield
        finally:
            await rest.close()
            await database.close()

    async def health(_: Request) -> Response:
        try:
            async with database.connection(timeout=2) as connection:
                await connection.execute("select 1")
        except (psycopg.Error, psycopg_pool.PoolTimeout):
            return PlainTextResponse("the database does not answer\n", status_code=503)
        return PlainTextResponse(f"ok: {NOTICE}\n")

    async def unknown(request: Request, _: Exception) -> Response:
        return JSONResponse(
            {"message": f"no Route matched with those values: {request.url.path}"}, status_code=404
        )

    storage_routes = [
        *buckets.routes(storage),
        *signing.routes(storage),
        *listing.routes(storage),
        *serving.routes(storage),
        *objects.routes(storage),
    ]
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/rest/v1", rest.forward, methods=methods),
            Route("/rest/v1/{path:path}", rest.forward, methods=methods),
            Mount("/auth/v1", routes=auth_routes.routes(auth)),
            Mount("/storage/v1", routes=storage_routes),
        ],
        middleware=[
            Middleware(Correlation),
            Middleware(Cors),
            Middleware(ApiKey, keys=(settings.anon_key, settings.service_role_key), guarded=needs_api_key),
        ],
        exception_handlers={404: unknown},
        lifespan=lifespan,
    )


async def _sweep(database: Database, files: VersionFiles) -> None:
    """Remove what a crash left: versions without a row. A folder made for another database is left as it
    is."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            "select system_identifier::text as cluster, current_database()::text as name, d.oid::text as oid"
            " from pg_control_system(), pg_database as d where d.datname = current_database()"
        )
        identity = await cursor.fetchone()
        if identity is None or not files.belongs_to(identity):
            logger.warning("the storage folder was made for another database: its files are left alone")
            return
        cursor = await connection.execute("select version from storage.objects where version is not null")
        known = {row["version"] for row in await cursor.fetchall()}
    if removed := files.sweep(known):
        logger.warning("removed %d stored files that no object names", removed)
