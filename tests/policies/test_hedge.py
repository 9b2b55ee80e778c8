"""Hedging: when a call is asked once more, and how often."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.contract.model import HedgeSection
from plimsoll.core.errors import Misuse
from plimsoll.policies.hedge import Hedge, HedgeBook


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"quantile": 0.49}, "quantile"),
        ({"quantile": 1.0}, "quantile"),
        ({"quantile": math.nan}, "quantile"),
        ({"min_observations": 0}, "min_observations"),
        ({"min_observations": 501}, "min_observations"),
        ({"max_extra": 0.0}, "max_extra"),
        ({"max_extra": 1.01}, "max_extra"),
        ({"max_extra": math.nan}, "max_extra"),
    ],
)
def test_nonsense_is_refused_when_built(changed: dict[str, Any], names: str) -> None:
    with pytest.raises(Misuse, match=f"hedge.{names}"):
        Hedge(**changed)


def test_it_is_what_the_contract_says() -> None:
    section = HedgeSection(quantile=0.9, min_observations=7, max_extra=0.1)
    assert Hedge.from_contract(section) == Hedge(quantile=0.9, min_observations=7, max_extra=0.1)


def test_the_bounds_themselves_are_allowed() -> None:
    Hedge(quantile=0.5, min_observations=1, max_extra=1.0)


def test_as_many_as_may_be_asked_for_are_always_known_in_the_end() -> None:
    """With more than are ever remembered, nothing was hedged, and nobody was told."""
    book = HedgeBook(Hedge(min_observations=500))
    for number in range(5000):
        book.observe(0.1)
        assert (book.begin() is not None) == (number >= 499)


def test_nothing_is_hedged_before_enough_was_seen() -> None:
    book = HedgeBook(Hedge(min_observations=20))
    for _ in range(19):
        assert book.begin() is None
        book.observe(0.1)
    assert book.begin() is None
    book.observe(0.1)
    assert book.begin() == pytest.approx(0.1 * 1.05, rel=0.011)


def test_it_waits_for_the_quantile_of_what_was_seen() -> None:
    book = HedgeBook(Hedge(quantile=0.9, min_observations=100))
    for number in range(100):
        book.observe((number + 1) / 100)
    assert book.begin() == pytest.approx(0.9 * 1.05, rel=0.03)


def test_calls_that_all_take_the_same_time_are_never_late() -> None:
    for seconds in (0.001, 0.1, 0.7, 3.0, 42.0):
        book = HedgeBook(Hedge(min_observations=1))
        book.observe(seconds)
        after_s = book.begin()
        assert after_s is not None and after_s > seconds


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_what_is_no_latency_is_not_counted(seconds: float) -> None:
    book = HedgeBook(Hedge(min_observations=1))
    book.observe(seconds)
    assert book.begin() is None


def test_a_dependency_that_has_become_slower_is_learned_anew() -> None:
    book = HedgeBook(Hedge(quantile=0.5))
    for _ in range(5000):
        book.observe(0.1)
    for _ in range(1500):
        book.observe(2.0)
    assert book.begin() == pytest.approx(2.1, rel=0.02)


def test_what_is_remembered_stays_small() -> None:
    book = HedgeBook(Hedge())
    for number in range(12_345):
        book.observe(0.001 * (number % 1000))
        assert book._old.count <= 1000
        assert number < 500 or book._old.count >= 500


@given(st.sampled_from([0.01, 0.05, 0.3, 1.0]), st.lists(st.booleans(), max_size=400))
def test_the_extra_load_stays_below_its_share(max_extra: float, are_late: list[bool]) -> None:
    """A first extra call is saved up for, and after a long time without any, five may be made at once."""
    book = HedgeBook(Hedge(max_extra=max_extra))
    made = 0
    for is_late in are_late:
        book.begin()
        made += is_late and book.spend()
        assert made <= max_extra * book.asked + 1e-9
    assert (book.asked, book.extra) == (len(are_late), made)


def test_after_a_long_time_without_any_so_many_extra_calls_may_be_made_at_once() -> None:
    book = HedgeBook(Hedge(max_extra=0.05))
    for _ in range(10_000):
        book.begin()
    assert [book.spend() for _ in range(6)] == [True, True, True, True, True, False]
    for _ in range(19):
        book.begin()
    assert not book.spend()
    book.begin()
    book.begin()
    assert book.spend()
