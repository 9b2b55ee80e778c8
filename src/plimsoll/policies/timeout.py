"""An attempt's timeout, armed only once the attempt has to wait."""

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

__all__ = ["Expired", "within"]

T = TypeVar("T")


class Expired(TimeoutError):
    """The time was up, as distinct from a timeout that the work itself reports."""


async def within(
    seconds: float | None, work: Coroutine[Any, Any, T], *, loop: asyncio.AbstractEventLoop | None = None
) -> T:
    """What `work` returns, given at most `seconds` from now (None: for ever).

    When they have passed, `work` is cancelled and awaited. Raises `Expired` then, unless `work` raises an error of its
    own on its way out. Work that never waits needs no timer, and gets none: most of what it costs to call something
    that answers at once would be the timer. `loop` is the running one (None asks, which is a system call).
    """
    began_s = (loop or asyncio.get_running_loop()).time()
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        returned: T = done.value
        return returned
    if seconds is None:
        return await _resumed(work, waits_for)
    scope = asyncio.timeout_at(began_s + seconds)
    try:
        async with scope:
            return await _resumed(work, waits_for)
    except TimeoutError as error:
        if scope.expired():
            raise Expired from error
        raise


@coroutine
def _resumed(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Goes on with a coroutine that has begun and waits: what `await` does for one that has not."""
    while True:
        try:
            yield waits_for
        except BaseException as error:
            try:
                waits_for = work.throw(error)
            except StopIteration as done:
                returned: T = done.value
                return returned
        else:
            result: T = yield from work
            return result
