"""`plimsoll check` and `plimsoll init`: reading a contract critically, and writing the first one."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, load_source, parse_contract
from plimsoll.contract.shapes import AgentShape
from plimsoll.contract.writing import initial_contract, initial_effect
from plimsoll.core.errors import ContractError, PlimsollError, Problem

__all__ = ["check", "check_command", "init_command"]

Describe = Callable[[str], AgentShape]
"""Imports `module:attribute` and tells what it has. An adapter's."""

_COLOURS = {"error": "bold red", "warning": "yellow"}

_CHECK_HELP = """Find what is wrong or doubtful in a contract.

    Reads PATH (plimsoll.toml unless given), and prints every problem with its line and what would be right.
    Exits with 0 when there is no error, and with 1 when there is one.

    \b
    Examples:
      plimsoll check
      plimsoll check deploy/plimsoll.toml --strict
      plimsoll check --json | jq '.problems[].field'
    """

_AGENT_HELP = """
    \b
    With --agent it also imports the agent that the contract names, and compares the contract with its tools:
      plimsoll check --agent
    """

_INIT_HELP = """Write the first contract of the agent at ENTRYPOINT, which is module:attribute.

    Imports the agent, reads its tools and models, and writes a contract that holds safely from the start, with
    comments that say what to confirm. What nobody knows of a tool is taken for a write.

    \b
    Examples:
      plimsoll init shop.agent:agent
      plimsoll init shop.agent:agent --output deploy/plimsoll.toml
      plimsoll init shop.agent:agent --force
    """


def check_command(describe: Describe | None = None) -> click.Command:
    """`check`. With `describe` it has `--agent`, which compares the contract with the agent's own tools."""

    @click.command("check", help=_CHECK_HELP + (_AGENT_HELP if describe else ""))
    @click.argument("path", type=click.Path(path_type=Path), default=Path("plimsoll.toml"))
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
    @click.option("--strict", is_flag=True, help="Take every warning for an error.")
    @click.pass_context
    def command(context: click.Context, path: Path, as_json: bool, strict: bool, agent: bool = False) -> None:
        problems = _problems(path, describe if agent else None)
        if strict:
            problems = [_as_error(problem) for problem in problems]
        errors = sum(problem.severity == "error" for problem in problems)
        if as_json:
            click.echo(json.dumps(_report(path, problems, errors), indent=2, ensure_ascii=False))
        else:
            _print_problems(path, problems, errors)
        context.exit(1 if errors else 0)

    if describe is not None:
        text = "Import the agent that the contract names, and compare the contract with its tools."
        command.params.append(click.Option(["--agent"], is_flag=True, help=text))
    return command


def init_command(describe: Describe) -> click.Command:
    """`init`. `describe` imports the agent, and may raise `PlimsollError` when that is no agent."""

    @click.command("init", help=_INIT_HELP)
    @click.argument("entrypoint")
    @click.option("--output", type=click.Path(path_type=Path), default=Path("plimsoll.toml"), help="Where to write it.")
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


check = check_command()
"""`check` without `--agent`, for where no adapter can read an agent."""


# ----------------------------------------------------------------------------------------------------------- check


def _problems(path: Path, describe: Describe | None) -> list[Problem]:
    try:
        source = load_source(path)
        contract = parse_contract(source.text, file=source.file)
    except ContractError as error:
        return error.problems
    if describe is None:
        return check_contract(contract, source=source)
    if contract.agent.entrypoint is None:
        return [source.problem(("agent", "entrypoint"), "is missing: which agent is it?", "module:attribute")]
    return check_contract(contract, source=source, tools=_described(describe, contract.agent.entrypoint).tools)


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


def _print_problems(path: Path, problems: list[Problem], errors: int) -> None:
    console = _console()
    for problem in problems:
        console.print(
            Text.assemble(
                (f"{problem.severity:8}", _COLOURS[problem.severity]),
                (f"{problem.file}:{problem.line} ", "dim"),
                (problem.field, "bold"),
                f" {problem.what} ",
                ("→ ", "dim"),
                (problem.fix, "green"),
            )
        )
    warnings = len(problems) - errors
    summary = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}" if problems else "nothing to object to"
    console.print(Text.assemble((f"{path}: {summary}", "bold red" if errors else "bold green")))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# ------------------------------------------------------------------------------------------------------------ init


def _described(describe: Describe, entrypoint: str) -> AgentShape:
    try:
        return describe(entrypoint)
    except PlimsollError as error:
        raise click.ClickException(str(error)) from error
    except Exception as error:  # the user's own module, which may raise anything when it is imported
        raise click.ClickException(f"importing {entrypoint} failed: {type(error).__name__}: {error}") from error


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
    console = _console()
    console.print(Text.assemble("Wrote ", (str(output), "bold"), f" for {shape.name}."))
    if shape.tools:
        table = Table(box=None, header_style="dim")
        for heading in ("tool", "effect", "why"):
            table.add_column(heading)
        for tool in shape.tools:
            effect, why = initial_effect(tool)
            table.add_row(Text(tool.name), Text(effect.value), Text(why))
        console.print(table)
    console.print(f"Read it and confirm each effect. Then: plimsoll check {output}", markup=False)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)
