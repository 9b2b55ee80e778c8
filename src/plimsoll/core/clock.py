"""Time, injected. Nothing else in Plimsoll reads a clock, which is what lets the gate simulate one."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "LoopClock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """What Plimsoll asks of time. All figures are seconds."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back. For durations and deadlines within a process."""
        ...

    def now(self) -> float:
        """Wall-clock seconds since the Unix epoch, UTC. For records and for what must outlive the process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds` (>= 0)."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    now = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LoopClock:
    """The running event loop's time, counted from `epoch_s`: virtual in the gate's simulator.

    Belongs to the loop in which it is first asked. `skew_s` is added to wall time alone, as a machine's wrong clock
    would.
    """

    __slots__ = ("_epoch_s", "monotonic", "skew_s")

    def __init__(self, *, epoch_s: float = 1_767_225_600.0, skew_s: float = 0.0) -> None:
        self._epoch_s = epoch_s
        self.monotonic: Callable[[], float] = self._first
        self.skew_s = skew_s

    def now(self) -> float:
        return self._epoch_s + self.skew_s + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _first(self) -> float:
        self.monotonic = asyncio.get_running_loop().time
        return self.monotonic()


class ManualClock:
    """A test double that moves only when told to. `sleep` advances it and returns at once."""

    __slots__ = ("_epoch_s", "_now")

    def __init__(self, *, epoch_s: float = 1_767_225_600.0) -> None:
        self._epoch_s = epoch_s
        self._now = 0.0

    def advance(self, seconds: float) -> None:
        """Moves time on by `seconds` (>= 0)."""
        self._now += seconds

    def monotonic(self) -> float:
        return self._now

    def now(self) -> float:
        return self._epoch_s + self._now

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        await asyncio.sleep(0)
