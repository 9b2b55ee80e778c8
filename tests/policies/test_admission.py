"""Admission: breaker, rate limit and bulkhead one after the other; what one refuses costs the others nothing."""

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest

from plimsoll.core.calls import Fault
from plimsoll.core.clock import LoopClock
from plimsoll.core.criticality import Criticality
from plimsoll.core.errors import CircuitOpen, RateLimited, Rejected, Shed
from plimsoll.policies.admission import Admission, Admitted, Protected
from plimsoll.policies.bulkhead import Bulkhead
from plimsoll.policies.circuit_breaker import CircuitBreaker, CircuitChanged, CircuitState
from plimsoll.policies.rate_limit import RateLimit
from tests.policies.playing import now_s, pause, played, turns

BREAKER = CircuitBreaker(window=1, min_calls=1, open_s=15.0)
ALL = frozenset({"circuit_breaker", "rate_limit", "bulkhead"})


def admission(*, on_change: Any = None, **protected: Any) -> Admission:
    return Admission(Protected(**protected), dependency="search", clock=LoopClock(), on_change=on_change)


def test_what_is_protected_by_nothing_passes() -> None:
    async def main() -> None:
        nothing = admission()
        for end in ("succeeded", "failed", "cancelled"):
            admitted = await nothing.enter(tokens=10**9)
            getattr(admitted, end)(*{"succeeded": (1.0,), "failed": (Fault.TIMEOUT, 1.0)}.get(end, ()))

    played(main)


def opened(**protected: Any) -> Admission:
    made = admission(circuit_breaker=BREAKER, **protected)
    assert made.circuit is not None
    made.circuit.admit().failed(Fault.TIMEOUT, 1.0)
    return made


def test_what_the_breaker_refuses_uses_up_no_rate_and_takes_no_place() -> None:
    async def main() -> None:
        made = opened(rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0), bulkhead=Bulkhead(max_concurrent=1))
        assert made.throttle is not None and made.compartment is not None
        with pytest.raises(CircuitOpen):
            await made.enter()
        assert made.throttle.wait_s() == 0.0
        assert made.compartment.inside == 0

    played(main)


def test_what_the_rate_limit_refuses_leaves_its_probe_to_another() -> None:
    async def main() -> None:
        made = opened(rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0, max_wait_s=0.0))
        assert made.throttle is not None and made.circuit is not None
        await pause(15.0)
        booking = made.throttle.book()
        with pytest.raises(RateLimited):
            await made.enter()
        made.throttle.give_back(booking)
        (await made.enter()).succeeded(0.1)
        assert made.circuit.state is CircuitState.CLOSED

    played(main)


def test_what_is_shed_leaves_its_probe_and_its_rate_to_another() -> None:
    """What was shed had used up the rate, so that under load nothing passed at all."""

    async def main() -> None:
        limit = RateLimit(calls_per_minute=60, burst_s=1.0)
        made = opened(rate_limit=limit, bulkhead=Bulkhead(max_concurrent=1))
        assert made.circuit is not None and made.compartment is not None and made.throttle is not None
        await pause(15.0)
        await made.compartment.enter()
        for _ in range(3):
            with pytest.raises(Shed):
                await made.enter()
        made.compartment.leave()
        assert made.throttle.wait_s() == 0.0
        (await made.enter()).succeeded(0.1)
        assert made.circuit.state is CircuitState.CLOSED

    played(main)


@pytest.mark.parametrize("stage", ["rate", "queue"])
def test_what_waited_is_not_sent_where_the_circuit_has_opened_meanwhile(stage: str) -> None:
    """A queue of calls that had been let through was sent, one after the other, to what was known to be down."""

    async def main() -> None:
        made = admission(
            circuit_breaker=BREAKER,
            rate_limit=RateLimit(calls_per_minute=60, burst_s=2.0),
            bulkhead=Bulkhead(max_concurrent=1, max_queue=1),
        )
        assert made.circuit is not None and made.compartment is not None and made.throttle is not None
        first = await made.enter()
        if stage == "rate":
            made.throttle.book()
        waits = asyncio.ensure_future(made.enter())
        await turns(2)
        first.failed(Fault.TIMEOUT, 0.1)
        with pytest.raises(CircuitOpen):
            await waits
        assert (made.compartment.inside, made.compartment.waiting) == (0, 0)
        assert made.throttle.wait_s() == 0.0  # and what it had booked is free again
        await pause(15.0)
        (await made.enter()).succeeded(0.1)
        assert made.circuit.state is CircuitState.CLOSED

    played(main)


