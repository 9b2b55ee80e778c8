"""`plimsoll approvals`: who may decide what, and the deciding."""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from plimsoll.cli.command import Command
from plimsoll.cli.journal_access import JSON_HELP, by_option, journal_options, places, with_a_look, with_operations
from plimsoll.cli.printing import arguments, clean, console, line, typed
from plimsoll.cli.wording import when
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Tool
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import DecisionRefused, Misuse
from plimsoll.oversight.approvals import Request
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.answering import InDoubt
from plimsoll.runtime.operations import Operations

__all__ = ["approvals"]

Row = dict[str, Any]


@click.group()
def approvals() -> None:
    """What waits for a person, and your decision on it.

    \b
    Examples:
      plimsoll approvals list
      plimsoll approvals approve ticket-7713.a1 --by ana@shop.example
      plimsoll approvals deny ticket-7713.a1 --by ana@shop.example --note "not within 30 days"
      plimsoll approvals resolve ticket-7713 --happened --by ana@shop.example
    """


@approvals.command("list", cls=Command)
@journal_options
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def list_requests(contract_path: Path, journal: Path | None, as_json: bool) -> None:
    """Shows what waits for a person: calls to approve, and writes in doubt.

    Exits with 0 whether or not anything waits, with 1 on an error.

    \b
    Examples:
      plimsoll approvals list
      plimsoll approvals list --json | jq -r '.approvals[].request_id'
    """

    async def look(operations: Operations) -> tuple[list[Row], list[Row]]:
        asked = [_request_row(request) for request in await operations.requests()]
        return asked, [_doubt_row(doubt) for doubt in await operations.in_doubt() if doubt.said is None]

    asked, doubts = with_a_look(contract_path, journal, look)
    if as_json:
        click.echo(json.dumps({"approvals": asked, "doubts": doubts}))
        return
    options = places(contract_path, journal)
    if not asked and not doubts:
        click.echo("Nothing waits for a person.")
    to_approve, to_answer = ([row for row in asked if row["answers"] is wanted] for wanted in (False, True))
    if to_approve:
        _print_requests(to_approve, options)
    if to_answer:
        _print_handed_over(to_answer, options)
    if doubts:
        _print_doubts(doubts, options)


def _request_row(request: Request) -> Row:
    asked = request.asked
    return {
        "request_id": asked.request_id,
        "tool": asked.dependency,
        "args": asked.args,
        "rule": asked.rule,
        "approvers": list(asked.approvers),
        "expires_at": asked.expires_at,
        "answers": asked.answers,
    }


def _doubt_row(doubt: InDoubt) -> Row:
    return {
        "run_id": doubt.run_id,
        "key": doubt.key,
        "tool": doubt.intent.dependency,
        "args": doubt.intent.args,
        "idempotency_key": doubt.intent.idempotency_key,
        "why": doubt.raised.message,
        "ended": doubt.over,
    }


def _print_handed_over(rows: list[Row], options: str) -> None:
    out, now = console(), SystemClock().now()
    line(out, ("To answer", "bold"))
    for row in rows:
        run_id = row["request_id"].rpartition(".")[0]
        line(out, "  ", (row["request_id"], "bold cyan"), f"  instead of a model: {row['rule']}")
        line(out, f"    until {when(row['expires_at'], now=now)}; may answer: {', '.join(row['approvers'])}")
        line(out, f"    what it is about: plimsoll runs show {run_id}{options}")
    line(out, f'  plimsoll approvals answer REQUEST "…" --by YOU{options}')


def _print_requests(rows: list[Row], options: str) -> None:
    out, now = console(), SystemClock().now()
    line(out, ("To approve", "bold"))
    for row in rows:
        line(out, "  ", (row["request_id"], "bold cyan"), f"  {row['tool']} ", (arguments(row["args"]), "bold"))
        line(out, f"    asked because {row['rule']}; expires {when(row['expires_at'], now=now)}, which means no")
        line(out, f"    may decide: {', '.join(row['approvers'])}")
    line(out, f"  plimsoll approvals approve|deny REQUEST --by YOU{options}")


