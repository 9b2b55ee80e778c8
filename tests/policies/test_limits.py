"""What one run may use up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from plimsoll.contract.model import Limits, Model
from plimsoll.core.calls import Effect, Usage
from plimsoll.core.errors import LimitExceeded
from plimsoll.policies.limits import ALL_LIMITS, LimitLedger

TIGHT = Limits(steps=3, seconds=60.0, tokens=1000, usd=0.5, repeats=2)


def use(tokens: int = 0, usd: float = 0.0) -> Usage:
    return Usage(input_tokens=tokens // 2, output_tokens=tokens - tokens // 2, usd=usd)


def test_the_step_that_would_be_one_too_many_is_refused() -> None:
    ledger = LimitLedger(TIGHT)
    for _ in range(3):
        assert ledger.before_call(active_s=0.0, worst=Usage()) == ()

    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=Usage())

    assert (caught.value.limit, caught.value.allowed, caught.value.needed) == ("steps", 3, 4)
    assert ledger.steps == 3


def test_a_run_whose_seconds_are_over_starts_nothing() -> None:
    ledger = LimitLedger(TIGHT)
    ledger.before_call(active_s=59.9)

    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=60.0)

    assert (caught.value.limit, caught.value.allowed, caught.value.needed) == ("seconds", 60.0, 60.0)


def test_a_call_whose_worst_case_does_not_fit_is_refused() -> None:
    ledger = LimitLedger(TIGHT)
    ledger.before_call(active_s=0.0, worst=use(600))
    ledger.settled(use(400))
    ledger.before_call(active_s=0.0, worst=use(600))
    ledger.settled(use(401))

    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=use(200))

    assert (caught.value.limit, caught.value.allowed, caught.value.needed) == ("tokens", 1000, 1001)


def test_money_is_counted_without_being_pedantic_about_floats() -> None:
    ledger = LimitLedger(Limits(usd=0.3))
    for _ in range(3):
        ledger.before_call(active_s=0.0, worst=use(usd=0.1))
        ledger.settled(use(usd=0.1))
    assert ledger.usd > 0.3

    ledger.before_call(active_s=0.0)
    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=use(usd=0.001))

    assert (caught.value.limit, caught.value.allowed) == ("usd", 0.3)


def test_a_call_without_usage_costs_nothing() -> None:
    ledger = LimitLedger(TIGHT)
    ledger.before_call(active_s=0.0)
    ledger.settled(None)

    assert (ledger.steps, ledger.tokens, ledger.usd) == (1, 0, 0.0)


def test_parallel_calls_cannot_pass_a_limit_together() -> None:
    ledger = LimitLedger(TIGHT)
    ledger.before_call(active_s=0.0, worst=use(600, 0.3), key="1")

    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=use(600, 0.1), key="2")
    assert caught.value.limit == "tokens"
    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=use(100, 0.3), key="2")
    assert caught.value.limit == "usd"

    ledger.settled(use(100, 0.01), key="1")
    ledger.before_call(active_s=0.0, worst=use(600, 0.3), key="2")
    assert (ledger.steps, ledger.tokens) == (2, 100)


def test_further_attempts_of_a_call_are_the_same_step_and_the_same_reservation() -> None:
    ledger = LimitLedger(TIGHT)
    for _ in range(5):
        ledger.before_call(active_s=0.0, worst=use(900, 0.4), key="1")

    assert ledger.steps == 1
    ledger.settled(use(10), key="1")
    ledger.settled(None, key="never announced")
    ledger.before_call(active_s=0.0, worst=use(990, 0.5), key="2")


def test_a_refused_call_changes_nothing() -> None:
    ledger = LimitLedger(TIGHT)
    with pytest.raises(LimitExceeded):
        ledger.before_call(active_s=0.0, worst=use(2000), key="1")

    assert ledger.steps == 0
    ledger.before_call(active_s=0.0, worst=use(1000, 0.5), key="2")


def test_the_call_that_would_be_one_repeat_too_many_is_refused() -> None:
    ledger = LimitLedger(TIGHT)
    for expected in (1, 2):
        ledger.before_call(active_s=0.0, dependency="get_order", args_digest="a")
        assert ledger.repeated("get_order", "a", "r") == expected

    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, dependency="get_order", args_digest="a")

    assert (caught.value.limit, caught.value.allowed, caught.value.needed) == ("repeats", 2, 3)
    ledger.before_call(active_s=0.0, dependency="get_order", args_digest="b")


def test_another_attempt_of_the_same_call_is_no_repeat() -> None:
    ledger = LimitLedger(TIGHT)
    ledger.repeated("get_order", "a", "r")
    ledger.before_call(active_s=0.0, key="1", dependency="get_order", args_digest="a")
    ledger.repeated("get_order", "a", "r")

    ledger.before_call(active_s=0.0, key="1", dependency="get_order", args_digest="a")


def test_polling_is_no_repeat_as_long_as_the_result_changes() -> None:
    ledger = LimitLedger(TIGHT)

    counts = [ledger.repeated("status", "a", result) for result in ("0 %", "50 %", "50 %", "90 %", "0 %")]

    assert counts == [1, 1, 2, 1, 1]


def test_calls_in_between_do_not_hide_a_repeat() -> None:
    ledger = LimitLedger(TIGHT)

    counts = [ledger.repeated(dependency, "a", "r") for dependency in ("x", "y", "z", "x", "y", "z", "x")]

    assert counts == [1, 1, 1, 2, 2, 2, 3]


def test_looking_again_after_a_change_is_no_repeat() -> None:
    ledger = LimitLedger(TIGHT)
    ledger.repeated("get_user", "a", "r")
    ledger.repeated("get_user", "a", "r")

    assert ledger.repeated("update_order", "b", "ok", effect=Effect.WRITE) == 1

    assert ledger.repeated("get_user", "a", "r") == 1


def test_a_change_that_is_repeated_is_a_repeat_whatever_is_read_in_between() -> None:
    ledger = LimitLedger(TIGHT)
    counts = []
    for _ in range(3):
        counts.append(ledger.repeated("pay", "b", "ok", effect=Effect.WRITE))
        counts.append(ledger.repeated("note", "c", "ok", effect=Effect.IDEMPOTENT))
        ledger.repeated("get_user", "a", "r")

    assert counts == [1, 1, 2, 2, 3, 3]


def test_what_is_only_observed_is_reported_and_counted() -> None:
    ledger = LimitLedger(TIGHT)
    ledger.repeated("x", "a", "r")
    ledger.repeated("x", "a", "r")

    passed = ledger.before_call(
        active_s=99.0, worst=use(2000, 9.0), dependency="x", args_digest="a", observe=ALL_LIMITS
    )

    assert [error.limit for error in passed] == ["seconds", "tokens", "usd", "repeats"]
    assert ledger.steps == 1


def test_an_enforced_limit_is_enforced_beside_an_observed_one() -> None:
    ledger = LimitLedger(TIGHT)

    with pytest.raises(LimitExceeded) as caught:
        ledger.before_call(active_s=0.0, worst=use(2000, 9.0), observe=frozenset({"tokens"}))

    assert caught.value.limit == "usd"
    assert ledger.steps == 0


def test_the_worst_case_is_all_the_output_there_may_be_at_its_price() -> None:
    ledger = LimitLedger(TIGHT)
    model = Model(max_output_tokens=2000, usd_per_million_input_tokens=2.0, usd_per_million_output_tokens=10.0)

    worst = ledger.worst_case(model, 500)

    assert (worst.input_tokens, worst.output_tokens) == (500, 2000)
    assert worst.usd == pytest.approx(0.021)
    assert ledger.cost(model, 1_000_000, 100_000) == pytest.approx(3.0)


def test_a_canned_answer_costs_nothing() -> None:
    assert LimitLedger(TIGHT).worst_case(Model(canned="Sorry.", usd_per_million_input_tokens=9.0), 500) == Usage()


_CALLS = st.lists(
    st.tuples(st.sampled_from("xy"), st.sampled_from("ab"), st.sampled_from("rs"), st.booleans(), st.integers(0, 300)),
    max_size=25,
)


@given(_CALLS)
def test_a_replay_rebuilds_the_same_counters(calls: list[tuple[str, str, str, bool, int]]) -> None:
    def run(observe: frozenset[str]) -> list[object]:
        ledger = LimitLedger(Limits(steps=20, tokens=2000, usd=0.01, repeats=3))
        seen: list[object] = []
        for number, (dependency, args, result, write, tokens) in enumerate(calls):
            try:
                ledger.before_call(
                    active_s=0.0,
                    worst=use(300, 0.001),
                    key=str(number),
                    dependency=dependency,
                    args_digest=args,
                    observe=observe,
                )
            except LimitExceeded:
                break
            ledger.settled(use(tokens, tokens * 1e-6), key=str(number))
            effect = Effect.WRITE if write else Effect.READ
            seen.append((ledger.repeated(dependency, args, result, effect=effect), ledger.steps, ledger.tokens))
        return seen

    live = run(frozenset())

    assert run(ALL_LIMITS)[: len(live)] == live


class LedgerMachine(RuleBasedStateMachine):
    """Parallel calls, attempts and settlements against a plain recount."""

    calls: Bundle[str] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = LimitLedger(Limits(steps=8, tokens=1000, usd=1.0))
        self.under_way: dict[str, int] = {}
        self.used = 0
        self.steps = 0

    @rule(target=calls, tokens=st.integers(0, 500))
    def begins(self, tokens: int) -> str:
        key = f"call-{self.steps}-{self.used}-{len(self.under_way)}"
        self._announce(key, tokens, step=1)
        return key

    @rule(key=calls, tokens=st.integers(0, 500))
    def tries_again(self, key: str, tokens: int) -> None:
        self._announce(key, tokens, step=0 if key in self.under_way else 1)

    @rule(key=consumes(calls), share=st.floats(0, 1))
    def settles(self, key: str, share: float) -> None:
        used = int(self.under_way.pop(key, 0) * share)
        self.ledger.settled(use(used, used / 1000), key=key)
        self.used += used

    def _announce(self, key: str, tokens: int, *, step: int) -> None:
        others = sum(worst for other, worst in self.under_way.items() if other != key)
        fits = self.used + others + tokens <= 1000 and self.steps + step <= 8
        try:
            self.ledger.before_call(active_s=0.0, worst=use(tokens, tokens / 1000), key=key)
        except LimitExceeded:
            assert not fits
        else:
            assert fits
            self.under_way[key] = tokens
            self.steps += step

    @invariant()
    def agrees(self) -> None:
        assert (self.ledger.steps, self.ledger.tokens) == (self.steps, self.used)
        assert self.used + sum(self.under_way.values()) <= 1000

    @precondition(lambda self: not self.under_way)
    @invariant()
    def nothing_is_left_reserved(self) -> None:
        passed = self.ledger.before_call(active_s=0.0, worst=use(1000 - self.used), observe=ALL_LIMITS - {"tokens"})
        assert all(error.limit == "steps" for error in passed)
        self.ledger.steps -= 1


TestLedgerMachine = LedgerMachine.TestCase
