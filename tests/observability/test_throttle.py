"""What reaches people of a flood of findings: each cause once in its window, never too many, and nothing unsaid."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from plimsoll.core.clock import LoopClock, ManualClock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import Finding
from plimsoll.gate.simulator import simulate
from plimsoll.observability import throttle
from plimsoll.observability.findings import MemorySink, settle_sink
from plimsoll.observability.throttle import Throttle

SLOW = Finding(kind="slow", severity="warning", message="gpt answered slowly", dependency="gpt", fault="slow")
LOOP = Finding(kind="loop", severity="critical", message="find: again", dependency="find", fault="repeat")


class TimedSink(MemorySink):
    """Keeps when each arrived, too."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.times: list[tuple[float, str]] = []
        self._clock = clock

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        self.times.append((self._clock.monotonic(), finding.kind))
        super().emit(finding, run_id=run_id, agent=agent, at=at)


class Bench:
    """A throttle in front of a sink that keeps everything, by a clock that is moved by hand."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.sink = TimedSink(self.clock)
        self.throttle = Throttle(self.sink, clock=self.clock, **options)

    def emit(self, finding: Finding = SLOW, run_id: str = "run-1", agent: str = "shop") -> None:
        self.throttle.emit(finding, run_id=run_id, agent=agent, at=self.clock.now())

    @property
    def messages(self) -> list[str]:
        return [finding.message for finding in self.sink.findings]

    @property
    def runs(self) -> list[str]:
        return [run_id for _, run_id, _ in self.sink.entries]


def test_the_same_cause_of_many_runs_is_told_once_with_how_often_it_was_there() -> None:
    bench = Bench(window_s=600.0)
    for number in range(1, 42):
        bench.emit(run_id=f"run-{number}")
    assert bench.messages == ["gpt answered slowly"]

    bench.clock.advance(600.0)
    bench.throttle.tick()
    assert bench.messages[1:] == ["gpt answered slowly (40 more in 10 min)"]
    assert bench.runs == ["run-1", "run-41"]

    bench.emit()  # the sum began a window of its own
    assert len(bench.messages) == 2


def test_a_cause_that_does_not_come_back_is_forgotten() -> None:
    bench = Bench(window_s=60.0)
    bench.emit()
    bench.clock.advance(60.0)
    bench.throttle.tick()
    bench.emit(run_id="run-2")
    assert bench.messages == ["gpt answered slowly"] * 2


@pytest.mark.parametrize(
    "changed",
    [{"kind": "loop"}, {"dependency": "claude"}, {"fault": "timeout"}, {"observed": True}, {"severity": "critical"}],
)
def test_another_cause_or_a_more_severe_one_is_told_at_once(changed: dict[str, Any]) -> None:
    bench = Bench()
    bench.emit()
    bench.emit(replace(SLOW, **changed))
    assert len(bench.messages) == 2


def test_what_becomes_more_severe_says_how_often_it_was_there_before() -> None:
    bench = Bench()
    bench.emit()
    bench.emit()
    bench.emit(replace(SLOW, severity="critical"))
    assert bench.messages == ["gpt answered slowly", "gpt answered slowly (1 more in 60 min)"]


def test_two_agents_do_not_share_a_cause() -> None:
    bench = Bench()
    bench.emit(agent="shop")
    bench.emit(agent="bank")
    assert len(bench.messages) == 2


@pytest.mark.parametrize("kind", ["approval_pending", "in_doubt_unresolved"])
def test_what_asks_a_person_is_told_for_every_call(kind: str) -> None:
    bench = Bench()
    for run_id, key in (("run-1", "1"), ("run-1", "2"), ("run-2", "1"), ("run-2", "1")):
        bench.emit(replace(SLOW, kind=kind, evidence=(key,)), run_id=run_id)
    assert len(bench.messages) == 3


def test_too_many_are_held_back_and_summed_up() -> None:
    bench = Bench(per_minute=4)
    for number in range(12):
        bench.emit(replace(SLOW, dependency=f"gpt-{number}"))
    assert len(bench.messages) == 2  # the other half is kept for what is critical

    bench.clock.advance(60.0)
    bench.throttle.tick()
    (summary,) = bench.sink.findings[2:]
    assert summary.kind == "alerts_held_back"
    assert summary.severity == "warning"
    assert summary.message.startswith("10 alert(s) were held back, more than 4 a minute: 1 × slow (gpt-2, slow), ")
    assert summary.message.endswith(", 5 others")


def test_what_was_held_back_is_told_when_it_comes_again_later() -> None:
    bench = Bench(per_minute=2)
    bench.emit()
    bench.emit(replace(SLOW, dependency="claude"))
    bench.clock.advance(90.0)
    bench.emit(replace(SLOW, dependency="claude"))
    assert [finding.dependency for finding in bench.sink.findings] == ["gpt", None, "claude"]


def test_a_critical_one_gets_through_a_flood_of_warnings() -> None:
    bench = Bench(per_minute=10)
    for number in range(1000):
        bench.emit(replace(SLOW, dependency=f"gpt-{number}"))
    for number in range(5):
        bench.emit(replace(LOOP, dependency=f"find-{number}"))
    assert [finding.kind for finding in bench.sink.findings] == ["slow"] * 5 + ["loop"] * 5


def test_a_flood_of_critical_ones_is_summed_up_as_critical() -> None:
    bench = Bench(per_minute=10)
    for number in range(30):
        bench.emit(replace(LOOP, dependency=f"find-{number}"))
    bench.clock.advance(60.0)
    bench.throttle.tick()
    assert len(bench.messages) == 11
    assert bench.sink.findings[-1].severity == "critical"
    assert bench.messages[-1].startswith("20 alert(s) were held back")


def test_the_least_severity() -> None:
    bench = Bench(severity="critical")
    bench.emit()
    bench.emit(LOOP)
    assert bench.sink.findings == [LOOP]


@pytest.mark.parametrize("options", [{"window_s": 0.0}, {"per_minute": 0}, {"severity": "loud"}])
def test_what_it_cannot_do_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match="window_s must be above 0"):
        Bench(**options)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll.observability.throttle._MAX_CAUSES", 3)
    monkeypatch.setattr("plimsoll.observability.throttle._MAX_HELD", 2)
    bench = Bench(per_minute=1000)
    bench.emit()
    bench.emit()
    for number in range(4):
        bench.emit(replace(SLOW, dependency=f"gpt-{number}"))
    assert len(bench.throttle._told) == 3
    bench.clock.advance(60.0)
    bench.throttle.tick()  # the first cause made room, and what was not told of it yet is
    assert bench.messages[-1].startswith("1 alert(s) were held back")


def in_a_loop(work: Callable[[Throttle, MemorySink, LoopClock], Awaitable[None]], **options: Any) -> MemorySink:
    sink = MemorySink()

    async def session() -> None:
        clock = LoopClock()
        await work(Throttle(sink, clock=clock, **options), sink, clock)

    simulate(session)
    return sink


def test_the_sum_is_told_although_no_further_finding_comes() -> None:
    async def work(throttle: Throttle, sink: MemorySink, clock: LoopClock) -> None:
        for number in range(3):
            throttle.emit(SLOW, run_id=f"run-{number}", agent="shop", at=clock.now())
        await clock.sleep(599.0)
        assert len(sink.findings) == 1
        await clock.sleep(2.0)
        assert [finding.message for finding in sink.findings][1:] == ["gpt answered slowly (2 more in 10 min)"]
        await throttle.settle()

    assert len(in_a_loop(work, window_s=600.0).findings) == 2


def test_before_the_process_ends_everything_is_told() -> None:
    async def work(throttle: Throttle, sink: MemorySink, clock: LoopClock) -> None:
        for finding in (SLOW, SLOW, replace(SLOW, dependency="claude"), replace(SLOW, dependency="phi")):
            throttle.emit(finding, run_id="run-1", agent="shop", at=clock.now())
        await throttle.settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    messages = [finding.message for finding in in_a_loop(work, per_minute=2, window_s=90.0).findings]
    assert messages == [
        "gpt answered slowly",
        "gpt answered slowly (1 more in 1.5 min)",
        "2 alert(s) were held back, more than 2 a minute: 1 × slow (claude, slow), 1 × slow (phi, slow)",
    ]


class Failing(MemorySink):
    """Takes the first, and then fails."""

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        if self.entries:
            raise ConnectionError("SECRET")
        super().emit(finding, run_id=run_id, agent=agent, at=at)


def test_a_sink_that_fails_at_a_sum_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def session() -> None:
        clock = LoopClock()
        throttle = Throttle(Failing(), clock=clock, window_s=60.0)
        for _ in range(2):
            throttle.emit(SLOW, run_id="r", agent="shop", at=clock.now())
        await clock.sleep(100.0)
        for _ in range(2):
            with suppress(ConnectionError):
                throttle.emit(SLOW, run_id="r", agent="shop", at=clock.now())
        await settle_sink(throttle)

    simulate(session)
    assert caplog.messages == [
        "a sum of alerts could not be told (ConnectionError)",
        "Throttle could not be settled (ConnectionError): alerts may be lost",
    ]


KINDS = {"slow": "info", "call_failed": "warning", "loop": "critical"}
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(["a", "b", "c"]), st.floats(0.0, 100.0)), max_size=60
)


@given(STEPS, st.integers(1, 5))
def test_nothing_goes_unsaid_and_no_minute_has_too_many(steps: list[tuple[str, str, float]], per_minute: int) -> None:
    bench = Bench(window_s=120.0, per_minute=per_minute)
    for kind, dependency, wait_s in steps:
        bench.clock.advance(wait_s)
        bench.emit(Finding(kind=kind, severity=KINDS[kind], message="m", dependency=dependency))
    minutes = [at for at, kind in bench.sink.times if kind != "alerts_held_back"]
    asyncio.run(bench.throttle.settle())

    assert all(sum(start <= at < start + 60.0 for at in minutes) <= 2 * per_minute for start in minutes)
    assert sum(map(said, bench.sink.findings)) == len(steps)


def said(finding: Finding) -> int:
    """How many findings an alert tells of."""
    if finding.kind == "alerts_held_back":
        return int(finding.message.split(" ", 1)[0])
    return 1 if finding.message == "m" else int(finding.message.split("(")[1].split(" ", 1)[0])


def test_what_was_held_back_is_told_with_the_most_severe_first() -> None:
    """It was told in the order in which it came, so that a critical one was among the "others" of a flood."""
    bench = Bench(per_minute=4)
    for number in range(20):
        bench.emit(replace(SLOW, dependency=f"gpt-{number}"))
    for number in range(3):
        bench.emit(replace(LOOP, dependency=f"find-{number}"))
    bench.clock.advance(60.0)
    bench.throttle.tick()
    summary = bench.sink.findings[-1]
    assert summary.severity == "critical"
    assert "a minute: 1 × loop (find-2, repeat), 1 × slow" in summary.message


def test_what_is_critical_is_never_among_those_that_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where as many causes were held as are kept, a critical one was summed up as a warning, without its name."""
    monkeypatch.setattr(throttle, "_MAX_HELD", 3)
    bench = Bench(per_minute=4)
    for number in range(20):
        bench.emit(replace(SLOW, dependency=f"gpt-{number}"))
    for number in range(3):
        bench.emit(replace(LOOP, dependency=f"find-{number}"))
    bench.clock.advance(60.0)
    bench.throttle.tick()
    summary = bench.sink.findings[-1]
    assert (summary.severity, summary.message.count("×")) == ("critical", 3)
    assert summary.message.startswith("19 alert(s) were held back")
    assert "1 × loop (find-2, repeat)" in summary.message


