"""What one run of the stack is: addresses, logins and the environment of each part."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cli.stack.binaries import find_postgres, find_postgrest, runnable
from cli.stack.home import Home, read_json
from cli.stack.keys import Keys
from cli.stack.parts import Part, PostgresPart, WorkerPart, gateway_part, postgrest_part
from cli.stack.ports import LOOPBACK, Ports
from cli.stack.postgres import Postgres, connection_url
from cli.stack.prepare import login
from cli.stack.processes import unprivileged_account


@dataclass(frozen=True)
class StackConfig:
    """`foreign_db_url` is set when somebody else's PostgreSQL is used instead of an embedded one."""

    home: Home
    keys: Keys
    host: str
    ports: Ports
    foreign_db_url: str | None = None

    @classmethod
    def load(cls, home: Home, keys: Keys) -> StackConfig:
        """As stored by the last `up`, in a file that only its owner reads: database URLs hold passwords."""
        stored = read_json(home.settings_file)
        return cls(
            home=home,
            keys=keys,
            host=str(stored.get("host", LOOPBACK)),
            ports=Ports.from_dict(stored.get("ports")),
            foreign_db_url=stored.get("db_url") or None,
        )

    @property
    def api_url(self) -> str:
        """Where clients on this machine reach the gateway."""
        host = LOOPBACK if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.ports.api}"

    def _login(self, role: str, password: str) -> str:
        if self.foreign_db_url:
            return login(self.foreign_db_url, role, password)
        return connection_url(role, password, self.ports.db)

    @property
    def db_url(self) -> str:
        """Login as `postgres`, the owner of everything of ours."""
        return self.foreign_db_url or self._login("postgres", self.keys.postgres)

    @property
    def admin_db_url(self) -> str:
        """Login as the superuser supabase_admin."""
        return self._login("supabase_admin", self.keys.supabase_admin)

    @property
    def worker_db_url(self) -> str:
        return self._login("media_worker", self.keys.media_worker)

    @property
    def analyst_db_url(self) -> str:
        """Login that reads schema analytics and nothing else."""
        return self._login("analyst", self.keys.analyst)

    def server(self) -> Postgres | None:
        """The embedded cluster; raises BinaryMissingError."""
        if self.foreign_db_url:
            return None
        account = unprivileged_account()
        cache = self.home.postgres.resolve() if account else self.home.root / "binaries"
        return Postgres(
            runnable(find_postgres(), account, cache),
            self.home.data_dir,
            port=self.ports.db,
            password=self.keys.supabase_admin,
            log_file=self.home.log("postgres"),
            account=account,
        )

    def postgrest(self) -> Part:
        return postgrest_part(
            find_postgrest(),
            db_url=self._login("authenticator", self.keys.authenticator),
            jwt_secret=self.keys.jwt_secret,
            port=self.ports.rest,
            admin_port=self.ports.rest_admin,
            log=self.home.log("postgrest"),
        )

    def gateway(self) -> Part:
        return gateway_part(
            {
                "GATEWAY_HOST": self.host,
                "GATEWAY_PORT": str(self.ports.api),
                "GATEWAY_EXTERNAL_URL": self.api_url,
                "GATEWAY_DB_URL": self.admin_db_url,
                "GATEWAY_POSTGREST_URL": f"http://{LOOPBACK}:{self.ports.rest}",
                "GATEWAY_JWT_SECRET": self.keys.jwt_secret,
                "GATEWAY_STORAGE_DIR": str(self.home.storage),
                "GATEWAY_ANON_KEY": self.keys.anon_key,
                "GATEWAY_SERVICE_ROLE_KEY": self.keys.service_role_key,
            },
            health_url=f"{self.api_url}/health",
            port=self.ports.api,
            log=self.home.log("gateway"),
        )

    def worker(self) -> Part:
        return WorkerPart(
            {
                "IMAGELEDGER_HOME": str(self.home.root),
                "SUPABASE_URL": self.api_url,
                "SUPABASE_ANON_KEY": self.keys.anon_key,
                "SUPABASE_SERVICE_ROLE_KEY": self.keys.service_role_key,
                "WORKER_DB_URL": self.worker_db_url,
            },
            admin_db_url=self.admin_db_url,
            log=self.home.log("worker"),
        )

    def postgres_part(self) -> PostgresPart | None:
        server = self.server()
        return PostgresPart(server) if server else None


def environment_of(config: StackConfig) -> dict[str, str]:
    """What a process needs to use this stack as if it were a Supabase project."""
    return {
        **os.environ,
        "SUPABASE_URL": config.api_url,
        "SUPABASE_ANON_KEY": config.keys.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": config.keys.service_role_key,
        "SUPABASE_DB_URL": config.db_url,
        "WORKER_DB_URL": config.worker_db_url,
    }
