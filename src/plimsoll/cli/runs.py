"""`plimsoll runs`: what ran, how it stands, and going on with what was left."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from plimsoll.cli.agents import agent_option, open_agent
from plimsoll.cli.command import Command
from plimsoll.cli.families import asked_for, belongs, children_json, latest_runs, print_family, state_of
from plimsoll.cli.journal_access import JSON_HELP, journal_options, person, places, with_a_look
from plimsoll.cli.printing import arguments, console, line, table, typed
from plimsoll.cli.status import print_switches
from plimsoll.cli.wording import describe, stamp, when
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import UnknownRun
from plimsoll.core.events import Record, RunStarted, event_type
from plimsoll.journal.codec import SEALED, is_sealed
from plimsoll.journal.keys import MASTER_ENV
from plimsoll.journal.store import Halt, RunHead, RunState, Store
from plimsoll.runtime.family import Child, children_of, open_below
from plimsoll.runtime.lineage import link_of
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.result import RunResult

__all__ = ["runs"]

_NEXT = {
    "approval": "approvals list",
    "doubt": "approvals list",
    "dependencies": "runs resume",
    "version": "runs adopt --all --dry-run",
}


@click.group()
def runs() -> None:
    """What ran and how it stands; and going on with what was left.

    \b
    Examples:
      plimsoll runs list
      plimsoll runs show ticket-7713
      plimsoll runs resume ticket-7713      # one
      plimsoll runs resume                  # everything that can go on
      plimsoll runs compensate ticket-7713  # takes back what it did
    """


# ------------------------------------------------------------------------------------------------------------- list


@runs.command("list", cls=Command)
@journal_options
@click.option("--state", type=click.Choice([state.value for state in RunState]), help="Only runs in this state.")
@click.option("--session", default=None, help="Only the turns of this session.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def list_runs(
    contract_path: Path, journal: Path | None, *, state: str | None, session: str | None, limit: int, as_json: bool
) -> None:
    """Lists runs, the latest first, and the kill switches that are engaged.

    A run that has continued as new is one run here, under its first id.

    Exits with 0, with 1 on an error.

    \b
    Examples:
      plimsoll runs list --state parked
      plimsoll runs list --session ticket-7713
      plimsoll runs list --json | jq -r '.runs[] | select(.state == "failed") | .run_id'
    """

    async def look(operations: Operations) -> tuple[list[RunHead], list[Halt]]:
        store = operations.store
        wanted = partial(store.heads, state=RunState(state) if state else None, session=session)
        heads = await latest_runs(lambda most: wanted(limit=most), limit=limit)
        return heads, list(store.outside().halts.values())

    heads, halts = with_a_look(contract_path, journal, look)
    rows = [_row(head) for head in heads]
    if as_json:
        click.echo(json.dumps({"runs": rows, "kill_switches": msgspec.to_builtins(halts)}))
        return
    out, now = console(), SystemClock().now()
    print_switches(out, halts, options=places(contract_path, journal))
    if not rows:
        click.echo("No runs." if state is None else f"No runs are {state}.")
        return
    cells = [
        (row["run_id"], row["state"], when(row["started_at"], now=now), str(row["events"]), row["agent"], row["reason"])
        for row in rows
    ]
    table(out, ("run", "state", "started", "events", "agent", "why"), cells, whole=("run", "state", "started"))
    if len(rows) == limit:
        click.echo(f"Perhaps there are more than these {limit}: --limit shows them.")


def _row(head: RunHead) -> dict[str, Any]:
    return {
        "run_id": link_of(head.run_id)[0],
        "agent": head.agent,
        "state": state_of(head),
        "reason": head.reason,
        "events": head.seq,
        **belongs(head),
        "started_at": head.started_at,
        "updated_at": head.updated_at,
    }


def _print_readability(out: Console, head: RunHead, records: list[Record]) -> None:
    """Says why something of a run cannot be read, where that is so."""
    if head.erased_at is not None:
        line(out, (f"Erased {stamp(head.erased_at)}", "bold"), ": `plimsoll audit log` tells by whom and why")
    elif any(is_sealed(record.body) and SEALED.encode() in record.json for record in records):
        line(out, f"Encrypted, and its key is not here: set {MASTER_ENV}, or key_file in the contract, to read it all")


# ------------------------------------------------------------------------------------------------------------- show


@runs.command(cls=Command)
@journal_options
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP + " It has every event whole.")
def show(contract_path: Path, journal: Path | None, run_id: str, as_json: bool) -> None:
    """Shows a run's whole journal, event by event, and its children.

    Of a run that has continued as new it is the latest one's journal; RUN~1,
    RUN~2 and so on show the others.

    Exits with 0, with 1 when there is no such run.

    \b
    Examples:
      plimsoll runs show ticket-7713
      plimsoll runs show ticket-7713 --json | jq '.events[] | select(.type == "finding_raised")'
    """

    async def look(operations: Operations) -> tuple[RunResult, list[Record], RunHead, tuple[Child, ...]]:
        store = operations.store
        head = await asked_for(store, run_id)
        if head is None:
            raise UnknownRun(run_id)
        result = await operations.result(head.run_id)
        return result, await store.read(head.run_id), head, await children_of(store, head.run_id)

    result, records, head, children = with_a_look(contract_path, journal, look)
    state = state_of(head)
    if as_json:
        events = [{"seq": record.seq, "at": record.at, **json.loads(record.json)} for record in records]
        family = {**belongs(head), "children": children_json(children), "erased_at": head.erased_at}
        click.echo(json.dumps({"state": state, **family, "result": summary(result), "events": events}))
        return
    out = console()
    _print_events(out, head.run_id, records)
    _print_readability(out, head, records)
    print_family(out, head, children)
    print_result(out, result, state=state, options=places(contract_path, journal))


def _print_events(out: Console, run_id: str, records: list[Record]) -> None:
    first = records[0]
    started = first.event
    version = f", version {started.fingerprint[:12]}" if isinstance(started, RunStarted) else ""
    line(out, "Run ", (run_id, "bold"), f", started {stamp(first.at)}{version}")
    cells = [
        (str(record.seq), f"+{record.at - first.at:.3f} s", event_type(record.event), describe(record.event))
        for record in records
    ]
    table(out, ("#", "after", "event", "what"), cells, whole=("#", "after", "event"))


# ----------------------------------------------------------------------------------------------------------- resume


@runs.command(cls=Command, if_interrupted="What was recorded stands; `plimsoll runs resume` goes on from there.")
@journal_options
@click.argument("run_id", metavar="[RUN]", required=False)
@agent_option
@click.option("--take-over", is_flag=True, help="Take RUN from a process that lives but is stuck.")
@click.option("--force", is_flag=True, help="Let RUN go on although its process died too often.")
@click.option("--by", default=None, show_default="your login name", help="Who forces it.")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def resume(
    *,
    contract_path: Path,
    journal: Path | None,
    run_id: str | None,
    agent: str | None,
    take_over: bool,
    force: bool,
    by: str | None,
    as_json: bool,
) -> None:
    """Goes on with a run, or with every run that can: decided, signalled, cancelled, its time come, or left by a crash.

    The agent is imported from the working directory, with the dependencies that `deps` in the contract's [agent] makes;
    one without a framework, or with children, is made by what `harness` names there. Its code is executed again; what
    the journal has is not done again. A run that a living process advances is left to it. Exits with 0 however the runs
    stand afterwards, with 1 on an error, with 130 after ctrl-C.

    A process that is stuck is best ended: its runs are free then. Where it cannot be, --take-over takes RUN from it,
    and those of RUN's children that it has. It may still send the write that it was about to send, so be sure that
    `verify` reckons with that. A run whose process died more often than limits.max_resumes allows waits for --force:
    find out first why it dies.

    \b
    Examples:
      plimsoll runs resume ticket-7713
      plimsoll runs resume ticket-7713 --take-over
      plimsoll runs resume ticket-7713 --force --by ana@shop.example
      plimsoll runs resume --json | jq -r '.results[] | [.run_id, .ending] | @tsv'
    """
    if take_over and run_id is None:
        raise click.UsageError("--take-over needs the RUN to take over")
    if force and run_id is None:
        raise click.UsageError("--force needs the RUN that is to go on")
    forced_by = (by or person()) if force else ""

    async def go_on() -> tuple[list[RunResult], list[str]]:
        async with open_agent(contract_path, agent=agent, journal=journal) as harness:
            if run_id is None:
                return await harness.wake(), []
            held = await _held(harness.store, run_id) if take_over else {}
            results = [await harness.resume(run_id, take_over=take_over, forced_by=forced_by)]
            heads = [await harness.store.head(child) for child in held]
            return results, [head.run_id for head in heads if head is not None and head.owner != held[head.run_id]]

    results, taken = asyncio.run(go_on())
    if as_json:
        click.echo(json.dumps({"results": [summary(result) for result in results], "taken_with_it": taken}))
        return
    out = console()
    for child in taken:
        line(out, "Taken over with it: its child ", (child, "bold"))
    if not results:
        click.echo("Nothing can go on: no run was decided, has expired, or was left behind.")
    for result in results:
        print_result(out, result, state=result.ending.value, options=places(contract_path, journal))


async def _held(store: Store, run_id: str) -> dict[str, str]:
    """The open children of a run, and who has each."""
    head = await asked_for(store, run_id)
    below = [] if head is None else await open_below(store, head.run_id)
    heads = [await store.head(child) for child in below]
    return {head.run_id: head.owner for head in heads if head is not None}


def summary(result: RunResult) -> dict[str, Any]:
    """A result as plain JSON, without the framework's own object."""
    return {
        "run_id": result.run_id,
        "ending": result.ending.value,
        "output": result.output,
        "reason": result.reason,
        "findings": msgspec.to_builtins(result.findings),
        "waiting_for": [request.request_id for request in result.waiting_for],
        "undoable": msgspec.to_builtins(result.undoable),
    }


def print_result(out: Console, result: RunResult, *, state: str, options: str) -> None:
    """A result for people, and what to do about it."""
    line(out, (result.run_id, "bold"), ": ", (state, "bold"), f" ({result.reason})" if result.reason else "")
    if result.output is not None:
        line(out, "  ", result.output if isinstance(result.output, str) else json.dumps(result.output))
    for request in result.waiting_for:
        line(out, f"  {request.request_id} waits for {', '.join(request.approvers)}")
    if result.undoable:
        line(out, "  It has done this, which can be taken back:")
        for call in result.undoable:
            line(out, f"    {call.key}  {call.tool} {arguments(call.args)}")
        line(out, f"  plimsoll runs compensate {typed(result.run_id)} --by YOU{options}")
    following = _NEXT.get(result.reason.partition(":")[0])
    if state == RunState.PARKED and following is not None:
        line(out, f"  plimsoll {following}{options}")
