"""The types and the reference that are checked in are the database's, and compilers take them."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from cli.types.layout import lay_out
from tests.conftest import FreshDatabase
from tests.support.stack import ROOT, Stack

REFERENCE = ROOT / "functions/REFERENCE.md"
FILES = ["supabase/types/database.types.ts", "supabase/types/database.py", "functions/REFERENCE.md"]


def test_what_is_checked_in_is_what_the_database_says(stack: Stack, fresh_db: FreshDatabase) -> None:
    """When this fails: `make types`."""
    stack.cli("types", "--check", "--db-url", fresh_db.url)
    with fresh_db.connect(autocommit=True) as conn:
        conn.execute("alter table public.listings add column mileage int")
        conn.execute("comment on column public.listings.mileage is 'Kilometres.'")
    changed = stack.cli("types", "--check", "--json", "--db-url", fresh_db.url, check=False)
    assert changed.returncode == 4
    assert json.loads(changed.stdout) == {"outdated": FILES}
    assert json.loads(changed.stderr.splitlines()[-1])["error"]["code"] == "types_outdated"
    reference = stack.cli("types", "--lang", "markdown", "--db-url", fresh_db.url).stdout
    before, after = REFERENCE.read_text().splitlines(), reference.splitlines()
    assert [line for line in after if line not in before] == ["| `mileage` | integer? |  | Kilometres. |"]


def test_wrong_use_is_told(stack: Stack) -> None:
    assert stack.cli("types", check=False).returncode == 2
    assert stack.cli("types", "--check", "--write", check=False).returncode == 2
    nowhere = "postgresql://postgres:hidden@127.0.0.1:1/postgres"
    for language in ("typescript", "markdown"):
        failed = stack.cli("types", "--lang", language, "--json", "--db-url", nowhere, check=False)
        assert failed.returncode == 1
        error = json.loads(failed.stderr.splitlines()[-1])["error"]
        assert error["code"] in ("types_failed", "database_unreachable")
        assert error["remedy"]
        assert "hidden" not in failed.stderr + failed.stdout


def test_one_member_a_line() -> None:
    body = '{ "a": {Row: {"b": string,"c"?: Json | null}\nRelationships: [\n  {columns: ["x","y"]\nn: 1}] }}'
    text = f"export type Database = {body}\ntype DatabaseWithoutInternals = Omit<Database, 'x'>\n"
    assert (
        lay_out(text)
        == """export type Database = {
  "a": {
    Row: {
      "b": string
      "c"?: Json | null
    }
    Relationships: [{
      columns: ["x", "y"]
      n: 1
    }]
  }
}

type DatabaseWithoutInternals = Omit<Database, 'x'>
"""
    )


def test_the_reference_knows_every_error_that_the_catalogue_explains() -> None:
    row = re.compile(r"^\| (\d{3}) \| `([a-z_]+)` \|", re.MULTILINE)
    found = set(row.findall(REFERENCE.read_text()))
    explained = set(row.findall((ROOT / "functions/README.md").read_text()))
    assert found <= explained
    assert len(found) >= 40
    uploads = (
        REFERENCE.read_text()
        .split("### reserve_uploads\n")[0]
        .split("### reserve_uploads()")[1]
        .split("###")[0]
    )
    # Also what is refused three calls below.
    assert {"401 `not_signed_in`", "402 `storage_budget_exceeded`", "413 `file_too_large`"} <= set(
        re.findall(r"\d{3} `[a-z_]+`", uploads)
    )


def test_python_recipes_and_types_are_strict() -> None:
    files = [*sorted((ROOT / "supabase/recipes").glob("*.py")), ROOT / "supabase/types/database.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", *files],
        cwd=ROOT / "supabase/recipes",  # at home in the checkout `supabase` is this folder, not the client
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_javascript_recipes_and_types_are_strict() -> None:
    """`tsc` over the recipes, the types, and a sample with what they must refuse."""
    done = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", "-p", "tsconfig.json"],
        cwd=ROOT / "tests/e2e",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