def test_what_waited_until_the_dependency_may_be_back_is_a_probe() -> None:
    async def main() -> None:
        made = admission(circuit_breaker=BREAKER, bulkhead=Bulkhead(max_concurrent=2, max_queue=2, max_wait_s=60.0))
        assert made.circuit is not None
        first, other = await made.enter(), await made.enter()
        waits = asyncio.ensure_future(made.enter())
        await turns(2)
        made.circuit.isolate()
        made.circuit.restore()
        first.cancelled()
        probe = await waits
        with pytest.raises(CircuitOpen):  # it is the one that may pass
            await made.enter()
        other.cancelled()
        probe.succeeded(0.1)
        assert made.circuit.state is CircuitState.CLOSED

    played(main)


def test_what_waits_for_its_rate_takes_no_place_meanwhile() -> None:
    async def main() -> tuple[float, int]:
        made = admission(rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0), bulkhead=Bulkhead(max_concurrent=1))
        assert made.compartment is not None
        (await made.enter()).succeeded(0.1)
        waits = asyncio.ensure_future(made.enter())
        await pause(0.5)
        inside = made.compartment.inside
        (await waits).succeeded(0.1)
        return now_s(), inside

    assert played(main) == (1.0, 0)


@pytest.mark.parametrize("stage", ["rate", "queue"])
def test_cancelled_while_it_waits_it_leaves_nothing_behind(stage: str) -> None:
    async def main() -> None:
        made = opened(
            rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0), bulkhead=Bulkhead(max_concurrent=1, max_queue=1)
        )
        assert made.circuit is not None and made.compartment is not None and made.throttle is not None
        await pause(15.0)
        await made.compartment.enter()
        if stage == "rate":
            made.throttle.book()
        waits = asyncio.ensure_future(made.enter())
        await turns(2)
        assert made.compartment.waiting == (stage == "queue")
        waits.cancel()
        await asyncio.wait([waits])
        made.compartment.leave()
        assert (made.compartment.inside, made.compartment.waiting) == (0, 0)
        assert made.throttle.wait_s() == (1.0 if stage == "rate" else 0.0)
        (await made.enter()).succeeded(0.1)
        assert made.circuit.state is CircuitState.CLOSED

    played(main)


def test_its_time_is_for_all_of_its_waiting() -> None:
    """It was for each of the two, so that a call could be held back for twice as long."""

    async def main() -> float:
        made = admission(
            rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0),
            bulkhead=Bulkhead(max_concurrent=1, max_queue=9),
        )
        await made.enter()
        with pytest.raises(RateLimited):
            await made.enter(at_most_s=0.9)
        with pytest.raises(Shed, match=r"waited for 0\.5 s"):
            await made.enter(at_most_s=1.5)
        return now_s()

    assert played(main) == 1.5


def test_its_criticality_and_its_tokens_are_those_of_the_call() -> None:
    async def main() -> None:
        made = admission(
            rate_limit=RateLimit(tokens_per_minute=60, burst_s=10.0),
            bulkhead=Bulkhead(max_concurrent=1, max_queue=1),
        )
        assert made.throttle is not None
        first = await made.enter(tokens=4)
        assert made.throttle.wait_s(tokens=7) == 1.0
        waits = asyncio.ensure_future(made.enter(criticality=Criticality.SHEDDABLE))
        await turns(2)
        more = asyncio.ensure_future(made.enter(criticality=Criticality.CRITICAL))
        await turns(2)
        assert isinstance(waits.exception(), Shed)
        first.cancelled()
        (await more).cancelled()

    played(main)