def _print_doubts(rows: list[Row], options: str) -> None:
    out = console()
    line(out, ("In doubt: did it happen?", "bold"))
    for row in rows:
        line(out, "  ", (row["run_id"], "bold cyan"), f"  {row['tool']} ", (arguments(row["args"]), "bold"))
        line(out, f"    nobody knows, because: {row['why']}")
        line(out, f"    call {row['key']}, sent with the idempotency key {row['idempotency_key']}")
        if row["ended"]:
            line(out, "    its run has ended: what you say is recorded, and nothing is sent again")
    line(out, f"  Find out, then: plimsoll approvals resolve RUN [CALL] --happened|--not-happened --by YOU{options}")


# --------------------------------------------------------------------------------------------------------- deciding


def _decide(
    context: click.Context,
    contract_path: Path,
    journal: Path | None,
    request_id: str,
    *,
    approve: bool,
    by: str,
    note: str,
) -> None:
    async def decide(operations: Operations) -> bool:
        return await operations.decide(request_id, approve=approve, by=by, note=note)

    try:
        new = with_operations(contract_path, journal, decide)
    except DecisionRefused as refused:
        if context.get_parameter_source("by") is not ParameterSource.DEFAULT:
            raise
        raise Misuse(f"{refused}. Say who you are with --by") from refused
    word, shown = "approved" if approve else "denied", clean(request_id)
    if new:
        run_id = request_id.rpartition(".")[0]
        click.echo(f"{shown} {word} by {by}. The run goes on when its service wakes it, or by:")
        click.echo(f"  plimsoll runs resume {typed(run_id)}{places(contract_path, journal)}")
    else:
        click.echo(f"{shown} was {word} by {by} already; nothing changed.")


def _decider(command: Any) -> Any:
    command = click.option("--note", default="", help="Why, for the record and for the agent.")(command)
    command = by_option("Who decides; the contract names who may.")(command)
    return click.pass_context(click.argument("request_id")(journal_options(command)))


@approvals.command(cls=Command)
@_decider
def approve(  # noqa: PLR0917 -- click hands every option over
    context: click.Context, contract_path: Path, journal: Path | None, request_id: str, by: str, note: str
) -> None:
    """Lets the call happen: once, with exactly the arguments shown.

    Exits with 0 when the decision stands, with 1 when it was refused.

    \b
    Example:
      plimsoll approvals approve ticket-7713.a1 --by ana@shop.example
    """
    _decide(context, contract_path, journal, request_id, approve=True, by=by, note=note)


@approvals.command(cls=Command)
@_decider
def deny(  # noqa: PLR0917 -- click hands every option over
    context: click.Context, contract_path: Path, journal: Path | None, request_id: str, by: str, note: str
) -> None:
    """Refuses the call. The agent is told, with your note.

    Exits with 0 when the decision stands, with 1 when it was refused.

    \b
    Example:
      plimsoll approvals deny ticket-7713.a1 --by ana@shop.example --note "older than 30 days"
    """
    _decide(context, contract_path, journal, request_id, approve=False, by=by, note=note)


@approvals.command(cls=Command)
@_decider
@click.argument("text")
def answer(  # noqa: PLR0917 -- click hands every option over
    context: click.Context,
    contract_path: Path,
    journal: Path | None,
    request_id: str,
    text: str,
    by: str,
    note: str,
) -> None:
    """Answers in a model's place, where a call was handed over to people. `deny` hands it back: the rung below answers.

    Exits with 0 when the answer stands, with 1 when it was refused.

    \b
    Example:
      plimsoll approvals answer ticket-7713.a1 "Your parcel left Graz today." --by ana@shop.example
    """
    if note:
        raise click.UsageError("an answer has no --note: all that you say is the answer")
    _decide(context, contract_path, journal, request_id, approve=True, by=by, note=text)


