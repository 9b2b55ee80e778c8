"""Which run, and which call of it, the running task serves."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from plimsoll.core.calls import CallInfo
from plimsoll.core.errors import Misuse

__all__ = [
    "call_context",
    "connection_context",
    "current_call",
    "current_connection",
    "run_context",
    "watch_context",
]


class Caller(Protocol):
    """Something that makes calls: a run."""

    async def call(self, name: str, args: Mapping[str, Any] | None = None, *, key: str | None = None) -> Any: ...


class Watcher(Protocol):
    """Somebody who wants to know of work that outlives the attempt that began it."""

    def leave(self, work: asyncio.Future[Any], *, answers: bool) -> None: ...
    def withdraw(self) -> None: ...


run_context: ContextVar[Caller | None] = ContextVar("plimsoll_run", default=None)
call_context: ContextVar[CallInfo | None] = ContextVar("plimsoll_call", default=None)
watch_context: ContextVar[Watcher | None] = ContextVar("plimsoll_watch", default=None)
connection_context: ContextVar[Any] = ContextVar("plimsoll_connection", default=None)


def current_call() -> CallInfo | None:
    """The call that this tool serves, with its idempotency key; None when the tool was called outside a run.

    >>> info = current_call()
    >>> key = info.idempotency_key if info else None
    """
    return call_context.get()


def current_connection() -> Any:
    """The connection that this tool works on, where the contract says `effect = "transaction"`.

    A `sqlite3.Connection`, a `psycopg.Connection` (in a sync tool) or a `psycopg.AsyncConnection` (in an async one),
    inside a transaction that the runtime commits when the tool returns, and rolls back when it raises, or takes too
    long. Raises `Misuse` where there is none.

    >>> current_connection().execute("UPDATE orders SET paid = 0 WHERE id = ?", [order])
    """
    connection = connection_context.get()
    if connection is None:
        raise Misuse(
            'no transaction is open here: a tool has one while it serves a run, where its contract says `effect = "tra'
            'nsaction"` and names a `connection`'
        )
    return connection
