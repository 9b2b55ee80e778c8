"""Children of one run that run beside each other."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from plimsoll.core.clock import Clock

__all__ = ["Siblings"]


class Siblings:
    """The children of one run that are running now, in this process."""

    __slots__ = ("_at_rest", "_running")

    def __init__(self) -> None:
        self._running = 0
        self._at_rest = asyncio.Event()

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """While a child runs."""
        self._running += 1
        self._at_rest.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._at_rest.set()

    async def rest(self, clock: Clock) -> None:
        """Returns when none is running: each has ended, or parked. Those that are about to begin are waited for."""
        await clock.sleep(0)
        while self._running:
            await self._at_rest.wait()
