"""Real time and real threads, as little of them as can be: a clock that never waits, and a tool that waits for us."""

import threading
from typing import Any

from plimsoll.core.clock import LoopClock, SystemClock
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.surroundings import Surroundings

SOON_S = 0.1
"""A timeout that passes quickly, and yet not before a thread has begun."""
LONG_S = 20.0
"""How long a tool waits for a test that never lets it go."""


class Hasty(SystemClock):
    """The machine's clock, but nobody sleeps."""

    async def sleep(self, seconds: float) -> None:
        await LoopClock().sleep(0)


class Slow:
    """A payment that takes as long as the test wants, and cannot be stopped once begun."""

    def __init__(self) -> None:
        self.paid: list[Any] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.over = threading.Event()
        self.asked = 0

    def pay(self, amount: float) -> dict[str, Any]:
        self.begun.set()
        self.go.wait(LONG_S)
        self.paid.append(amount)
        self.over.set()
        return {"paid": amount}


def surroundings(store: MemoryStore, *, owner: str = "one") -> Surroundings:
    return Surroundings(store=store, owner=owner, clock=Hasty(), sinks=(MemorySink(),))
