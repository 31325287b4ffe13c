"""The operators' commands from the outside: queue, status, policy, keys, completion; help, exit codes, the runbook."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
import psycopg
import pytest
import typer.main
from rich.console import Console, Group

from cli import errors
from cli.database import operator
from cli.doctor.findings import CODES
from cli.main import COMMANDS, INTERRUPTED, build, run
from cli.project import Project
from cli.queue import ledger
from cli.queue.ledger import Wanted
from cli.watch import figures, view
from tests.conftest import FreshDatabase, on_database
from tests.support.docs import SHELL, blocks
from tests.support.own_stack import stack_of_its_own
from tests.support.stack import ROOT, Stack

README = (ROOT / "cli/README.md").read_text()
RUNBOOK = (ROOT / "cli/RUNBOOK.md").read_text()


@pytest.fixture(scope="module")
def own(stack: Stack, template: str) -> Iterator[Any]:
    """A database for the commands alone: `cli(...)` answers exit code, JSON and the error."""
    name = f"operators_{uuid4().hex[:8]}"
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {template} owner postgres".encode())
    database = FreshDatabase(stack, name)
    yield database
    with psycopg.connect(stack.admin_db_url, autocommit=True) as admin:
        admin.execute(f"drop database {name} with (force)".encode())


def in_process(stack: Stack, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """The command's exit code, stdout and stderr, without the start of another Python."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, stack.environment | environment, clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = run(arguments)
    return code, out.getvalue(), err.getvalue()


class Operator:
    """Runs commands with --json on one database."""

    def __init__(self, stack: Stack, database: FreshDatabase) -> None:
        self.stack, self.database = stack, database
        self.conn = database.connect(autocommit=True)

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        given, out, err = in_process(self.stack, *arguments, "--json", SUPABASE_DB_URL=self.database.url)
        assert given == code, f"{arguments}: {given}\n{out}\n{err}"
        return json.loads(out) if code == 0 else json.loads(err.splitlines()[-1])["error"]

    def enqueue(self, actor: str, count: int = 1, owner: Any = None) -> list[int]:
        return [
            row[0]
            for row in self.conn.execute(
                "select queue.enqueue(%s, '{}', %s) from generate_series(1, %s)", (actor, owner, count)
            )
        ]

    def die(self, error: str) -> None:
        """All that is ready fails for good."""
        self.conn.execute(
            "select queue.fail(c.id, c.lease_token, %s, false) from queue.claim('default', 'w', 1000) as c",
            (error,),
        )

    def states(self, actor: str) -> dict[str, int]:
        return dict(
            self.conn.execute(
                "select state, count(*)::int from queue.jobs where actor = %s group by 1", (actor,)
            ).fetchall()
        )


@pytest.fixture
def cli(stack: Stack, own: FreshDatabase) -> Iterator[Operator]:
    here = Operator(stack, own)
    here.conn.execute("truncate queue.jobs, queue.pauses, queue.interventions, queue.heartbeats")
    yield here
    here.conn.close()


# queue


def test_jobs_are_found_by_what_they_are(cli: Operator) -> None:
    owner = uuid4()
    cli.enqueue("a", 2, owner)
    cli.die("HTTP 503 from Storage")
    (newest,) = cli.enqueue("b")
    found = cli(
        "queue", "ls", "--error", "http 503", "--owner", str(owner), "--actor", "a", "--state", "dead"
    )
    assert (found["total"], {job["actor"] for job in found["jobs"]}) == (2, {"a"})
    assert [job["id"] for job in cli("queue", "ls", "-n", "1")["jobs"]] == [newest]
    assert cli("queue", "ls", "--queue", "nothing")["total"] == 0
    assert cli("queue", "ls", "--state", "gone", code=2)["code"] == "usage"
    assert cli("queue", "show", str(newest))["state"] == "ready"
    assert cli("queue", "show", "999999999", code=1)["code"] == "job_not_found"


def test_a_retry_shows_first_and_keeps_the_history(cli: Operator) -> None:
    ids = cli.enqueue("a", 3)
    cli.die("boom")
    dry = cli("queue", "retry", "--error", "boom")
    assert (dry["dry_run"], dry["matched"], dry["outcomes"]) == (True, 3, {})
    assert cli.states("a") == {"dead": 3}
    assert cli("queue", "retry", "--error", "boom", "--reason", "mended", "--yes")["outcomes"] == {
        "retried": 3
    }
    assert cli.states("a") == {"scheduled": 3}
    (entry,) = cli("queue", "show", str(ids[0]))["interventions"]
    assert (entry["action"], entry["reason"], entry["before"]["error"]) == ("retry", "mended", "boom")


