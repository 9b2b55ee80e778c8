"""A run on course to pass a limit is told of before it does; one that only grows, or is nearly done, is not."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.contract.model import Limits
from plimsoll.core.calls import CallKind, Effect, Outcome, Status, Usage
from plimsoll.core.events import CallSettled, Finding
from plimsoll.observability.spending import SpendingDetector

LIMITS = Limits(steps=100, tokens=100_000, usd=1.0)


def asked(tokens: int, usd: float = 0.0) -> CallSettled:
    usage = Usage(input_tokens=tokens // 2, output_tokens=tokens - tokens // 2, usd=usd)
    return _settled(CallKind.MODEL, "primary", usage)


def called() -> CallSettled:
    return _settled(CallKind.TOOL, "look", None)


def _settled(kind: CallKind, dependency: str, usage: Usage | None) -> CallSettled:
    outcome = Outcome(status=Status.OK, usage=usage)
    return CallSettled(
        key="1:x", kind=kind, dependency=dependency, effect=Effect.READ, args_digest="a", outcome=outcome,
        duration_s=0.1,
    )  # fmt: skip


def found(events: Sequence[CallSettled], limits: Limits = LIMITS) -> list[tuple[int, Finding]]:
    detector = SpendingDetector(limits)
    return [(number, one) for number, event in enumerate(events, 1) for one in detector.observe(event, at=0.0)]


def test_a_steady_pace_is_told_when_five_calls_are_left() -> None:
    ((number, finding),) = found([asked(5_000)] * 20)
    assert number == 16  # 80,000 are used, and 20,000 last for four more
    assert finding == Finding(
        kind="spending",
        severity="warning",
        message="tokens: 80 % of 100000 are used, and at the pace of the last 4 model calls (5000 each) the rest lasts"
        " for 4.0 more",
        dependency="primary",
        fault="tokens",
        evidence=("1:x",),
    )


def test_a_pace_that_rises_is_told_much_sooner() -> None:
    ((number, finding),) = found([asked(int(600 * 1.3**number)) for number in range(20)])
    assert number == 10  # a quarter is used, and at this pace the rest lasts for few more calls
    assert finding.message.startswith("tokens: 26 % of 100000 are used")
    assert finding.message.endswith("the rest lasts for 16.6 more")


def test_money_is_told_apart_from_tokens() -> None:
    ((number, finding),) = found([asked(10, usd=0.1)] * 10)
    assert (number, finding.fault) == (6, "usd")


def test_both_are_told_where_both_are_near() -> None:
    assert [(number, one.fault) for number, one in found([asked(20_000, usd=0.2)] * 5)] == [(4, "tokens"), (4, "usd")]


@pytest.mark.parametrize(
    "events",
    [
        [asked(300 + 300 * number) for number in range(12)],  # a conversation that grows
        [*[asked(500)] * 6, asked(20_000), *[asked(600)] * 6],  # one long answer
        [*[asked(500)] * 8, *[asked(6_000 + 100 * number) for number in range(9)]],  # one long document, kept
        [asked(40_000), asked(30_000), asked(20_000)],  # it is over before there is a pace
        [asked(0)] * 50,  # a canned answer costs nothing
        [event for _ in range(30) for event in (asked(500), called())],
        [asked(5_000)] * 15,
        [called()] * 90,
    ],
)
def test_healthy_runs(events: list[CallSettled]) -> None:
    assert found(events) == []


def test_where_the_steps_end_first_there_is_nothing_to_tell() -> None:
    assert found([asked(5_000)] * 20, Limits(steps=19, tokens=100_000)) == []
    work = [event for _ in range(20) for event in (asked(5_000), called(), called(), called())]
    assert found(work, Limits(steps=72, tokens=100_000)) == []
    assert len(found(work, Limits(steps=100, tokens=100_000))) == 1


@given(st.lists(st.integers(0, 30_000), max_size=40), st.integers(0, 40))
def test_a_replay_brings_it_to_the_same_state(amounts: list[int], cut: int) -> None:
    lived, resumed = SpendingDetector(LIMITS), SpendingDetector(LIMITS)
    told = 0
    for amount in amounts[:cut]:
        told += len(lived.observe(asked(amount, usd=amount / 1e5), at=0.0))
        resumed.restore(asked(amount, usd=amount / 1e5))
    for amount in amounts[cut:]:
        one = lived.observe(asked(amount, usd=amount / 1e5), at=0.0)
        assert one == resumed.observe(asked(amount, usd=amount / 1e5), at=0.0)
        told += len(one)
    assert told <= 2


@given(st.lists(st.integers(0, 30_000), min_size=4, max_size=60))
def test_what_is_told_is_true(amounts: list[int]) -> None:
    used = 0
    detector = SpendingDetector(LIMITS)
    for number, amount in enumerate(amounts, 1):
        used += amount
        for _ in detector.observe(asked(amount), at=0.0):
            pace = sum(amounts[number - 4 : number]) / 4
            assert used >= 25_000
            assert used + 20 * pace > 100_000
