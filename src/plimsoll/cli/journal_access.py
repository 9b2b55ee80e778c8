"""How the command line reaches a journal: by the contract that names it, or by its path."""

import asyncio
import getpass
import os
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from plimsoll.contract.loading import load_contract, resolve_path
from plimsoll.contract.model import JournalSection
from plimsoll.core.errors import Misuse
from plimsoll.journal.keys import KeyRing, key_ring
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.runtime.operations import Operations

__all__ = [
    "CONTRACT",
    "JSON_HELP",
    "by_option",
    "journal_file",
    "journal_options",
    "journal_section",
    "look_store",
    "open_store",
    "person",
    "places",
    "with_a_look",
    "with_operations",
    "with_store",
]

T = TypeVar("T")

CONTRACT = Path("plimsoll.toml")
JSON_HELP = 'Prints one JSON object, on one line and the last; {"error": …} when something is wrong.'


def journal_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--contract` and `--journal` to a command."""
    command = click.option("--journal", type=click.Path(path_type=Path), help="Another journal than the contract's.")(
        command
    )
    return click.option(
        "--contract",
        "contract_path",
        type=click.Path(path_type=Path),
        default=CONTRACT,
        show_default=True,
        help="The agent's contract.",
    )(command)


def by_option(text: str = "Who says so.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds `--by`, which is whoever is logged in if left out. `text` is its help."""
    return click.option("--by", default=person, show_default="your login name", help=text)


def journal_file(contract_path: Path, journal: Path | None) -> Path:
    """The journal's file. Raises `Misuse` when there is none: a mistyped path must not become an empty journal."""
    if journal is not None:
        if not journal.exists():
            raise Misuse(f"there is no journal at {journal}; is the path right?")
        return journal
    path = resolve_path(load_contract(contract_path).journal.path, contract_file=contract_path)
    if not path.exists():
        raise Misuse(f"there is no journal at {path} yet: no run was started under {contract_path}")
    return path


def journal_section(contract_path: Path, journal: Path | None) -> JournalSection:
    """What the contract says of the journal; the defaults, where `--journal` names one and there is no contract."""
    if journal is not None and not contract_path.exists():
        return JournalSection()
    return load_contract(contract_path).journal


def open_store(
    contract_path: Path, journal: Path | None, *, owner: str | None = None, keys: KeyRing | None = None
) -> SQLiteStore:
    """Opens the journal with `keys`, or those that the contract names, or the environment has. It may have none."""
    file = journal_file(contract_path, journal)
    return SQLiteStore.open(file, owner=owner, keys=_reading_keys(contract_path, journal) if keys is None else keys)


def look_store(contract_path: Path, journal: Path | None) -> SQLiteStore:
    """As `open_store`, for reading alone: nothing is written, not even what is of an earlier format."""
    return SQLiteStore.look(journal_file(contract_path, journal), keys=_reading_keys(contract_path, journal))


def _reading_keys(contract_path: Path, journal: Path | None) -> KeyRing | None:
    """The keys that the contract names, or the environment has. No run begins here, so none has to be there."""
    section = msgspec.structs.replace(journal_section(contract_path, journal), encrypt=False)
    return key_ring(section, directory=contract_path.parent, environ=os.environ)


def with_store(store: SQLiteStore, work: Callable[[SQLiteStore], Awaitable[T]]) -> T:
    """Does `work` with an open journal, and closes it."""

    async def session() -> T:
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(session())


def with_operations(contract_path: Path, journal: Path | None, work: Callable[[Operations], Awaitable[T]]) -> T:
    """Opens the journal, does `work` with its operations, and closes it."""
    return with_store(open_store(contract_path, journal), lambda store: work(Operations(store)))


def with_a_look(contract_path: Path, journal: Path | None, work: Callable[[Operations], Awaitable[T]]) -> T:
    """As `with_operations`, for what is only read: the journal may be one that this user cannot write."""
    return with_store(look_store(contract_path, journal), lambda store: work(Operations(store)))


def places(contract_path: Path, journal: Path | None) -> str:
    """The options that name this journal again, for a command that is shown to be typed: empty, or with a space."""
    named = [("--contract", contract_path)] if contract_path != CONTRACT else []
    named += [("--journal", journal)] if journal is not None else []
    return "".join(f" {option} {shlex.quote(str(path))}" for option, path in named)


def person() -> str:
    """The login name, as the default of who decides. Raises `click.UsageError` where this user has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise click.UsageError("this user has no login name: say who you are with --by") from None
