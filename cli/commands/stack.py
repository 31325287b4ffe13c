"""up, down, status, logs: thin commands over cli.stack."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import project
from cli.commands import output
from cli.errors import CliError, NotRunningError, UnhealthyError, UsageError
from cli.stack import control
from cli.stack.config import StackConfig
from cli.stack.home import Home
from cli.stack.ports import LOOPBACK

Json = Annotated[bool, typer.Option("--json", help="Data as one JSON document on stdout.")]
PARTS = ("postgres", "postgrest", "gateway", "worker", "supervisor")


def up(
    worker: Annotated[bool, typer.Option("--worker", help="Start a worker too.")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay; Ctrl-C stops everything.")] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The gateway's port. Default: 54321, or a free one.")
    ] = None,
    host: Annotated[str | None, typer.Option(help=f"Where the gateway listens. Default: {LOOPBACK}.")] = None,
    as_json: Json = False,
) -> None:
    """Start the local stack: PostgreSQL, PostgREST and the gateway, with the SQL applied.

    Runs again in no time: what is up is left alone, changed SQL is applied, a missing worker is added.

    With SUPABASE_DB_URL set, that PostgreSQL is used instead of an embedded one (as superuser). With
    SUPABASE_URL, SUPABASE_ANON_KEY, SUPABASE_SERVICE_ROLE_KEY and SUPABASE_DB_URL set, nothing is started:
    the project is checked.

    Examples:  imageledger up    |    imageledger up --worker --port 8000    |    imageledger up --foreground
    """
    if project.is_supabase():
        _check_remote(as_json=as_json)
        return
    if host and host not in (LOOPBACK, "localhost", "::1"):
        output.err.print(
            f"[yellow]warning[/]: the gateway will listen on {host}. It is made for development; "
            "whoever reaches it and knows the keys can read and write everything."
        )
    home = Home.find()
    options = control.UpOptions(
        worker=worker, host=host, port=port, db_url=control.environment_db_url(os.environ)
    )
    if foreground:
        control.up_in_foreground(
            home,
            options,
            lambda step: output.err.print(step, markup=False),
            on_ready=lambda: _announce(home, as_json=as_json, hint="Ctrl-C stops everything."),
        )
        return
    with output.steps("Starting") as say:
        control.up(home, options, say)
    _announce(home, as_json=as_json, hint="Stop it with `imageledger down`.")


def down(
    destroy: Annotated[
        bool, typer.Option("--destroy", help="Delete the stack's data, keys and logs as well.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")] = False,
    as_json: Json = False,
) -> None:
    """Stop what `up` started, and nothing else. Nothing to stop is fine.

    Examples:  imageledger down    |    imageledger down --destroy --yes
    """
    home = Home.find()
    if destroy and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"--destroy deletes all data in {home.root}", remedy="confirm with --yes")
        typer.confirm(f"Delete all data in {home.root}?", abort=True, err=True)
    with output.steps("Stopping") as say:
        stopped = control.down(home, say)
    if destroy:
        home.destroy()
    if as_json:
        output.print_json({"stopped": stopped, "destroyed": destroy})
    else:
        words = f"stopped {', '.join(stopped)}" if stopped else "nothing was running"
        output.err.print(words + (f"; deleted {home.root}" if destroy else ""), markup=False)


def status(
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Only queues, workers, failures and storage, again and again."),
    ] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks of --watch.")] = 2.0,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Looks of --watch. Default: until Ctrl-C.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the parts, their health, and the addresses and keys, named as by `supabase status`.

    Below: queues with their lag (age of the oldest job that is ready), what is paused, workers and when they were
    last seen, failures of the last hour by reason, storage by bucket. With --watch --json, one line a look.

    Exit code: 0 healthy, 3 not running, 5 running but not healthy.

    Examples:  imageledger status    |    imageledger status --json    |    imageledger status --watch
    """
    if watch:
        from cli.watch import view  # noqa: PLC0415 - see _figures

        view.watch(project.current(need=("db_url",)).db_url, interval, rounds, as_json=as_json)
        return
    if project.is_supabase():
        _check_remote(as_json=as_json, with_figures=True)
        return
    home = Home.find()
    config = control.load_config(home)
    state = control.inspect(home)
    if config is None or not (state.running or state.phase == "orphaned"):
        if as_json:
            output.print_json(
                {"STATE_DIR": str(home.root), "phase": "stopped", "healthy": False, "parts": []}
            )
        raise NotRunningError(f"no stack runs in {home.root}", remedy="start it with `imageledger up`")
    _show(config, state, as_json=as_json, figures=_figures(config.db_url))
    if state.phase == "orphaned":
        raise UnhealthyError(
            "the supervisor is gone; parts still run", remedy="run `imageledger down`, then `imageledger up`"
        )
    if not state.healthy:
        bad = [part.name for part in state.parts if not part.healthy] or [state.phase]
        raise UnhealthyError(f"not healthy: {', '.join(bad)}", remedy="see `imageledger logs`")


