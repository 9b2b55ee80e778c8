"""How the command line reaches a journal: by the contract that names it, or by its path."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from plimsoll.contract.loading import load_contract, resolve_path
from plimsoll.core.errors import PlimsollError
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.runtime.operations import Operations

__all__ = ["guarded", "journal_file", "journal_options", "with_operations"]

T = TypeVar("T")


def journal_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--contract` and `--journal` to a command."""
    command = click.option(
        "--journal", type=click.Path(path_type=Path), help="The journal's file, in place of the one the contract names."
    )(command)
    return click.option(
        "--contract",
        "contract_path",
        type=click.Path(path_type=Path),
        default=Path("plimsoll.toml"),
        show_default=True,
        help="The agent's contract.",
    )(command)


def journal_file(contract_path: Path, journal: Path | None) -> Path:
    """The journal's file. Raises `click.ClickException` when there is none yet."""
    path = journal or resolve_path(load_contract(contract_path).journal.path, contract_file=contract_path)
    if not path.exists():
        raise click.ClickException(f"there is no journal at {path} yet: no run was started under this contract")
    return path


def with_operations(contract_path: Path, journal: Path | None, work: Callable[[Operations], Awaitable[T]]) -> T:
    """Opens the journal, does `work` with its operations, and closes it. Errors become messages, not tracebacks."""

    async def session() -> T:
        store = SQLiteStore.open(journal_file(contract_path, journal))
        try:
            return await work(Operations(store))
        finally:
            await store.close()

    return guarded(lambda: asyncio.run(session()))


def guarded(work: Callable[[], T]) -> T:
    """Does `work`; an error of ours is shown as a message, with exit code 1."""
    try:
        return work()
    except PlimsollError as error:
        raise click.ClickException(str(error)) from error
