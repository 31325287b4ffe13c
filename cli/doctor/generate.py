"""Writes expected.tsv: `python -m cli.doctor.generate [DB_URL]`, or `make catalog`.

Without an address, an embedded stack is started for it in a temporary folder and deleted again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cli.database import operator
from cli.doctor import catalog
from cli.stack import control
from cli.stack.home import Home


def text(db_url: str) -> str:
    """What the file must hold, by a database that was migrated just now."""
    with operator(db_url, "catalog") as conn:
        return catalog.dump(catalog.read(conn), conn.info.server_version // 10_000)


def main() -> None:
    if sys.argv[1:]:
        catalog.EXPECTED.write_text(text(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        try:
            control.up(home, control.UpOptions(), lambda _: None)
            config = control.load_config(home)
            assert config is not None  # noqa: S101 - `up` has just written it
            catalog.EXPECTED.write_text(text(config.db_url))
        finally:
            control.down(home, lambda _: None)
            home.destroy()


if __name__ == "__main__":
    main()
