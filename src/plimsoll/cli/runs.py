"""`plimsoll runs`: what ran, how it stands, and going on with what was left."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from plimsoll.cli.agents import open_agent
from plimsoll.cli.journal_access import guarded, journal_options, with_operations
from plimsoll.cli.wording import describe, stamp, when
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import Record, event_type
from plimsoll.journal.store import RunHead, RunState
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.result import RunResult

__all__ = ["runs"]


@click.group()
def runs() -> None:
    """What ran and how it stands; and going on with what was left.

    \b
    plimsoll runs list
    plimsoll runs show ticket-7713
    plimsoll runs resume ticket-7713      # one
    plimsoll runs resume                  # everything that can go on
    """


def _row(head: RunHead) -> dict[str, Any]:
    state = head.ending.value if head.ending is not None else head.state.value
    return {
        "run_id": head.run_id,
        "agent": head.agent,
        "state": state,
        "reason": head.reason,
        "events": head.seq,
        "started_at": head.started_at,
        "updated_at": head.updated_at,
    }


@runs.command("list")
@journal_options
@click.option("--state", type=click.Choice([state.value for state in RunState]), help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def list_runs(contract_path: Path, journal: Path | None, state: str | None, limit: int, as_json: bool) -> None:
    """Lists runs, the latest first."""

    async def look(operations: Operations) -> list[RunHead]:
        return await operations.store.heads(state=RunState(state) if state else None, limit=limit)

    rows = [_row(head) for head in with_operations(contract_path, journal, look)]
    if as_json:
        click.echo(json.dumps({"runs": rows}))
        return
    table = Table()
    for column in ("run", "agent", "state", "why", "events", "started"):
        table.add_column(column, overflow="fold")
    now = SystemClock().now()
    for row in rows:
        started = when(row["started_at"], now=now)
        table.add_row(row["run_id"], row["agent"], row["state"], row["reason"], str(row["events"]), started)
    Console().print(table if rows else "No runs.")


@runs.command()
@journal_options
@click.argument("run_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line, with every event.")
def show(contract_path: Path, journal: Path | None, run_id: str, as_json: bool) -> None:
    """Shows a run's whole journal, event by event."""

    async def look(operations: Operations) -> tuple[RunResult, list[Record]]:
        return await operations.result(run_id), await operations.store.read(run_id)

    result, records = with_operations(contract_path, journal, look)
    if as_json:
        events = [{"seq": record.seq, "at": record.at, **json.loads(record.body)} for record in records]
        click.echo(json.dumps({"result": summary(result), "events": events}))
        return
    console = Console()
    table = Table(title=f"Run {run_id}", title_justify="left")
    for column in ("#", "at", "event", "what"):
        table.add_column(column, overflow="fold")
    for record in records:
        table.add_row(str(record.seq), stamp(record.at), event_type(record.event), describe(record.event))
    console.print(table)
    print_result(console, result)


@runs.command()
@journal_options
@click.argument("run_id", required=False)
@click.option("--agent", default=None, help="module:attribute of the agent; the contract's entrypoint if left out.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def resume(contract_path: Path, journal: Path | None, run_id: str | None, agent: str | None, as_json: bool) -> None:
    """Goes on with a run, or with every run that can: decided, expired, or left behind by a crash."""

    async def go_on() -> list[RunResult]:
        async with open_agent(contract_path, agent=agent, journal=journal) as hardened:
            return [await hardened.resume(run_id)] if run_id is not None else list(await hardened.wake())

    results = guarded(lambda: asyncio.run(go_on()))
    if as_json:
        click.echo(json.dumps({"results": [summary(result) for result in results]}))
        return
    console = Console()
    if not results:
        console.print("Nothing can go on: no run was decided, has expired, or was left behind.")
    for result in results:
        print_result(console, result)


def summary(result: RunResult) -> dict[str, Any]:
    """A result as plain JSON, without the framework's own object."""
    return {
        "run_id": result.run_id,
        "ending": result.ending.value,
        "output": result.output,
        "reason": result.reason,
        "findings": msgspec.to_builtins(result.findings),
        "waiting_for": [request.request_id for request in result.waiting_for],
    }


def print_result(console: Console, result: RunResult) -> None:
    """A result for people."""
    console.print(f"[bold]{result.run_id}[/bold]: {result.ending.value}", highlight=False)
    if result.reason:
        console.print(f"  {result.reason}", markup=False, highlight=False)
    if result.output is not None:
        console.print(f"  {result.output}", markup=False, highlight=False)
    for request in result.waiting_for:
        console.print(f"  waits for {', '.join(request.approvers)}: {request.request_id}", markup=False)
