"""What calls that are under way keep from one another, and what each further attempt may still use."""

import pytest

from plimsoll.contract.model import Limits, Model
from plimsoll.core.calls import Usage
from plimsoll.core.errors import LimitExceeded
from plimsoll.policies.limits import ALL_LIMITS, LimitLedger, add_usage
from tests.policies.test_limits import use

LIMITS = Limits(steps=10, seconds=60.0, tokens=1000, usd=1.0)


def filled(*worst: Usage) -> LimitLedger:
    """A ledger with these calls under way, keyed 1, 2, …"""
    ledger = LimitLedger(LIMITS)
    for number, each in enumerate(worst, 1):
        ledger.before_call(active_s=0.0, worst=each, key=str(number))
    return ledger


@pytest.mark.parametrize(
    ("part", "more", "limit", "needed"),
    [(use(300), use(101), "tokens", 1001), (use(usd=0.3), use(usd=0.101), "usd", pytest.approx(1.001))],
)
def test_reservations_add_up_and_are_given_back(part: Usage, more: Usage, limit: str, needed: float) -> None:
    ledger = filled(part, part, part)
    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=more, key="4")
    assert (caught.value.limit, caught.value.needed) == (limit, needed)

    ledger.settled(None, key="2")
    assert ledger.before_call(active_s=0.0, worst=more, key="4") == ()
    with pytest.raises(LimitExceeded):
        ledger.before_call(active_s=0.0, worst=part, key="5")


@pytest.mark.parametrize(
    ("part", "most", "more", "needed"),
    [(use(400), use(600), use(601), 1001), (use(usd=0.4), use(usd=0.6), use(usd=0.601), pytest.approx(1.001))],
)
def test_a_call_that_is_announced_again_takes_the_place_of_its_own_reservation(
    part: Usage, most: Usage, more: Usage, needed: float
) -> None:
    ledger = filled(part, part)
    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=more, key="1")
    assert caught.value.needed == needed
    assert ledger.before_call(active_s=0.0, worst=most, key="1") == ()


@pytest.mark.parametrize(
    ("part", "most", "more", "limit", "needed"),
    [
        (use(400), use(600), use(601), "tokens", 1001),
        (use(usd=0.4), use(usd=0.6), use(usd=0.601), "usd", pytest.approx(1.001)),
    ],
)
def test_an_attempt_takes_the_place_of_what_its_call_had_reserved(
    part: Usage, most: Usage, more: Usage, limit: str, needed: float
) -> None:
    ledger = filled(part, part)
    with pytest.raises(LimitExceeded) as caught:
        ledger.before_attempt(key="1", worst=more)
    assert (caught.value.limit, caught.value.needed) == (limit, needed)
    (passed,) = ledger.before_attempt(key="1", worst=more, observe=ALL_LIMITS)
    assert (passed.limit, passed.allowed, passed.needed) == (limit, caught.value.allowed, needed)

    assert ledger.before_attempt(key="1", worst=most) == ()
    assert ledger.steps == 2
    ledger.settled(None, key="1")
    assert ledger.before_attempt(key="new", worst=most) == ()


def test_what_was_used_up_counts_beside_what_is_reserved() -> None:
    ledger = filled(use(500, 0.5), use(500, 0.5))
    ledger.settled(use(200, 0.2), key="1")
    assert ledger.before_attempt(key="3", worst=use(300, 0.3)) == ()
    with pytest.raises(LimitExceeded) as caught:
        ledger.before_attempt(key="3", worst=use(301, 0.0))
    assert caught.value.limit == "tokens"
    with pytest.raises(LimitExceeded) as caught:
        ledger.before_attempt(key="3", worst=use(0, 0.301))
    assert caught.value.limit == "usd"


def test_a_limit_may_be_used_up_to_the_last_cent() -> None:
    whole = use(1000, 1.0)
    assert LimitLedger(LIMITS).before_call(active_s=0.0, worst=whole) == ()
    (passed,) = LimitLedger(LIMITS).before_call(active_s=0.0, worst=use(1001, 1.0), observe=ALL_LIMITS)
    assert passed.limit == "tokens"
    assert LimitLedger(LIMITS).before_attempt(key="1", worst=whole) == ()


def test_a_model_without_a_price_costs_nothing() -> None:
    assert LimitLedger(LIMITS).cost(Model(), 1_000_000, 1_000_000) == 0.0


def test_usages_add_up_and_none_is_nothing() -> None:
    one, other = Usage(input_tokens=1, output_tokens=2, usd=0.25), Usage(input_tokens=10, output_tokens=20, usd=0.5)
    assert add_usage(one, other) == Usage(input_tokens=11, output_tokens=22, usd=0.75)
    assert add_usage(one, None) == add_usage(None, one) == one
    assert add_usage(None, None) is None
