"""Exact bounds, against published values and their own definition."""

import math

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.gate.statistics import corrected_confidence, lower_bound, upper_bound


@pytest.mark.parametrize(
    ("passed", "tried", "confidence", "bound"),
    [
        # Two-sided 95 % Clopper–Pearson intervals are one-sided ones at 97.5 %.
        (5, 10, 0.975, 0.187086),
        (1, 10, 0.975, 0.002529),
        (9, 10, 0.975, 0.554984),
        (10, 10, 0.975, 0.691503),
        (95, 100, 0.975, 0.887165),
        (50, 100, 0.975, 0.398321),
        (10, 10, 0.95, 0.741134),
        (59, 59, 0.95, 0.950492),  # the classic: 59 without a failure show 95 % at 95 % confidence
    ],
)
def test_lower_bound_is_that_of_the_tables(passed: int, tried: int, confidence: float, bound: float) -> None:
    assert lower_bound(passed, tried, confidence=confidence) == pytest.approx(bound, abs=2e-6)


@pytest.mark.parametrize(("passed", "tried", "bound"), [(0, 10, 0.308497), (5, 10, 0.812914), (95, 100, 0.983568)])
def test_upper_bound_is_that_of_the_tables(passed: int, tried: int, bound: float) -> None:
    assert upper_bound(passed, tried, confidence=0.975) == pytest.approx(bound, abs=2e-6)


def test_58_of_58_do_not_show_95_percent() -> None:
    assert lower_bound(58, 58, confidence=0.95) < 0.95 < lower_bound(59, 59, confidence=0.95)


def test_bound_solves_its_own_definition() -> None:
    share = lower_bound(17, 20, confidence=0.9)
    tail = sum(math.comb(20, n) * share**n * (1 - share) ** (20 - n) for n in range(17, 21))
    assert tail == pytest.approx(0.1, abs=1e-9)


def test_bound_holds_for_many_trials() -> None:
    assert 0.9985 < lower_bound(9_995, 10_000, confidence=0.99) < 0.9995


def test_nothing_passed_or_tried_shows_nothing() -> None:
    assert lower_bound(0, 10, confidence=0.95) == 0.0
    assert lower_bound(0, 0, confidence=0.95) == 0.0
    assert upper_bound(0, 0, confidence=0.95) == 1.0


def test_correction_shares_the_risk_out() -> None:
    assert corrected_confidence(0.95, comparisons=1) == pytest.approx(0.95)
    assert corrected_confidence(0.95, comparisons=5) == pytest.approx(0.99)


def test_nonsense_is_refused() -> None:
    with pytest.raises(Misuse):
        lower_bound(3, 2, confidence=0.95)
    with pytest.raises(Misuse):
        lower_bound(1, 2, confidence=1.0)
    with pytest.raises(Misuse):
        corrected_confidence(0.95, comparisons=0)
