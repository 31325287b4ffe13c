"""relay: a process that publishes due jobs to a message broker, in outbox mode."""

from __future__ import annotations

import os

import typer

from cli import project
from cli.errors import UsageError


def relay() -> None:
    """Publish due jobs to the message broker of BROKER_URL, in the foreground, until SIGTERM or Ctrl-C.

    Every worker has a relay of its own, and one of them leads; this is for workers that have BROKER_RELAY=off.
    Start two on different machines: the second takes over within seconds. Without BROKER_URL it refuses: the
    table needs no relay.

    Examples:  BROKER_URL=amqp://user:password@host imageledger relay    |    BROKER_URL=redis://host imageledger relay
    """
    os.environ.update(project.current(need=("worker_db_url",)).environment())
    from worker.config import Settings  # noqa: PLC0415
    from worker.errors import ConfigError  # noqa: PLC0415
    from worker.outbox.alone import run_relay  # noqa: PLC0415

    try:
        code = run_relay(Settings.from_env())
    except ConfigError as error:
        raise UsageError(str(error), remedy="see worker/SCALING.md for the outbox mode") from error
    raise typer.Exit(code)
