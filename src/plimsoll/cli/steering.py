"""`plimsoll runs signal | cancel | adopt | work`: what people do to runs that wait, and what goes on with them."""

import asyncio
import json
import signal as signals
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.agents import agent_option, open_agent
from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import JSON_HELP, by_option, journal_options, with_operations
from plimsoll.cli.printing import clean, console, line
from plimsoll.core.errors import PlimsollError
from plimsoll.runtime.dispatch import Dispatcher
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.rehearsing import Adoption

__all__ = ["adopt", "cancel", "signal", "work"]


@click.command(cls=Command)
@journal_options
@click.argument("run_id", metavar="RUN")
@click.argument("name", metavar="NAME")
@click.option("--payload", default="null", show_default=True, help="What the run is handed, as JSON.")
@click.option("--id", "signal_id", default=None, help="The signal's own id: sent again under it, it is one signal.")
@by_option()
def signal(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, run_id: str, name: str, payload: str, signal_id: str | None, by: str
) -> None:
    """Sends a signal to a run that waits for it, or will.

    The run goes on with it when it is next woken (`plimsoll runs resume`, or by itself where a dispatcher works). Exits
    with 0 when the signal is there, with 1 when there is no such run or it has ended.

    \b
    Examples:
      plimsoll runs signal ticket-7713 paid --payload '{"amount": 20}'
      plimsoll runs signal ticket-7713 paid --id stripe-evt-1 --by webhook
    """
    try:
        value = json.loads(payload)
    except ValueError as error:
        raise click.UsageError(f"--payload is no JSON: {error}") from None

    async def send(operations: Operations) -> bool:
        return await operations.signal(run_id, name, value, by=by, signal_id=signal_id)

    new = with_operations(contract_path, journal, send)
    words = "is sent" if new else "was sent already"
    click.echo(f"Signal {clean(name)} to {clean(run_id)} {words}.")


@click.command(cls=Command)
@journal_options
@click.argument("run_id", metavar="RUN")
@click.option("--reason", default="", help="Why, for the record.")
@by_option()
def cancel(contract_path: Path, journal: Path | None, run_id: str, reason: str, by: str) -> None:
    """Cancels a run, or a session's open turn, and its children: no further call is made, and all end halted.

    A run that is advanced now ends before its next call. One that waits ends when it is next woken, without any of its
    code being executed. Exits with 0 when it is cancelled, with 1 when there is no such run or it has ended.

    \b
    Examples:
      plimsoll runs cancel ticket-7713 --reason "the customer hung up"
    """

    async def ask(operations: Operations) -> tuple[tuple[str, ...], bool]:
        family = await operations.cancelled_with(run_id)
        return family, await operations.cancel(run_id, by=by, reason=reason)

    (named, *below), new = with_operations(contract_path, journal, ask)
    click.echo(f"Run {clean(named)} {'is' if new else 'was already'} cancelled: it makes no further call.")
    for child in below:
        click.echo(f"With it its child {clean(child)}.")


@click.command(cls=Command)
@journal_options
@click.argument("run_ids", metavar="[RUN]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every run that another version of the agent began.")
@click.option("--dry-run", is_flag=True, help="Only say which would be adopted.")
@agent_option
@by_option()
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def adopt(
    *,
    contract_path: Path,
    journal: Path | None,
    run_ids: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    agent: str | None,
    by: str,
    as_json: bool,
) -> None:
    """Lets this version of the agent go on with runs that another version began.

    First each run's journal is replayed by the present code, up to where it would go live: nothing is sent, written or
    alerted. Only runs that it replays are adopted; of the others the first difference is told. Approvals that were
    asked for by the other version are voided, and asked for again. Exits with 0 when all match, with 1 when one
    differs, cannot be tried, or on an error.

    \b
    Examples:
      plimsoll runs adopt --all --dry-run
      plimsoll runs adopt ticket-7713 --by ana@shop.example
    """
    if everything == bool(run_ids):
        raise click.UsageError("name the runs, or say --all")

    async def try_all() -> list[tuple[Adoption | None, str, str]]:
        async with open_agent(contract_path, agent=agent, journal=journal) as harness:
            wanted = [head.run_id for head in await harness.of_other_versions()] if everything else run_ids
            return [await _tried(harness, run_id, by=by, dry_run=dry_run) for run_id in wanted]

    tried = asyncio.run(try_all())
    if as_json:
        click.echo(json.dumps({"runs": [_as_json(*each) for each in tried]}))
    else:
        _print_adoptions(tried)
    if any(adoption is None or not adoption.matches for adoption, _, _ in tried):
        raise click.exceptions.Exit(1)


