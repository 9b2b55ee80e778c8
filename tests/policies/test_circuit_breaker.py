"""The circuit breaker: when it opens, who may probe, when it closes again; and against a plain model."""

import math
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from plimsoll.contract.model import CircuitBreakerSection
from plimsoll.core.calls import Fault
from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import CircuitOpen, Misuse
from plimsoll.policies.circuit_breaker import Circuit, CircuitBreaker, CircuitChanged, CircuitState, Permit

OUR_OWN = {Fault.CLIENT_ERROR, Fault.REFUSED}


class Played:
    """A circuit, its clock, and what it told."""

    def __init__(self, **policy: Any) -> None:
        self.clock = ManualClock()
        self.told: list[CircuitChanged] = []
        breaker = CircuitBreaker(**policy)
        self.circuit = Circuit(breaker, dependency="search", clock=self.clock, on_change=self.told.append)

    def ends(self, outcomes: str, *, duration_s: float = 0.1) -> None:
        """One call after the other: `.` answers, `x` fails."""
        for outcome in outcomes:
            permit = self.circuit.admit()
            if outcome == "x":
                permit.failed(Fault.SERVER_ERROR, duration_s)
            else:
                permit.succeeded(duration_s)

    def refused(self) -> CircuitOpen:
        with pytest.raises(CircuitOpen) as caught:
            self.circuit.admit()
        return caught.value


def opened(**policy: Any) -> Played:
    played = Played(min_calls=1, window=1, open_s=15.0, **policy)
    played.ends("x")
    assert played.circuit.state is CircuitState.OPEN
    return played


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"failure_ratio": 0.0}, "failure_ratio"),
        ({"failure_ratio": 1.01}, "failure_ratio"),
        ({"failure_ratio": math.nan}, "failure_ratio"),
        ({"slow_ratio": 0.0}, "slow_ratio"),
        ({"slow_ratio": -1.0}, "slow_ratio"),
        ({"slow_s": 0.0}, "slow_s"),
        ({"slow_s": math.inf}, "slow_s"),
        ({"window_s": 0.0}, "window_s"),
        ({"window_s": math.nan}, "window_s"),
        ({"open_s": -1.0}, "open_s"),
        ({"open_s": math.inf}, "open_s"),
        ({"min_calls": 0}, "min_calls is 0"),
        ({"min_calls": 21}, "min_calls is 21 and window 20"),
        ({"probes": 0}, "probes"),
    ],
)
def test_nonsense_is_refused_when_built(changed: dict[str, Any], names: str) -> None:
    with pytest.raises(Misuse, match=f"circuit_breaker.{names}"):
        CircuitBreaker(**changed)


def test_it_is_what_the_contract_says() -> None:
    section = CircuitBreakerSection(failure_ratio=0.4, min_calls=3, open_s=7.0)
    expected = CircuitBreaker(failure_ratio=0.4, min_calls=3, open_s=7.0, slow_s=2.0)
    assert CircuitBreaker.from_contract(section, slow_s=2.0) == expected


def test_the_bounds_themselves_are_allowed() -> None:
    CircuitBreaker(failure_ratio=1.0, slow_ratio=1.0, window=1, min_calls=1, probes=1)


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("xxxx", CircuitState.CLOSED),  # fewer than min_calls tell nothing
        ("xxxxx", CircuitState.OPEN),
        ("...xx", CircuitState.CLOSED),
        ("...xxx", CircuitState.OPEN),  # half of them
        ("x.x.x", CircuitState.OPEN),
        ("xxx..", CircuitState.CLOSED),  # it opens by what fails, never by what succeeds
        ("xxx..x", CircuitState.OPEN),
    ],
)
def test_it_opens_at_its_share_of_failures(outcomes: str, state: CircuitState) -> None:
    played = Played(min_calls=5, failure_ratio=0.5)
    played.ends(outcomes)
    assert played.circuit.state is state


def test_only_the_last_calls_count() -> None:
    played = Played(window=4, min_calls=4, failure_ratio=0.75)
    played.ends("xx....xx")
    assert played.circuit.state is CircuitState.CLOSED
    assert played.circuit.failure_ratio == 0.5
    played.ends("x")
    assert played.circuit.state is CircuitState.OPEN


