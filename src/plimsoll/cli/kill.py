"""`plimsoll kill`: the kill switch."""

from pathlib import Path

import click

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import by_option, journal_options, places, with_operations
from plimsoll.cli.printing import clean, typed
from plimsoll.journal.store import RunState
from plimsoll.runtime.lineage import latest_link
from plimsoll.runtime.operations import EVERYTHING, Operations

__all__ = ["kill"]


@click.command(cls=Command)
@journal_options
@click.argument("run_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Every run under this journal, those to come included.")
@click.option("--release", is_flag=True, help="Release the switch again. Runs that it halted stay halted.")
@click.option("--reason", default="stopped by an operator", show_default=True, help="Why, for the record.")
@by_option()
def kill(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, run_id: str | None, everything: bool, release: bool, reason: str, by: str
) -> None:
    """Stops one run with its children, one session, or all of them, before their
    next call.

    A call under way is not interrupted. A parked run is halted when it would go on. `plimsoll runs list` shows the
    switches that are engaged. Exits with 0 when it is done, with 1 on an error.

    \b
    Examples:
      plimsoll kill ticket-7713 --reason "wrong customer"
      plimsoll kill --all
      plimsoll kill --all --release
    """
    if everything == (run_id is not None):
        raise click.UsageError("name one run, or say --all")
    scope = run_id if run_id is not None else EVERYTHING
    what = "every run" if run_id is None else clean(run_id)

    async def throw(operations: Operations) -> str:
        if release:
            released = await operations.release(scope=scope, by=by)
            return f"The kill switch on {what} is released." if released else f"No kill switch on {what} was engaged."
        head = await operations.store.head(scope)
        head = None if head is None else await latest_link(operations.store, head)
        if head is not None and head.state is RunState.ENDED:
            return f"Run {what} has ended already ({head.ending}); nothing was engaged."
        await operations.kill(scope=scope, by=by, reason=reason)
        again = (
            f"plimsoll kill {'--all' if run_id is None else typed(run_id)} --release{places(contract_path, journal)}"
        )
        return f"The kill switch on {what} is engaged: no further call is made. Release it by: {again}"

    click.echo(with_operations(contract_path, journal, throw))
