"""The files of a deploy agree with the worker: dashboard, packages, ports, commands."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.stack import ROOT, clean_environment
from worker import config

FOLDER = ROOT / "worker"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
README = (FOLDER / "README.md").read_text()
#: Metric → its kind and labels, as the page on metrics has them; test_health.py compares that with a scrape.
METRICS = {
    name: (kind, set(re.findall(r"[a-z]+", labels or "")))
    for name, kind, labels in re.findall(
        r"^\| `(imageledger_[a-z_]+)` \| ([a-z]+)(?:: ([a-z, ]+))? \|", README, re.MULTILINE
    )
}


def variables() -> set[str]:
    """What the worker reads from its environment."""
    return set(re.findall(r"^\| `([A-Z_]+)` \|", config.__doc__ or "", re.MULTILINE))


def test_the_dashboard_asks_for_what_there_is() -> None:
    asked = set()
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            used: set[str] = set()
            for name in re.findall(r"\bimageledger_[a-z_]+", expression):
                part = re.sub(r"_(bucket|count|sum)$", "", name)
                known = part if METRICS.get(part, ("",))[0] == "histogram" else name
                assert known in METRICS, name
                assert (known != name) == (METRICS[known][0] == "histogram"), name
                asked.add(known)
                used |= METRICS[known][1]
            by = set(re.findall(r"[a-z]+", " ".join(re.findall(r"by \(([^)]*)\)", expression)))) - {"le"}
            assert by <= used, expression
            assert set(re.findall(r"{{([a-z]+)}}", target["legendFormat"])) <= by, target
    assert asked == METRICS.keys()


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie over each other"
    assert max(x for x, _ in cells) < 24
    assert {target["datasource"]["uid"] for panel in panels for target in panel["targets"]} == {"${source}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["source"]


def test_packages_of_the_image_are_those_that_are_tested() -> None:
    def pins(file: Path) -> set[str]:
        return set(re.findall(r"^([a-z0-9-]+==[^ ]+)", file.read_text(), re.MULTILINE))

    image = pins(FOLDER / "requirements.lock")
    assert image <= pins(ROOT / "requirements.lock")
    names = {pin.partition("==")[0] for pin in image}
    assert {"dramatiq", "pillow", "prometheus-client", "replicate", "openai", "google-genai"} <= names
    assert names & {"pytest", "mypy", "ruff", "testcontainers"} == set()


def test_the_folder_is_all_that_the_image_needs(tmp_path: Path) -> None:
    """It starts, and says which settings are missing."""
    shutil.copytree(FOLDER, tmp_path / "worker", ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    program = (
        "import sys; sys.path[:] = [p for p in sys.path if p != sys.argv[1]]; sys.meta_path[:] = [f for f in"
        " sys.meta_path if 'editable' not in str(f).lower()]; sys.path.insert(0, '.');"
        " import worker.main; assert worker.__path__[0].startswith(sys.argv[2]), worker.__path__;"
        " sys.exit(worker.main.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), str(tmp_path)],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "WORKER_DB_URL" in done.stderr


def test_the_image_is_small_and_nobodys_root() -> None:
    lines = (FOLDER / "Dockerfile").read_text()
    assert lines.index("\nUSER 10001") < lines.index("\nENTRYPOINT")
    assert "--require-hashes" in lines
    assert "/healthz" in lines.split("HEALTHCHECK")[1]
    assert (FOLDER / "Dockerfile.dockerignore").read_text().startswith("*\n")
    assert set(re.findall(r"\b(WORKER_[A-Z_]+|LOG_[A-Z]+)=", lines)) <= variables()


def test_the_health_check_of_the_image_is_a_program(tmp_path: Path) -> None:
    """Run as it stands, against nobody: it fails in time."""
    found = re.search(r"CMD (\[.+\])", (FOLDER / "Dockerfile").read_text())
    assert found
    command = json.loads(found[1])
    done = subprocess.run(
        [sys.executable, *command[1:]],
        env=clean_environment(WORKER_HTTP_PORT="1"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_the_compose_file() -> None:
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["worker"]
    assert service["environment"].keys() <= variables()
    assert (FOLDER / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    grace = config.Settings(db_url="", listen_url="", supabase_url="", service_role_key="").grace_seconds
    assert int(service["stop_grace_period"].removesuffix("s")) >= grace + 15
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (FOLDER / "imageledger-worker.service").read_text()
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    assert set(re.findall(r"\b([A-Z_]+)=", unit["Service"]["Environment"])) <= variables() | {
        "PYTHONDONTWRITEBYTECODE"
    }
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    copy = tmp_path / "imageledger-worker.service"
    copy.write_text(text.replace("/opt/imageledger/.venv/bin/python", os.path.realpath(sys.executable)))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=30, check=False
    )
    assert str(copy.name) not in done.stderr, done.stderr
