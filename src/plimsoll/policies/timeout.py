"""An attempt's timeout, armed only once the attempt has to wait."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from plimsoll.policies.begun import resumed

__all__ = ["Expired", "Stopwatch", "within"]

T = TypeVar("T")


class Expired(TimeoutError):
    """The time was up, as distinct from a timeout that the work itself reports."""


class Stopwatch:
    """The time of one attempt, which can be made to stand still: while it waits for whoever is shown its answer.

    `stood_s` is how many seconds it has stood still. Made for one `within`, inside of which it is used.
    """

    __slots__ = ("_due_s", "_scope", "_standing", "stood_s")

    def __init__(self) -> None:
        self.stood_s = 0.0
        self._scope: asyncio.Timeout | None = None
        self._due_s = 0.0
        self._standing = False

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """What is waited for inside is not the attempt's time. Not to be entered twice at once."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._standing = True
        self._stand()
        try:
            yield
        finally:
            stood_s = loop.time() - began_s
            self._standing = False
            self.stood_s += stood_s
            if self._scope is not None and not self._scope.expired():
                self._due_s += stood_s
                self._scope.reschedule(self._due_s)

    def begin(self, scope: asyncio.Timeout) -> None:
        """`scope` is the attempt's timeout from now on; it is armed and has been entered."""
        due_s = scope.when()
        assert due_s is not None
        self._scope, self._due_s = scope, due_s
        if self._standing:
            self._stand()

    def _stand(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(None)


async def within(
    seconds: float | None,
    work: Coroutine[Any, Any, T],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    stopwatch: Stopwatch | None = None,
) -> T:
    """What `work` returns, given at most `seconds` from now (None: for ever), of which `stopwatch` may take some back.

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
        return await resumed(work, waits_for)
    scope = asyncio.timeout_at(began_s + seconds)
    try:
        async with scope:
            if stopwatch is not None:
                stopwatch.begin(scope)
            return await resumed(work, waits_for)
    except TimeoutError as error:
        if scope.expired():
            raise Expired from error
        raise
