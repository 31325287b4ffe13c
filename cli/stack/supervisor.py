"""The process that starts the parts in order, watches them, starts them again, and stops them.

It talks to the CLI by files in the state folder: `status.json` (written here), `wishes.json` plus SIGHUP
(written by `up`), and a lock that is held as long as it lives. One thread only: a child's death signal is
tied to it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from cli.errors import CliError, LockedError, StartError
from cli.stack.config import StackConfig
from cli.stack.home import Home, read_json, try_lock, write_json
from cli.stack.keys import Keys
from cli.stack.parts import Part
from cli.stack.prepare import apply_schema, bootstrap, wait_for_database
from cli.stack.processes import reference

log = logging.getLogger("supervisor")

_TICK = 0.2
_CHECK_EVERY = 2.0
_UNHEALTHY_AFTER = 3
Observer = Callable[[str], None]


class StopRequested(BaseException):
    """Raised by the signal handler while the stack is being started."""


class Supervisor:
    """Runs the stack of `config` until SIGTERM or SIGINT. `observer` hears each step in words."""

    def __init__(
        self,
        config: StackConfig,
        *,
        worker: bool,
        observer: Observer | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self.config = config
        self.home = config.home
        self.parts: list[Part] = []
        self.phase = "starting"
        self.step = ""
        self.error: CliError | None = None
        self._wants_worker = worker
        self._observer = observer
        self._on_ready = on_ready
        self._stopping = False
        self._interruptible = False
        self._impatient = False
        self._reload = False
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)

    def run(self) -> CliError | None:
        """Start, watch, stop; answers why it could not start, if so."""
        lock = try_lock(self.home.root / "supervisor.lock")
        if lock is None:
            raise LockedError("the stack runs already", remedy="see `imageledger status`")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._wake_out)
        try:
            try:
                self._interruptible = True
                self._start_all()
                self._interruptible = False
                self._set_phase("ready", "")
                if self._on_ready:
                    self._on_ready()
                self._watch()
            except StopRequested:
                log.info("stopped while starting")
            except CliError as error:
                self.error = error
                log.error("start failed: %s", error.message)  # noqa: TRY400
            finally:
                self._interruptible = False
                self._stopping = True
                self._stop_all()
        finally:
            signal.set_wakeup_fd(-1)
            os.close(lock)
        return self.error

    # Signals

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
            return
        if self._stopping:
            self._impatient = True
        self._stopping = True
        if self._interruptible:
            self._interruptible = False
            raise StopRequested

    # Start

    def _start_all(self) -> None:
        config = self.config
        database = config.postgres_part()
        if database:
            if not (database.server.data_dir / "PG_VERSION").is_file():
                self._say("creating the PostgreSQL cluster")
            database.server.init()
            self._start(database)
            admin_url = database.server.url()
        else:
            assert config.foreign_db_url  # noqa: S101
            admin_url = config.foreign_db_url
            self._say("waiting for the database of SUPABASE_DB_URL")
            wait_for_database(admin_url, 15)
        self._say("creating what Supabase provides")
        bootstrap(admin_url, config.keys, foreign=database is None, say=self._say)
        self._say("applying sql/ and functions/")
        apply_schema(config.db_url, admin_url, config.keys)
        for part in (config.postgrest(), config.gateway()):
            self._start(part)
        if self._wants_worker:
            self._start(config.worker())

    def _start(self, part: Part) -> None:
        """Start the part and wait until it is healthy; raises StartError with its log's last lines."""
        self._say(f"starting {part.name}")
        self.parts.append(part)
        part.start()
        self._publish()
        deadline = time.monotonic() + part.start_seconds
        while not part.healthy():
            how = part.ended()
            if how or time.monotonic() > deadline:
                why = f"ended with {how}" if how else f"was not healthy after {part.start_seconds:.0f} s"
                raise StartError(
                    f"{part.name} {why}; the last lines of {part.log}:\n{part.tail()}",
                    remedy=f"read {part.log}",
                    code=f"{part.name}_start_failed",
                )
            time.sleep(0.03)
        part.state = "healthy"
        log.info("%s is healthy, pid %s", part.name, part.ref.pid if part.ref else None)
        self._publish()

    # Watch

    def _watch(self) -> None:
        while not self._stopping:
            if self._reload:
                self._reload = False
                self._obey_wishes()
            changed = [self._look_after(part) for part in self.parts]
            if any(changed):
                self._publish()
            select.select([self._wake_in], [], [], _TICK)
            self._drain()

    def _look_after(self, part: Part) -> bool:
        """One look at one part; True when its state changed."""
        before = part.as_dict()
        now = time.monotonic()
        if part.process is None:
            if part.state == "restarting" and now >= part.restart_at:
                try:
                    part.start()
                except (OSError, CliError) as error:
                    part.plan_restart(f"not started: {error}")
                log.info("%s started again, pid %s", part.name, part.ref.pid if part.ref else None)
        elif how := part.ended():
            pause = part.plan_restart(how)
            log.error(
                "%s ended with %s; starting it again in %.1f s (see %s)", part.name, how, pause, part.log
            )
        elif now - part.checked_at >= (_TICK if part.state == "starting" else _CHECK_EVERY):
            part.checked_at = now
            self._check(part)
        return part.as_dict() != before

    def _check(self, part: Part) -> None:
        if part.healthy():
            if part.state != "healthy":
                log.info("%s is healthy", part.name)
            part.state = "healthy"
            part.missed = 0
        elif part.state == "starting" and time.monotonic() - part.started_at < part.start_seconds:
            pass
        else:
            part.missed += 1
            if part.missed >= _UNHEALTHY_AFTER and part.state != "unhealthy":
                log.error("%s lives but does not answer (see %s)", part.name, part.log)
                part.state = "unhealthy"

    def _obey_wishes(self) -> None:
        if read_json(self.home.wishes_file).get("worker") and not any(p.name == "worker" for p in self.parts):
            worker = self.config.worker()
            log.info("adding a worker")
            self.parts.append(worker)
            worker.start()
            self._publish()

    def _drain(self) -> None:
        try:
            while os.read(self._wake_in, 512):
                pass
        except BlockingIOError:
            pass

    # Stop

    def _stop_all(self) -> None:
        self._set_phase("stopping", "")
        # The worker may give its work back and the gateway may end its requests while PostgreSQL is there.
        for part in reversed(self.parts):
            if self._impatient:
                part.stop_seconds = min(part.stop_seconds, 1.0)
            log.info("stopping %s", part.name)
            part.stop()
            self._publish()
        self._set_phase("failed" if self.error else "stopped", "")

    # Report

    def _say(self, step: str) -> None:
        log.info("%s", step)
        self._set_phase(self.phase, step)
        if self._observer:
            self._observer(step)

    def _set_phase(self, phase: str, step: str) -> None:
        self.phase, self.step = phase, step
        self._publish()

    def _publish(self) -> None:
        me = reference(os.getpid())
        data: dict[str, Any] = {
            "phase": self.phase,
            "step": self.step,
            "since": self._since,
            "supervisor": {"pid": os.getpid(), "started": me.started if me else 0},
            "error": self.error.as_dict() if self.error else None,
            "parts": [part.as_dict() for part in self.parts],
        }
        write_json(self.home.status_file, data)


def main() -> int:
    """`python -m cli.stack.supervisor`: started by `imageledger up`; its settings are in the state folder."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, force=True
    )
    home = Home.find()
    keys = Keys.load(home.keys_file)
    if keys is None:
        log.error("no keys in %s; use `imageledger up`", home.root)
        return 2
    worker = bool(read_json(home.wishes_file).get("worker"))
    supervisor = Supervisor(StackConfig.load(home, keys), worker=worker)
    try:
        return 1 if supervisor.run() else 0
    except CliError as error:
        log.error("%s", error.message)  # noqa: TRY400
        return 1


if __name__ == "__main__":
    sys.exit(main())
