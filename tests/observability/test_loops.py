"""Loops, against a slow and obvious count over the whole history."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from plimsoll.core.calls import CallKind, Effect, ErrorRecord, Fault, Outcome, Status, Usage
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled, Finding, RunEnded
from plimsoll.observability.loops import LoopDetector


def settled(
    dependency: str,
    args: str = "a",
    result: Any = "r",
    *,
    key: str = "k",
    kind: CallKind = CallKind.TOOL,
    outcome: Outcome | None = None,
) -> CallSettled:
    return CallSettled(
        key=key,
        kind=kind,
        dependency=dependency,
        effect=Effect.READ,
        args_digest=args,
        outcome=outcome or Outcome(status=Status.OK, value=result),
        duration_s=0.1,
    )


def failed(message: str, fault: Fault = Fault.TIMEOUT) -> Outcome:
    return Outcome(status=Status.FAILED, error=ErrorRecord(type="E", message=message, fault=fault))


def faults(detector: LoopDetector, events: Sequence[CallSettled]) -> list[list[str | None]]:
    return [[finding.fault for finding in detector.observe(event, at=0.0)] for event in events]


def test_the_same_call_with_the_same_result_k_times_is_a_loop() -> None:
    detector = LoopDetector(3)
    events = [settled("get_order", key=str(number)) for number in range(5)]

    found = [list(detector.observe(event, at=0.0)) for event in events]

    assert found == [
        [],
        [],
        [
            Finding(
                kind="loop",
                severity="critical",
                message="get_order: the same call with the same result 3 times in a row",
                dependency="get_order",
                fault="repeat",
                evidence=("0", "1", "2"),
            )
        ],
        [],
        [],
    ]


def test_an_observed_protection_says_so() -> None:
    detector = LoopDetector(2, observed=True)
    detector.observe(settled("x"), at=0.0)

    (finding,) = detector.observe(settled("x"), at=0.0)

    assert (finding.observed, finding.severity) == (True, "warning")


@pytest.mark.parametrize(
    "events",
    [
        [settled("status", result=number) for number in range(20)],
        [settled("get_order", args=str(number)) for number in range(20)],
        [settled("get_order"), settled("get_user"), settled("get_order"), settled("get_user")],
        [settled("get_order"), settled("get_order"), settled("get_user")] * 2,
        [settled("get_user") if number % 2 else settled("get_order", args=str(number)) for number in range(20)],
        [settled("x", outcome=failed("boom", fault)) for fault in Fault],
        [settled("x", result=value) for value in (1, "1", None, [], [1], {"a": 1}, True, 1.5)],
    ],
)
def test_what_goes_on_is_no_loop(events: list[CallSettled]) -> None:
    assert faults(LoopDetector(3), events) == [[]] * len(events)


@pytest.mark.parametrize("period", [2, 3, 4])
def test_a_cycle_is_a_loop(period: int) -> None:
    detector = LoopDetector(3)
    events = [settled("abcd"[number % period], key=str(number)) for number in range(3 * period + 5)]

    found = [finding for event in events for finding in detector.observe(event, at=0.0)]

    (finding,) = found
    assert (finding.kind, finding.fault, finding.dependency) == ("loop", "cycle", "abcd"[period - 1])
    assert finding.evidence == tuple(str(number) for number in range(3 * period))
    assert f"a cycle of {period} calls, 3 times in a row" in finding.message


def test_a_cycle_of_five_is_left_to_the_limits() -> None:
    events = [settled("abcde"[number % 5]) for number in range(50)]

    assert faults(LoopDetector(3), events) == [[]] * 50


def test_a_cycle_whose_results_change_is_no_loop() -> None:
    events = [settled("ab"[number % 2], result=number) for number in range(50)]

    assert faults(LoopDetector(3), events) == [[]] * 50


def test_failing_the_same_way_again_and_again_is_a_loop_whatever_the_words() -> None:
    events = [settled("x", outcome=failed(f"request {number} timed out")) for number in range(3)]

    assert faults(LoopDetector(3), events) == [[], [], ["repeat"]]


def said(answer: str, *, asked: str = "a", tokens: int = 0, key: str = "k", beside: int = 0) -> CallSettled:
    """A model's answer to a request of so many tokens, while so many others were under way."""
    outcome = Outcome(status=Status.OK, value=answer, usage=Usage(input_tokens=tokens, output_tokens=5))
    return replace(settled("gpt", args=asked, kind=CallKind.MODEL, outcome=outcome, key=key), beside=beside)


def test_a_model_that_gives_the_same_answer_to_the_same_request_k_times_is_a_loop() -> None:
    events = [settled("gpt", kind=CallKind.MODEL, key=str(number)) for number in range(4)]
    detector = LoopDetector(3)

    found = [finding for event in events for finding in detector.observe(event, at=0.0)]

    (finding,) = found
    assert (finding.dependency, finding.fault, finding.evidence) == ("gpt", "repeat", ("0", "1", "2"))


def test_a_conversation_that_goes_on_and_on_with_the_same_answer_is_a_loop() -> None:
    events = [said("Let me see.", asked=str(n), tokens=100 + 20 * n, key=str(n)) for n in range(20)]
    detector = LoopDetector(3)
    (finding,) = [finding for event in events for finding in detector.observe(event, at=0.0)]
    assert (finding.fault, finding.evidence) == ("repeat", tuple(str(n) for n in range(12)))
    assert finding.message == "gpt: the same answer 12 times in a row, in a conversation that goes on"


