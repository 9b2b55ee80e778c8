"""`plimsoll check` and `plimsoll init`: reading a contract critically, and writing the first one."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from plimsoll.cli.command import Command, explained
from plimsoll.cli.journal_access import CONTRACT, JSON_HELP
from plimsoll.cli.printing import console, line, table
from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, load_source, parse_contract
from plimsoll.contract.model import Contract
from plimsoll.contract.pricing import price_of, price_table, priced_by_table
from plimsoll.contract.shapes import AgentShape
from plimsoll.contract.writing import initial_contract, initial_effect
from plimsoll.core.errors import ContractError, MissingExtra, Misuse, Problem
from plimsoll.runtime.imports import put_on_path

__all__ = ["check_command", "init_command"]

Describe = Callable[[str], AgentShape]
"""Imports `module:attribute` and tells what it has. An adapter's."""
Prices = dict[str, Any]
"""By which table (`table`, its name and version) which models cost what (`models`)."""

_COLOURS = {"error": "bold red", "warning": "yellow"}

_CHECK_HELP = """Find what is wrong or doubtful in a contract.

    Reads PATH (plimsoll.toml unless given), and prints every problem with its line and what would be right; and of the
    models whose price the contract does not give, what they cost by which table.

    \b
    Exits with
      0  when there is no error; warnings are none, unless --strict
      1  when there is one, or the agent cannot be imported

    \b
    Examples:
      plimsoll check
      plimsoll check deploy/plimsoll.toml --strict
      plimsoll check --json | jq '.problems[].field'

    With --agent it also imports the agent that the contract names, and compares the contract with its tools:

    \b
      plimsoll check --agent
    """

_INIT_HELP = """Write the first contract of the agent at ENTRYPOINT, which is module:attribute.

    Imports the agent, reads its tools and models, and writes a contract that holds safely from the start, with
    comments that say what to confirm. What nobody knows of a tool is taken for a write. Exits with 0 when it is
    written, with 1 when nothing was.

    \b
    Examples:
      plimsoll init shop.agent:agent
      plimsoll init shop.agent:agent --output deploy/plimsoll.toml
      plimsoll init shop.agent:agent --force
    """


def check_command(describe: Describe) -> click.Command:
    """`check`. `describe` is for `--agent`, which compares the contract with the agent's own tools."""

    @click.command("check", cls=Command, help=_CHECK_HELP)
    @click.argument("path", type=click.Path(path_type=Path), default=CONTRACT)
    @click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
    @click.option("--strict", is_flag=True, help="Take every warning for an error.")
    @click.option(
        "--agent",
        is_flag=True,
        help="Import the agent that the contract names, and compare the contract with its tools.",
    )
    @click.pass_context
    def command(context: click.Context, path: Path, as_json: bool, strict: bool, agent: bool) -> None:
        problems, prices = _problems(path, describe if agent else None)
        if strict:
            problems = [_as_error(problem) for problem in problems]
        errors = sum(problem.severity == "error" for problem in problems)
        if as_json:
            click.echo(json.dumps(_report(path, problems, errors) | {"prices": prices}))
        else:
            _print_prices(prices)
            _print_problems(path, problems, errors)
        context.exit(1 if errors else 0)

    return command


def init_command(describe: Describe) -> click.Command:
    """`init`. `describe` imports the agent, and may raise `PlimsollError` when that is no agent."""

    @click.command("init", cls=Command, help=_INIT_HELP)
    @click.argument("entrypoint")
    @click.option("--output", type=click.Path(path_type=Path), default=CONTRACT, help="Where to write it.")
    @click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
    def command(entrypoint: str, output: Path, force: bool) -> None:
        if output.exists() and not force:
            raise click.ClickException(f"{output} is there already; --force overwrites it")
        shape = _described(describe, entrypoint)
        text = initial_contract(agent_name=shape.name, entrypoint=entrypoint, tools=shape.tools, models=shape.models)
        _refuse_unsound(text, output)
        _write(output, text, force)
        _print_written(output, shape)

    return command


# ----------------------------------------------------------------------------------------------------------- check