def test_nothing_is_done_to_everything_by_mistake(cli: Operator) -> None:
    cli.enqueue("a")
    for action in ("retry", "cancel", "purge"):
        assert cli("queue", action, "--yes", code=2)["code"] == "usage"
        assert cli("queue", action, "999999999", "--yes", code=1)["code"] == "job_not_found"
    assert cli.states("a") == {"ready": 1}
    assert cli("queue", "cancel", "--all", "--yes")["outcomes"] == {"canceled": 1}


def test_a_purge_leaves_what_is_not_finished(cli: Operator) -> None:
    cli.enqueue("a", 2)
    cli.die("boom")
    cli.enqueue("a")
    assert cli("queue", "purge", "--actor", "a", "--yes")["outcomes"] == {"purged": 2}
    assert cli("queue", "purge", "--actor", "a", "--state", "ready", "--yes")["matched"] == 0
    assert cli.states("a") == {"ready": 1}


def test_many_jobs_are_done_in_batches(cli: Operator) -> None:
    cli.enqueue("a", 1200)
    seen: list[tuple[int, int]] = []
    with operator(cli.database.url, "test") as conn:
        chosen = ledger.ids(conn, Wanted(actor="a"))
        done = ledger.act(conn, "cancel", chosen, None, lambda *step: seen.append(step))
        assert done == {"canceled": 1200}
        assert seen == [(500, 1200), (1000, 1200), (1200, 1200)]
        assert ledger.purge(conn, chosen, None, lambda *_: None) == {"purged": 1200}


def test_a_job_that_a_worker_is_ending_is_left_and_told(cli: Operator) -> None:
    (busy,) = cli.enqueue("a")
    with cli.database.connect() as worker:
        ((_, token),) = worker.execute(
            "select id, lease_token from queue.claim('default', 'w', 1)"
        ).fetchall()
        worker.commit()
        worker.execute("select queue.complete(%s, %s)", (busy, token))
        assert cli("queue", "cancel", str(busy), "--yes", code=1)["code"] == "busy"
        worker.commit()
    assert cli.states("a") == {"succeeded": 1}


def test_pauses_show_in_status_and_end(cli: Operator) -> None:
    cli.enqueue("a", 3)
    dry = cli("queue", "pause", "--actor", "a")
    assert (dry["dry_run"], dry["counts"][0]["count"]) == (True, 3)
    assert cli("queue", "pause", "--actor", "a", "--reason", "why", "--yes")["parked"] == 3
    assert {job["state"] for job in cli("queue", "ls", "--actor", "a")["jobs"]} == {"paused"}
    assert cli("queue", "ls", "--state", "paused")["total"] == 3
    assert cli("queue", "cancel", "--state", "paused")["matched"] == 3
    assert cli("queue", "ls", "--state", "scheduled", "--actor", "a")["total"] == 0
    data = figures.of(cli.database.url)
    assert [(p["kind"], p["name"], p["reason"]) for p in data["pauses"]] == [("actor", "a", "why")]
    assert data["queues"][0]["paused"] == 3
    assert cli("queue", "resume", "--actor", "a")["is_paused"] is True
    assert cli("queue", "resume", "--actor", "a", "--yes")["resumed"] == 3
    assert cli("queue", "resume", "--actor", "a", "--yes", code=1)["code"] == "not_paused"
    assert cli("queue", "pause", "--yes", code=2)["code"] == "usage"


def test_an_older_schema_and_another_login_are_told(stack: Stack, cli: Operator) -> None:
    done = stack.cli("queue", "ls", "--json", check=False, SUPABASE_DB_URL=cli.database.worker_url)
    assert json.loads(done.stderr.splitlines()[-1])["error"]["code"] == "not_allowed"
    bare = stack.cli(
        "queue", "ls", "--json", check=False, SUPABASE_DB_URL=on_database(stack.db_url, "template1")
    )
    assert (bare.returncode, json.loads(bare.stderr.splitlines()[-1])["error"]["code"]) == (4, "not_migrated")


# status


