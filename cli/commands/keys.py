"""keys: the keys that users' credentials for sites are encrypted with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import project
from cli.commands import output
from cli.commands.stack import Json
from cli.errors import FindingsError
from cli.keys import CredentialKeys, rotate

keys = typer.Typer(no_args_is_help=True, help="The keys of users' credentials for sites.")


@keys.command("show")
def show(as_json: Json = False) -> None:
    """Show how many credentials lie under which key, or in Supabase Vault; never a key or a secret.

    Examples:  imageledger keys show    |    imageledger keys show --json
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
                report = rotate(ledger, batch, say)
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


def _tell(status: dict[str, Any]) -> None:
    rows = [(f"key {key}", count) for key, count in sorted(status["by_key"].items(), key=lambda k: int(k[0]))]
    if status["has_vault"] or status["in_vault"]:
        rows.append(("Supabase Vault", status["in_vault"]))
    output.table(("where", "credentials"), rows)