def test_a_cause_that_is_held_back_stays_as_severe_as_it_was() -> None:
    bench = Bench(per_minute=1)
    bench.emit(LOOP)
    held = replace(LOOP, dependency="other")
    bench.emit(held)
    bench.emit(replace(held, severity="info"))
    bench.clock.advance(60.0)
    bench.throttle.tick()
    assert bench.sink.findings[-1].severity == "critical"


@pytest.mark.parametrize("kind", ["burn_rate", "rubber_stamp"])
def test_one_rate_or_person_is_not_the_other(kind: str) -> None:
    """A budget that burned slowly hid for an hour that it burned fast; and one reviewer hid the next."""
    bench = Bench()
    for evidence in ("slow", "fast", "slow"):
        bench.emit(replace(SLOW, kind=kind, evidence=(evidence,)))
    assert [finding.evidence for finding in bench.sink.findings] == [("slow",), ("fast",)]


TROUBLE = Finding(kind="journal", severity="critical", message="in trouble", dependency="journal", fault="Unavailable")
WELL = Finding(kind="journal", severity="info", message="well again", dependency="journal")
OPEN = Finding(kind="circuit_open", severity="warning", message="down", dependency="gpt", fault="circuit_open")
CLOSED = Finding(kind="circuit_closed", severity="info", message="back", dependency="gpt", fault="circuit_open")


@pytest.mark.parametrize(("bad", "good"), [(TROUBLE, WELL), (OPEN, CLOSED)])
def test_what_was_told_to_be_over_is_told_when_it_begins_anew(bad: Finding, good: Finding) -> None:
    """All was well, as far as anybody had been told, for the rest of the hour."""
    bench = Bench()
    for finding in (bad, bad, good, replace(bad, dependency="another"), bad, bad):
        bench.emit(finding)
    assert [(each.message, each.dependency) for each in bench.sink.findings] == [
        (bad.message, bad.dependency),
        (good.message, good.dependency),
        (bad.message, "another"),
        (bad.message, bad.dependency),
    ]


def test_what_comes_and_goes_is_no_flood_and_the_last_word_is_never_that_all_is_well() -> None:
    bench = Bench(per_minute=1000)
    for _ in range(200):
        bench.emit(OPEN)
        bench.emit(CLOSED)
    assert bench.messages == ["down", "back", "down"]
    bench.emit(OPEN, agent="other")
    assert len(bench.messages) == 4
