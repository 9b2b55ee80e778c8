"""The rate limit: no more calls, or tokens, in a minute than the dependency allows us, so that it need not refuse any.

The generic cell rate algorithm, https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm: one number says until when
what was let pass fills the rate.
"""

import math
from dataclasses import dataclass
from typing import Self

from msgspec.structs import asdict

from plimsoll.contract.model import RateLimitSection
from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse, RateLimited

__all__ = ["Booking", "RateLimit", "Throttle"]

_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most so many calls, and so many tokens, a minute (None: as many as one likes; at least 1 of either).

    `burst_s` is how many seconds' worth may pass at once after a pause; one call may be more, and then passes alone.
    `max_wait_s` is how long a call may be held back, in seconds; one that would have to wait for longer is refused.
    Raises `Misuse` for values that make no sense.
    """

    calls_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst_s: float = 10.0
    max_wait_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("calls_per_minute", "tokens_per_minute"):
            rate = getattr(self, name)
            if rate is not None and not (math.isfinite(rate) and rate >= 1):
                raise Misuse(f"rate_limit.{name} is {rate!r}; it is a number, at least 1")
        if self.calls_per_minute is None and self.tokens_per_minute is None:
            raise Misuse("rate_limit limits nothing: give it calls_per_minute or tokens_per_minute")
        for name in ("burst_s", "max_wait_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds >= 0):
                raise Misuse(f"rate_limit.{name} is {seconds!r}; it is a number of seconds, 0 or more")

    @classmethod
    def from_contract(cls, section: RateLimitSection) -> Self:
        """The policy that a contract describes."""
        return cls(**asdict(section))


class _Cell:
    """One rate: when all that has passed will have been made up for."""

    __slots__ = ("_burst_s", "_full_at", "_seconds_each")

    def __init__(self, per_minute: float, burst_s: float, now: float) -> None:
        self._seconds_each = _MINUTE_S / per_minute
        self._burst_s = max(burst_s, self._seconds_each)
        self._full_at = now

    def wait_s(self, cost: float, now: float) -> float:
        """Seconds until so much may pass. More at once than a burst holds waits until nothing else is on its way; what
        costs nothing does not wait."""
        if not cost:
            return 0.0
        needed = min(cost * self._seconds_each, self._burst_s)
        return max(0.0, max(self._full_at, now) + needed - self._burst_s - now)

    def take(self, cost: float, at: float) -> "_Taken":
        """Books so much for the time `at`."""
        before = self._full_at
        if cost:
            self._full_at = max(before, at) + cost * self._seconds_each
        return before, self._full_at

    def give_back(self, taken: "_Taken") -> None:
        """Where others have been booked behind it, its room stays empty: they were told when to pass."""
        before, after = taken
        if self._full_at == after:
            self._full_at = before


_Taken = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Booking:
    """What one call has taken of a throttle. `in_s` is in how many seconds, from then, it may pass."""

    in_s: float
    calls: _Taken | None
    tokens: _Taken | None


class Throttle:
    """The state of one dependency's rate limit."""

    __slots__ = ("_calls", "_clock", "_dependency", "_tokens", "policy")

    def __init__(self, policy: RateLimit, *, dependency: str, clock: Clock) -> None:
        now = clock.monotonic()
        self.policy = policy
        self._dependency = dependency
        self._clock = clock
        self._calls = _cell(policy.calls_per_minute, policy.burst_s, now)
        self._tokens = _cell(policy.tokens_per_minute, policy.burst_s, now)

    def wait_s(self, *, tokens: int = 0) -> float:
        """Seconds that a call with so many tokens (0 or more) would have to wait now."""
        if tokens < 0:
            raise Misuse(f"a call with {tokens!r} tokens; it has 0 of them or more")
        now = self._clock.monotonic()
        calls_s = 0.0 if self._calls is None else self._calls.wait_s(1, now)
        tokens_s = 0.0 if self._tokens is None else self._tokens.wait_s(tokens, now)
        return max(calls_s, tokens_s)

    async def admit(self, *, tokens: int = 0, at_most_s: float = math.inf) -> Booking:
        """Books a call with so many tokens, and waits until it may pass.

        Raises `RateLimited` at once where that takes longer than the policy's `max_wait_s` or `at_most_s`. Cancelled
        while it waits, it gives back what it booked.
        """
        wait_s = self.wait_s(tokens=tokens)
        if wait_s > min(self.policy.max_wait_s, at_most_s):
            raise RateLimited(self._dependency, retry_after_s=wait_s)
        booking = self.book(tokens=tokens, in_s=wait_s)
        if wait_s > 0:
            try:
                await self._clock.sleep(wait_s)
            except BaseException:
                self.give_back(booking)
                raise
        return booking

    def book(self, *, tokens: int = 0, in_s: float = 0.0) -> Booking:
        """A call with so many tokens is made `in_s` seconds from now, whatever the limit says."""
        at = self._clock.monotonic() + in_s
        calls = None if self._calls is None else self._calls.take(1, at)
        return Booking(in_s, calls, None if self._tokens is None else self._tokens.take(tokens, at))

    def give_back(self, booking: Booking) -> None:
        """A call that was booked was not made. Its room is free again, unless another was booked behind it."""
        if self._calls is not None and booking.calls is not None:
            self._calls.give_back(booking.calls)
        if self._tokens is not None and booking.tokens is not None:
            self._tokens.give_back(booking.tokens)


def _cell(per_minute: float | None, burst_s: float, now: float) -> _Cell | None:
    return None if per_minute is None else _Cell(per_minute, burst_s, now)
