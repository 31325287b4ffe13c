"""Runs the benchmarks, one after another, each in a process of its own.

python -m tests.bench [NAME ...] [--list] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

_PREFIX = "bench_"


def names() -> list[str]:
    """Of the modules of this folder."""
    return sorted(path.stem.removeprefix(_PREFIX) for path in Path(__file__).parent.glob(f"{_PREFIX}*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Runs the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of them only")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--json", action="store_true", help="one object, a member for each benchmark")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names()):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    if options.list:
        print("\n".join(names()))
        return 0
    results, failed = {}, False
    for name in options.names or names():
        print(f"{name} …", file=sys.stderr, flush=True)
        command = [
            sys.executable,
            "-m",
            f"tests.bench.{_PREFIX}{name}",
            *(["--json"] if options.json else []),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        failed |= done.returncode != 0
        if not options.json:
            print(f"== {name}\n{done.stdout}", flush=True)
        elif done.returncode == 0:
            results[name] = json.loads(done.stdout)
    if options.json:
        print(json.dumps(results, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
