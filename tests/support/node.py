"""supabase-js in Node, driven by a script of tests/e2e."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.stack import ROOT, clean_environment


def run_script(name: str, told: dict[str, Any]) -> Any:
    """What `name` prints as its last line, a JSON text, when it reads `told` from standard input."""
    done = subprocess.run(
        ["node", str(ROOT / "tests/e2e" / name)],
        input=json.dumps(told),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
