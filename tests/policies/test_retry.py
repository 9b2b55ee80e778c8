"""Backoff and the retry budget."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from plimsoll.contract.model import Retry
from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse
from plimsoll.core.rng import seeded_rng
from plimsoll.policies.retry import RetryBudget, RetryPolicy

POLICY = RetryPolicy(on=(Fault.TIMEOUT, Fault.SERVER_ERROR), max_attempts=3, base_s=0.5, cap_s=8.0)


class Highest:
    """An rng that always draws the top of the range."""

    def random(self) -> float:
        return 1.0

    def uniform(self, a: float, b: float) -> float:
        return b

    def getrandbits(self, k: int, /) -> int:
        return (1 << k) - 1


def test_it_is_what_the_contract_says() -> None:
    retry = Retry(on=(Fault.TIMEOUT,), max_attempts=5, base_s=0.1, cap_s=2.0)

    assert RetryPolicy.from_contract(retry) == RetryPolicy(on=(Fault.TIMEOUT,), max_attempts=5, base_s=0.1, cap_s=2.0)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"on": ("timeout",)}, "retry.on"),
        ({"max_attempts": 0}, "retry.max_attempts"),
        ({"base_s": 0.0}, "retry.base_s"),
        ({"base_s": math.nan}, "retry.base_s"),
        ({"cap_s": -1.0}, "retry.cap_s"),
        ({"cap_s": math.inf}, "retry.cap_s"),
    ],
)
def test_nonsense_is_refused_when_built(changed: dict[str, Any], names: str) -> None:
    with pytest.raises(Misuse, match=names):
        RetryPolicy(**{"on": (Fault.TIMEOUT,)} | changed)


def test_what_to_retry_has_no_default() -> None:
    with pytest.raises(TypeError):
        RetryPolicy()  # type: ignore[call-arg]


def test_max_attempts_counts_the_first_call() -> None:
    assert [POLICY.retries(Fault.TIMEOUT, attempt) for attempt in (1, 2, 3, 4)] == [True, True, False, False]


def test_only_the_named_faults_are_retried() -> None:
    assert POLICY.retries(Fault.SERVER_ERROR, 1)
    assert not POLICY.retries(Fault.CLIENT_ERROR, 1)


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    delays = [POLICY.delay_s(attempt, rng=Highest()) for attempt in (1, 2, 3, 4, 5, 6, 5000)]

    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_the_jitter_is_full() -> None:
    rng = seeded_rng(1)
    delays = [POLICY.delay_s(3, rng=rng) for _ in range(1000)]

    assert 0.0 <= min(delays) < 0.1
    assert 1.9 < max(delays) <= 2.0
    assert abs(sum(delays) / 1000 - 1.0) < 0.05


def test_retry_after_is_the_least_wait_and_is_not_capped() -> None:
    assert POLICY.delay_s(1, rng=Highest(), retry_after_s=60.0) == 60.0
    assert POLICY.delay_s(1, rng=Highest(), retry_after_s=0.1) == 0.5
    assert POLICY.delay_s(1, rng=Highest(), retry_after_s=-5.0) == 0.5
    assert POLICY.delay_s(1, rng=Highest(), retry_after_s=math.nan) == 0.5


@given(st.integers(1, 10_000), st.floats(0.001, 100), st.floats(0.001, 100), st.integers())
def test_the_wait_stays_within_its_bounds(attempt: int, base_s: float, cap_s: float, seed: int) -> None:
    policy = RetryPolicy(on=(), max_attempts=1, base_s=base_s, cap_s=cap_s)

    assert 0.0 <= policy.delay_s(attempt, rng=seeded_rng(seed)) <= cap_s


def test_a_budget_of_ten_allows_until_five_failures() -> None:
    budget = RetryBudget()

    allowed = []
    for _ in range(6):
        allowed.append(budget.allows())
        budget.failed()

    assert allowed == [True, True, True, True, True, False]


def test_one_success_after_half_is_enough_to_retry_again() -> None:
    budget = RetryBudget(10.0)
    for _ in range(5):
        budget.failed()
    assert not budget.allows()

    budget.succeeded()

    assert budget.allows()
    assert budget.tokens == 5.1


def test_tenths_add_up_exactly() -> None:
    budget = RetryBudget(10.0)
    for _ in range(10):
        budget.failed()
    for _ in range(50):
        budget.succeeded()

    assert budget.tokens == 5.0
    assert not budget.allows()


@pytest.mark.parametrize("capacity", [0.0, -1.0, math.inf, math.nan])
def test_a_budget_needs_a_capacity(capacity: float) -> None:
    with pytest.raises(Misuse, match="capacity"):
        RetryBudget(capacity)


class BudgetMachine(RuleBasedStateMachine):
    """The budget against plain arithmetic in tenths."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = RetryBudget(10.0)
        self.tenths = 100

    @rule()
    def fails(self) -> None:
        self.budget.failed()
        self.tenths = max(0, self.tenths - 10)

    @rule(times=st.integers(1, 30))
    def succeeds(self, times: int) -> None:
        for _ in range(times):
            self.budget.succeeded()
        self.tenths = min(100, self.tenths + times)

    @invariant()
    def agrees(self) -> None:
        assert self.budget.tokens == self.tenths / 10
        assert self.budget.allows() == (self.tenths > 50)


TestBudgetMachine = BudgetMachine.TestCase
