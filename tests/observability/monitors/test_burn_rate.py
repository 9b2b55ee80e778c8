"""Burn rates against a count over the whole history, and a service just within its objective, which is no alert."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.rng import seeded_rng
from plimsoll.observability.monitors.burn_rate import RATES, Burn, BurnRate
from plimsoll.observability.monitors.chance import is_no_chance

DAY_S = 86_400.0


def burns(events: Sequence[tuple[float, bool]], objective: float = 0.99) -> list[tuple[float, str]]:
    """When each alert begins, and which."""
    rate = BurnRate(objective)
    return [(at, burn.rate.name) for at, good in events for burn in rate.add(at, good=good)]


def test_the_figures_are_those_of_the_workbook() -> None:
    fast, slow = RATES
    assert (fast.times, fast.long_s, fast.short_s) == (14.4, 3600.0, 300.0)
    assert (slow.times, slow.long_s, slow.short_s) == (6.0, 21_600.0, 1800.0)


def test_when_everything_fails_it_is_told_with_the_third() -> None:
    rate = BurnRate(0.99)
    assert rate.add(0.0, good=False) == rate.add(1.0, good=False) == []
    begun = rate.add(2.0, good=False)
    assert [(burn.rate.name, burn.bad, burn.total, round(burn.times)) for burn in begun] == [
        ("fast", 3, 3, 100),
        ("slow", 3, 3, 100),
    ]
    assert rate.add(3.0, good=False) == []  # it has begun


def test_a_fifth_that_fails_burns_fast_and_a_tenth_slowly() -> None:
    assert [name for _, name in burns([(10.0 * n, n % 5 != 0) for n in range(2000)])] == ["fast", "slow"]
    assert [name for _, name in burns([(10.0 * n, n % 10 != 0) for n in range(6000)])] == ["slow"]


@pytest.mark.parametrize("every", [20, 50, 100])
def test_what_burns_no_faster_than_six_times_is_left_alone(every: int) -> None:
    assert burns([(10.0 * n, n % every != every - 1) for n in range(10_000)]) == []


def test_what_is_over_is_not_told_although_the_long_window_still_shows_it() -> None:
    bad = [(10.0 * n, n % 3 != 0) for n in range(60)]  # ten minutes
    later = [(600.0 + 10.0 * n, True) for n in range(100)]
    again = [(1600.0 + 10.0 * n, n % 3 != 0) for n in range(60)]
    names = [name for _, name in burns([*bad, *later, *again])]
    assert names.count("fast") == 2


def test_one_that_goes_on_is_told_once() -> None:
    assert len(burns([(10.0 * n, n % 2 == 0) for n in range(10_000)])) == 2


@pytest.mark.parametrize("objective", [0.5, 0.8, 0.9])
def test_an_objective_so_low_that_nothing_burns_that_fast_is_still_held(objective: float) -> None:
    assert {name for _, name in burns([(10.0 * n, False) for n in range(100)], objective)} == {"fast", "slow"}
    just_within = [(10.0 * n, (n * objective) % 1.0 < objective) for n in range(5_000)]
    assert burns(just_within, objective) == []


@pytest.mark.parametrize("objective", [0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("per_hour", [2, 30, 600])
def test_a_service_just_within_its_objective_is_left_alone(objective: float, per_hour: int) -> None:
    rng = seeded_rng(f"{objective} {per_hour}")
    count = min(30 * 24 * per_hour, 20_000)
    assert burns([(3600.0 / per_hour * n, rng.random() < objective) for n in range(count)], objective) == []


def test_a_clock_that_is_set_back_opens_no_window_again() -> None:
    back = [(DAY_S - 3600.0 + n, False) for n in range(2)]
    assert burns([(DAY_S, True), *back, (DAY_S, False)]) == [(DAY_S, "fast"), (DAY_S, "slow")]


def test_a_clock_that_was_far_ahead_once_hides_nothing_for_years() -> None:
    """All that came after stood in the window of that day, which was never over: what is bad was one of too many."""
    ahead = [(400.0 * DAY_S, True)]
    well = [(60.0 * n, True) for n in range(1000)]
    out = [(60_000.0 + 10.0 * n, False) for n in range(90)]
    assert [name for _, name in burns([*ahead, *well, *out])] == [name for _, name in burns([*well, *out])]
    assert {name for _, name in burns([*ahead, *well, *out])} == {"fast", "slow"}


def test_memory_does_not_grow_with_traffic() -> None:
    rate = BurnRate(0.99)
    for number in range(50_000):
        rate.add(float(number), good=True)
    assert [len(window._buckets) for window in rate._windows.values()] == [120, 10, 720, 60]


EVENTS = st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=60)


@given(EVENTS)
def test_an_alert_is_true_of_the_whole_history(steps: list[tuple[int, bool]]) -> None:
    rate, at = BurnRate(0.9), 0.0
    history: list[tuple[int, bool]] = []
    for wait_s, good in steps:
        at += wait_s
        history.append((int(at // 30), good))
        for burn in rate.add(at, good=good):
            for length in (burn.rate.long_s, burn.rate.short_s):
                inside = [one for number, one in history if number > int(at // 30) - length / 30]
                assert inside.count(False) >= 0.55 * len(inside)
            assert_counts(burn, [one for number, one in history if number > int(at // 30) - burn.rate.long_s / 30])


def assert_counts(burn: Burn, inside: list[bool]) -> None:
    assert (burn.bad, burn.total) == (inside.count(False), len(inside))


# ------------------------------------------------------------------------------------------------------------- chance


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.floats(1e-6, 0.5))
def test_the_bound_is_never_below_the_exact_figure(total: int, share: float, odds: float) -> None:
    from math import comb

    tail = 0.0
    for count in range(total, -1, -1):
        tail += comb(total, count) * share**count * (1 - share) ** (total - count)
        if is_no_chance(count, total, share=share, odds=odds):
            assert tail <= odds * (1 + 1e-6)


def test_nothing_is_no_chance_of_nothing() -> None:
    assert not is_no_chance(0, 0, share=0.5, odds=0.5)
    assert not is_no_chance(5, 10, share=0.5, odds=0.99)
    assert is_no_chance(90, 90, share=0.95, odds=0.01)
    assert not is_no_chance(89, 89, share=0.95, odds=0.01)
