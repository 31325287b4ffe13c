"""A relay without a worker, for `imageledger relay`: it needs the database and the message broker, and no Storage."""

from __future__ import annotations

import contextlib
import logging

from worker import logs, metrics
from worker.config import Settings
from worker.database import Session
from worker.errors import ConfigError
from worker.health import HealthServer, kept
from worker.identity import worker_identity
from worker.main import StopSignals
from worker.outbox import wire
from worker.outbox.relay import Relay

log = logging.getLogger(__name__)


def run_relay(settings: Settings) -> int:
    """Publishes until SIGTERM or SIGINT; returns the exit code. Raises ConfigError. Main thread only."""
    if not settings.broker_url:
        raise ConfigError("set BROKER_URL: without a message broker there is nothing to relay to")
    wire.check(settings.broker_url)
    logs.set_up(settings.log_format, settings.log_level)
    stop = StopSignals()
    relay = Relay(settings, worker_identity())
    with contextlib.ExitStack() as stack:
        if settings.http_port:
            session = stack.enter_context(contextlib.closing(Session(settings.db_url, "health")))
            stack.enter_context(
                HealthServer(
                    settings.http_host,
                    settings.http_port,
                    alive={"relay": relay.is_turning},
                    ready={
                        "database": kept(lambda: session.fetch("select 1") == [(1,)], 2),
                        "broker": relay.has_wire,
                    },
                    registry=metrics.expose(lambda: session.fetch("select * from queue.figures()")),
                )
            )
        relay.start()
        log.info("relay is ready", extra={"action": "ready"})
        stop.wait()
        relay.stop()
    log.info("relay has stopped", extra={"action": "stopped"})
    return 0