def test_the_same_answer_to_other_requests_is_no_loop() -> None:
    """A run that sorted its mails was halted at the third that was spam."""
    mails = [said("spam", asked=str(n), tokens=200 + 37 * (n * n % 11)) for n in range(100)]
    canned = [settled("gpt", args=str(n), kind=CallKind.MODEL) for n in range(100)]
    assert faults(LoopDetector(3), [*mails, *canned]) == [[]] * 200


def test_votes_that_are_asked_for_side_by_side_are_no_loop() -> None:
    """A run that asked five times at once, to take what most of them said, was halted where they agreed."""
    votes = [said("yes", beside=beside) for beside in (4, 3, 2, 1, 0)]
    assert faults(LoopDetector(3), votes) == [[]] * 5
    rounds = [fault for faults_ in faults(LoopDetector(3), votes * 3) for fault in faults_]
    assert rounds == ["repeat"]  # to vote on the same again and again is one


def test_what_else_is_under_way_hides_no_loop() -> None:
    assert faults(LoopDetector(3), [said("yes", beside=1) for _ in range(3)])[-1] == ["repeat"]


def test_a_model_that_polls_is_no_loop() -> None:
    detector = LoopDetector(3)
    events = []
    for number in range(10):
        events.append(settled("gpt", args=str(number), result="call status", kind=CallKind.MODEL))
        events.append(settled("status", result=number))

    assert faults(detector, events) == [[]] * 20


def test_models_that_fail_or_answer_otherwise_are_no_loop() -> None:
    answer = settled("gpt", kind=CallKind.MODEL)
    failure = settled("gpt", kind=CallKind.MODEL, outcome=failed("boom"))
    other = settled("gpt", result="s", kind=CallKind.MODEL)
    smaller = settled("mini", kind=CallKind.MODEL)

    for events in ([failure] * 9, [answer, answer, failure] * 3, [answer, answer, other] * 3, [answer, smaller] * 9):
        assert faults(LoopDetector(3), events) == [[]] * len(events)


def test_a_tool_loop_is_seen_although_models_speak_in_between() -> None:
    detector = LoopDetector(3)
    events = []
    for number in range(3):
        events.append(settled("gpt", args=str(number), result=number, kind=CallKind.MODEL))
        events.append(settled("get_order"))

    assert faults(detector, events)[-1] == ["repeat"]


def test_other_events_are_none_of_its_business() -> None:
    assert list(LoopDetector(2).observe(RunEnded(ending="complete"), at=0.0)) == []  # type: ignore[arg-type]


def test_once_is_no_loop() -> None:
    with pytest.raises(Misuse, match="at least twice"):
        LoopDetector(1)


STEPS = st.lists(st.sampled_from("abcd"), max_size=40) | st.builds(
    lambda before, cycle, times, after: before + cycle * times + after,
    st.lists(st.sampled_from("abcd"), max_size=5),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=5),
    st.integers(1, 6),
    st.lists(st.sampled_from("abcd"), max_size=8),
)


def periodic(steps: Sequence[str], period: int, times: int) -> bool:
    """Whether `steps` ends in a block of `period` steps that comes `times` times in a row."""
    tail = list(steps[-period * times :])
    return len(tail) == period * times and tail == tail[:period] * times


def brute_force(steps: Sequence[str], k: int) -> str | None:
    """What is to be found when the last of `steps` has just settled."""
    for period in (1, 2, 3, 4):
        if not periodic(steps, period, k) or periodic(steps[:-1], period, k):
            continue  # no loop, or one that was found a step ago
        tail = steps[-period * k :]
        if any(
            all(one == other for one, other in zip(tail, tail[shorter:], strict=False)) for shorter in range(1, period)
        ):
            continue  # a loop of a shorter period, found before
        return "repeat" if period == 1 else "cycle"
    return None


@given(STEPS, st.integers(2, 4))
def test_it_agrees_with_brute_force(steps: list[str], k: int) -> None:
    detector = LoopDetector(k)
    for number, step in enumerate(steps):
        found = list(detector.observe(settled(step, key=str(number)), at=0.0))

        assert [finding.fault for finding in found] == (
            [fault] if (fault := brute_force(steps[: number + 1], k)) else []
        )
        for finding in found:
            assert finding.evidence[-1] == str(number)


@given(STEPS, st.integers(0, 40))
def test_after_a_replay_it_goes_on_as_if_nothing_had_happened(steps: list[str], crash: int) -> None:
    unbroken, resumed = LoopDetector(3), LoopDetector(3)
    for number, step in enumerate(steps):
        event = settled(step, key=str(number))
        found = list(unbroken.observe(event, at=0.0))
        if number < crash:
            resumed.restore(event)
        else:
            assert list(resumed.observe(event, at=9.0)) == found


@given(st.lists(st.sampled_from("ab"), max_size=30), st.integers(2, 4))
def test_models_agree_with_brute_force(answers: list[str], k: int) -> None:
    detector = LoopDetector(k)
    for number, answer in enumerate(answers):
        event = settled("gpt", result=answer, kind=CallKind.MODEL, key=str(number))
        so_far = answers[: number + 1]
        expected = periodic(so_far, 1, k) and not periodic(so_far[:-1], 1, k)

        assert bool(detector.observe(event, at=0.0)) == expected
