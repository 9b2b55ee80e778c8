"""Code that is not ours: what it raises that the runtime, or asyncio, would take for something else."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["in_its_thread"]

P = ParamSpec("P")
T = TypeVar("T")


def in_its_thread(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    """What a function returns or raises in the thread that calls it, so that a future can tell of it.

    None takes a `StopIteration`: whoever awaited it would wait for ever. A coroutine's becomes a `RuntimeError`, and so
    does this one's.
    """
    try:
        return function(*args, **options)
    except StopIteration as error:
        raise RuntimeError("it raised StopIteration, as a bare `next(…)` does: give it a default") from error
