"""`plimsoll runs compensate`: taking back what a run has done."""

import asyncio
import json
from pathlib import Path

import click

from plimsoll.cli.agents import agent_option, open_agent
from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import JSON_HELP, by_option, journal_options, places
from plimsoll.cli.printing import console
from plimsoll.cli.runs import print_result, summary
from plimsoll.core.calls import Ending
from plimsoll.runtime.result import RunResult

__all__ = ["compensate"]


@click.command(cls=Command, if_interrupted="What was recorded stands; `plimsoll runs resume` goes on from there.")
@journal_options
@click.argument("run_id", metavar="RUN")
@click.option("--key", "keys", metavar="CALL", multiple=True, help="Only this call; may be given more than once.")
@click.option("--only", is_flag=True, help="This run alone, and not what its children did.")
@by_option("Who wants it, for the record.")
@agent_option
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def compensate(
    *,
    contract_path: Path,
    journal: Path | None,
    run_id: str,
    keys: tuple[str, ...],
    only: bool,
    by: str,
    agent: str | None,
    as_json: bool,
) -> None:
    """Takes back what a run that has ended did, and its children: the latest first, each call once, by its tool's
    `compensate`.

    `plimsoll runs show` tells what can be taken back. Nothing ever is without being asked for. It happens in runs of
    their own, RUN/undo, which may have to wait for a person like any other; the first that does not complete is the
    last, and asked again it goes on from there. What was taken back already is left alone. What children did is taken
    back where the agent knows them: `harness` in the contract's [agent]. Exits with 0 when it is complete or waits,
    with 1 when something could not be taken back.

    \b
    Examples:
      plimsoll runs compensate ticket-7713 --by ana@shop.example
      plimsoll runs compensate ticket-7713 --key 4:issue_refund --by ana@shop.example
    """

    async def take_back() -> list[RunResult]:
        async with open_agent(contract_path, agent=agent, journal=journal) as harness:
            if keys or only:
                return [await harness.compensate(run_id, by=by, keys=list(keys) or None)]
            return await harness.compensate_family(run_id, by=by)

    results = asyncio.run(take_back())
    if as_json:
        click.echo(json.dumps({"results": [summary(result) for result in results]}))
    else:
        out = console()
        for result in results:
            print_result(out, result, state=result.ending.value, options=places(contract_path, journal))
    if results[-1].ending in (Ending.FAILED, Ending.HALTED):
        raise click.exceptions.Exit(1)
