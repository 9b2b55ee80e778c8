"""Deadlines, the reserve for the rungs below, and the latency window."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import Misuse
from plimsoll.policies.deadline import Deadline, LatencyWindow, attempt_timeout_s

seconds = st.floats(0, 1e6)


def test_a_deadline_runs_down_and_stays_at_nothing() -> None:
    clock = ManualClock()
    clock.advance(100.0)
    deadline = Deadline.after(10.0, clock=clock)

    assert deadline == Deadline(110.0)
    assert (deadline.remaining(clock), deadline.passed(clock)) == (10.0, False)
    clock.advance(10.0)
    assert (deadline.remaining(clock), deadline.passed(clock)) == (0.0, True)
    clock.advance(10.0)
    assert (deadline.remaining(clock), deadline.passed(clock)) == (0.0, True)


@pytest.mark.parametrize(
    ("timeout_s", "remaining_s", "reserve_s", "expected"),
    [
        (30.0, 300.0, 5.0, 30.0),  # plenty
        (30.0, 20.0, 5.0, 15.0),  # the reserve is kept whole
        (30.0, 20.0, 0.0, 20.0),  # the last rung may use all
        (30.0, 10.0, 5.0, 5.0),
        (10.0, 4.0, 10.0, 0.5),  # too little even for the reserve: a quarter of 4 * 10/20
        (10.0, 10.0, 10.0, 1.25),
        (30.0, 0.0, 5.0, 0.0),
        (30.0, -1.0, 5.0, 0.0),
        (0.0, 10.0, 0.0, 0.0),
        (30.0, 10.0, -5.0, 10.0),  # no reserve is ever negative
    ],
)
def test_an_attempts_time(timeout_s: float, remaining_s: float, reserve_s: float, expected: float) -> None:
    assert attempt_timeout_s(timeout_s, remaining_s=remaining_s, reserve_s=reserve_s) == expected


@given(st.floats(0.001, 1e6), seconds, seconds)
def test_an_attempt_never_gets_more_than_there_is(timeout_s: float, remaining_s: float, reserve_s: float) -> None:
    share = attempt_timeout_s(timeout_s, remaining_s=remaining_s, reserve_s=reserve_s)

    assert 0.0 <= share <= min(timeout_s, remaining_s)
    if remaining_s > 1e-300:
        assert share > 0.0


@given(st.floats(0.001, 1e6), seconds, seconds)
def test_a_hung_primary_leaves_its_fallback_the_reserve_or_most_of_what_there_is(
    timeout_s: float, remaining_s: float, reserve_s: float
) -> None:
    left = remaining_s - attempt_timeout_s(timeout_s, remaining_s=remaining_s, reserve_s=reserve_s)

    if reserve_s > 0:
        assert left >= min(reserve_s, 0.75 * remaining_s) - 1e-9 * remaining_s
    if remaining_s >= reserve_s + timeout_s / 4:
        assert left >= reserve_s - 1e-9 * remaining_s


@given(st.floats(0.001, 1e6), seconds, seconds, seconds)
def test_more_time_never_shortens_an_attempt(timeout_s: float, one: float, other: float, reserve_s: float) -> None:
    less, more = sorted((one, other))

    assert attempt_timeout_s(timeout_s, remaining_s=less, reserve_s=reserve_s) <= attempt_timeout_s(
        timeout_s, remaining_s=more, reserve_s=reserve_s
    ) * (1 + 1e-9)


def test_the_prior_stands_in_until_twenty_were_seen() -> None:
    window = LatencyWindow(3.0)
    for _ in range(19):
        window.observe(1.0)
    assert window.p95() == 3.0

    window.observe(1.0)

    assert window.p95() == 1.0


def test_the_95th_percentile_is_by_nearest_rank() -> None:
    window = LatencyWindow(0.0, size=100)
    for value in range(100, 0, -1):
        window.observe(float(value))

    assert window.p95() == 95.0
    window.observe(200.0)  # 100 falls out
    assert window.p95() == 95.0
    assert window.p95() == 95.0


def test_old_latencies_fall_out() -> None:
    window = LatencyWindow(0.0, size=20)
    for _ in range(20):
        window.observe(9.0)
    for _ in range(20):
        window.observe(1.0)

    assert window.p95() == 1.0


@pytest.mark.parametrize("nonsense", [-1.0, math.nan, math.inf])
def test_what_is_no_duration_is_ignored(nonsense: float) -> None:
    window = LatencyWindow(5.0)
    for _ in range(30):
        window.observe(nonsense)

    assert window.p95() == 5.0


def test_zero_is_a_duration() -> None:
    window = LatencyWindow(5.0)
    for _ in range(20):
        window.observe(0.0)

    assert window.p95() == 0.0


@pytest.mark.parametrize("prior_s", [-1.0, math.nan, math.inf])
def test_a_prior_is_a_duration(prior_s: float) -> None:
    with pytest.raises(Misuse, match="prior"):
        LatencyWindow(prior_s)


def test_a_window_holds_as_many_as_it_needs_to_answer() -> None:
    with pytest.raises(Misuse, match="holds too few"):
        LatencyWindow(1.0, size=19)


@given(st.lists(st.floats(0, 1000), min_size=20, max_size=200))
def test_the_window_agrees_with_sorting(values: list[float]) -> None:
    window = LatencyWindow(1.0, size=64)
    for value in values:
        window.observe(value)
    last = values[-64:]

    p95 = window.p95()

    assert sum(value <= p95 for value in last) >= 0.95 * len(last)
    assert sum(value < p95 for value in last) < 0.95 * len(last)