def test_status_tells_queues_workers_failures_and_storage(cli: Operator) -> None:
    cli.enqueue("a", 2)
    cli.die("HTTP 503\nmore")
    cli.enqueue("b")
    cli.conn.execute("update queue.jobs set run_at = now() - interval '1 min' where actor = 'b'")
    cli.conn.execute("select queue.beat('h/b/n/1/1', '{default}', 4, 1)")
    cli.conn.execute(
        "insert into queue.heartbeats values ('x/b/n/1/1', '{}', 1, 0, now() - interval '1 h', now() - interval '1 h')"
    )
    data = figures.of(cli.database.url)
    (queue,) = data["queues"]
    assert (queue["ready"], queue["dead"], 60 <= queue["lag_seconds"] < 90) == (1, 2, True)
    assert [(w["worker"], w["is_silent"]) for w in data["workers"]] == [
        ("h/b/n/1/1", False),
        ("x/b/n/1/1", True),
    ]
    assert data["failures"] == [{"source": "job", "what": "a dead", "reason": "HTTP 503", "count": 2}]
    assert [s["bucket"] for s in data["storage"]] == ["media", "private", "public"]
    assert data["outbox"] == []
    assert len(view.tables(data)) == 4


def test_status_tells_who_publishes_to_a_broker(cli: Operator) -> None:
    cli.enqueue("a")
    cli.conn.execute("select queue.beat('h/b/n/1/1', '{default}', 4, 1, true)")
    (nobody,) = figures.of(cli.database.url)["outbox"]
    assert (nobody["relay"], nobody["is_leading"], nobody["workers"]) == (None, False, 1)
    cli.conn.execute("select queue.lead_relay('h/b/n/1/1', '5 s'), queue.publish('default', 5, '5 s')")
    data = figures.of(cli.database.url)
    (leads,) = data["outbox"]
    assert (leads["relay"], leads["is_leading"], leads["published"]) == ("h/b/n/1/1", True, 1)
    shown = Console(width=200, file=io.StringIO())
    for outbox, wanted in ((leads, False), (nobody, True)):
        with shown.capture() as text:
            shown.print(Group(*view.tables({**data, "outbox": [outbox]})))
        assert ("NO RELAY" in text.get()) is wanted


def test_status_as_json_keeps_its_names_and_has_the_figures(stack: Stack) -> None:
    answer = json.loads(stack.cli("status", "--json").stdout)
    named = {"API_URL", "ANON_KEY", "SERVICE_ROLE_KEY", "DB_URL", "JWT_SECRET", "parts", "healthy"}
    assert named | {"queues", "pauses", "workers", "failures", "storage"} <= set(answer)
    assert "Storage" in stack.cli("status").stdout


def test_status_watches(stack: Stack, cli: Operator) -> None:
    cli.enqueue("a")
    line = ("status", "--watch", "--interval", "0.2", "--rounds", "2")
    done = stack.cli(*line, "--json", SUPABASE_DB_URL=cli.database.url)
    assert [json.loads(text)["queues"][0]["ready"] for text in done.stdout.splitlines()] == [1, 1]
    assert "Queues" in stack.cli(*line, SUPABASE_DB_URL=cli.database.url).stdout


def test_a_database_that_is_away_leaves_status_without_figures() -> None:
    data = figures.of("postgresql://x@127.0.0.1:1/x")
    assert (data["queues"], data["figures_error"]["code"]) == ([], "database_unreachable")
    assert [
        round_["figures_error"]["code"] for round_ in view._rounds("postgresql://x@127.0.0.1:1/x", 0, 2)
    ] == ["database_unreachable"] * 2


# policy


def test_policy_shows_values_defaults_and_meanings(cli: Operator) -> None:
    entries = {entry["name"]: entry for entry in cli("policy", "get")["policy"]}
    assert entries["upload_batch_max"]["meaning"] == "Files in one reserve_uploads."
    assert all(entry["meaning"] and entry["default"] is not None for entry in entries.values())
    assert entries["undo_seconds"] == cli("policy", "get", "undo_seconds")
    assert "upload_batch_max" in cli("policy", "get", "upload_batch", code=2)["remedy"]


