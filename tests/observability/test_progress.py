"""No progress, against a slow and obvious count; and healthy runs of many kinds, which are none."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.calls import CallKind, Effect, ErrorRecord, Fault, Outcome, Status
from plimsoll.core.errors import Misuse
from plimsoll.core.events import ApprovalDecided, CallSettled, Event, SignalReceived
from plimsoll.observability.progress import ProgressDetector

K = 3
MOST = 4 * K
REFUSED = ErrorRecord(type="NotFound", message="no order 4711", fault=Fault.REFUSED)


def called(
    tool: str, args: Any = "", result: Any = "r", *, effect: Effect = Effect.READ, kind: CallKind = CallKind.TOOL
) -> CallSettled:
    outcome = Outcome(status=Status.OK, value=result)
    if isinstance(result, ErrorRecord):
        outcome = Outcome(status=Status.FAILED, error=result)
    return CallSettled(
        key=f"{tool}({args})", kind=kind, dependency=tool, effect=effect, args_digest=str(args), outcome=outcome,
        duration_s=0.1, result_digest=repr(result) if outcome.ok else "",
    )  # fmt: skip


def fires_at(events: Sequence[Event]) -> list[int]:
    """The numbers, from 1, of the events that raise the finding."""
    detector = ProgressDetector(K)
    return [number for number, event in enumerate(events, 1) if detector.observe(event, at=0.0)]


# ------------------------------------------------------------------------------------------------------- what it finds


def test_a_cycle_longer_than_any_that_a_loop_is() -> None:
    round_ = [called("look", number, f"order {number}") for number in range(5)]
    assert fires_at(round_ * 10) == [20]  # one round is new, one counts half, and ten calls count in full


def test_the_same_calls_in_ever_another_order() -> None:
    a, b, c = (called("look", name, name) for name in "abc")
    assert fires_at([a, b, c, a, c, b, b, a, c, b, c, a, c, a, b, a, b, c]) == [3 + 3 + 11]


def test_asking_for_many_things_that_are_not_there() -> None:
    assert fires_at([called("search", f"words {number}", []) for number in range(60)]) == [2 * MOST]
    assert fires_at([called("find", f"id {number}", REFUSED) for number in range(60)]) == [2 * MOST]


def test_a_finding_names_the_calls_and_halts() -> None:
    detector = ProgressDetector(K)
    found = [finding for _ in range(20) for finding in detector.observe(called("look", 1), at=0.0)]
    (finding,) = found
    assert (finding.kind, finding.fault, finding.severity, finding.dependency) == (
        "loop", "no_progress", "critical", "look",
    )  # fmt: skip
    assert finding.message == f"no progress: the last {MOST + 1} calls brought nothing new"
    assert finding.evidence == ("look(1)",) * (MOST + 1)


def test_an_observed_protection_says_so() -> None:
    detector = ProgressDetector(2, observed=True)
    found = [finding for _ in range(20) for finding in detector.observe(called("look"), at=0.0)]
    assert [(finding.observed, finding.severity) for finding in found] == [(True, "warning")]


def test_models_in_between_change_nothing() -> None:
    thinks = called("primary", "ever another prompt", "ever another answer", kind=CallKind.MODEL)
    look = called("look")
    assert fires_at([thinks, look] * 20) == [2 * (1 + MOST + 1)]


# --------------------------------------------------------------------------------------------- what it must leave alone

HEALTHY: dict[str, Callable[[], list[Event]]] = {
    "reads many things": lambda: [called("look", number, f"order {number}") for number in range(100)],
    "reads many things that look the same": lambda: [called("in_stock", number, True) for number in range(100)],
    "pages": lambda: [called("list", f"page {number}", [number]) for number in range(100)],
    "pages up to an empty page": lambda: [called("list", n, [n] if n < 40 else []) for n in range(41)],
    "polls and sees it move": lambda: [called("status", "job", {"percent": n}) for n in range(100)],
    "polls many jobs in turn": lambda: [called("status", n % 5, {"done": n // 5}) for n in range(100)],
    "writes many things": lambda: [called("send", n, None, effect=Effect.WRITE) for n in range(100)],
    "reads again what it changed": lambda: [
        event
        for n in range(50)
        for event in (called("add", n, "ok", effect=Effect.WRITE), called("total", "", n))
    ],
    "reads the same beside other work": lambda: [
        event for n in range(50) for event in (called("rules"), called("look", n, f"order {n}"))
    ],
    "searches a month, and finds one day": lambda: [
        called("flights", day, ["LH1"] if day == 22 else []) for day in range(30)
    ],
    "reads all again once, to be sure": lambda: [called("look", n % 20, f"order {n % 20}") for n in range(40)],
    "fails, and does it another way": lambda: [
        event for n in range(20) for event in (called("fast", n, REFUSED), called("slow", n, f"order {n}"))
    ],
    "tries some names until one is right": lambda: [
        *(called("find", n, REFUSED) for n in range(20)), called("find", 20, {"id": 7}),
    ],
}  # fmt: skip


@pytest.mark.parametrize("events", HEALTHY.values(), ids=list(HEALTHY))
def test_healthy_work(events: Callable[[], list[Event]]) -> None:
    assert fires_at(events()) == []


@pytest.mark.parametrize(
    "news",
    [
        SignalReceived(key="s", name="go", signal_id="1", payload=None, by="ann"),
        ApprovalDecided(request_id="r", decision_id="d", decision="denied", args_digest="a", by="ann"),
        called("look", "other", "new"),
    ],
)
def test_what_is_new_starts_the_count_anew(news: Event) -> None:
    assert fires_at([*[called("look")] * MOST, news, *[called("look")] * (MOST - 1)]) == []
    assert fires_at([*[called("look")] * MOST, news, *[called("look")] * MOST]) == [2 * MOST + 1]


# ----------------------------------------------------------------------------------------------------------- its state

EVENTS = st.lists(
    st.builds(
        called,
        st.sampled_from(["a", "b"]),
        st.integers(0, 2),
        st.one_of(st.integers(0, 1), st.sampled_from([[], None, REFUSED])),
        effect=st.sampled_from([Effect.READ, Effect.WRITE]),
    ),
    max_size=80,
)


def slowly(events: Sequence[CallSettled]) -> list[int]:
    """The same by its definition, over the whole history."""
    found, idle = [], 0
    seen: Counter[Any] = Counter()
    for number, event in enumerate(events, 1):
        step = (event.dependency, event.args_digest, repr(event.outcome))
        nothing = event.effect is Effect.READ and event.outcome.value in (None, [])
        weight = 2 if seen[step] >= K - 1 else 1 if seen[step] or not event.outcome.ok or nothing else 0
        seen[step] += 1
        before, idle = idle, idle + weight if weight else 0
        if before < 2 * MOST <= idle:
            found.append(number)
    return found


@given(EVENTS)
def test_it_finds_what_its_definition_says(events: list[CallSettled]) -> None:
    assert fires_at(events) == slowly(events)


@given(EVENTS, st.integers(0, 80))
def test_a_replay_brings_it_to_the_same_state(events: list[CallSettled], cut: int) -> None:
    lived, resumed = ProgressDetector(K), ProgressDetector(K)
    for event in events[:cut]:
        lived.observe(event, at=0.0)
        resumed.restore(event)
    for event in events[cut:]:
        assert lived.observe(event, at=0.0) == resumed.observe(event, at=0.0)


def test_what_it_remembers_is_bounded() -> None:
    detector = ProgressDetector(K)
    for number in range(1500):
        detector.observe(called("look", number, number), at=0.0)
    assert len(detector._known) == 1000


def test_a_loop_of_one_is_refused() -> None:
    with pytest.raises(Misuse, match="at least twice"):
        ProgressDetector(1)
