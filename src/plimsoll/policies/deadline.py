"""Deadlines: one per run, handed down, with a reserve kept for what may have to answer instead."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Self

from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse

__all__ = ["Deadline", "LatencyWindow", "attempt_timeout_s"]

_ENOUGH = 20
_LEAST_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock, in its seconds. It means nothing in another process."""

    at: float

    @classmethod
    def after(cls, seconds: float, *, clock: Clock) -> Self:
        """The deadline `seconds` from now."""
        return cls(clock.monotonic() + seconds)

    def remaining(self, clock: Clock) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self.at - clock.monotonic())

    def passed(self, clock: Clock) -> bool:
        """Whether nothing is left."""
        return clock.monotonic() >= self.at


def attempt_timeout_s(timeout_s: float, *, remaining_s: float, reserve_s: float) -> float:
    """Seconds that one attempt may take: its own timeout, and no more than is left above the reserve.

    `reserve_s` is what the rungs below need, so that a hung primary cannot eat its fallback's time. Where what is
    left does not go round (little or nothing remains above the reserve), an attempt still gets a quarter of its
    proportionate share, remaining * timeout / (timeout + reserve), and the rungs below get the rest: an attempt of no
    length at all could only fail. Grows with what remains, is never negative, never more than `timeout_s` or
    `remaining_s`; 0 means that there is no time for an attempt.
    """
    if remaining_s <= 0 or timeout_s <= 0:
        return 0.0
    if reserve_s <= 0:
        return timeout_s if timeout_s < remaining_s else remaining_s
    least = _LEAST_SHARE * remaining_s * (timeout_s / (timeout_s + reserve_s))
    return min(timeout_s, max(remaining_s - reserve_s, least))


class LatencyWindow:
    """The last `size` latencies of one dependency, in seconds, and their 95th percentile.

    `prior_s` stands in until 20 have been observed. Observe answers only: a timeout tells of the timeout.
    """

    __slots__ = ("_p95", "_prior_s", "_window")

    def __init__(self, prior_s: float, size: int = 64) -> None:
        if not (math.isfinite(prior_s) and prior_s >= 0):
            raise Misuse(f"a latency window's prior is {prior_s!r}; it is a number of seconds, 0 or more")
        if size < _ENOUGH:
            raise Misuse(f"a latency window of {size} holds too few: it answers from {_ENOUGH} observations on")
        self._prior_s = prior_s
        self._window: deque[float] = deque(maxlen=size)
        self._p95: float | None = None

    def observe(self, seconds: float) -> None:
        """An answer came after `seconds`. What is no duration (negative, NaN, infinite) is ignored."""
        if math.isfinite(seconds) and seconds >= 0:
            self._window.append(seconds)
            self._p95 = None

    def p95(self) -> float:
        """The latency that 95 % of the last answers did not exceed (nearest rank), or the prior."""
        if len(self._window) < _ENOUGH:
            return self._prior_s
        if self._p95 is None:
            ordered = sorted(self._window)
            self._p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
        return self._p95
