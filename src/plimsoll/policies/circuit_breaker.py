"""The circuit breaker: stops asking a dependency that fails, or has become too slow, and finds out when it is back.

    closed ──too many failed or slow──► open ──open_s later──► half_open ──probes succeeded──► closed
                                          ▲                        │
                                          └───── a probe failed ───┘          isolated: open, by an operator's word

https://martinfowler.com/bliki/CircuitBreaker.html; slow calls and isolation as in resilience4j and Polly.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from msgspec.structs import asdict

from plimsoll.contract.model import CircuitBreakerSection
from plimsoll.core.calls import Fault
from plimsoll.core.clock import Clock
from plimsoll.core.errors import CircuitOpen, Misuse

__all__ = ["Circuit", "CircuitBreaker", "CircuitChanged", "CircuitState", "Permit"]

_OURS = frozenset({Fault.CLIENT_ERROR, Fault.REFUSED})
"""Faults that tell nothing of the dependency's health: the request was wrong, or was answered with a no."""


class CircuitState(StrEnum):
    """Whether a dependency is asked: `closed` yes, `open` and `isolated` no, `half_open` by a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """When to stop asking, and when to begin again.

    Looked at are the last `window` calls (from 1) that ended within `window_s` seconds, once they are `min_calls`:
    agents make few calls, so a handful must do. It opens where the share of failed ones is `failure_ratio` or more, or
    that of slow ones `slow_ratio` or more (above 0, at most 1). A call is slow from `slow_s` seconds on, whatever came
    of it (None: none is). After `open_s` seconds so many `probes` are let through at a time; as many successes in a row
    close it, and the first failure opens it again. Raises `Misuse` for values that make no sense.
    """

    failure_ratio: float = 0.5
    slow_ratio: float = 0.8
    slow_s: float | None = None
    window: int = 20
    window_s: float = 60.0
    min_calls: int = 5
    open_s: float = 15.0
    probes: int = 1

    def __post_init__(self) -> None:
        for name in ("failure_ratio", "slow_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise Misuse(f"circuit_breaker.{name} is {getattr(self, name)!r}; it is a share above 0, at most 1")
        for name in ("slow_s", "window_s", "open_s"):
            seconds = getattr(self, name)
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise Misuse(f"circuit_breaker.{name} is {seconds!r}; it is a positive number of seconds")
        if not 1 <= self.min_calls <= self.window:
            text = f"min_calls is {self.min_calls!r} and window {self.window!r}"
            raise Misuse(f"circuit_breaker.{text}; at least 1 call, and no more than the window holds")
        if self.probes < 1:
            raise Misuse(f"circuit_breaker.probes is {self.probes!r}; without one it would stay open for ever")

    @classmethod
    def from_contract(cls, section: CircuitBreakerSection, *, slow_s: float) -> Self:
        """The policy that a contract describes for a dependency whose answers are slow from `slow_s` seconds on."""
        return cls(slow_s=slow_s, **asdict(section))


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """A circuit went from one state to another, at `at` seconds of its clock; `why` says it in words."""

    dependency: str
    before: CircuitState
    after: CircuitState
    at: float
    why: str


class Permit:
    """The leave to ask once. End it by one of its three methods, whatever happens; each further one does nothing."""

    __slots__ = ("_circuit", "_generation")

    def __init__(self, circuit: "Circuit", generation: int) -> None:
        self._circuit: Circuit | None = circuit
        self._generation = generation

    @property
    def holds(self) -> bool:
        """Whether the circuit is still in the state in which it gave this leave."""
        return self._circuit is not None and self._circuit._generation == self._generation

    def check(self) -> None:
        """Raises `CircuitOpen` where the circuit has changed since; nothing is to be sent then."""
        circuit = self._circuit
        if circuit is not None and not self.holds:
            raise CircuitOpen(circuit.dependency, state=circuit.state, retry_after_s=circuit.retry_after_s)

    def succeeded(self, duration_s: float) -> None:
        """An answer came after `duration_s` seconds."""
        self._end(duration_s, failed=False)

    def failed(self, fault: Fault, duration_s: float) -> None:
        """It failed by `fault` after `duration_s` seconds. What was our own mistake counts as an answer."""
        self._end(duration_s, failed=fault not in _OURS)

    def cancelled(self) -> None:
        """Nobody waited for the outcome: it tells nothing, and a probe's place is free again."""
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit._withdrawn(self._generation)

    def _end(self, duration_s: float, *, failed: bool) -> None:
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit._ended(self._generation, duration_s, failed)


