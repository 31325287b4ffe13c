"""The worker: `run()` for the CLI, `python -m worker.main` without it.

One process works by itself. Several are children of a supervisor that starts a lost one again. SIGTERM or
SIGINT stops: nothing more is claimed, what was not begun goes back at once, what runs may end within the
grace time and goes back after it. A second signal ends at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, LiteralString

import dramatiq

from worker import actors, logs, metrics, tracing
from worker.broker import LedgerBroker
from worker.config import Settings
from worker.database import Backoff, Session
from worker.errors import ConfigError
from worker.health import Checks, HealthServer, kept
from worker.ledger import ImageLedger
from worker.maintenance import Maintenance
from worker.objects import ObjectStore
from worker.outbox import wire
from worker.outbox.relay import Relay
from worker.tools import Tools, TracedRenderer

log = logging.getLogger(__name__)

#: How often idle threads look whether they should stop, in milliseconds.
IDLE_MS = 500
#: A child that lives this long was well: the pauses between restarts begin anew.
WELL_SECONDS = 30.0


def run(
    settings: Settings,
    processes: int | None = None,
    threads: int | None = None,
    queues: Sequence[str] = (),
) -> int:
    """Works until a signal; returns the exit code. Arguments override the settings. Main thread only."""
    settings = dataclasses.replace(
        settings,
        processes=processes or settings.processes,
        threads=threads or settings.threads,
        render_processes=settings.render_processes or threads or settings.threads,
        queues=tuple(queues) or settings.queues,
    )
    if not settings.supabase_url or not settings.service_role_key:
        raise ConfigError("set SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY to reach Storage")
    if settings.broker_url:
        wire.check(settings.broker_url)
    logs.set_up(settings.log_format, settings.log_level)
    if settings.processes == 1:
        return work(settings)
    return _Supervisor(settings).run()


def work(settings: Settings) -> int:
    """One worker process: dramatiq's Worker on our broker, with heartbeat and maintenance."""
    stop = StopSignals()
    broker = LedgerBroker(settings)
    tracing.start(broker.worker_id)
    with (
        ObjectStore(
            settings.supabase_url, settings.service_role_key, timeout=settings.storage_timeout_seconds
        ) as objects,
        TracedRenderer(
            settings.render_processes or settings.threads,
            timeout_seconds=settings.render_seconds,
            memory_bytes=settings.render_memory_mb * 1024 * 1024,
            on_rendered=metrics.count_render,
        ) as renderer,
    ):
        tools = Tools(broker, ImageLedger(broker.pool), objects, renderer)
        for actor in actors.ALL:
            actor.declare(broker, tools)
        more: Checks = {"broker": broker.is_wired} if settings.broker_url else {}
        with _health(
            settings, {"heartbeat": broker.is_beating}, objects, lambda: not broker.draining, more=more
        ):
            serve(broker, stop)
    return 0


@contextlib.contextmanager
def _health(
    settings: Settings,
    alive: Checks,
    objects: ObjectStore,
    takes_jobs: Callable[[], bool],
    folder: Path | None = None,
    *,
    more: Checks | None = None,
) -> Iterator[None]:
    """Health and metrics, of this process or of the children that count into a folder."""
    if not settings.http_port:
        yield
        return
    session, lock = Session(settings.db_url, "health"), threading.Lock()

    def ask(query: LiteralString) -> list[Any]:
        with lock:
            return session.fetch(query)

    ready = {
        "database": kept(lambda: ask("select 1") == [(1,)], 2),
        "storage": kept(objects.answers, 5),
        "takes_jobs": takes_jobs,
        **(more or {}),
    }
    registry = metrics.expose(lambda: ask("select * from queue.figures()"), folder)
    server = HealthServer(settings.http_host, settings.http_port, alive=alive, ready=ready, registry=registry)
    with contextlib.closing(session), server:
        yield


