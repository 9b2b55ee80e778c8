"""The bulkhead: a dependency that hangs takes so many calls with it, and no more.

Calls beyond its limit wait in a queue of limited length. When that is full, what matters least is shed: see
https://sre.google/sre-book/handling-overload/.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Self

from msgspec.structs import asdict

from plimsoll.contract.model import BulkheadSection
from plimsoll.core.criticality import Criticality
from plimsoll.core.errors import Misuse, Shed

__all__ = ["Bulkhead", "Compartment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulkhead:
    """At most `max_concurrent` calls at once (from 1), and `max_queue` more that wait (from 0), `max_wait_s` seconds
    each at most. Raises `Misuse` for values that make no sense."""

    max_concurrent: int
    max_queue: int = 0
    max_wait_s: float = 10.0

    def __post_init__(self) -> None:
        if self.max_concurrent < 1:
            raise Misuse(f"bulkhead.max_concurrent is {self.max_concurrent!r}; at least one call must be let in")
        if self.max_queue < 0:
            raise Misuse(f"bulkhead.max_queue is {self.max_queue!r}; it is a number of calls, 0 or more")
        if not (math.isfinite(self.max_wait_s) and self.max_wait_s > 0):
            raise Misuse(f"bulkhead.max_wait_s is {self.max_wait_s!r}; it is a positive number of seconds")

    @classmethod
    def from_contract(cls, section: BulkheadSection) -> Self:
        """The policy that a contract describes."""
        return cls(**asdict(section))


class Compartment:
    """The state of one dependency's bulkhead: who is inside, and who waits. Of those, the most critical comes next,
    and among equals the one that came first."""

    __slots__ = ("_dependency", "_waiting", "inside", "policy")

    def __init__(self, policy: Bulkhead, *, dependency: str) -> None:
        self.policy = policy
        self.inside = 0
        """How many calls are under way."""
        self._dependency = dependency
        self._waiting: dict[Criticality, deque[asyncio.Future[None]]] = {level: deque() for level in Criticality}

    @property
    def waiting(self) -> int:
        """How many calls wait to be let in."""
        return sum(not turn.done() for queue in self._waiting.values() for turn in queue)

    @property
    def is_full(self) -> bool:
        """Whether a call would have to wait."""
        return self.inside >= self.policy.max_concurrent

    async def enter(self, criticality: Criticality = Criticality.DEFAULT, *, at_most_s: float = math.inf) -> None:
        """Comes in, or waits for its turn. Whoever came in has to `leave`.

        Raises `Shed` where the queue is full of what is no less critical, where something more critical took this
        call's place in it, or when it has waited for `max_wait_s`, or `at_most_s`, seconds.
        """
        if not self.is_full:
            self.inside += 1
            return
        wait_s = min(self.policy.max_wait_s, at_most_s)
        if wait_s <= 0:  # nobody is to be shed for one that cannot wait
            raise Shed(self._dependency, why=f"{self.inside} calls are under way, and there is no time to wait")
        if self.waiting >= self.policy.max_queue:
            self._make_room(criticality)
        turn = asyncio.get_running_loop().create_future()
        queue = self._waiting[criticality]
        queue.append(turn)
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except TimeoutError:
            self._withdraw(turn, queue)
            raise Shed(self._dependency, why=f"it waited for {wait_s:.3g} s in the queue") from None
        except BaseException:
            self._withdraw(turn, queue)
            raise

    def leave(self) -> None:
        """A call that had come in is over; the next one is let in."""
        for level in sorted(self._waiting, reverse=True):
            queue = self._waiting[level]
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)  # it takes the place that was left
                    return
        self.inside -= 1

    def _make_room(self, criticality: Criticality) -> None:
        """Sheds the latest of what matters least, for what matters more. Raises `Shed` where nothing matters less."""
        for level in sorted(self._waiting):
            if level >= criticality:
                break
            queue = self._waiting[level]
            while queue:
                turn = queue.pop()
                if not turn.done():  # as one is that was cancelled, and has not noticed yet
                    turn.set_exception(
                        Shed(self._dependency, why="something more critical took its place in the queue")
                    )
                    return
        policy = self.policy
        raise Shed(self._dependency, why=f"{policy.max_concurrent} calls are under way, and {self.waiting} wait")

    def _withdraw(self, turn: "asyncio.Future[None]", queue: "deque[asyncio.Future[None]]") -> None:
        """It waits no more. A turn that had just come is handed on."""
        if turn in queue:
            queue.remove(turn)
        elif turn.done() and not turn.cancelled() and turn.exception() is None:
            self.leave()
