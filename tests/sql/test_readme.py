"""The catalogue of errors and functions says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.rls.matrix import FUNCTIONS

ROOT = Path(__file__).parents[2]
SQL = "".join(
    f.read_text() for folder in ("sql", "functions") for f in sorted((ROOT / folder).rglob("*.sql"))
)
README = (ROOT / "functions/README.md").read_text()


def test_every_code_is_in_the_catalogue_with_its_status() -> None:
    with_status = set(re.findall(r"\brefuse\(\s*(\d{3}), '([a-z_]+)'", SQL))
    listed = set(re.findall(r"^\| (\d{3}) \| `([a-z_]+)` \|", README, re.MULTILINE))
    assert listed == with_status
    assert len(listed) > 20


def test_every_code_of_storage_is_in_the_catalogue() -> None:
    raised = set(re.findall(r"refuse_object\(\s*'([a-z_]+)'", SQL))
    listed = set(re.findall(r"^\| `([a-z_]+)` \| [a-z]", README.split("## Errors")[1], re.MULTILINE))
    assert listed == raised
    assert len(listed) == 9


def test_every_function_has_a_line() -> None:
    called = {
        name.split(".")[1]
        for name, roles in FUNCTIONS.items()
        if name.startswith("public.") or "media_worker" in roles
    }
    assert {name for name in called if f"`{name}(" not in README} == set()


def test_every_file_has_a_line() -> None:
    listed = re.findall(r"^\| `(\d\d_[a-z_]+\.sql)`", (ROOT / "sql/README.md").read_text(), re.MULTILINE)
    assert listed == sorted(f.name for f in (ROOT / "sql").glob("*.sql"))
