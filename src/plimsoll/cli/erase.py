"""`plimsoll erase`: destroys what a run's journal says of people, and leaves a chain that still verifies."""

import json
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import JSON_HELP, journal_options, open_store, person, with_store
from plimsoll.cli.printing import clean
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.core.ids import RandomIds
from plimsoll.journal.erasing import erase_run, parts_of
from plimsoll.journal.sqlite import SQLiteStore

__all__ = ["erase"]


@click.command(cls=Command, if_interrupted="Runs that were erased already stay so; say it again for the others.")
@journal_options
@click.argument("run_id", metavar="RUN")
@click.option("--reason", required=True, help="Why, for the record: such as the number of the request.")
@click.option("--by", default=person, show_default="your login name", help="Who says so.")
@click.option("--force", is_flag=True, help="Also a run that has not ended: it ends where it stands.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def erase(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, run_id: str, reason: str, by: str, force: bool, as_json: bool
) -> None:
    """Erases what a run's journal says of people, for ever: what it was asked, what it
    sent, was told and answered.

    Only runs that were recorded with `encrypt = true` can be erased: the key of the
    run is destroyed, and the chain still verifies. Types, times, effects and endings
    stay. With the run go its children, the turns of a session of that name, and the
    runs that it went on as. `plimsoll audit log` shows who erased what, and why.

    Backups made before still hold the key: see docs/operations.md. Exits with 0 when
    it is done (also when it was done before), with 1 on an error.

    \b
    Examples:
      plimsoll erase ticket-7713 --reason "request 4711 of the customer"
      plimsoll erase ticket-7713 --reason "request 4711" --force
    """

    async def work(store: SQLiteStore) -> list[dict[str, Any]]:
        clock, owner = SystemClock(), RandomIds().new("eraser")
        erased = []
        for part in await parts_of(store, run_id):
            done = await erase_run(store, part, by=by, reason=reason, clock=clock, owner=owner, force=force)
            act = {"by": done.act.by, "at": done.act.at, "reason": done.act.reason}
            erased.append({"run_id": part, "wiped": done.wiped, **act})
        return erased

    erased = with_store(open_store(contract_path, journal), work)
    if as_json:
        click.echo(json.dumps({"erased": erased}))
        return
    for each in erased:
        click.echo(f"Run {clean(each['run_id'])} is erased, by {clean(each['by'])}: {clean(each['reason'])}")
    if not all(each["wiped"] for each in erased):
        raise Misuse(
            "the keys are out of the journal, and may still stand in its write-ahead log, because another process is"
            " reading it; say it again to wipe them"
        )
