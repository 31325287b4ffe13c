"""worker: processes that take jobs from the queue table."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cli import project
from cli.errors import UsageError


def worker(
    processes: Annotated[int | None, typer.Option(min=1, help="Worker processes. Default: 1.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Jobs at a time in a process.")] = None,
    queues: Annotated[str | None, typer.Option(help="Only these queues, separated by commas.")] = None,
) -> None:
    """Run a worker in the foreground until SIGTERM or Ctrl-C; running jobs end or are given back.

    It logs in as media_worker (WORKER_DB_URL) and reads and writes Storage with SUPABASE_SERVICE_ROLE_KEY;
    both are the local stack's unless the environment names a Supabase project.

    Examples:  imageledger worker    |    imageledger worker --processes 2 --threads 4
    """
    here = project.current(need=("api_url", "service_role_key", "worker_db_url"))
    os.environ.update(here.environment())
    # The other commands need no image library.
    from worker.config import Settings  # noqa: PLC0415
    from worker.errors import ConfigError  # noqa: PLC0415
    from worker.main import run  # noqa: PLC0415

    names = [name.strip() for name in queues.split(",") if name.strip()] if queues else []
    try:
        code = run(Settings.from_env(), processes=processes, threads=threads, queues=names)
    except ConfigError as error:
        raise UsageError(str(error), remedy="see worker/README.md for the settings") from error
    raise typer.Exit(code)