def _problems(path: Path, describe: Describe | None) -> tuple[list[Problem], Prices | None]:
    """What is wrong, and what is known of prices; None where the contract cannot be read."""
    try:
        source = load_source(path)
        contract = parse_contract(source.text, file=source.file)
    except ContractError as error:
        return error.problems, None
    return _found(contract, source, path, describe), _prices(contract)


def _found(contract: Contract, source: Source, path: Path, describe: Describe | None) -> list[Problem]:
    if describe is None:
        return check_contract(contract, source=source)
    here = ("agent", "entrypoint")
    if contract.agent.entrypoint is None:
        return [source.problem(here, "is missing: which agent is it?", "module:attribute")]
    put_on_path(path.parent)
    try:
        tools = _described(describe, contract.agent.entrypoint).tools
    except MissingExtra:
        raise
    except Misuse as error:
        leads_nowhere = source.problem(here, f"leads to no agent: {error}", "module:attribute of your agent")
        return [leads_nowhere, *check_contract(contract, source=source)]
    return check_contract(contract, source=source, tools=tools)


def _prices(contract: Contract) -> Prices:
    """The prices that the contract does not give and the table has; `table` is empty where there is none."""
    found = {name: price_of(model) for name, model in contract.models.items() if priced_by_table(model)}
    models = {name: [tariff._asdict() for tariff in price.tariffs] for name, price in found.items() if price}
    return {"table": price_table() if models else "", "models": models}


def _as_error(problem: Problem) -> Problem:
    return Problem(**asdict(problem) | {"severity": "error"})


def _report(path: Path, problems: list[Problem], errors: int) -> dict[str, object]:
    return {
        "file": str(path),
        "ok": errors == 0,
        "errors": errors,
        "warnings": len(problems) - errors,
        "problems": [asdict(problem) for problem in problems],
    }


def _print_prices(prices: Prices | None) -> None:
    if prices is None:
        return
    out = console()
    for name, tariffs in prices["models"].items():
        costs = ", ".join(
            f"${each['usd_per_million_input_tokens']:g} and ${each['usd_per_million_output_tokens']:g}"
            + (f" from {each['above']:,} tokens of prompt on" if each["above"] > 0 else "")
            for each in tariffs
        )
        line(out, (f"models.{name}", "bold"), f" costs {costs} for a million tokens, in and out, by {prices['table']}")


def _print_problems(path: Path, problems: list[Problem], errors: int) -> None:
    out = console()
    for problem in problems:
        line(
            out,
            (f"{problem.severity:8}", _COLOURS[problem.severity]),
            (f"{problem.file}:{problem.line} ", "dim"),
            (problem.field, "bold"),
            f" {problem.what} ",
            ("→ ", "dim"),
            (problem.fix, "green"),
        )
    warnings = len(problems) - errors
    summary = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}" if problems else "nothing to object to"
    line(out, (f"{path}: {summary}", "bold red" if errors else "bold green"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# ------------------------------------------------------------------------------------------------------------ init


def _described(describe: Describe, entrypoint: str) -> AgentShape:
    with explained(f"importing {entrypoint}"):
        return describe(entrypoint)


def _refuse_unsound(text: str, output: Path) -> None:
    try:
        problems = check_contract(parse_contract(text, file=str(output)), source=Source(str(output), text))
    except ContractError as error:
        problems = error.problems
    errors = [str(problem) for problem in problems if problem.severity == "error"]
    if errors:
        raise click.ClickException("the contract would not be sound, so it was not written:\n" + "\n".join(errors))


def _write(output: Path, text: str, force: bool) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written ({error.strerror})") from error


def _print_written(output: Path, shape: AgentShape) -> None:
    out = console()
    line(out, "Wrote ", (str(output), "bold"), f" for {shape.name}.")
    if shape.tools:
        rows = [(tool.name, effect.value, why) for tool in shape.tools for effect, why in [initial_effect(tool)]]
        table(out, ("tool", "effect", "why"), rows, whole=("tool", "effect"))
    line(out, "Read it and confirm each effect, and name the approvers. If the tools take dependencies, say in [agent]")
    line(out, 'what makes them: deps = "module:function".')
    line(out, f"Then: plimsoll check {output} --agent")
