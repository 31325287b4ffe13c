"""The CLI's side of the stack: start a supervisor, speak to it, stop it, also when it died without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.errors import CliError, StartError, UsageError
from cli.migrate.apply import migrate
from cli.migrate.files import schema_files
from cli.stack.binaries import CHECKOUT, PostgresBinaries
from cli.stack.config import StackConfig
from cli.stack.home import Home, exclusive, read_json, try_lock, write_json
from cli.stack.keys import Keys
from cli.stack.parts import http_ok, postgres_answers, rotate
from cli.stack.ports import LOOPBACK, Ports, choose, is_free
from cli.stack.postgres import Postgres, log_tail
from cli.stack.processes import ProcessRef, spawn, unprivileged_account
from cli.stack.supervisor import Supervisor

START_SECONDS = 180.0
STOP_SECONDS = 120.0
_PORT_RETRIES = 5
_CRASHES_ENOUGH = 3
Say = Callable[[str], None]


@dataclass
class PartState:
    """`healthy` is asked now, not remembered."""

    name: str
    state: str
    healthy: bool
    pid: int | None
    restarts: int
    last_exit: str | None
    log: str


@dataclass
class StackState:
    """What runs now. `phase`: stopped, starting, ready, stopping, or orphaned (the supervisor died)."""

    phase: str
    parts: list[PartState] = field(default_factory=list)
    supervisor_pid: int | None = None
    since: str | None = None

    @property
    def running(self) -> bool:
        return self.phase in ("starting", "ready", "stopping")

    @property
    def healthy(self) -> bool:
        return self.phase == "ready" and all(part.healthy for part in self.parts)


def load_config(home: Home) -> StackConfig | None:
    """The stack that this folder holds, running or not; None when it has never been started."""
    keys = Keys.load(home.keys_file)
    return StackConfig.load(home, keys) if keys and home.settings_file.exists() else None


def supervisor_runs(home: Home) -> bool:
    """Whether a supervisor holds the lock: true however its pid file looks, false once it is dead."""
    path = home.root / "supervisor.lock"
    if not path.exists():
        return False
    lock = try_lock(path)
    if lock is None:
        return True
    os.close(lock)
    return False


def inspect(home: Home) -> StackState:
    """The state of the stack, each part asked for its health."""
    status = read_json(home.status_file)
    config = load_config(home)
    runs = supervisor_runs(home)
    parts = []
    for entry in status.get("parts", []):
        ref = _ref(entry)
        alive = ref is not None and ref.alive()
        state = str(entry["state"]) if alive or runs else "stopped"
        parts.append(
            PartState(
                name=str(entry["name"]),
                state=state,
                healthy=alive and config is not None and _answers(config, str(entry["name"]), state),
                pid=ref.pid if alive and ref else None,
                restarts=int(entry.get("restarts", 0)),
                last_exit=entry.get("last_exit"),
                log=str(entry.get("log", "")),
            )
        )
    if runs:
        phase = str(status.get("phase", "starting"))
    else:
        phase = "orphaned" if any(part.pid for part in parts) else "stopped"
    supervisor = _ref(status.get("supervisor"))
    return StackState(
        phase=phase,
        parts=parts,
        supervisor_pid=supervisor.pid if runs and supervisor else None,
        since=status.get("since") if runs else None,
    )


def _ref(entry: Any) -> ProcessRef | None:
    if isinstance(entry, dict) and entry.get("pid") and entry.get("started") is not None:
        return ProcessRef(int(entry["pid"]), int(entry["started"]))
    return None


def _answers(config: StackConfig, name: str, state: str) -> bool:
    if name == "postgres":
        return postgres_answers(config.admin_db_url)
    if name == "postgrest":
        return http_ok(f"http://{LOOPBACK}:{config.ports.rest_admin}/ready")
    if name == "gateway":
        return http_ok(f"{config.api_url}/health")
    return state == "healthy"


@dataclass(frozen=True)
class UpOptions:
    """`host` and `port` None: as last time, or Supabase's usual ones."""

    worker: bool = False
    host: str | None = None
    port: int | None = None
    db_url: str | None = None


def up(home: Home, options: UpOptions, say: Say) -> StackState:
    """Start the stack and wait until it is healthy; quick when it runs already.

    Raises StartError that names the log, UsageError when the running stack is another one.
    """
    home.prepare(unprivileged_account())
    with exclusive(home.root / "up.lock", START_SECONDS, "starting or stopping the stack"):
        if supervisor_runs(home):
            _join(home, options, say)
        else:
            _clean_up(home)
            _start_with_free_ports(home, options, say, _start_detached)
        return inspect(home)