def test_what_ended_long_ago_does_not_count() -> None:
    played = Played(window_s=60.0, min_calls=3)
    played.ends("xx")
    played.clock.advance(60.0)
    played.ends("x")
    assert played.circuit.state is CircuitState.CLOSED
    played.clock.advance(59.9)
    played.ends("xx")
    assert played.circuit.state is CircuitState.OPEN


def test_it_opens_where_too_many_are_slow_whatever_came_of_them() -> None:
    played = Played(slow_s=2.0, slow_ratio=0.8, min_calls=5)
    played.ends(".", duration_s=1.999)
    played.ends("...", duration_s=2.0)
    assert played.circuit.state is CircuitState.CLOSED
    played.ends("x", duration_s=9.0)
    assert played.circuit.state is CircuitState.OPEN
    assert played.told[-1].why == "80% of the last 5 calls were slow"


def test_slow_calls_that_the_window_has_left_behind_do_not_count() -> None:
    played = Played(slow_s=2.0, slow_ratio=0.75, window=4, min_calls=4)
    for duration_s in (2.0, 2.0, 0.1, 0.1, 0.1, 2.0, 2.0):
        played.ends(".", duration_s=duration_s)
    assert played.circuit.state is CircuitState.CLOSED
    played.ends(".", duration_s=2.0)
    assert played.circuit.state is CircuitState.OPEN


def test_without_slow_s_nothing_is_slow() -> None:
    played = Played(min_calls=1)
    played.ends("." * 20, duration_s=1e6)
    assert played.circuit.state is CircuitState.CLOSED


@pytest.mark.parametrize("fault", list(Fault))
def test_our_own_mistakes_say_nothing_against_a_dependency(fault: Fault) -> None:
    played = Played(min_calls=1, window=1)
    played.circuit.admit().failed(fault, 0.1)
    assert (played.circuit.state is CircuitState.CLOSED) == (fault in OUR_OWN)


def test_open_it_refuses_and_says_for_how_long() -> None:
    played = opened()
    played.clock.advance(5.0)

    refusal = played.refused()

    assert (refusal.dependency, refusal.state, refusal.retry_after_s) == ("search", "open", 10.0)
    assert str(refusal) == "search was not asked: its circuit is open for 10 s more"


def test_after_its_time_it_lets_one_probe_through() -> None:
    played = opened()
    played.clock.advance(14.999)
    played.refused()
    played.clock.advance(0.001)
    assert played.circuit.state is CircuitState.OPEN  # until the next call

    probe = played.circuit.admit()
    refusal = played.refused()

    assert played.circuit.state is CircuitState.HALF_OPEN
    assert (refusal.state, refusal.retry_after_s) == ("half_open", 0.0)
    probe.succeeded(0.1)
    assert played.circuit.state is CircuitState.CLOSED


def test_a_probe_that_fails_opens_it_for_another_while() -> None:
    played = opened()
    played.clock.advance(15.0)
    played.ends("x")
    assert played.refused().retry_after_s == 15.0
    assert played.told[-1].why == "a probe failed"


def test_a_slow_probe_has_failed() -> None:
    played = opened(slow_s=2.0)
    played.clock.advance(15.0)
    played.ends(".", duration_s=2.0)
    assert played.circuit.state is CircuitState.OPEN
    assert played.told[-1].why == "a probe was slow"


def test_so_many_probes_pass_at_a_time_and_have_to_succeed_in_a_row() -> None:
    played = opened(probes=2)
    played.clock.advance(15.0)
    one, other = played.circuit.admit(), played.circuit.admit()
    played.refused()

    one.succeeded(0.1)
    third = played.circuit.admit()  # its place is free
    played.refused()
    assert played.circuit.state is CircuitState.HALF_OPEN
    third.failed(Fault.TIMEOUT, 9.0)
    assert played.circuit.state is CircuitState.OPEN

    other.succeeded(0.1)  # of a state that is over
    assert played.circuit.state is CircuitState.OPEN
    played.clock.advance(15.0)
    played.ends("..")
    assert played.circuit.state is CircuitState.CLOSED


