"""Rubber-stamping: who approves everything, or faster than anybody can read; and who does not."""

from collections.abc import Iterable

import pytest

from plimsoll.core.events import Finding
from plimsoll.core.rng import seeded_rng
from plimsoll.observability.monitors import reviewers
from plimsoll.observability.monitors.reviewers import ReviewMonitor
from plimsoll.observability.monitors.views import Decision, View


def decided(number: int, *, approved: bool = True, by: str = "ana", every_s: float = 60.0) -> Decision:
    return Decision(
        run_id=f"run-{number}", by=by, approved=approved, at=every_s * number, asked_at=every_s * (number - 1)
    )


def told(decisions: Iterable[Decision], monitor: ReviewMonitor | None = None) -> list[tuple[str, Finding]]:
    monitor = monitor or ReviewMonitor()
    return [one for decision in decisions for one in monitor.look(View(decided=(decision,)), now=decision.at)]


def test_who_approves_ninety_in_a_row_is_told_of_once() -> None:
    ((run_id, finding),) = told(decided(number) for number in range(1, 400))
    assert (run_id, finding.kind, finding.fault) == ("run-90", "rubber_stamp", "always_yes")
    assert finding.message == "ana approved 90 of the last 90 requests: is anybody still looking?"
    assert finding.evidence == ("ana",)


def test_people_are_told_apart() -> None:
    assert told(decided(number, by=f"person-{number % 3}") for number in range(240)) == []


def test_who_says_no_in_between_is_looking() -> None:
    assert told(decided(number, approved=number % 20 != 0) for number in range(1, 1000)) == []


def test_it_is_told_again_once_it_was_over() -> None:
    numbers = range(1, 700)
    faults = [finding.fault for _, finding in told(decided(n, approved=not 100 < n < 140) for n in numbers)]
    assert faults == ["always_yes", "always_yes"]


@pytest.mark.parametrize("seed", range(20))
def test_the_average_reviewer_is_left_alone(seed: int) -> None:
    rng = seeded_rng(seed)
    decisions = (decided(number, approved=rng.random() < 0.93, every_s=30.0) for number in range(1, 500))
    assert told(decisions) == []


def test_who_decides_faster_than_anybody_can_read() -> None:
    quick = [decided(number, approved=number % 3 > 0, every_s=1.0) for number in range(1, 30)]
    ((run_id, finding),) = told(quick)
    assert (run_id, finding.fault) == ("run-10", "too_fast")
    assert finding.message == "ana decided 10 of the last 10 requests within 2 s: is anybody still looking?"


def test_who_works_off_a_long_queue_is_timed_by_the_decision_before() -> None:
    def queued(number: int, every_s: float) -> Decision:
        at, approved = 1e6 + every_s * number, number % 3 > 0
        return Decision(run_id="r", by="ana", approved=approved, at=at, asked_at=float(number))

    assert told(queued(number, 20.0) for number in range(100)) == []
    assert [finding.fault for _, finding in told(queued(number, 1.0) for number in range(100))] == ["too_fast"]


def test_where_nobody_knows_when_it_was_asked_the_decision_before_tells() -> None:
    def unasked(number: int) -> Decision:
        return Decision(run_id="r", by="ana", approved=number % 3 > 0, at=1.0 * number, asked_at=None)

    assert [finding.fault for _, finding in told(unasked(number) for number in range(12))] == ["too_fast"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviewers, "_MAX_PEOPLE", 5)
    monitor = ReviewMonitor()
    told((decided(number, by=f"person-{number}") for number in range(50)), monitor)
    assert list(monitor._people) == [f"person-{number}" for number in range(45, 50)]


def test_decisions_that_are_heard_of_out_of_order_are_no_quick_ones() -> None:
    """A run acts on its decision when it wakes. One that woke later than the next seemed decided before its request."""
    at = [60.0 * number + (90.0 if number % 2 else 0.0) for number in range(60)]
    decisions = (
        Decision(run_id="r", by="ana", approved=number % 3 > 0, at=each, asked_at=each - 45.0)
        for number, each in enumerate(at)
    )
    assert told(decisions) == []


def test_the_clock_of_whoever_asked_may_be_ahead() -> None:
    def ahead(number: int, every_s: float) -> Decision:
        at = every_s * number
        return Decision(run_id="r", by="ana", approved=number % 3 > 0, at=at, asked_at=at + 5.0)

    assert told(ahead(number, 60.0) for number in range(60)) == []
    assert [finding.fault for _, finding in told(ahead(number, 1.0) for number in range(60))] == ["too_fast"]
