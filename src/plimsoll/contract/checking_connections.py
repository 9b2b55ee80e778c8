"""Checks of `[connections]`, and of the tools that work on them."""

import difflib
from urllib.parse import urlsplit

from plimsoll.contract.model import Contract
from plimsoll.contract.notes import Notes
from plimsoll.core.calls import Effect

__all__ = ["COMPENSATE", "check_connections"]

COMPENSATE = ".compensate"
"""What the name of a compensation ends in, after its tool's."""


def check_connections(contract: Contract, notes: Notes) -> None:
    """Notes what is doubtful about the databases that transactions work on, and about compensations."""
    used = set()
    for name, tool in contract.tools.items():
        if tool.effect is Effect.TRANSACTION:
            used.add(tool.connection)
            _check_transaction(name, contract, notes)
        elif tool.connection is not None:
            what = f"is for transactions, and the effect is {tool.effect}"
            notes.warning(("tools", name, "connection"), what, 'effect = "transaction", or remove it')
        if tool.compensate is not None and tool.effect is Effect.READ:
            notes.warning(("tools", name, "compensate"), "a read does nothing that could be undone", "remove it")
        _check_compensation(name, contract, notes)
    for name, connection in contract.connections.items():
        if name not in used:
            notes.warning(("connections", name), "no transaction works on it", "remove it, or name it in a tool")
        if _holds_password(connection.url):
            what = "holds a password, and a contract is read by many and kept for ever"
            fix = 'url = "env:SHOP_DB", and the URL into that variable of the environment'
            notes.error(("connections", name, "url"), what, fix)


def _check_transaction(name: str, contract: Contract, notes: Notes) -> None:
    tool = contract.tools[name]
    if tool.connection is None:
        what = "is missing: a transaction works on a connection"
        notes.error(("tools", name, "connection"), what, 'connection = "shop", and [connections.shop] with its url')
    elif tool.connection not in contract.connections:
        near = difflib.get_close_matches(tool.connection, contract.connections, n=1)
        fix = f"did you mean {near[0]}?" if near else f"add [connections.{tool.connection}], or hand one over in Python"
        notes.warning(("tools", name, "connection"), f"no connection is called {tool.connection}", fix)
    if tool.verify is not None:
        what = "is never asked: the database itself says whether a transaction happened"
        notes.warning(("tools", name, "verify"), what, "remove it")


def _check_compensation(name: str, contract: Contract, notes: Notes) -> None:
    """A section `NAME.compensate` says how NAME is undone, so NAME has to say that it can be."""
    of = name.removesuffix(COMPENSATE)
    if of != name and of in contract.tools and contract.tools[of].compensate is None:
        what = f"says how {of} is undone, and {of} names no `compensate`"
        notes.warning(("tools", name), what, f'compensate = "module:function" in [tools.{of}]')


def _holds_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password) or "password=" in url
    except ValueError:  # an address that is none is told when it is connected to
        return "password=" in url