def test_a_cancelled_probe_is_neutral_and_leaves_its_place() -> None:
    played = opened()
    played.clock.advance(15.0)
    probe = played.circuit.admit()
    probe.cancelled()
    assert played.circuit.state is CircuitState.HALF_OPEN
    played.ends(".")
    assert played.circuit.state is CircuitState.CLOSED


def test_a_call_of_before_it_opened_takes_no_probes_place_when_it_is_cancelled() -> None:
    played = Played(min_calls=1)
    old = played.circuit.admit()
    played.ends("x")
    played.clock.advance(15.0)
    played.circuit.admit()
    old.cancelled()
    played.refused()


def test_a_cancelled_call_counts_for_nothing() -> None:
    played = Played(min_calls=1)
    played.circuit.admit().cancelled()
    assert played.circuit.failure_ratio == 0.0
    played.ends("x")
    assert played.circuit.state is CircuitState.OPEN


def test_a_permit_ends_once() -> None:
    played = opened()
    played.clock.advance(15.0)
    probe = played.circuit.admit()
    probe.cancelled()
    probe.cancelled()
    probe.failed(Fault.TIMEOUT, 1.0)
    probe.succeeded(1.0)
    assert played.circuit.state is CircuitState.HALF_OPEN
    played.circuit.admit()
    played.refused()  # one place, not two


def test_a_call_of_before_it_opened_says_nothing_of_after() -> None:
    played = Played(min_calls=1)
    old = played.circuit.admit()
    played.ends("x")
    old.succeeded(0.1)
    assert played.circuit.state is CircuitState.OPEN
    played.clock.advance(15.0)
    played.ends(".")
    played.circuit.admit()
    old.failed(Fault.TIMEOUT, 1.0)
    assert played.circuit.state is CircuitState.CLOSED


def test_closed_again_it_has_forgotten_what_was_before() -> None:
    played = Played(min_calls=2)
    played.ends("xx")
    played.clock.advance(15.0)
    played.ends(".")
    played.ends("x")
    assert played.circuit.state is CircuitState.CLOSED  # one call is fewer than two
    assert played.circuit.failure_ratio == 1.0


def test_an_operator_isolates_it_until_he_restores_it() -> None:
    played = Played()
    played.circuit.isolate("the provider asked us to")
    played.circuit.isolate()
    played.clock.advance(1e6)

    refusal = played.refused()

    assert (refusal.state, refusal.retry_after_s) == ("isolated", math.inf)
    assert str(refusal) == "search was not asked: its circuit is isolated until an operator restores it"
    played.circuit.restore()
    assert played.circuit.state is CircuitState.HALF_OPEN
    played.circuit.isolate()
    played.circuit.restore()
    played.ends(".")
    assert played.circuit.state is CircuitState.CLOSED
    assert [change.why for change in played.told] == [
        "the provider asked us to",
        "an operator said so",
        "an operator said so",
        "an operator said so",
        "1 probe(s) succeeded",
    ]


def test_what_is_not_isolated_cannot_be_restored() -> None:
    played = opened()
    played.circuit.restore()
    assert played.circuit.state is CircuitState.OPEN


def test_each_change_is_told_once_after_it_was_made() -> None:
    played = Played(min_calls=1, open_s=3.0)
    seen: list[CircuitState] = []
    played.circuit._on_change = lambda change: (played.told.append(change), seen.append(played.circuit.state))
    played.ends("x")
    played.clock.advance(3.0)
    played.ends(".")

    assert played.told == [
        CircuitChanged("search", CircuitState.CLOSED, CircuitState.OPEN, 0.0, "100% of the last 1 calls failed"),
        CircuitChanged("search", CircuitState.OPEN, CircuitState.HALF_OPEN, 3.0, "3 s have passed"),
        CircuitChanged("search", CircuitState.HALF_OPEN, CircuitState.CLOSED, 3.0, "1 probe(s) succeeded"),
    ]
    assert seen == [change.after for change in played.told]