def up_in_foreground(home: Home, options: UpOptions, say: Say, on_ready: Callable[[], None]) -> None:
    """Run the stack in this process until Ctrl-C; raises StartError."""
    home.prepare(unprivileged_account())

    def run(config: StackConfig) -> None:
        supervisor = Supervisor(config, worker=options.worker, observer=say, on_ready=on_ready)
        if error := supervisor.run():
            raise error

    with exclusive(home.root / "up.lock", 0, "starting or stopping the stack"):
        if supervisor_runs(home):
            raise UsageError(
                "the stack runs already in the background",
                remedy="run `imageledger down` first, or follow it with `imageledger logs -f`",
            )
        _clean_up(home)
    _start_with_free_ports(home, options, say, lambda _home, config, _say: run(config))


def _start_with_free_ports(
    home: Home, options: UpOptions, say: Say, start: Callable[[Home, StackConfig, Say], None]
) -> None:
    for attempt in range(_PORT_RETRIES):
        config = _settle(home, options, say)
        try:
            start(home, config, say)
        except StartError as error:
            # Between the choice of a port and its use another program may have taken it, and left it again by now.
            ports = config.ports.as_dict()
            taken = [
                p for name, p in ports.items() if not is_free(p, config.host if name == "api" else LOOPBACK)
            ]
            was_taken = taken or "address already in use" in str(error).lower()
            if not was_taken or attempt == _PORT_RETRIES - 1:
                raise
            say(f"port {taken[0] if taken else 'of a part'} was taken meanwhile; choosing another one")
        else:
            return


def _settle(home: Home, options: UpOptions, say: Say) -> StackConfig:
    """Choose host and ports, make the keys, and write down what this run is."""
    stored = read_json(home.settings_file)
    host = options.host or str(stored.get("host", LOOPBACK))
    remembered = Ports.from_dict(stored.get("ports"))
    ports = choose(remembered, host=host, api=options.port)
    for name, port in remembered.as_dict().items():
        new = ports.as_dict()[name]
        if port and new != port and not (name == "api" and options.port):
            say(f"port {port} is taken; using {new} instead")
    keys = Keys.load_or_generate(home.keys_file)
    settings: dict[str, Any] = {"host": host, "ports": ports.as_dict()}
    if options.db_url:
        settings["db_url"] = options.db_url
    write_json(home.settings_file, settings)
    write_json(home.wishes_file, {"worker": options.worker})
    return StackConfig.load(home, keys)


def _start_detached(home: Home, _config: StackConfig, say: Say) -> None:
    log = home.log("supervisor")
    rotate(log)
    home.status_file.unlink(missing_ok=True)
    with log.open("ab") as file:
        process = spawn(
            [sys.executable, "-m", "cli.stack.supervisor"],
            log=file,
            env={**os.environ, "IMAGELEDGER_HOME": str(home.root), "PYTHONUNBUFFERED": "1"},
            cwd=CHECKOUT,
            death_signal=None,
            new_session=True,
        )
    try:
        _wait_ready(home, process, say)
    except BaseException:
        _end_supervisor(home, process)
        raise


def _wait_ready(home: Home, process: subprocess.Popen[bytes], say: Say) -> None:
    deadline = time.monotonic() + START_SECONDS
    step = ""
    while True:
        ended = process.poll()
        status = read_json(home.status_file)
        if status.get("step") and status["step"] != step:
            step = str(status["step"])
            say(step)
        if status.get("phase") == "ready":
            return
        if ended is not None:
            if status.get("error"):
                raise _as_start_error(status["error"])
            log = home.log("supervisor")
            raise StartError(
                f"the supervisor ended with status {ended}; the last lines of {log}:\n{log_tail(log)}",
                remedy=f"read {log}",
            )
        if time.monotonic() > deadline:
            raise StartError(
                f"the stack did not start within {START_SECONDS:.0f} s; it was at: {step or 'the beginning'}",
                remedy=f"read the logs in {home.logs}",
                code="start_timeout",
            )
        time.sleep(0.03)


def _as_start_error(data: dict[str, Any]) -> CliError:
    if str(data.get("code", "")).endswith("_start_failed"):
        return StartError(data["message"], remedy=data.get("remedy", ""), code=data["code"])
    return CliError.from_dict(data)


