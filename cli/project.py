"""Which project a command talks to: a Supabase project named by the environment, or the embedded stack.

| Environment | Project |
|---|---|
| `SUPABASE_URL` set | that Supabase project, with its keys and `SUPABASE_DB_URL` |
| only `SUPABASE_DB_URL` set | that PostgreSQL; `up` puts PostgREST and the gateway before it |
| neither | the embedded stack of IMAGELEDGER_HOME |
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cli.errors import NotRunningError, UsageError
from cli.stack.control import inspect, load_config
from cli.stack.home import Home

# Field of Project → the variable that gives it.
_VARIABLES = {
    "api_url": "SUPABASE_URL",
    "anon_key": "SUPABASE_ANON_KEY",
    "service_role_key": "SUPABASE_SERVICE_ROLE_KEY",
    "db_url": "SUPABASE_DB_URL",
    "worker_db_url": "WORKER_DB_URL",
}


@dataclass(frozen=True)
class Project:
    """Addresses and keys; what the environment does not give is empty. URLs of databases hold passwords."""

    kind: Literal["embedded", "database", "supabase"]
    api_url: str = ""
    anon_key: str = field(default="", repr=False)
    service_role_key: str = field(default="", repr=False)
    db_url: str = field(default="", repr=False)
    worker_db_url: str = field(default="", repr=False)

    def environment(self) -> dict[str, str]:
        """The variables that the worker and other tools read."""
        return {name: value for key, name in _VARIABLES.items() if (value := str(getattr(self, key)))}


def current(need: Iterable[str] = (), env: Mapping[str, str] | None = None) -> Project:
    """The project to use. `need` names the fields of Project that the command cannot do without.

    Raises UsageError naming the variables that are missing, NotRunningError when it is the embedded stack
    and that does not run.
    """
    env = os.environ if env is None else env
    if is_supabase(env):
        given = {key: env.get(name, "").strip() for key, name in _VARIABLES.items()}
        given["worker_db_url"] = given["worker_db_url"] or given["db_url"]
        if missing := [_VARIABLES[key] for key in need if not given[key]]:
            raise UsageError(
                f"SUPABASE_URL is set, but not {', '.join(missing)}",
                remedy="set them (see the project's settings), or unset SUPABASE_URL to use the local stack",
            )
        return Project(kind="supabase", **given)
    if (url := env.get("SUPABASE_DB_URL", "").strip()) and set(need) <= {"db_url"}:
        return Project(kind="database", db_url=url)
    home = Home.find(env)
    config = load_config(home)
    if config is None or not inspect(home).running:
        raise NotRunningError("the local stack does not run", remedy="start it with `imageledger up`")
    return Project(
        kind="embedded",
        api_url=config.api_url,
        anon_key=config.keys.anon_key,
        service_role_key=config.keys.service_role_key,
        db_url=config.db_url,
        worker_db_url=config.worker_db_url,
    )


def is_supabase(env: Mapping[str, str] | None = None) -> bool:
    """Whether the environment names a whole Supabase project."""
    env = os.environ if env is None else env
    return bool(env.get("SUPABASE_URL", "").strip())