def test_who_is_told_may_isolate_it_at_once() -> None:
    played = Played(min_calls=1)
    circuit = played.circuit
    circuit._on_change = lambda change: circuit.isolate() if change.after is CircuitState.HALF_OPEN else None
    played.ends("x")
    played.clock.advance(15.0)
    assert played.refused().state == "isolated"


class CircuitMachine(RuleBasedStateMachine):
    """The circuit against a model that keeps every call and counts anew each time."""

    WINDOW, WINDOW_S, MIN_CALLS, OPEN_S, PROBES, SLOW_S = 6, 30.0, 3, 10.0, 2, 2.0

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.circuit = Circuit(
            CircuitBreaker(
                failure_ratio=0.5, slow_ratio=0.75, slow_s=self.SLOW_S, window=self.WINDOW, window_s=self.WINDOW_S,
                min_calls=self.MIN_CALLS, open_s=self.OPEN_S, probes=self.PROBES,
            ),
            dependency="search",
            clock=self.clock,
        )  # fmt: skip
        self.state = CircuitState.CLOSED
        self.era = 0
        self.opened_at = 0.0
        self.ended: list[tuple[float, bool, bool]] = []
        self.probing = 0
        self.proven = 0
        self.out: list[tuple[Permit, int]] = []

    def become(self, state: CircuitState) -> None:
        self.state, self.era, self.opened_at = state, self.era + 1, self.clock.monotonic()
        self.ended, self.probing, self.proven = [], 0, 0

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def asks(self) -> None:
        if self.state is CircuitState.OPEN and self.clock.monotonic() >= self.opened_at + self.OPEN_S:
            self.become(CircuitState.HALF_OPEN)
        passes = self.state is CircuitState.CLOSED
        if self.state is CircuitState.HALF_OPEN and self.probing < self.PROBES:
            self.probing += 1
            passes = True
        try:
            permit = self.circuit.admit()
        except CircuitOpen as refusal:
            assert not passes
            assert refusal.state == self.state
        else:
            assert passes
            self.out.append((permit, self.era))

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99), failed=st.booleans(), slow=st.booleans(), ours=st.booleans())
    def one_ends(self, which: int, failed: bool, slow: bool, ours: bool) -> None:
        permit, era = self.out.pop(which % len(self.out))
        seconds = self.SLOW_S if slow else 0.1
        if failed:
            permit.failed(Fault.CLIENT_ERROR if ours else Fault.SERVER_ERROR, seconds)
        else:
            permit.succeeded(seconds)
        if era == self.era:
            self.counted(failed and not ours, slow)

    def counted(self, failed: bool, slow: bool) -> None:
        if self.state is CircuitState.HALF_OPEN:
            self.probing -= 1
            self.proven += 1
            if failed or slow:
                self.become(CircuitState.OPEN)
            elif self.proven == self.PROBES:
                self.become(CircuitState.CLOSED)
            return
        now = self.clock.monotonic()
        self.ended.append((now, failed, slow))
        recent = [call for call in self.ended[-self.WINDOW :] if call[0] > now - self.WINDOW_S]
        if (failed or slow) and len(recent) >= self.MIN_CALLS:
            failures, slows = (sum(call[index] for call in recent) / len(recent) for index in (1, 2))
            if failures >= 0.5 or slows >= 0.75:
                self.become(CircuitState.OPEN)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 99))
    def one_is_cancelled(self, which: int) -> None:
        permit, era = self.out.pop(which % len(self.out))
        permit.cancelled()
        if era == self.era and self.state is CircuitState.HALF_OPEN:
            self.probing -= 1

    @rule()
    def is_isolated(self) -> None:
        self.circuit.isolate()
        if self.state is not CircuitState.ISOLATED:
            self.become(CircuitState.ISOLATED)

    @rule()
    def is_restored(self) -> None:
        self.circuit.restore()
        if self.state is CircuitState.ISOLATED:
            self.become(CircuitState.HALF_OPEN)

    @invariant()
    def agrees(self) -> None:
        assert self.circuit.state is self.state
        assert 0 <= self.probing <= self.PROBES


TestCircuitMachine = CircuitMachine.TestCase
