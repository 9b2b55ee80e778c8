"""`plimsoll approvals`: who may decide what, and the deciding."""

import getpass
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from plimsoll.cli.journal_access import journal_options, with_operations
from plimsoll.cli.wording import when
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.journal.store import RunState
from plimsoll.runtime.operations import Operations

__all__ = ["approvals"]


@click.group()
def approvals() -> None:
    """What waits for a person, and your decision on it.

    \b
    plimsoll approvals list
    plimsoll approvals approve run-1f.a1 --by ana@shop.example
    plimsoll approvals deny run-1f.a1 --by ana@shop.example --note "not within 30 days"
    plimsoll approvals resolve run-1f 4:issue_refund --happened --by ana@shop.example
    """


@approvals.command("list")
@journal_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
def list_requests(contract_path: Path, journal: Path | None, as_json: bool) -> None:
    """Shows what waits for a person: calls to approve, and writes in doubt."""

    async def look(operations: Operations) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        asked = [
            {
                "request_id": request.asked.request_id,
                "tool": request.asked.dependency,
                "args": request.asked.args,
                "rule": request.asked.rule,
                "approvers": list(request.asked.approvers),
                "expires_at": request.asked.expires_at,
            }
            for request in await operations.requests()
        ]
        doubts = [
            {"run_id": head.run_id, "key": key, "tool": doubt.dependency, "why": doubt.message}
            for head in await operations.store.heads(state=RunState.PARKED)
            for key, doubt in (await operations.doubts(head.run_id)).items()
        ]
        return asked, doubts

    asked, doubts = with_operations(contract_path, journal, look)
    if as_json:
        click.echo(json.dumps({"approvals": asked, "doubts": doubts}))
        return
    console = Console()
    if not asked and not doubts:
        console.print("Nothing waits for a person.")
    if asked:
        console.print(_approvals_table(asked))
    if doubts:
        console.print(_doubts_table(doubts))


def _approvals_table(asked: list[dict[str, Any]]) -> Table:
    table = Table(title="To approve", title_justify="left")
    for column in ("request", "call", "why", "who may", "expires"):
        table.add_column(column, overflow="fold")
    now = SystemClock().now()
    for row in asked:
        call = f"{row['tool']}({json.dumps(row['args'], sort_keys=True)})"
        table.add_row(
            row["request_id"], call, row["rule"], ", ".join(row["approvers"]), when(row["expires_at"], now=now)
        )
    return table


def _doubts_table(doubts: list[dict[str, Any]]) -> Table:
    table = Table(title="In doubt: did it happen?", title_justify="left")
    for column in ("run", "call", "tool", "why nobody knows"):
        table.add_column(column, overflow="fold")
    for row in doubts:
        table.add_row(row["run_id"], row["key"], row["tool"], row["why"])
    return table


def _decide(contract_path: Path, journal: Path | None, request_id: str, *, approve: bool, by: str, note: str) -> None:
    async def decide(operations: Operations) -> bool:
        return await operations.decide(request_id, approve=approve, by=by, note=note)

    new = with_operations(contract_path, journal, decide)
    word = "approved" if approve else "denied"
    if new:
        click.echo(f"{request_id} {word} by {by}. The run goes on when its owner wakes it (`plimsoll runs resume`).")
    else:
        click.echo(f"{request_id} was {word} by {by} already; nothing changed.")


def _decider(command: Any) -> Any:
    command = click.option("--note", default="", help="Why, for the record and for the agent.")(command)
    command = click.option(
        "--by", default=getpass.getuser, show_default="your login name", help="Who decides; the contract names who may."
    )(command)
    return click.argument("request_id")(journal_options(command))


@approvals.command()
@_decider
def approve(contract_path: Path, journal: Path | None, request_id: str, by: str, note: str) -> None:
    """Lets the call happen: once, with exactly the arguments shown."""
    _decide(contract_path, journal, request_id, approve=True, by=by, note=note)


@approvals.command()
@_decider
def deny(contract_path: Path, journal: Path | None, request_id: str, by: str, note: str) -> None:
    """Refuses the call. The agent is told, with your note."""
    _decide(contract_path, journal, request_id, approve=False, by=by, note=note)


@approvals.command()
@journal_options
@click.argument("run_id")
@click.argument("key")
@click.option("--happened/--not-happened", required=True, help="What you found out about the write.")
@click.option("--result", default=None, help="What it returned, as JSON, if it happened.")
@click.option("--by", default=getpass.getuser, show_default="your login name", help="Who found out.")
def resolve(  # noqa: PLR0917 -- click hands every option over
    contract_path: Path, journal: Path | None, run_id: str, key: str, happened: bool, result: str | None, by: str
) -> None:
    """Says whether a write in doubt happened. Say --not-happened only if it cannot happen any more either."""

    async def settle(operations: Operations) -> bool:
        try:
            value = json.loads(result) if result is not None else None
        except ValueError as error:
            raise Misuse(f"--result is not JSON: {error}") from error
        return await operations.resolve(run_id, key, happened=happened, by=by, value=value)

    with_operations(contract_path, journal, settle)
    click.echo(f"{key} of {run_id} {'happened' if happened else 'did not happen'}, says {by}.")
