"""A run's waits: which timers are set, where its code waits now, and when it has to wake once it is parked."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plimsoll.core.events import Event, SignalReceived, TimerFired, TimerSet

__all__ = ["Waits"]


class Waits:
    """Pure state over a run's events, and over what its code does now.

    `patient` are the tasks whose calls wait for a person, and hold the run only until what is beside them rests.
    """

    __slots__ = ("_ending", "_held", "_set", "patient")

    def __init__(self) -> None:
        self._set: dict[str, float] = {}
        self._held: set[str] = set()
        self._ending = 0
        self.patient: set[asyncio.Task[Any]] = set()

    def observe(self, event: Event) -> None:
        """Takes note of an event of the run, live or replayed."""
        if isinstance(event, TimerSet):
            self._set[event.key] = event.until
        elif isinstance(event, (TimerFired, SignalReceived)):
            self._set.pop(event.key, None)

    def hold(self, key: str) -> None:
        """The code waits at `key` from here on."""
        self._held.add(key)

    def release(self, key: str) -> None:
        """The code waits there no longer: the wait is over, or the code gave it up."""
        self._held.discard(key)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """While a wait is about to end."""
        self._ending += 1
        try:
            yield
        finally:
            self._ending -= 1

    @property
    def end_now(self) -> bool:
        """Whether some wait is about to end."""
        return self._ending > 0

    def wake_at(self, until: float | None, *, now: float) -> float | None:
        """When a run that parks now has to wake, which would do so at `until` but for its timers. Wall-clock seconds.

        A timer whose time has passed counts only where a wait is under way: one that the code gave up would wake the
        run again and again.
        """
        times = [at for key, at in self._set.items() if at > now or key in self._held]
        return min([*times, *([] if until is None else [until])], default=None)
