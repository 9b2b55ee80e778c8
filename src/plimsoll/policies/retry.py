"""Retries: exponential backoff with full jitter, and a budget that stops them when most calls fail.

https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/ and gRFC A6,
https://github.com/grpc/proposal/blob/master/A6-client-retries.md#throttling-retry-attempts-and-hedged-rpcs
"""

import math
from dataclasses import dataclass
from typing import Self

from plimsoll.contract.model import Retry
from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse
from plimsoll.core.rng import Rng

__all__ = ["RetryBudget", "RetryPolicy"]

_MAX_DOUBLINGS = 60
_MILLI = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Which faults are worth another try, how often, and how long to wait in between.

    `on` has no default. `max_attempts` counts the first call. `base_s` and `cap_s` are seconds. Raises `Misuse` for
    values that make no sense.
    """

    on: tuple[Fault, ...]
    max_attempts: int = 3
    base_s: float = 0.5
    cap_s: float = 8.0

    def __post_init__(self) -> None:
        for fault in self.on:
            if not isinstance(fault, Fault):
                raise Misuse(f"retry.on: {fault!r} is no fault; there are {', '.join(Fault)}")
        if self.max_attempts < 1:
            raise Misuse(f"retry.max_attempts is {self.max_attempts!r}; it counts the first call, so at least 1")
        for name in ("base_s", "cap_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds > 0):
                raise Misuse(f"retry.{name} is {seconds!r}; it is a positive number of seconds")

    @classmethod
    def from_contract(cls, retry: Retry) -> Self:
        """The policy that a contract's `retry` section describes."""
        return cls(on=retry.on, max_attempts=retry.max_attempts, base_s=retry.base_s, cap_s=retry.cap_s)

    def retries(self, fault: Fault, attempt: int) -> bool:
        """Whether attempt number `attempt` (from 1), which failed by `fault`, may be followed by another."""
        return attempt < self.max_attempts and fault in self.on

    def delay_s(self, attempt: int, *, rng: Rng, retry_after_s: float | None = None) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) failed.

        Uniform in [0, min(cap_s, base_s * 2**(attempt-1))], and never less than `retry_after_s`, which is not capped:
        a dependency that asks for an hour is not asked again in 8 s. The caller compares the wait with what is left.
        """
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
        delay = rng.uniform(0.0, ceiling)
        if retry_after_s is not None and retry_after_s > delay:
            return retry_after_s
        return delay


class RetryBudget:
    """The state behind retries: one token bucket per dependency, as in gRPC.

    It starts full with `capacity` tokens. A failed attempt takes 1, one that succeeded gives 0.1 back, and at half or
    below nothing is retried any more. Counted in thousandths, so that it is exact.
    """

    __slots__ = ("_capacity", "_tokens")

    def __init__(self, capacity: float = 10.0) -> None:
        if not (math.isfinite(capacity) and capacity > 0):
            raise Misuse(f"a retry budget's capacity is {capacity!r}; it is a positive number of tokens")
        self._capacity = max(1, round(capacity * _MILLI))
        self._tokens = self._capacity

    @property
    def tokens(self) -> float:
        """What is left, between 0 and the capacity."""
        return self._tokens / _MILLI

    def failed(self) -> None:
        """An attempt failed."""
        self._tokens = max(0, self._tokens - _MILLI)

    def succeeded(self) -> None:
        """An attempt succeeded."""
        if self._tokens < self._capacity:
            self._tokens = min(self._capacity, self._tokens + _MILLI // 10)

    def allows(self) -> bool:
        """Whether a retry may be made: more than half of the tokens are left."""
        return 2 * self._tokens > self._capacity