def ends(admitted: Admitted, how: str) -> None:
    if how == "succeeded":
        admitted.succeeded(0.1)
    elif how == "failed":
        admitted.failed(Fault.TIMEOUT, 0.1)
    else:
        admitted.cancelled()


@pytest.mark.parametrize("again", ["succeeded", "failed", "cancelled"])
@pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled"])
def test_it_ends_once(how: str, again: str) -> None:
    async def main() -> tuple[int, CircuitState]:
        made = admission(circuit_breaker=BREAKER, bulkhead=Bulkhead(max_concurrent=2))
        assert made.compartment is not None and made.circuit is not None
        admitted, _ = await made.enter(), await made.enter()
        ends(admitted, how)
        ends(admitted, again)
        return made.compartment.inside, made.circuit.state

    assert played(main) == (1, CircuitState.OPEN if how == "failed" else CircuitState.CLOSED)


def test_whoever_is_told_of_a_change_and_fails_costs_no_place() -> None:
    def fails(change: CircuitChanged) -> None:
        raise ValueError("the listener is broken")

    async def main() -> int:
        made = admission(circuit_breaker=BREAKER, bulkhead=Bulkhead(max_concurrent=1), on_change=fails)
        assert made.compartment is not None
        admitted = await made.enter()
        with pytest.raises(ValueError, match="the listener is broken"):
            admitted.failed(Fault.TIMEOUT, 0.1)
        return made.compartment.inside

    assert played(main) == 0


def test_what_failed_by_our_own_mistake_is_none_of_the_dependencys() -> None:
    async def main() -> CircuitState:
        made = admission(circuit_breaker=BREAKER)
        assert made.circuit is not None
        (await made.enter()).failed(Fault.CLIENT_ERROR, 0.1)
        return made.circuit.state

    assert played(main) is CircuitState.CLOSED


def test_a_refusal_names_the_dependency() -> None:
    async def main() -> None:
        made = admission(rate_limit=RateLimit(calls_per_minute=1, burst_s=0.0, max_wait_s=0.0))
        await made.enter()
        with pytest.raises(RateLimited, match="search was not asked"):
            await made.enter()

    played(main)


# --------------------------------------------------------------------------------------------------------- observed


def test_what_only_observes_refuses_nothing_and_tells_what_it_would_have() -> None:
    told: list[Rejected] = []

    async def main() -> int:
        made = opened(
            rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0),
            bulkhead=Bulkhead(max_concurrent=1),
            observed=ALL,
        )
        assert made.compartment is not None
        one = await made.enter(would_refuse=told.append)
        other = await made.enter(would_refuse=told.append)
        assert now_s() == 0.0
        one.succeeded(0.1)
        other.failed(Fault.TIMEOUT, 0.1)
        return made.compartment.inside

    assert played(main) == 0
    assert [str(one).removeprefix("search was not asked: ") for one in told] == [
        "its circuit is open for 15 s more",
        "its circuit is open for 15 s more",
        "its rate limit lets the call pass in 1 s",
        "1 calls are under way",
    ]


def test_what_observes_needs_nobody_to_tell() -> None:
    async def main() -> None:
        await opened(observed=ALL).enter()

    played(main)


@pytest.mark.parametrize("observed", sorted(ALL))
def test_each_observes_by_itself(observed: str) -> None:
    async def main() -> str:
        made = opened(
            rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0, max_wait_s=0.0),
            bulkhead=Bulkhead(max_concurrent=1),
            observed=frozenset({observed}),
        )
        assert made.throttle is not None and made.compartment is not None and made.circuit is not None
        if observed != "circuit_breaker":
            made.circuit.isolate()
        with pytest.raises(Rejected) as caught:
            for _ in range(2):
                await made.enter()
        return type(caught.value).__name__

    assert played(main) == ("RateLimited" if observed == "circuit_breaker" else "CircuitOpen")