def test_policy_is_set_tried_and_refused_by_the_constraint(cli: Operator) -> None:
    assert cli("policy", "set", "tags_max", "7", "--dry-run")["after"] == 7
    assert cli("policy", "get", "tags_max")["value"] == 20
    assert cli("policy", "set", "tags_max", "7") == {
        "name": "tags_max",
        "before": 20,
        "after": 7,
        "dry_run": False,
    }
    assert cli("policy", "set", "tags_max", "default")["after"] == 20
    assert cli("policy", "set", "image_mime_types", "image/jpeg, image/png")["after"] == [
        "image/jpeg",
        "image/png",
    ]
    assert cli("policy", "set", "image_mime_types", "default")["after"][-1] == "image/heif"
    refused = cli("policy", "set", "tags_max", "1000", code=1)
    assert (refused["code"], "tags_max_is_sensible" in refused["message"]) == ("policy_refused", True)
    assert "100" in refused["remedy"]
    assert cli("policy", "set", "tags_max", "many", code=1)["code"] == "policy_refused"
    assert cli("policy", "set", "tags_max; drop table x", "1", code=2)["code"] == "usage"
    assert cli("policy", "get", "tags_max")["value"] == 20


# keys


def test_keys_are_masked_and_new_ones_replace_the_old(tmp_path: Path) -> None:
    with stack_of_its_own(tmp_path / "home") as stack:
        masked = json.loads(stack.cli("keys", "show", "--json").stdout)
        assert stack.anon_key not in masked.values()
        assert set(masked) == {"ANON_KEY", "SERVICE_ROLE_KEY", "JWT_SECRET"}
        user = {"email": "a@example.test", "password": "correct horse"}
        signed = httpx.post(
            f"{stack.api_url}/auth/v1/signup", json=user, headers={"apikey": stack.anon_key}
        ).json()
        stack.cli("keys", "rotate-jwt")
        assert (
            json.loads(stack.cli("keys", "show", "--reveal", "--json").stdout)["ANON_KEY"] == stack.anon_key
        )
        stack.cli("keys", "rotate-jwt", "--yes")
        fresh = json.loads(stack.cli("keys", "show", "--reveal", "--json").stdout)
        assert fresh["ANON_KEY"] != stack.anon_key

        def ask(path: str, key: str, token: str | None = None) -> int:
            headers = {"apikey": key, "authorization": f"Bearer {token or key}"}
            return httpx.get(f"{stack.api_url}{path}", headers=headers, timeout=10).status_code

        for path in ("/rest/v1/listings", "/storage/v1/bucket"):
            assert ask(path, fresh["SERVICE_ROLE_KEY"]) == 200
            assert ask(path, stack.service_role_key) in (400, 401, 403)
            assert ask(path, fresh["ANON_KEY"], signed["access_token"]) in (400, 401, 403)
        again = httpx.post(
            f"{stack.api_url}/auth/v1/token?grant_type=refresh_token",
            json={"refresh_token": signed["refresh_token"]},
            headers={"apikey": fresh["ANON_KEY"]},
        )
        assert again.status_code == 200
        found = json.loads(stack.cli("doctor", "--json", check=False).stdout)["findings"]
        assert {item["code"] for item in found} == {"no_worker"}


def test_a_supabase_projects_keys_are_its_own(stack: Stack) -> None:
    done = stack.cli("keys", "rotate-jwt", "--yes", check=False, SUPABASE_URL="https://x.supabase.test")
    assert done.returncode == 2


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(stack: Stack, shell: str) -> None:
    script = stack.cli("completion", shell).stdout
    assert "_IMAGELEDGER_COMPLETE" in script


def test_another_shell_is_wrong_use(stack: Stack) -> None:
    assert stack.cli("completion", "tcsh", check=False).returncode == 2


@pytest.mark.parametrize(
    ("line", "position", "wanted"),
    [
        ("imageledger que", "1", "queue"),
        ("imageledger queue re", "2", "resume\nretry"),
        ("imageledger doctor --j", "2", "--json"),
    ],
)
def test_a_line_is_completed(stack: Stack, line: str, position: str, wanted: str) -> None:
    done = stack.cli(_IMAGELEDGER_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=position, check=False)
    assert sorted(done.stdout.split()) == wanted.split()


# help and exit codes


