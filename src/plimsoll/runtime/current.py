"""Which run, and which call of it, the running task serves."""

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from plimsoll.core.calls import CallInfo

__all__ = ["call_context", "current_call", "run_context", "watch_context"]


class Caller(Protocol):
    """Something that makes calls: a run."""

    async def call(self, name: str, args: Mapping[str, Any] | None = None, *, key: str | None = None) -> Any: ...


class Watcher(Protocol):
    """Somebody who wants to know of work that outlives the attempt that began it."""

    def leave(self, work: asyncio.Future[Any], *, answers: bool) -> None: ...


run_context: ContextVar[Caller | None] = ContextVar("plimsoll_run", default=None)
call_context: ContextVar[CallInfo | None] = ContextVar("plimsoll_call", default=None)
watch_context: ContextVar[Watcher | None] = ContextVar("plimsoll_watch", default=None)


def current_call() -> CallInfo | None:
    """The call that this tool serves, with its idempotency key; None when the tool was called outside a run.

    >>> info = current_call()
    >>> key = info.idempotency_key if info else None
    """
    return call_context.get()
