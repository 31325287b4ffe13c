"""keys: the embedded stack's keys, and new ones."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import NotRunningError, UsageError
from cli.stack import control
from cli.stack.home import Home
from cli.stack.rotation import rotate

keys = typer.Typer(
    no_args_is_help=True,
    help="Keys: shown, and made anew.\n\n"
    "Examples:  imageledger keys show    |    imageledger keys rotate-jwt --yes",
)


@keys.command("show")
def show(
    reveal: Annotated[bool, typer.Option("--reveal", help="Show them whole.")] = False, as_json: Json = False
) -> None:
    """Show the embedded stack's keys, masked unless --reveal.

    A Supabase project's are in its settings, under API keys.

    Examples:  imageledger keys show    |    imageledger keys show --reveal --json
    """
    config = control.load_config(_embedded())
    if config is None:
        raise NotRunningError("there is no stack yet, and no keys", remedy="start it with `imageledger up`")
    found = {
        "ANON_KEY": config.keys.anon_key,
        "SERVICE_ROLE_KEY": config.keys.service_role_key,
        "JWT_SECRET": config.keys.jwt_secret,
    }
    shown = found if reveal else {name: mask(value) for name, value in found.items()}
    if as_json:
        output.print_json(shown)
    else:
        output.pairs(shown)


@keys.command("rotate-jwt")
def rotate_jwt(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it; without, only say what would be done.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a new JWT secret, anon key and service_role key for the embedded stack, and restart it with them.

    The old keys and everybody's access tokens are refused from then on; who is signed in stays so by the refresh
    token. Data, passwords and ports stay. If the stack does not start with the new keys, the old ones are put back.
    On Supabase this is done in the project's settings, under JWT keys.

    Examples:  imageledger keys rotate-jwt    |    imageledger keys rotate-jwt --yes
    """
    home = _embedded()
    running = control.supervisor_runs(home)
    if not yes:
        if as_json:
            output.print_json({"dry_run": True, "restarts": running})
        else:
            output.err.print(
                "would make a new JWT secret, anon key and service_role key"
                + (" and restart the stack" if running else "")
                + "; nothing was changed: add --yes to do it"
            )
        return
    with output.steps("Rotating") as say:
        rotate(home, say)
    if as_json:
        output.print_json({"dry_run": False, "restarted": running})
    else:
        output.err.print("the keys are new: see `imageledger keys show --reveal`")


def mask(key: str) -> str:
    """Enough to tell two keys apart."""
    return f"{key[:6]}…{key[-4:]} ({len(key)} characters)"


def _embedded() -> Home:
    if project.is_supabase():
        raise UsageError(
            "SUPABASE_URL names a Supabase project; its keys are its own",
            remedy="see the project's settings under API keys, or unset SUPABASE_URL for the embedded stack",
        )
    return Home.find()
