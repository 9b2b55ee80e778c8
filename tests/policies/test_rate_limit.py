"""The rate limit: what passes at once, what waits, what is refused; and that no window ever holds too much."""

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import RateLimitSection
from plimsoll.core.clock import LoopClock, ManualClock
from plimsoll.core.errors import Misuse, RateLimited
from plimsoll.policies.rate_limit import RateLimit, Throttle
from tests.policies.playing import now_s, pause, played, turns


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"calls_per_minute": 0.99}, "calls_per_minute"),
        ({"calls_per_minute": math.inf}, "calls_per_minute"),
        ({"calls_per_minute": math.nan}, "calls_per_minute"),
        ({"tokens_per_minute": 0}, "tokens_per_minute"),
        ({"tokens_per_minute": -5.0}, "tokens_per_minute"),
        ({"calls_per_minute": None}, " limits nothing"),
        ({"burst_s": -1.0}, "burst_s"),
        ({"burst_s": math.inf}, "burst_s"),
        ({"max_wait_s": -0.1}, "max_wait_s"),
        ({"max_wait_s": math.nan}, "max_wait_s"),
    ],
)
def test_nonsense_is_refused_when_built(changed: dict[str, Any], names: str) -> None:
    with pytest.raises(Misuse, match=f"rate_limit.?{names}"):
        RateLimit(**{"calls_per_minute": 60} | changed)


def test_it_is_what_the_contract_says() -> None:
    section = RateLimitSection(calls_per_minute=30, burst_s=1.0)
    assert RateLimit.from_contract(section) == RateLimit(calls_per_minute=30, burst_s=1.0)


def test_the_bounds_themselves_are_allowed() -> None:
    RateLimit(calls_per_minute=1, burst_s=0.0, max_wait_s=0.0)
    RateLimit(tokens_per_minute=1)


def throttle(clock: Any = None, **policy: Any) -> Throttle:
    return Throttle(RateLimit(**policy), dependency="search", clock=clock or ManualClock())


def passes(limit: Throttle, count: int, *, tokens: int = 0) -> list[float]:
    """When each of so many calls, made at once, may pass."""
    waits = []
    for _ in range(count):
        waits.append(limit.wait_s(tokens=tokens))
        limit.book(tokens=tokens, in_s=waits[-1])
    return waits


def test_a_burst_passes_at_once_and_then_one_after_the_other() -> None:
    assert passes(throttle(calls_per_minute=60, burst_s=3.0), 6) == [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]


def test_one_call_always_is_a_burst() -> None:
    assert passes(throttle(calls_per_minute=6, burst_s=0.0), 3) == [0.0, 10.0, 20.0]


def test_a_pause_makes_up_for_no_more_than_a_burst() -> None:
    clock = ManualClock()
    limit = throttle(clock, calls_per_minute=60, burst_s=2.0)
    passes(limit, 2)
    clock.advance(1.0)
    assert passes(limit, 1) == [0.0]
    clock.advance(3600.0)
    assert passes(limit, 3) == [0.0, 0.0, 1.0]


def test_tokens_have_a_rate_of_their_own() -> None:
    limit = throttle(calls_per_minute=6000, tokens_per_minute=600, burst_s=10.0)
    assert passes(limit, 4, tokens=50) == [0.0, 0.0, 5.0, 10.0]


def test_a_call_without_tokens_is_no_matter_of_tokens() -> None:
    async def main() -> float:
        limit = throttle(LoopClock(), tokens_per_minute=60, burst_s=1.0)
        limit.book()
        await limit.admit()
        assert limit.wait_s() == 0.0
        limit.book(tokens=100)
        await limit.admit()
        return now_s()

    assert played(main) == 0.0


def test_less_than_no_tokens_is_misuse() -> None:
    with pytest.raises(Misuse, match="a call with -1 tokens"):
        throttle(tokens_per_minute=60).wait_s(tokens=-1)


def test_more_tokens_than_a_burst_holds_pass_alone_and_are_made_up_for() -> None:
    limit = throttle(tokens_per_minute=600, burst_s=10.0)
    assert passes(limit, 2, tokens=300) == [0.0, 30.0]
    assert passes(limit, 1, tokens=10) == [51.0]


def test_what_waits_for_its_tokens_is_a_call_of_the_time_when_it_passes() -> None:
    """It was one of the time when it was asked for, and another passed together with it."""
    clock = ManualClock()
    limit = throttle(clock, calls_per_minute=60, tokens_per_minute=600, burst_s=1.0)
    assert passes(limit, 2, tokens=50) == [0.0, 5.0]
    clock.advance(5.0)
    assert passes(limit, 1) == [1.0]


def test_admit_waits_until_it_may_pass() -> None:
    async def main() -> list[float]:
        limit = throttle(LoopClock(), calls_per_minute=60, burst_s=1.0)
        passed = []
        for _ in range(3):
            await limit.admit()
            passed.append(now_s())
        return passed

    assert played(main) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(("policy", "given_s"), [({"max_wait_s": 1.5}, math.inf), ({}, 1.5)])
