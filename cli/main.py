"""The `imageledger` command."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Postgres is the ledger of your images.")


@app.callback()
def root() -> None:
    """imageledger: an image backend where Postgres is the ledger."""


def main() -> None:
    """Entry point of the `imageledger` script."""
    app()