async def _tried(harness: Harness, run_id: str, *, by: str, dry_run: bool) -> tuple[Adoption | None, str, str]:
    try:
        return await harness.adopt(run_id, by=by, dry_run=dry_run), run_id, ""
    except PlimsollError as error:  # the others are tried all the same
        return None, run_id, str(error)


def _as_json(adoption: Adoption | None, run_id: str, error: str) -> dict[str, Any]:
    if adoption is None:
        return {"run_id": run_id, "matches": False, "adopted": False, "error": error}
    return {**asdict(adoption), "matches": adoption.matches}


def _print_adoptions(tried: list[tuple[Adoption | None, str, str]]) -> None:
    out = console()
    if not tried:
        click.echo("No run belongs to another version of the agent.")
    for adoption, run_id, error in tried:
        if adoption is None:
            line(out, (run_id, "bold"), f": {error}")
        elif adoption.old == adoption.new:
            line(out, (run_id, "bold"), ": belongs to this version already")
        elif adoption.matches:
            line(out, (run_id, "bold"), f": matches{', and is adopted' if adoption.adopted else ''}")
        else:
            line(out, (run_id, "bold"), f": differs: {adoption.difference}")


def _address(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """The host and port that `text` writes; this machine alone where it gives no host."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not (port.isdecimal() and int(port) < 65536):
        raise click.BadParameter(f"{text!r} is no [HOST:]PORT, such as 9464 or 0.0.0.0:9464")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command(cls=Command, if_interrupted="What was recorded stands; `plimsoll runs work` goes on from there.")
@journal_options
@agent_option
@click.option("--concurrency", type=click.IntRange(min=1), default=10, show_default=True, help="Runs at once.")
@click.option(
    "--patience", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds, when it ends."
)
@click.option(
    "--metrics", metavar="[HOST:]PORT", callback=_address, help="Serve metrics to Prometheus there, such as 9464."
)
def work(
    contract_path: Path,
    journal: Path | None,
    agent: str | None,
    *,
    concurrency: int,
    patience: float,
    metrics: tuple[str, int] | None,
) -> None:
    """Goes on with runs as soon as they can, until it is told to stop (SIGTERM, or ctrl-C).

    It wakes what was decided, signalled or cancelled, what has waited long enough, and what a dead process left behind.
    When it is to stop it begins nothing more, and gives what runs some time; what then still runs is left for the next
    process. Exits with 0.

    \b
    Examples:
      plimsoll runs work --concurrency 50
      plimsoll runs work --metrics 9464
    """

    async def dispatch() -> tuple[str, ...]:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signals.SIGTERM, signals.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with open_agent(contract_path, agent=agent, journal=journal, metrics_at=metrics) as harness:
            dispatcher = Dispatcher(harness, concurrency=concurrency, patience_s=patience)
            async with dispatcher:
                telemetry = harness.env.surroundings.telemetry
                if telemetry is not None and telemetry.served_at:
                    click.echo(f"Metrics: {telemetry.served_at}")
                click.echo(f"Working on the runs of {harness.env.contract.agent.name}; ctrl-C ends it.")
                await stop.wait()
                return await dispatcher.stop()

    left = asyncio.run(dispatch())
    click.echo(
        f"Stopped; left in the middle: {', '.join(left)}." if left else "Stopped; nothing was left in the middle."
    )