def test_who_would_wait_for_too_long_is_refused_at_once_and_books_nothing(policy: Any, given_s: float) -> None:
    async def main() -> tuple[float, float]:
        limit = throttle(LoopClock(), calls_per_minute=60, burst_s=1.0, **policy)
        await limit.admit()
        await limit.admit(at_most_s=given_s)
        limit.book()
        with pytest.raises(
            RateLimited, match="search was not asked: its rate limit lets the call pass in 2 s"
        ) as caught:
            await limit.admit(at_most_s=given_s)
        return caught.value.retry_after_s, limit.wait_s()

    assert played(main) == (2.0, 2.0)


def test_it_waits_for_as_long_as_it_may() -> None:
    async def main() -> float:
        limit = throttle(LoopClock(), calls_per_minute=60, burst_s=1.0, max_wait_s=1.0)
        await limit.admit()
        await limit.admit(at_most_s=1.0)
        return now_s()

    assert played(main) == 1.0


def test_cancelled_while_it_waits_it_gives_back_what_it_booked() -> None:
    async def main() -> tuple[float, bool]:
        limit = throttle(LoopClock(), calls_per_minute=60, tokens_per_minute=6000, burst_s=1.0)
        await limit.admit(tokens=100)
        task = asyncio.ensure_future(limit.admit(tokens=100))
        await pause(0.25)
        task.cancel()
        await asyncio.wait([task])
        return limit.wait_s(tokens=100), task.cancelled()

    assert played(main) == (0.75, True)


def test_what_was_booked_behind_others_stays_booked_when_it_is_cancelled() -> None:
    """It was given back, and two that had been told the same time passed at once."""

    async def main() -> list[float]:
        limit = throttle(LoopClock(), calls_per_minute=60, burst_s=1.0)
        passed: list[float] = []

        async def call() -> None:
            await limit.admit()
            passed.append(now_s())

        await call()
        first, second = asyncio.ensure_future(call()), asyncio.ensure_future(call())
        await pause(0.5)
        first.cancel()
        await turns(2)
        await asyncio.gather(call(), second)
        return passed

    assert played(main) == [0.0, 2.0, 3.0]


def test_what_is_given_back_is_there_for_the_next() -> None:
    clock = ManualClock()
    limit = throttle(clock, calls_per_minute=60, tokens_per_minute=60, burst_s=1.0)
    booking = limit.book(tokens=1)
    clock.advance(0.5)
    limit.give_back(booking)
    assert limit.wait_s(tokens=1) == 0.0
    limit.book(tokens=1)
    assert limit.wait_s() == 1.0


COMINGS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.1, 0.5, 2.0, 30.0]),  # seconds since the one before
        st.integers(0, 40),  # tokens
        st.one_of(st.none(), st.sampled_from([0.0, 0.3, 1.0])),  # cancelled after so many seconds
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(st.sampled_from([30, 60, 300]), st.sampled_from([60, 600]), st.sampled_from([0.0, 1.0, 5.0]), COMINGS)
def test_no_window_ever_holds_more_than_its_rate_and_a_burst(
    calls: int, tokens: int, burst_s: float, comings: list[tuple[float, int, float | None]]
) -> None:
    passed: list[tuple[float, int]] = []

    async def call(limit: Throttle, cost: int) -> None:
        try:
            await limit.admit(tokens=cost)
        except RateLimited:
            return
        passed.append((now_s(), cost))

    async def main() -> None:
        limit = throttle(
            LoopClock(), calls_per_minute=calls, tokens_per_minute=tokens, burst_s=burst_s, max_wait_s=20.0
        )
        tasks = []
        for pause_s, cost, cancelled_s in comings:
            await pause(pause_s)
            tasks.append(asyncio.ensure_future(call(limit, cost)))
            if cancelled_s is not None:
                asyncio.get_running_loop().call_later(cancelled_s, tasks[-1].cancel)
        if tasks:
            await asyncio.wait(tasks)

    played(main)
    passed.sort()
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            window = passed[first : last + 1]
            length_s = window[-1][0] - window[0][0]
            most_calls = calls / 60 * (length_s + max(burst_s, 60 / calls))
            biggest = max(cost for _, cost in window)
            most_tokens = tokens / 60 * (length_s + max(burst_s, 60 / tokens, biggest * 60 / tokens))
            assert len(window) <= most_calls + 1e-6
            assert sum(cost for _, cost in window) <= most_tokens + 1e-6


@given(st.integers(1, 30), st.sampled_from([0.0, 2.0]))
def test_who_never_gives_up_gets_all_of_the_rate(count: int, burst_s: float) -> None:
    limit = throttle(calls_per_minute=60, burst_s=burst_s)
    at_once = max(1, int(burst_s))
    assert passes(limit, count) == [float(max(0, number + 1 - at_once)) for number in range(count)]
