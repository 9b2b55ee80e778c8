"""Those who wait until what they have appended is durable: whom a commit wakes, and who loses patience when."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol
from weakref import WeakMethod

from plimsoll.core.clock import Clock
from plimsoll.core.errors import JournalUnavailable, Superseded

__all__ = ["Barriers", "Owned", "text_of"]

_WOKEN_AT_ONCE = 16
_PREFIX = str(JournalUnavailable(""))


class Owned(Protocol):
    """What a barrier knows of the run that waits at it."""

    run_id: str
    epoch: int
    superseded: bool
    """Whether another owner is known to hold it."""


class _Barrier:
    """It waits until the queue is written up to `position`.

    It has patience until `deadline` on the journal's clock while the store fails, and until `gives_up_at` on the loop's
    while it gives no answer.
    """

    __slots__ = ("deadline", "future", "gives_up_at", "position", "run")

    def __init__(
        self, position: int, run: Owned | None, future: "asyncio.Future[None]", deadline: float, gives_up_at: float
    ) -> None:
        self.position = position
        self.run = run
        self.future = future
        self.deadline = deadline
        self.gives_up_at = gives_up_at

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Barriers:
    """All barriers of one journal. `silent` is asked for the error when the store gives no answer for too long: by a
    weak reference, since it is the journal's own."""

    def __init__(
        self, *, clock: Clock, patience_s: float, silent: "WeakMethod[Callable[[], JournalUnavailable]]"
    ) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._silent = silent
        self._waiting: list[_Barrier] = []
        self._passed: deque[asyncio.Future[None]] = deque()  # their events are durable, and they do not know yet
        self._timer: asyncio.TimerHandle | None = None  # of the one that waits longest

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def waking(self) -> bool:
        """Whether some of those whose events are durable are still to be woken."""
        return bool(self._passed)

    def wait(self, position: int, run: Owned | None, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """What is done once the queue is written up to `position`."""
        future: asyncio.Future[None] = loop.create_future()
        gives_up_at = loop.time() + self._patience_s
        deadline = self._clock.monotonic() + self._patience_s
        self._waiting.append(_Barrier(position, run, future, deadline, gives_up_at))
        if self._timer is None:
            self._timer = loop.call_at(gives_up_at, self._give_up, gives_up_at)
        return future

    def written(self, position: int) -> None:
        """The queue is written up to `position`: wakes who waited for that, and who waits in vain."""
        still: list[_Barrier] = []
        for barrier in self._waiting:
            run = barrier.run
            if run is not None and run.superseded:
                barrier.fail(Superseded(run.run_id, epoch=run.epoch))
            elif barrier.position <= position:
                self._passed.append(barrier.future)
            else:
                still.append(barrier)
        self._waiting = still
        self._wake()

    def _wake(self) -> None:
        """Wakes some, and the others once these have had their turn: what these append is written meanwhile."""
        for _ in range(min(len(self._passed), _WOKEN_AT_ONCE)):
            future = self._passed.popleft()
            if not future.done():
                future.set_result(None)
        if self._passed:
            self._passed[0].get_loop().call_soon(self._wake)

    def fail_all(self, why: str) -> None:
        """Nobody writes any more."""
        for barrier in self._waiting:
            barrier.fail(JournalUnavailable(why))
        self._waiting = []

    def lose_patience(self, trouble: JournalUnavailable) -> None:
        """The store failed again: fails those who have waited long enough."""
        now = self._clock.monotonic()
        self._fail([barrier for barrier in self._waiting if now >= barrier.deadline], trouble)

    def patience_left_s(self) -> float:
        """For how long the first to lose it will have patience."""
        deadline = min((barrier.deadline for barrier in self._waiting), default=float("inf"))
        return deadline - self._clock.monotonic()

    def stop_timer(self) -> None:
        """Nobody will lose patience any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def forget_loop(self) -> None:
        """The event loop is gone, and whoever was to be told in it."""
        self._timer = None
        self._passed.clear()

    def _give_up(self, at: float) -> None:
        """The store neither wrote nor failed for as long as those who wait since longest have patience."""
        self._timer = None
        self._forget_done()
        overdue = [barrier for barrier in self._waiting if barrier.gives_up_at <= at]
        if overdue:
            silent = self._silent()
            self._fail(overdue, JournalUnavailable("the journal is gone") if silent is None else silent())
        if self._waiting:
            first = self._waiting[0].gives_up_at
            self._timer = self._waiting[0].future.get_loop().call_at(first, self._give_up, first)

    def _fail(self, some: list[_Barrier], trouble: JournalUnavailable) -> None:
        for barrier in some:
            why = f"{text_of(trouble)}. This run waited {self._patience_s:g} s; its events are kept"
            error = JournalUnavailable(why)
            error.__cause__ = trouble
            barrier.fail(error)
        self._forget_done()

    def _forget_done(self) -> None:
        self._waiting = [barrier for barrier in self._waiting if not barrier.future.done()]


def text_of(error: JournalUnavailable | None) -> str:
    """What an error says, to be said in another."""
    return str(error).removeprefix(_PREFIX)