def walk(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command and group, by the words it is called with."""
    if name:
        yield name, command
    for child, sub in getattr(command, "commands", {}).items():
        yield from walk(sub, f"{name} {child}".strip())


def test_every_command_teaches_with_examples() -> None:
    commands = {name: c for name, c in walk(typer.main.get_command(build([]))) if not c.hidden}
    assert set(COMMANDS) - {"links"} <= set(commands)
    assert {name for name, command in commands.items() if "Examples:" not in (command.help or "")} == set()
    for name, command in commands.items():
        assert f"imageledger {name}" in command.help, f"{name}: its examples are another's"
        examples = command.help.split("Examples:\n")[1].split("\n\n")[0].splitlines()
        assert all(len(re.findall(r"\bimageledger [a-z]", line)) == 1 for line in examples), (
            f"{name}: a line each"
        )


@pytest.mark.parametrize("line", ["status --json --bogus", "queue show abc --json", "nosuch --json"])
def test_wrong_use_is_json_too(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    told = capfd.readouterr()
    error = json.loads(told.err)["error"]
    assert (error["code"], error["exit_code"], told.out) == ("usage", 2, "")
    assert "--help" in error["remedy"]


def test_a_path_is_told_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["snapshot", "verify", "/proc/:x:"]) == 1
    assert "error no_snapshot: /proc/:x: holds" in capfd.readouterr().err


def test_what_cannot_be_written_or_asked_is_an_error_of_ours(cli: Operator, tmp_path: Path) -> None:
    assert cli("snapshot", "/proc/nowhere", code=1)["code"] == "file_error"
    lines = cli("csv", "export", str(tmp_path / "a.csv"), "--email", "a@example.com", code=2)
    assert lines["remedy"] == "set IMAGELEDGER_PASSWORD"


def exit_codes() -> set[int]:
    found = {0, INTERRUPTED}
    waiting: list[type[errors.CliError]] = [errors.CliError]
    while waiting:
        error = waiting.pop()
        found.add(error.exit_code)
        waiting += error.__subclasses__()
    return found


def test_one_table_of_exit_codes_is_true() -> None:
    table = README.split("| exit code | meaning |")[1].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == exit_codes()
    epilog = build([]).info.epilog or ""
    assert {int(code) for code in re.findall(r"\b(\d+) ", str(epilog))} == exit_codes()


def test_every_command_is_in_the_readme() -> None:
    listed = README.split("| command | what it does |")[1].split("\n\n")[0]
    for name in set(COMMANDS) - {"links"}:
        assert f"| `{name}" in listed, name


# the runbook


def commands_of_the_runbook() -> list[str]:
    found = (b for b in blocks(ROOT / "cli/RUNBOOK.md") if b.language in SHELL and b.reason is None)
    return [line for block in found for line in block.commands]


#: Line → why it does not end with 0 on a healthy stack without a worker.
ENDS = {"imageledger doctor": 7}
#: Lines that need a stack of their own, or two stores, and where they are run.
ELSEWHERE = {
    "imageledger keys rotate-jwt --yes": test_keys_are_masked_and_new_ones_replace_the_old,
    "imageledger bucket copy --dry-run": "test_bucket.py",
    "imageledger bucket copy --threads 16": "test_bucket.py",
    "imageledger bucket copy": "test_bucket.py",
    "imageledger bucket prune": "test_bucket.py",
    "imageledger bucket prune --yes": "test_bucket.py",
    "imageledger sweep --verify-checksums --older-than 0s": "test_sweep.py",
    "imageledger snapshot backup/": "test_snapshot.py",
    "imageledger snapshot verify backup/": "test_snapshot.py",
    "imageledger restore backup/ --dry-run": "test_snapshot.py",
    "imageledger restore backup/": "test_snapshot.py",
}


def test_every_command_of_the_runbook_runs(stack: Stack) -> None:
    lines = commands_of_the_runbook()
    assert len(lines) > 25
    assert set(ELSEWHERE) | set(ENDS) <= set(lines)
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "imageledger"
        if line in ELSEWHERE:
            continue
        code, out, err = in_process(stack, *arguments)
        assert code in (0, ENDS.get(line, 0)), f"{line}\n{out}\n{err}"
    stack.cli("policy", "set", "undo_seconds", "default")
    with psycopg.connect(stack.db_url) as conn:
        assert conn.execute("select count(*) from queue.pauses").fetchone() == (0,)


def test_every_finding_of_the_runbook_is_one() -> None:
    told = set(re.findall(r"`([a-z]+_[a-z_]+)`", RUNBOOK))
    assert {"dead_jobs", "stale_leases", "disk_low", "key_refused"} <= told & set(CODES)


def test_a_project_is_no_secret_in_its_repr() -> None:
    assert "hush" not in repr(Project("supabase", "u", "hush", "hush", "hush", "hush"))
