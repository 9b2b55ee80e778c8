"""Admission: circuit breaker, rate limit and bulkhead of one dependency, in this order. Each attempt passes all three.

What is refused by any of them does not use up the rate; what has to wait for its rate takes no place meanwhile.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from plimsoll.core.calls import Fault
from plimsoll.core.clock import Clock
from plimsoll.core.criticality import Criticality
from plimsoll.core.errors import CircuitOpen, RateLimited, Rejected, Shed
from plimsoll.policies.bulkhead import Bulkhead, Compartment
from plimsoll.policies.circuit_breaker import Circuit, CircuitBreaker, CircuitChanged, CircuitState, Permit
from plimsoll.policies.rate_limit import Booking, RateLimit, Throttle

__all__ = ["Admission", "Admitted", "Protected"]


_Told = Callable[[Rejected], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What one dependency is protected by; None: not by that. Those in `observed` refuse nothing."""

    circuit_breaker: CircuitBreaker | None = None
    rate_limit: RateLimit | None = None
    bulkhead: Bulkhead | None = None
    observed: frozenset[str] = frozenset()
    """Names of the fields above."""


class Admission:
    """The state of one dependency's breaker, rate limit and bulkhead.

    `on_change` is told how its circuit changes.
    """

    __slots__ = ("_observed", "circuit", "compartment", "dependency", "throttle")

    def __init__(
        self,
        protected: Protected,
        *,
        dependency: str,
        clock: Clock,
        on_change: Callable[[CircuitChanged], None] | None = None,
    ) -> None:
        breaker, limit, bulkhead = protected.circuit_breaker, protected.rate_limit, protected.bulkhead
        self.dependency = dependency
        self.circuit = (
            None if breaker is None else Circuit(breaker, dependency=dependency, clock=clock, on_change=on_change)
        )
        self.throttle = None if limit is None else Throttle(limit, dependency=dependency, clock=clock)
        self.compartment = None if bulkhead is None else Compartment(bulkhead, dependency=dependency)
        self._observed = protected.observed

    @property
    def is_free(self) -> bool:
        """Whether the circuit is closed, and there is room: what may be left undone, as a second attempt, asks that."""
        circuit, compartment = self.circuit, self.compartment
        return (circuit is None or circuit.state is CircuitState.CLOSED) and (
            compartment is None or not compartment.is_full
        )

    async def enter(
        self,
        *,
        criticality: Criticality = Criticality.DEFAULT,
        tokens: int = 0,
        at_most_s: float = math.inf,
        would_refuse: Callable[[Rejected], None] = lambda refusal: None,
    ) -> "Admitted":
        """Leave for one attempt, of so many tokens, once it is its turn; it may be held back for `at_most_s` seconds.

        Whoever has it has to end it. A circuit that opens while it waits refuses it all the same. `would_refuse` is
        told what a protection that only observes would have refused, or held back. Raises `CircuitOpen`, `RateLimited`
        or `Shed`; nothing is to be sent then.
        """
        permit = None if self.circuit is None else self._permit(self.circuit, would_refuse)
        place: Compartment | None = None
        booking = None
        try:
            if self.throttle is not None:
                booking = await self._held_back(self.throttle, tokens, at_most_s, would_refuse)
                at_most_s -= booking.in_s
            if self.compartment is not None:
                await self._let_in(self.compartment, criticality, at_most_s, would_refuse)
                place = self.compartment
            if self.circuit is not None and permit is not None and not permit.holds:  # it has opened meanwhile
                permit = self._permit(self.circuit, would_refuse)
        except BaseException:
            Admitted(permit, place).cancelled()
            if self.throttle is not None and booking is not None:
                self.throttle.give_back(booking)
            raise
        return Admitted(permit, place)

    def check(self, admitted: "Admitted") -> None:
        """Raises `CircuitOpen` where the circuit has changed since this leave was given; nothing is to be sent then."""
        if admitted.permit is not None and "circuit_breaker" not in self._observed:
            admitted.permit.check()

    def _permit(self, circuit: Circuit, would_refuse: _Told) -> Permit | None:
        try:
            return circuit.admit()
        except CircuitOpen as refusal:
            if "circuit_breaker" not in self._observed:
                raise
            would_refuse(refusal)
            return None

    async def _held_back(self, throttle: Throttle, tokens: int, at_most_s: float, would_refuse: _Told) -> Booking:
        if "rate_limit" not in self._observed:
            return await throttle.admit(tokens=tokens, at_most_s=at_most_s)
        wait_s = throttle.wait_s(tokens=tokens)
        if wait_s <= 0:
            return throttle.book(tokens=tokens)
        would_refuse(RateLimited(self.dependency, retry_after_s=wait_s))
        if wait_s > min(throttle.policy.max_wait_s, at_most_s):
            return Booking(0.0, None, None)  # it would have been refused, and have used up nothing
        return replace(throttle.book(tokens=tokens, in_s=wait_s), in_s=0.0)

    async def _let_in(
        self, compartment: Compartment, criticality: Criticality, at_most_s: float, would_refuse: _Told
    ) -> None:
        if "bulkhead" not in self._observed:
            await compartment.enter(criticality, at_most_s=at_most_s)
            return
        if compartment.inside >= compartment.policy.max_concurrent + compartment.policy.max_queue:
            would_refuse(Shed(self.dependency, why=f"{compartment.inside} calls are under way"))
        compartment.inside += 1


class Admitted:
    """The leave for one attempt. Whatever happens, end it by one of its three methods; a second does nothing."""

    __slots__ = ("_compartment", "permit")

    def __init__(self, permit: Permit | None, compartment: Compartment | None) -> None:
        self.permit = permit
        self._compartment = compartment

    def succeeded(self, duration_s: float) -> None:
        """An answer came after `duration_s` seconds."""
        self._leave()
        if self.permit is not None:
            self.permit.succeeded(duration_s)

    def failed(self, fault: Fault, duration_s: float) -> None:
        """It failed by `fault` after `duration_s` seconds."""
        self._leave()
        if self.permit is not None:
            self.permit.failed(fault, duration_s)

    def cancelled(self) -> None:
        """Nobody waited for the outcome."""
        self._leave()
        if self.permit is not None:
            self.permit.cancelled()

    def _leave(self) -> None:
        compartment, self._compartment = self._compartment, None
        if compartment is not None:
            compartment.leave()