@approvals.command(cls=Command)
@journal_options
@click.argument("run_id", metavar="RUN")
@click.argument("key", metavar="[CALL]", required=False)
@click.option("--happened/--not-happened", default=None, help="What you found out about the write.")
@click.option("--result", default=None, help="With --happened: what it returned, as JSON. The agent is told this.")
@click.option("--note", default="", help="How you know, for the record.")
@by_option("Who found out.")
def resolve(
    *,
    contract_path: Path,
    journal: Path | None,
    run_id: str,
    key: str | None,
    happened: bool | None,
    result: str | None,
    note: str,
    by: str,
) -> None:
    """Says whether a write in doubt happened.

    CALL may be shortened, and left out where only one write of the run is in doubt. After --not-happened it is sent
    again: say so only if it did not happen and cannot happen any more either. Of a run that has ended nothing is sent
    again; your answer stands in its journal. What it returned must be what the contract says that the tool returns. The
    first answer stands. Exits with 0 when this one does, with 1 on an error.

    \b
    Examples:
      plimsoll approvals resolve ticket-7713 --happened --result '{"refunded": 20}' --by ana@shop.example
      plimsoll approvals resolve ticket-7713 4:issue_refund --not-happened --note "not in the bank's list" --by ana
    """
    if happened is None:
        raise click.UsageError("say --happened or --not-happened")
    if result is not None and not happened:
        raise click.UsageError("--result goes with --happened: what did not happen returned nothing")
    found_out: bool = happened
    value = _parsed(result)

    contract = load_contract(contract_path) if contract_path.exists() else None

    async def settle(operations: Operations) -> tuple[str, bool, bool]:
        doubt = await _doubt(operations, run_id, key)
        if found_out and doubt is not None and contract is not None:
            _check_result(contract.tool(doubt.intent.dependency), doubt.intent.dependency, value)
        call = key or "" if doubt is None else doubt.key
        new = await operations.resolve(run_id, call, happened=found_out, by=by, value=value, note=note)
        return call, new, doubt is None or doubt.over

    call, new, ended = with_operations(contract_path, journal, settle)
    what = f"{clean(call)} of {clean(run_id)} {'happened' if happened else 'did not happen'}"
    if not new:
        click.echo(f"That {what} was said already; nothing changed.")
    elif ended:
        click.echo(f"{what}, says {by}. Its run has ended; `plimsoll runs show` tells what can be taken back.")
    else:
        click.echo(f"{what}, says {by}. The run goes on when its service wakes it, or by:")
        click.echo(f"  plimsoll runs resume {typed(run_id)}{places(contract_path, journal)}")


def _check_result(tool: Tool, name: str, value: Any) -> None:
    """Raises `Misuse` for a result that the tool never returns: the agent would be told it as if it did."""
    problem = check_value(value, tool.output)
    if problem is not None:
        raise Misuse(f"that is no result of {name}: {problem.detail}. Say what it returned with --result")


async def _doubt(operations: Operations, run_id: str, key: str | None) -> InDoubt | None:
    """The doubt that is meant. None where `key` names none: then it may have been answered before."""
    doubts = await operations.in_doubt(run_id)
    exact = [each for each in doubts if key in (each.key, each.numbered)]
    fitting = exact or [each for each in doubts if key is None or each.numbered.startswith(key)]
    if not fitting and key is None:
        raise Misuse(f"nothing is in doubt in run {run_id}; `plimsoll approvals list` shows what is")
    if len(fitting) > 1:
        names = ", ".join(each.key for each in fitting)
        raise Misuse(f"several writes of run {run_id} are in doubt; name one of: {names}")
    return fitting[0] if fitting else None


def _parsed(result: str | None) -> Any:
    try:
        return json.loads(result) if result is not None else None
    except ValueError as error:
        raise click.UsageError(f"--result is not JSON: {error}. A text needs quotes: '\"sent\"'") from error
