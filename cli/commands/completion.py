"""completion: what a shell needs to complete commands and options."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cli.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


def completion(shell: Annotated[str, typer.Argument(help=f"One of {', '.join(SHELLS)}.")]) -> None:
    """Print a script that completes commands and options; the shell reads it at its start.

    Examples:  imageledger completion bash > ~/.local/share/bash-completion/completions/imageledger    |
    imageledger completion zsh > ~/.zfunc/_imageledger    |
    imageledger completion fish > ~/.config/fish/completions/imageledger.fish
    """
    if shell not in SHELLS:
        raise UsageError(f"there is no script for {shell!r}", remedy=f"one of {', '.join(SHELLS)}")
    from cli.main import COMPLETING, PROGRAM, build  # noqa: PLC0415 - it imports this module by name

    # How Typer is asked for the script.
    os.environ[COMPLETING] = f"source_{shell}"
    build(["completion"])([], prog_name=PROGRAM)