def serve(broker: LedgerBroker, stop: StopSignals) -> None:
    """Runs the broker's actors until `stop`, then winds down within the grace time."""
    settings = broker.settings
    for queue in settings.queues:
        broker.declare_queue(queue)
    broker.emit_after("process_boot")
    maintenance = Maintenance(settings, broker.pool)
    worker = dramatiq.Worker(
        broker, queues=set(settings.queues) or None, worker_threads=settings.threads, worker_timeout=IDLE_MS
    )
    worker.start()
    maintenance.start()
    relay = None
    if settings.broker_url and settings.broker_relay:
        relay = Relay(settings, broker.worker_id)
        relay.start()
    log.info(
        "worker is ready",
        extra={"action": "ready", "worker": broker.worker_id, "threads": settings.threads},
    )
    stop.wait()

    log.info("stopping", extra={"action": "stopping", "running": len(broker.leases)})
    maintenance.stop()
    if relay is not None:
        relay.stop()
    worker.stop(timeout=int(settings.grace_seconds * 1000))
    left = broker.give_back_running()
    broker.close()
    tracing.stop()
    log.info("worker has stopped", extra={"action": "stopped", "given_back": left})
    if left:
        # Their threads are still at it; an orderly exit would wait for them.
        logging.shutdown()
        os._exit(0)


class StopSignals:
    """First SIGTERM or SIGINT: stop. Second: exit at once."""

    def __init__(self, *, signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)) -> None:
        self._stop = threading.Event()
        for number in signals:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._stop.is_set():
            os._exit(128 + number)
        self._stop.set()

    def set(self) -> None:
        """As a first signal would."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Until a signal came, or the seconds are over."""
        return self._stop.wait(seconds)


def _child(settings: Settings, parent: int) -> None:
    """Main function of a child process: the supervisor passes signals on, so Ctrl-C must not come twice."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.set_up(settings.log_format, settings.log_level)

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch_parent, name="parent", daemon=True).start()
    sys.exit(work(settings))


class _Supervisor:
    """Keeps `processes` children alive. A lost one is started again; its jobs are reaped by the others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")
        self._children: list[BaseProcess] = []
        self._stopping = False

    def run(self) -> int:
        """Until a signal. Health and metrics are the supervisor's, for all its children."""
        settings = self._settings
        if not settings.http_port:
            return self._supervise()
        folder = metrics.share()
        # The children count; one port serves them all.
        self._settings = dataclasses.replace(settings, http_port=0)
        # One that was lost is about to be replaced, which is no reason to restart the rest.
        alive = {"processes": lambda: not self._children or any(self._living())}
        try:
            with (
                ObjectStore(settings.supabase_url, settings.service_role_key) as objects,
                _health(settings, alive, objects, self._takes_jobs, folder),
            ):
                return self._supervise()
        finally:
            metrics.unshare(folder)

    def _living(self) -> list[bool]:
        return [child.is_alive() for child in self._children]

    def _takes_jobs(self) -> bool:
        living = self._living()
        return not self._stopping and len(living) == self._settings.processes and all(living)

    def _supervise(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        backoff = Backoff(0.5, 30.0)
        self._children = [self._start() for _ in range(self._settings.processes)]
        started = time.monotonic()
        while not self._stopping:
            multiprocessing.connection.wait([child.sentinel for child in self._children], timeout=1)
            for place, child in enumerate(self._children):
                if child.is_alive() or self._stopping:
                    continue
                if time.monotonic() - started > WELL_SECONDS:
                    backoff.reset()
                pause = backoff.next()
                metrics.forget(child.pid)
                log.error(
                    "worker process was lost (exit code %s), starting another",
                    child.exitcode,
                    extra={"action": "restart", "pid": child.pid, "in": round(pause, 2)},
                )
                time.sleep(pause)
                started = time.monotonic()
                if not self._stopping:
                    self._children[place] = self._start()
        return self._join()

    def _start(self) -> BaseProcess:
        child = self._context.Process(target=_child, args=(self._settings, os.getpid()))
        child.start()
        return child

    def _join(self) -> int:
        """Waits for the children, a little longer than they need; kills what is left."""
        deadline = time.monotonic() + self._settings.grace_seconds + 10
        for child in self._children:
            child.join(max(0.1, deadline - time.monotonic()))
            if child.is_alive():
                log.error("killing a worker process that does not stop", extra={"pid": child.pid})
                child.kill()
                child.join()
        return 0

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._stopping = True
        # A second signal is passed on as well: it ends the children at once.
        for child in self._children:
            if child.is_alive():
                child.terminate()


def main() -> int:
    """Settings from the environment. Exit code 2 when they are wrong."""
    try:
        return run(Settings.from_env())
    except ConfigError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
