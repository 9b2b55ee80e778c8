"""Work that goes on although nobody waits for it any more.

A thread cannot be stopped. When the attempt that began one is given up, by its timeout or because the run leaves the
stack, the thread may still bring its effect about, so until it ends nobody can say that the effect did not happen.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

from plimsoll.runtime.current import watch_context
from plimsoll.runtime.foreign import in_its_thread

__all__ = ["UnderWay", "Watch", "in_some_thread", "in_thread", "waited_for_a_thread"]

_NO_THREAD = "no thread was free for it"

Work = asyncio.Future[Any]


class UnderWay:
    """What a process has still running that outlived its attempt, by the idempotency key of its call."""

    __slots__ = ("_withdrawn", "_work")

    def __init__(self) -> None:
        self._work: dict[str, dict[Work, bool]] = {}
        self._withdrawn: set[str] = set()

    def add(self, key: str, work: Work, *, answers: bool) -> None:
        """`work` goes on. `answers`: what it returns is the answer of the call, and not just a part of its making."""
        if work.done():
            return
        self._work.setdefault(key, {})[work] = answers
        work.add_done_callback(lambda done: self._over(key, done))

    def of(self, key: str) -> dict[Work, bool]:
        """What is still running for the call of this idempotency key, the oldest first, and whether it answers."""
        return dict(self._work.get(key, ()))

    def withdraw(self, key: str) -> None:
        """The call of this idempotency key was to be made by a thread, and none had begun when it was given up."""
        self._withdrawn.add(key)

    def never_began(self, key: str) -> bool:
        """Whether the attempt that was given up just now had never begun. Told once."""
        known = key in self._withdrawn
        self._withdrawn.discard(key)
        return known and key not in self._work

    async def rest(self) -> None:
        """Returns when nothing is running any more."""
        while self._work:
            await asyncio.wait({work for running in self._work.values() for work in running})

    def _over(self, key: str, work: Work) -> None:
        if not work.cancelled():
            work.exception()  # seen: nobody may be left to look at it
        running = self._work.get(key)
        if running is not None:
            running.pop(work, None)
            if not running:
                del self._work[key]


class Watch:
    """Where the attempt that is being made leaves what outlives it."""

    __slots__ = ("key", "under_way")

    def __init__(self, under_way: UnderWay, key: str) -> None:
        self.under_way = under_way
        self.key = key
        under_way.never_began(key)  # of an attempt before this one: told or not, it is no news of this one

    def leave(self, work: Work, *, answers: bool) -> None:
        """Nobody waits for `work` any more, and it goes on."""
        self.under_way.add(self.key, work, answers=answers)

    def withdraw(self) -> None:
        """What was to make the call never begins."""
        self.under_way.withdraw(self.key)


async def in_thread(function: Callable[..., Any], arguments: Mapping[str, Any], *, answers: bool = False) -> Any:
    """Calls a sync function in a thread.

    Where the attempt that this serves is watched, a thread that outlives it is known to go on, and one that had not
    begun yet when nobody wanted it any more never begins.
    """
    watch = watch_context.get()
    if watch is None:
        return await in_some_thread(function, **arguments)
    job = _Job(function, arguments)
    work = asyncio.get_running_loop().run_in_executor(None, copy_context().run, job)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if not job.withdrawn():
            watch.leave(work, answers=answers)
        elif answers:
            watch.withdraw()
        raise


async def in_some_thread(function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """Calls a sync function in a thread that nobody watches. Given up before one was free, it notes so in the error."""
    begun = False

    def call() -> Any:
        nonlocal begun
        begun = True
        return in_its_thread(function, *args, **options)

    try:
        return await asyncio.to_thread(call)
    except asyncio.CancelledError as error:
        if not begun:
            error.add_note(_NO_THREAD)
        raise


def waited_for_a_thread(error: BaseException | None) -> bool:
    """Whether what timed out, as `error` tells, was still waiting for a thread to be free."""
    while error is not None:
        if _NO_THREAD in getattr(error, "__notes__", ()):
            return True
        error = error.__cause__
    return False


class _Job:
    """A function to be called once, unless it is withdrawn before."""

    __slots__ = ("_arguments", "_function", "_taken")

    def __init__(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self._function = function
        self._arguments = arguments
        self._taken = threading.Lock()  # whoever gets it first: the thread that begins, or the one that withdraws

    def __call__(self) -> Any:
        return in_its_thread(self._function, **self._arguments) if self._taken.acquire(blocking=False) else None

    def withdrawn(self) -> bool:
        """Whether it will never be called: it had not begun."""
        return self._taken.acquire(blocking=False)