def test_an_observed_breaker_still_learns_when_the_dependency_is_back() -> None:
    async def main() -> CircuitState:
        made = opened(observed=ALL)
        assert made.circuit is not None
        (await made.enter()).succeeded(0.1)  # it was let through, and is no probe
        assert made.circuit.state is CircuitState.OPEN
        await pause(15.0)
        (await made.enter()).succeeded(0.1)
        return made.circuit.state

    assert played(main) is CircuitState.CLOSED


def test_whoever_is_told_of_what_would_be_refused_and_fails_costs_no_place() -> None:
    def fails(refusal: Rejected) -> None:
        raise ValueError("the listener is broken")

    async def main() -> int:
        made = admission(bulkhead=Bulkhead(max_concurrent=1), observed=ALL)
        assert made.compartment is not None
        await made.enter()
        with pytest.raises(ValueError, match="the listener is broken"):
            await made.enter(would_refuse=fails)
        return made.compartment.inside

    assert played(main) == 1


@pytest.mark.parametrize(("observed", "refused"), [(frozenset(), True), (ALL, False)])
def test_a_leave_is_none_any_more_where_the_circuit_was_isolated_since(observed: frozenset[str], refused: bool) -> None:
    async def main() -> None:
        made = admission(circuit_breaker=BREAKER, bulkhead=Bulkhead(max_concurrent=1), observed=observed)
        assert made.circuit is not None
        admitted = await made.enter()
        made.check(admitted)
        made.circuit.isolate()
        with pytest.raises(CircuitOpen) if refused else nullcontext():
            made.check(admitted)
        admitted.cancelled()
        made.check(admitted)  # it has ended, and sends nothing

    played(main)


def test_where_no_circuit_is_every_leave_holds() -> None:
    async def main() -> None:
        made = admission(bulkhead=Bulkhead(max_concurrent=1))
        made.check(await made.enter())

    played(main)


def test_a_rate_limit_that_observes_books_only_what_it_would_have_let_pass() -> None:
    """What it would have refused was booked as well, so that it went on telling long after all was well."""
    told: list[Rejected] = []

    async def main() -> None:
        made = admission(rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0, max_wait_s=2.0), observed=ALL)
        assert made.throttle is not None
        for _ in range(100):
            (await made.enter(would_refuse=told.append)).succeeded(0.1)
        assert len(told) == 99
        assert made.throttle.wait_s() == 3.0  # the first, and the two that it would have held back
        await pause(3.0)
        (await made.enter(would_refuse=told.append)).succeeded(0.1)
        assert len(told) == 99

    played(main)


def test_a_rate_limit_that_observes_counts_tokens_as_well() -> None:
    async def main() -> None:
        limit = RateLimit(tokens_per_minute=6000, burst_s=1.0, max_wait_s=2.0)
        made = admission(rate_limit=limit, observed=ALL)
        assert made.throttle is not None
        (await made.enter(tokens=100)).succeeded(0.1)
        assert made.throttle.wait_s(tokens=100) == 1.0  # what passed at once
        (await made.enter(tokens=50)).succeeded(0.1)
        assert made.throttle.wait_s(tokens=100) == 1.5  # what it would have held back

    played(main)


def test_a_rate_limit_that_observes_takes_none_of_the_time_to_wait() -> None:
    async def main() -> float:
        made = admission(
            rate_limit=RateLimit(calls_per_minute=60, burst_s=1.0),
            bulkhead=Bulkhead(max_concurrent=1, max_queue=1),
            observed=frozenset({"rate_limit"}),
        )
        await made.enter()
        with pytest.raises(Shed):
            await made.enter(at_most_s=1.5)
        return now_s()

    assert played(main) == 1.5


def test_a_bulkhead_that_observes_tells_of_none_that_would_have_found_room_in_the_queue() -> None:
    told: list[Rejected] = []

    async def main() -> None:
        made = admission(bulkhead=Bulkhead(max_concurrent=1, max_queue=2), observed=ALL)
        for _ in range(4):
            await made.enter(would_refuse=told.append)

    played(main)
    assert [str(one) for one in told] == ["search was not asked: 3 calls are under way"]