class Circuit:
    """The state of one dependency's breaker. `on_change` is told of each change, after it was made."""

    __slots__ = (
        "_changed_at", "_clock", "_ended_at", "_failed", "_generation", "_on_change", "_probing", "_proven", "_slow",
        "_state", "dependency", "policy",
    )  # fmt: skip

    def __init__(
        self,
        policy: CircuitBreaker,
        *,
        dependency: str,
        clock: Clock,
        on_change: Callable[[CircuitChanged], None] | None = None,
    ) -> None:
        self.policy = policy
        self.dependency = dependency
        self._clock = clock
        self._on_change = on_change
        self._state = CircuitState.CLOSED
        self._changed_at = clock.monotonic()
        self._generation = 0  # a permit of an earlier one says nothing of this state
        self._ended_at: deque[tuple[float, bool, bool]] = deque()  # when a call ended, and whether it failed, was slow
        self._failed = 0
        self._slow = 0
        self._probing = 0
        self._proven = 0

    @property
    def state(self) -> CircuitState:
        """What it is now. Open turns half-open by the next call, not by itself."""
        return self._state

    @property
    def failure_ratio(self) -> float:
        """The share of the calls in the window that failed; 0 where it is empty."""
        return self._failed / len(self._ended_at) if self._ended_at else 0.0

    @property
    def retry_after_s(self) -> float:
        """Seconds until a probe may pass: 0 where a call may pass, infinite while it is isolated."""
        match self._state:
            case CircuitState.OPEN:
                return max(0.0, self._changed_at + self.policy.open_s - self._clock.monotonic())
            case CircuitState.ISOLATED:
                return math.inf
            case _:
                return 0.0

    def admit(self) -> Permit:
        """Leave to ask. Raises `CircuitOpen`; nothing is to be sent then."""
        if self._state is CircuitState.CLOSED:
            return Permit(self, self._generation)
        if self._state is CircuitState.OPEN and self.retry_after_s <= 0:
            self._become(CircuitState.HALF_OPEN, f"{self.policy.open_s:g} s have passed")
        if self._state is not CircuitState.HALF_OPEN or self._probing >= self.policy.probes:
            raise CircuitOpen(self.dependency, state=self._state, retry_after_s=self.retry_after_s)
        self._probing += 1
        return Permit(self, self._generation)

    def isolate(self, why: str = "an operator said so") -> None:
        """Opens it until `restore` is called."""
        if self._state is not CircuitState.ISOLATED:
            self._become(CircuitState.ISOLATED, why)

    def restore(self, why: str = "an operator said so") -> None:
        """Ends an isolation: the next calls are probes. Where it is not isolated, nothing changes."""
        if self._state is CircuitState.ISOLATED:
            self._become(CircuitState.HALF_OPEN, why)

    def _ended(self, generation: int, duration_s: float, failed: bool) -> None:
        if generation != self._generation:
            return
        slow = self.policy.slow_s is not None and duration_s >= self.policy.slow_s
        if self._state is CircuitState.HALF_OPEN:
            self._probed(failed, slow)
        else:
            self._counted(failed, slow)

    def _withdrawn(self, generation: int) -> None:
        if generation == self._generation and self._state is CircuitState.HALF_OPEN:
            self._probing -= 1

    def _probed(self, failed: bool, slow: bool) -> None:
        self._probing -= 1
        if failed or slow:
            self._become(CircuitState.OPEN, f"a probe {'failed' if failed else 'was slow'}")
            return
        self._proven += 1
        if self._proven >= self.policy.probes:
            self._become(CircuitState.CLOSED, f"{self._proven} probe(s) succeeded")

    def _counted(self, failed: bool, slow: bool) -> None:
        now, policy, ended = self._clock.monotonic(), self.policy, self._ended_at
        while ended and (len(ended) >= policy.window or ended[0][0] <= now - policy.window_s):
            _, was_failed, was_slow = ended.popleft()
            self._failed -= was_failed
            self._slow -= was_slow
        ended.append((now, failed, slow))
        self._failed += failed
        self._slow += slow
        if not (failed or slow) or len(ended) < policy.min_calls:
            return
        for share, most, what in (
            (self._failed / len(ended), policy.failure_ratio, "failed"),
            (self._slow / len(ended), policy.slow_ratio, "were slow"),
        ):
            if share >= most:
                self._become(CircuitState.OPEN, f"{share:.0%} of the last {len(ended)} calls {what}")
                return

    def _become(self, state: CircuitState, why: str) -> None:
        before, self._state = self._state, state
        self._changed_at = self._clock.monotonic()
        self._generation += 1
        self._ended_at.clear()
        self._failed = self._slow = self._probing = self._proven = 0
        if self._on_change is not None:
            self._on_change(CircuitChanged(self.dependency, before, state, self._changed_at, why))
