"""`plimsoll kill`: the kill switch."""

import getpass
from pathlib import Path

import click

from plimsoll.cli.journal_access import journal_options, with_operations
from plimsoll.runtime.operations import EVERYTHING, Operations

__all__ = ["kill"]


@click.command()
@journal_options
@click.argument("run_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Every run under this journal.")
@click.option("--release", is_flag=True, help="Release the switch again. Runs that it halted stay halted.")
@click.option("--reason", default="stopped by an operator", show_default=True, help="Why, for the record.")
@click.option("--by", default=getpass.getuser, show_default="your login name", help="Who says so.")
def kill(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, run_id: str | None, everything: bool, release: bool, reason: str, by: str
) -> None:
    """Stops one run, or all of them, before their next call.

    \b
    plimsoll kill ticket-7713 --reason "wrong customer"
    plimsoll kill --all
    plimsoll kill --all --release
    """
    if everything == (run_id is not None):
        raise click.UsageError("name one run, or say --all")
    scope = run_id if run_id is not None else EVERYTHING

    async def throw(operations: Operations) -> bool:
        if release:
            return await operations.release(scope=scope)
        await operations.kill(scope=scope, by=by, reason=reason)
        return True

    done = with_operations(contract_path, journal, throw)
    what = "every run" if everything else run_id
    if release:
        click.echo(f"The kill switch on {what} is released." if done else f"No kill switch was engaged on {what}.")
    else:
        click.echo(f"The kill switch on {what} is engaged: no further call is made. Release it with --release.")
