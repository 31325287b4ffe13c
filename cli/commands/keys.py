"""keys: the embedded stack's, and those that users' credentials for sites are encrypted with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import FindingsError, NotRunningError, UsageError
from cli.keys import CredentialKeys
from cli.keys import rotate as rotate_all
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


@keys.command("credentials")
def credentials(as_json: Json = False) -> None:
    """Show how many credentials lie under which key, or in Supabase Vault; never a key or a secret.

    Examples:  imageledger keys credentials    |    imageledger keys credentials --json
    """
    with CredentialKeys(project.current(need=("db_url",)).db_url) as ledger:
        status = ledger.status()
    if as_json:
        output.print_json(status)
    else:
        _tell(status)


@keys.command("rotate-credentials")
def rotate_credentials(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Credentials in one transaction.")] = 500,
    as_json: Json = False,
) -> None:
    """Encrypt every credential with a new key, and delete the keys that nothing needs any more.

    Batch by batch, while users and workers go on. A run that was stopped is continued by the next one, which makes
    no further key before the old one is done with. Where Supabase Vault came since, credentials move into it; what
    Vault holds has Vault's own key, which is not ours to rotate.

    Afterwards the old key is gone from the database, and still in backups made before. Exit code 7: some could not
    be read (see --json), and their key was kept.

    Examples:  imageledger keys rotate-credentials --dry-run    |    imageledger keys rotate-credentials
    """
    with CredentialKeys(project.current(need=("db_url",)).db_url) as ledger:
        before = ledger.status()
        if dry_run:
            report = {
                "dry_run": True,
                "to_rotate": before["pending"] or sum(before["by_key"].values()),
                **before,
            }
        else:
            with output.steps("Rotating") as say:
                report = rotate_all(ledger, batch, say)
    if as_json:
        output.print_json(report)
    elif dry_run:
        _tell(before)
        output.err.print(f"{report['to_rotate']} credentials would be encrypted anew; nothing was done")
    else:
        output.err.print(
            f"{report['rotated']} credentials encrypted anew, {report['keys_dropped']} old keys deleted"
        )
    if report.get("unreadable"):
        raise FindingsError(
            f"{report['unreadable']} credentials could not be read and keep their key",
            remedy="their rows were changed by other means than set_credential: their owners must set them again",
            code="credentials_unreadable",
        )


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


def _tell(status: dict[str, Any]) -> None:
    rows = [(f"key {key}", count) for key, count in sorted(status["by_key"].items(), key=lambda k: int(k[0]))]
    if status["has_vault"] or status["in_vault"]:
        rows.append(("Supabase Vault", status["in_vault"]))
    output.table(("where", "credentials"), rows)