def logs(
    part: Annotated[str | None, typer.Argument(help=f"One of {', '.join(PARTS)}. Default: all.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=0, help="Lines of each part to begin with.")
    ] = 50,
) -> None:
    """Show the logs of the stack's parts.

    Examples:  imageledger logs    |    imageledger logs worker -f    |    imageledger logs postgres -n 200
    """
    if part is not None and part not in PARTS:
        raise UsageError(f"there is no part {part!r}", remedy=f"one of {', '.join(PARTS)}")
    home = Home.find()
    names = [part] if part else [name for name in PARTS if home.log(name).exists()]
    if not names or not home.logs.is_dir():
        raise NotRunningError(
            f"there are no logs in {home.logs}", remedy="start the stack with `imageledger up`"
        )
    prefix = max(map(len, names)) if len(names) > 1 else 0
    positions = {name: _last_lines(home.log(name), name, lines, prefix) for name in names}
    while follow:
        time.sleep(0.2)
        for name in names:
            positions[name] = _new_lines(home.log(name), name, positions[name], prefix)


def _last_lines(path: Path, name: str, count: int, prefix: int) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        for line in deque(file, maxlen=count):
            _write_line(line, name, prefix)
        return file.tell()


def _new_lines(path: Path, name: str, position: int, prefix: int) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        if path.stat().st_size < position:  # rotated
            position = 0
        file.seek(position)
        for line in file:
            if not line.endswith(b"\n"):
                break
            _write_line(line, name, prefix)
            position += len(line)
    return position


def _write_line(line: bytes, name: str, prefix: int) -> None:
    text = line.decode(errors="replace").rstrip("\n")
    sys.stdout.write(f"{name:<{prefix}} | {text}\n" if prefix else f"{text}\n")
    sys.stdout.flush()


def _announce(home: Home, *, as_json: bool, hint: str) -> None:
    config = control.load_config(home)
    assert config is not None  # noqa: S101 - `up` has just written it
    _show(config, control.inspect(home), as_json=as_json)
    if not as_json:
        output.err.print(hint, markup=False)


def _figures(db_url: str) -> dict[str, Any]:
    # `up`, `down` and `logs` need none of it.
    from cli.watch import figures  # noqa: PLC0415

    return figures.of(db_url)


def _show_figures(data: dict[str, Any]) -> None:
    from cli.watch import view  # noqa: PLC0415

    view.show(data)


def _show(
    config: StackConfig,
    state: control.StackState,
    *,
    as_json: bool,
    figures: dict[str, Any] | None = None,
) -> None:
    addresses = {
        "API_URL": config.api_url,
        "ANON_KEY": config.keys.anon_key,
        "SERVICE_ROLE_KEY": config.keys.service_role_key,
        "DB_URL": config.db_url,
        "JWT_SECRET": config.keys.jwt_secret,
        "WORKER_DB_URL": config.worker_db_url,
        "ANALYST_DB_URL": config.analyst_db_url,
        "ADMIN_DB_URL": config.admin_db_url,
        "STATE_DIR": str(config.home.root),
    }
    if as_json:
        data: dict[str, Any] = {
            **addresses,
            "phase": state.phase,
            "healthy": state.healthy,
            "since": state.since,
            "supervisor_pid": state.supervisor_pid,
            "parts": [asdict(part) for part in state.parts],
            **(figures or {}),
        }
        output.print_json(data)
        return
    rows = [
        (
            part.name,
            part.state if part.healthy or part.state != "healthy" else "unhealthy",
            part.pid,
            part.restarts,
            part.last_exit,
            part.log,
        )
        for part in state.parts
    ]
    output.table(("part", "state", "pid", "restarts", "last exit", "log"), rows)
    output.out.print()
    output.pairs(addresses)
    if figures:
        _show_figures(figures)


def _check_remote(*, as_json: bool, with_figures: bool = False) -> None:
    from cli import remote  # noqa: PLC0415 - only a remote project needs an HTTP client

    here = project.current(need=("anon_key", "service_role_key", "db_url"))
    with output.steps("Checking") as say:
        checks = remote.check(here, say)
    figures = _figures(here.db_url) if with_figures else {}
    if as_json:
        output.print_json({"API_URL": here.api_url, "checks": [asdict(check) for check in checks], **figures})
    else:
        output.table(
            ("check", "result", "detail"),
            [(check.name, "ok" if check.ok else "failed", check.detail) for check in checks],
            title=f"Supabase project at {here.api_url}: nothing is started for it",
        )
        if figures:
            _show_figures(figures)
    failed = [check for check in checks if not check.ok]
    if failed:
        error: CliError = UnhealthyError(
            f"{', '.join(check.name for check in failed)} of {here.api_url} failed",
            remedy="check SUPABASE_URL, SUPABASE_ANON_KEY, SUPABASE_SERVICE_ROLE_KEY and SUPABASE_DB_URL",
        )
        raise error
