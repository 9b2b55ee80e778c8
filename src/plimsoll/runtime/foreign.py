"""Code that is not ours: what it raises that the runtime, or asyncio, would take for something else."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from plimsoll.core.canonical import as_text
from plimsoll.core.errors import OperationFailed, Unwind

__all__ = ["fail_if_foreign", "in_its_thread", "is_cancelled"]

P = ParamSpec("P")
T = TypeVar("T")

_OURS = (Exception, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit, Unwind)
"""What is an outcome already, or ends the code, the run or the process, as whoever raised it wants."""


def in_its_thread(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """What a function returns or raises in the thread that calls it, so that a future can tell of it.

    None takes a `StopIteration`: whoever awaited it would wait for ever. A coroutine's becomes a `RuntimeError`, and so
    does this one's.
    """
    try:
        return function(*args, **options)
    except StopIteration as error:
        raise RuntimeError("it raised StopIteration, as a bare `next(…)` does: give it a default") from error


def fail_if_foreign(error: BaseException) -> None:
    """Raises `OperationFailed` for an error that would pass by every `except Exception`, as the panics of a library in
    Rust do: what a dependency raises is an outcome, and does not take the service down."""
    if not isinstance(error, _OURS):
        raise OperationFailed(f"{type(error).__name__}: {as_text(error)}") from error


def is_cancelled(error: BaseException) -> bool:
    """Whether somebody cancels this task. Otherwise it was code inside that raised a `CancelledError` of its own."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)