def _end_supervisor(home: Home, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _clean_up(home)


def _join(home: Home, options: UpOptions, say: Say) -> None:
    """The stack runs: see that it is the one that was asked for, add what is missing."""
    config = load_config(home)
    if config is None:
        raise CliError(
            f"{home.root} is damaged: a supervisor runs without settings", remedy="imageledger down"
        )
    for what, wanted, there in (
        ("host", options.host, config.host),
        ("port", options.port, config.ports.api),
        ("database (SUPABASE_DB_URL)", options.db_url, config.foreign_db_url),
    ):
        if wanted is not None and wanted != there:
            shown = "" if what.startswith("database") else f" {there}"
            raise UsageError(
                f"the stack runs already with another {what}{shown}",
                remedy="run `imageledger down` first",
            )
    _wait_phase(home, say)
    migrate(config.db_url, schema_files())
    if options.worker and not any(part.name == "worker" for part in inspect(home).parts):
        say("starting worker")
        write_json(home.wishes_file, {"worker": True})
        if ref := _ref(read_json(home.status_file).get("supervisor")):
            ref.signal(signal.SIGHUP)
    _wait_healthy(home, worker=options.worker)


def _wait_phase(home: Home, say: Say) -> None:
    deadline = time.monotonic() + START_SECONDS
    while read_json(home.status_file).get("phase") != "ready":
        if not supervisor_runs(home) or time.monotonic() > deadline:
            raise StartError(
                "the running stack did not become ready", remedy="see `imageledger logs supervisor`"
            )
        say("waiting for the stack that is starting")
        time.sleep(0.2)


def _wait_healthy(home: Home, *, worker: bool, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        state = inspect(home)
        if state.healthy and (not worker or any(part.name == "worker" for part in state.parts)):
            return
        crashing = any(part.restarts >= _CRASHES_ENOUGH and not part.healthy for part in state.parts)
        if crashing or time.monotonic() > deadline:
            bad = next((part for part in state.parts if not part.healthy), None)
            name = bad.name if bad else "worker"
            log = home.log(name)
            raise StartError(
                f"{name} is not healthy; the last lines of {log}:\n{log_tail(log)}",
                remedy=f"read {log}",
            )
        time.sleep(0.1)


def down(home: Home, say: Say) -> list[str]:
    """Stop what `up` started and nothing else; answers the names of the parts that were stopped."""
    if not home.root.is_dir():
        return []
    with exclusive(home.root / "up.lock", START_SECONDS, "starting or stopping the stack"):
        before = [part.name for part in inspect(home).parts if part.pid]
        if supervisor_runs(home):
            say("stopping the stack")
            _stop_supervisor(home)
        return sorted({*before, *_clean_up(home)})


def _stop_supervisor(home: Home) -> None:
    ref = _ref(read_json(home.status_file).get("supervisor"))
    if ref is None or not ref.alive():
        deadline = time.monotonic() + 5
        while supervisor_runs(home):  # started a moment ago, or just ending
            if time.monotonic() > deadline:
                raise CliError(
                    f"a process holds {home.root / 'supervisor.lock'} but does not say who it is",
                    remedy=f"see `fuser {home.root / 'supervisor.lock'}`",
                )
            time.sleep(0.05)
        return
    ref.signal(signal.SIGTERM)
    if not ref.wait_gone(STOP_SECONDS):
        ref.signal(signal.SIGKILL)
        ref.wait_gone(5)


def _clean_up(home: Home) -> list[str]:
    """End what a supervisor that is gone left behind; answers the names of what was still alive."""
    status = read_json(home.status_file)
    left = []
    for entry in reversed(status.get("parts", [])):
        ref = _ref(entry)
        if ref is None or entry["name"] == "postgres" or not ref.alive():
            continue
        left.append(str(entry["name"]))
        ref.signal(signal.SIGTERM)
        if not ref.wait_gone(35 if entry["name"] == "worker" else 10):
            ref.signal(signal.SIGKILL)
            ref.wait_gone(5)
    config = load_config(home)
    if config and not config.foreign_db_url and home.data_dir.is_dir():
        server = Postgres(
            PostgresBinaries(home.root),  # only its data folder matters for stopping
            home.data_dir,
            port=config.ports.db,
            password="",
            log_file=home.log("postgres"),
        )
        if server.running():
            left.append("postgres")
            server.stop("fast")
    if status:
        status |= {"phase": "stopped", "supervisor": None, "parts": []}
        write_json(home.status_file, status)
    return left


def environment_db_url(env: Mapping[str, str]) -> str | None:
    """SUPABASE_DB_URL, when it stands alone: an existing PostgreSQL for the stack to use."""
    return None if env.get("SUPABASE_URL") else env.get("SUPABASE_DB_URL") or None
