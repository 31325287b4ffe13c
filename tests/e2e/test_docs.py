"""Every command line in the documentation is run by a test, or says why not above its block: `<!-- not run: … -->`."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer.main

from cli.main import build
from tests.conftest import throw_away
from tests.e2e.test_operators import in_process
from tests.support.docs import SHELL, Block, blocks, pages, spans
from tests.support.people import PASSWORD, Person
from tests.support.stack import ROOT, Stack
from tests.support.worker import WorkerProcess

BLOCKS = [block for page in pages() for block in blocks(page)]
PROJECT = "supabase/README.md"
RUNBOOK = "cli/RUNBOOK.md"

#: Page and beginning of a line → the test file that runs such a line, and words of it that stand there.
ELSEWHERE: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("README.md", "export IMAGELEDGER_EMAIL="): ("tests/api/test_exchange.py", ("IMAGELEDGER_EMAIL",)),
    ("README.md", "export SUPABASE_DB_URL="): ("tests/e2e/test_docs.py", ("SUPABASE_DB_URL=database.url",)),
    ("README.md", "make demo"): ("tests/e2e/test_demo.py", ('"demo"',)),
    ("README.md", "make test"): ("Makefile", ("pytest",)),
    ("README.md", "imageledger up --worker"): ("tests/api/test_stack_lifecycle.py", ('"up", "--worker"',)),
    ("README.md", "imageledger status"): (
        "tests/e2e/test_operators.py",
        ('"status", "--watch"', 'cli("status")'),
    ),
    ("README.md", "imageledger doctor"): ("tests/e2e/test_doctor.py", ('"doctor"',)),
    ("README.md", "imageledger logs worker"): ("tests/e2e/test_docs.py", ('"logs", "gateway", "-f"',)),
    ("README.md", "imageledger worker"): ("tests/e2e/test_sweep.py", ('"--processes"', '"--threads"')),
    ("README.md", "imageledger down"): ("tests/api/test_stack_lifecycle.py", ('"down"',)),
    ("README.md", "imageledger csv"): (
        "tests/api/test_exchange.py",
        ('"csv"', '"export"', '"import"', '"--dry-run"'),
    ),
    ("README.md", "imageledger export"): (
        "tests/api/test_exchange.py",
        ('"--site"', '"--copy-files"', '"--out"'),
    ),
    ("README.md", "imageledger migrate"): ("tests/sql/test_migrate.py", ('"--plan"', '"migrate"')),
    ("cli/exchange/README.md", "imageledger csv"): (
        "tests/api/test_exchange.py",
        ('"csv"', '"export"', '"--dry-run"'),
    ),
    ("cli/exchange/README.md", "imageledger export"): (
        "tests/api/test_exchange.py",
        ('"ebay"', '"etsy"', '"--listing"', '"--format"', '"--url-life"'),
    ),
    ("cli/exchange/README.md", "curl "): ("tests/api/test_exchange.py", ("listing_csv", "text/csv")),
    ("cli/legacy/README.md", "imageledger legacy"): (
        "tests/e2e/test_legacy.py",
        (
            "map",
            "plan",
            "import",
            "--dry-run",
            "report",
            "review",
            "correct",
            "fetch",
            "drop-column",
            "restore",
        ),
    ),
    ("cli/migrate/README.md", "imageledger migrate"): (
        "tests/sql/test_clashes.py",
        ('"--plan"', '"--dry-run"'),
    ),
    ("cli/snapshot/README.md", "imageledger snapshot"): (
        "tests/e2e/test_snapshot.py",
        ('"snapshot"', '"verify"'),
    ),
    ("cli/snapshot/README.md", "imageledger restore"): (
        "tests/e2e/test_snapshot.py",
        ('"restore"', '"--dry-run"'),
    ),
    ("cli/snapshot/README.md", "imageledger doctor"): ("tests/e2e/test_doctor.py", ('"doctor"',)),
    ("cli/snapshot/README.md", "imageledger sweep"): ("tests/e2e/test_sweep.py", ('"--verify-checksums"',)),
    ("cli/stack/gateway/README.md", "GATEWAY_DB_URL="): (
        "tests/api/gateway_support.py",
        ("cli.stack.gateway", "GATEWAY_DB_URL"),
    ),
    (PROJECT, "supabase db push --remote="): (
        "tests/sql/test_migrate.py",
        ('"db", "push"', "--remote=", "--yes"),
    ),
    # All lines of the runbook: it has a test of its own, with a table of its own.
    (RUNBOOK, "imageledger"): ("tests/e2e/test_operators.py", ("commands_of_the_runbook",)),
}


def shell_blocks() -> Iterator[Block]:
    return (block for block in BLOCKS if block.language in SHELL)


def here(page: str) -> list[str]:
    """The lines of a page that this module runs."""
    wanted = [b for b in shell_blocks() if b.page == page and b.reason is None]
    return [line for b in wanted for line in b.commands if not elsewhere(b.page, line)]


def elsewhere(page: str, line: str) -> tuple[str, tuple[str, ...]] | None:
    return next(
        (proof for (p, begin), proof in ELSEWHERE.items() if p == page and line.startswith(begin)), None
    )


def test_every_line_is_run_or_says_why_not() -> None:
    unknown = [
        f"{block.page}:{block.line}: {line}"
        for block in shell_blocks()
        if block.reason is None and block.page != PROJECT
        for line in block.commands
        if elsewhere(block.page, line) is None
    ]
    assert unknown == []
    assert all(len(block.reason or "a reason of some words") > 10 for block in shell_blocks())
    for key, (file, words) in ELSEWHERE.items():
        text = (ROOT / file).read_text()
        assert [word for word in words if word not in text] == [], key
        assert any(
            b.page == key[0] and line.startswith(key[1]) for b in shell_blocks() for line in b.commands
        ), key


def test_a_line_without_a_test_would_be_found(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    assert next(b for b in blocks(page) if b.language in SHELL).commands[0] == "make demo"
    assert elsewhere("README.md", "imageledger levitate") is None
    marked = tmp_path / "page.md"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.docs.ROOT", tmp_path)
        marked.write_text(
            "<!-- not run: needs a moon -->\n```sh\na \\\n  b  # c\n```\n\n   ```sh\n   d\n   ```\n"
        )
        found = list(blocks(marked))
    assert [(b.reason, b.commands, b.line) for b in found] == [("needs a moon", ["a b"], 2), (None, ["d"], 7)]


@pytest.mark.parametrize("block", list(shell_blocks()), ids=lambda b: f"{b.page}:{b.line}")
def test_a_shell_can_read_it(block: Block) -> None:
    text = re.sub(r"<([a-z-]+)>", r"\1", block.text)
    done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_commands_in_sentences_are_ours() -> None:
    app = typer.main.get_command(build([]))
    wrong = []
    for page in pages():
        for words in spans(page):
            command: Any = app
            rest = [w for w in words if w not in {"…", "..."}]
            while rest and hasattr(command, "commands") and rest[0] in command.commands:
                command = command.commands[rest.pop(0)]
            known = {o for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts)}
            known |= {"--help", "-h", "--version"}
            options = {
                word.partition("=")[0].strip("[],")
                for word in rest
                if word.startswith("[-") or word[0] == "-"
            }
            # A group's name alone, such as `imageledger queue`, is fine; a word that it does not know is not.
            lost = hasattr(command, "commands") and any(word.isalpha() for word in rest)
            if options - known or lost:
                wrong.append((str(page.relative_to(ROOT)), " ".join(words)))
    assert wrong == []


def statements(page: str) -> list[str]:
    texts = [b.text for b in BLOCKS if b.page == page and b.language == "sql" and b.reason is None]
    return [part.strip() for text in texts for part in text.split(";\n") if part.strip(" \n;")]


@pytest.mark.parametrize("page", [RUNBOOK, PROJECT])
def test_statements_run_as_the_owner(db: psycopg.Connection[Any], page: str) -> None:
    assert statements(page)
    for statement in statements(page):
        db.execute(statement.encode())


def test_an_own_project_step_by_step(
    stack: Stack, worker: WorkerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's lines in their order, against a stack that is known by URL and keys alone."""
    person = Person.sign_up(stack)
    environment = {
        "IMAGELEDGER_HOME": str(tmp_path / "none"),
        "SUPABASE_URL": stack.api_url,
        "SUPABASE_ANON_KEY": stack.anon_key,
        "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key,
        "SUPABASE_DB_URL": stack.db_url,
        "WORKER_DB_URL": stack.worker_db_url,
        "DEMO_EMAIL": person.email,
        "DEMO_PASSWORD": PASSWORD,
    }
    # Each once: `doctor` and `status` stand at two steps.
    lines = list(dict.fromkeys(here(PROJECT)))
    assert {"imageledger migrate", "imageledger doctor", "imageledger demo --no-studio"} <= set(lines)
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "imageledger", line
        code, out, err = in_process(stack, *arguments, **environment)
        # Other tests' jobs may be dead, and a worker may have gone without a word: findings, not faults.
        assert code in ((0, 7) if arguments == ["doctor"] else (0,)), f"{line}\n{out}\n{err}"
    images = person.client.table("gallery").select("id").execute().data
    assert len(images) == 4


def test_logs_are_followed(stack: Stack) -> None:
    line = [sys.executable, "-m", "cli.main", "logs", "gateway", "-f"]
    with subprocess.Popen(line, env=stack.environment, cwd=ROOT, stdout=subprocess.PIPE) as follower:
        try:
            assert follower.stdout is not None
            assert follower.stdout.readline()
        finally:
            follower.kill()


def test_a_database_by_its_url_is_migrated_without_a_stack(stack: Stack, template: str) -> None:
    """README's path: SUPABASE_DB_URL alone."""
    with throw_away(stack, template) as database:
        for line in ("migrate --plan", "migrate"):
            code, out, err = in_process(stack, *line.split(), SUPABASE_DB_URL=database.url)
            assert code == 0, out + err
