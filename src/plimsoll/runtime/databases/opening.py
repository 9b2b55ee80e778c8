"""From the contract's URLs to databases."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Effect
from plimsoll.core.errors import Misuse
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.databases.sqlite import SQLiteDatabase

__all__ = ["open_database", "open_databases", "stand_ins"]

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
_ENVIRONMENT = "env:"


def open_databases(
    contract: Contract, *, given: Mapping[str, Database | str], directory: str | Path = "."
) -> dict[str, Database]:
    """The database of every transaction tool, by the name of its connection. None is connected to yet.

    Those that are `given` go before the contract's. Raises `Misuse` for a connection that nobody names a database for,
    and `MissingExtra` where the database's library is not installed.
    """
    databases: dict[str, Database] = {}
    for tool, section in contract.tools.items():
        name = section.connection
        if section.effect is not Effect.TRANSACTION or name in databases:
            continue
        if name is None:
            raise Misuse(f"tools.{tool} is a transaction, and the contract names no `connection` for it")
        database = given.get(name)
        if database is None:
            known = contract.connections.get(name)
            if known is None:
                raise Misuse(f"tools.{tool} works on connection {name!r}: add [connections.{name}], or hand it over")
            database = known.url
        databases[name] = open_database(database, directory=directory) if isinstance(database, str) else database
    return databases


def stand_ins(contract: Contract, given: Mapping[str, Database]) -> Mapping[str, Database]:
    """The databases of a world that is only played, where nothing may reach a real one. Raises `Misuse` where a
    transaction tool has none."""
    for tool, section in contract.tools.items():
        if section.effect is Effect.TRANSACTION and section.connection not in given:
            raise Misuse(
                f"tools.{tool} works on connection {section.connection!r}, and its world brings no database for it: "
                "hand the subject `connections`, a function of the world. The contract's own is not touched"
            )
    return given


def open_database(url: str, *, directory: str | Path = ".") -> Database:
    """The database at `url`: `sqlite:///shop.db` (from `directory`), `postgresql://…`, or `env:NAME`, the variable of
    the environment that holds one of the two. Raises `Misuse` for anything else, without telling the URL itself, which
    may hold a password."""
    if url.startswith(_ENVIRONMENT):
        name = url.removeprefix(_ENVIRONMENT)
        found = os.environ.get(name)
        if not found or found.startswith(_ENVIRONMENT):
            raise Misuse(f"the variable {name} of the environment holds no database's URL")
        return open_database(found, directory=directory)
    if url.startswith(_SQLITE):
        return SQLiteDatabase(Path(directory) / url.removeprefix(_SQLITE))
    if url.startswith(_POSTGRES):
        module = importlib.import_module("plimsoll.runtime.databases.postgres")
        return cast(Database, module.PostgresDatabase(url))
    raise Misuse("a database's URL begins with sqlite:/// or postgresql://, or names its variable: env:SHOP_DB")
