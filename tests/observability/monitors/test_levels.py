"""Service levels, held against records as the journal has them."""

from collections.abc import Iterable
from typing import Any

import pytest

from plimsoll.contract.model import ServiceLevel, ServiceLevels
from plimsoll.core.calls import CallKind, Effect, Ending, ErrorRecord, Fault, Outcome, Status
from plimsoll.core.events import (
    CallSettled,
    CancelRequested,
    Event,
    Finding,
    FindingRaised,
    Record,
    RunEnded,
    ValueRecorded,
    encode_event,
)
from plimsoll.observability.monitors.levels import LevelMonitor

KILLED = Finding(kind="kill_switch", severity="critical", message="stopped")
LOOPED = Finding(kind="loop", severity="critical", message="again")


def record(event: Event, *, at: float = 0.0, run_id: str = "r") -> Record:
    return Record(run_id=run_id, seq=1, epoch=1, at=at, body=encode_event(event), digest=b"")


def ended(ending: Ending = Ending.FAILED, *, active_s: float = 1.0) -> RunEnded:
    return RunEnded(ending=ending, output="SECRET", reason="SECRET", active_s=active_s)


def settled(status: Status = Status.FAILED, **changes: Any) -> CallSettled:
    fault, rung = changes.pop("fault", None), changes.pop("rung", 0)
    error = None if fault is None else ErrorRecord(type="E", message="SECRET", fault=fault)
    fields: dict[str, Any] = {"kind": CallKind.TOOL, "dependency": "find", "duration_s": 0.1, **changes}
    outcome = Outcome(status=status, value={"SECRET": 1}, error=error, rung=rung)
    fields |= {"key": "1:find", "effect": Effect.READ, "args_digest": "a", "args": {"card": "SECRET"}}
    return CallSettled(outcome=outcome, **fields)


def found(levels: ServiceLevels, *events: Event) -> list[tuple[str | None, str | None]]:
    """The causes that are told when this happens ten times, a minute apart."""
    monitor = LevelMonitor(levels)
    told = []
    for number in range(10):
        records = [record(event, at=60.0 * number, run_id=f"r{number}") for event in events]
        told += [(finding.dependency, finding.fault) for _, finding in monitor.committed(records)]
    return told


LEVEL = ServiceLevel(objective=0.99)
RUNS = ServiceLevels(runs=LEVEL)
FIND = ServiceLevels(tools={"find": LEVEL})
ASKED = ServiceLevels(models={"primary": LEVEL})
TWICE = 2
"""Both windows burn."""


def test_runs_that_do_not_end_well() -> None:
    assert found(RUNS, ended(Ending.FAILED)) == found(RUNS, ended(Ending.HALTED)) == [(None, "errors")] * TWICE
    assert found(RUNS, ended(Ending.COMPLETE)) == found(RUNS, ended(Ending.DEGRADED)) == []
    assert found(RUNS, ended(Ending.CONTINUED)) == []


def test_runs_that_a_person_ended_say_nothing() -> None:
    assert found(RUNS, CancelRequested(by="ana", reason="no"), ended(Ending.HALTED)) == []
    assert found(RUNS, FindingRaised(finding=KILLED), ended(Ending.HALTED)) == []
    assert found(RUNS, FindingRaised(finding=LOOPED), ended(Ending.HALTED)) == [(None, "errors")] * TWICE


def test_calls_that_fail() -> None:
    assert found(FIND, settled(fault=Fault.TIMEOUT)) == [("find", "errors")] * TWICE
    assert found(FIND, settled(Status.IN_DOUBT)) == [("find", "errors")] * TWICE
    assert found(FIND, settled(Status.OK)) == found(FIND, settled(fault=Fault.REFUSED)) == []
    assert found(FIND, settled(Status.REJECTED)) == found(FIND, settled(Status.ABANDONED)) == []
    assert found(FIND, settled(fault=Fault.TIMEOUT, dependency="look")) == []
    assert found(FIND, settled(fault=Fault.TIMEOUT, kind=CallKind.MODEL)) == []


def test_a_model_that_its_ladder_stands_in_for() -> None:
    answered = {"kind": CallKind.MODEL, "dependency": "primary"}
    assert found(ASKED, settled(Status.OK, rung=1, **answered)) == [("primary", "errors")] * TWICE
    assert found(ASKED, settled(Status.OK, **answered)) == []


def test_latency_is_of_what_went_well() -> None:
    slow = ServiceLevels(runs=ServiceLevel(within_s=5.0), tools={"find": ServiceLevel(within_s=0.5, quantile=0.99)})
    assert found(slow, settled(Status.OK, duration_s=0.6)) == [("find", "latency")] * TWICE
    assert found(slow, settled(Status.OK, duration_s=0.5)) == []
    assert found(slow, settled(fault=Fault.TIMEOUT, duration_s=9.0)) == []
    assert found(slow, ended(Ending.COMPLETE, active_s=5.1)) == [(None, "latency")] * TWICE
    assert found(slow, ended(Ending.FAILED, active_s=5.1)) == []


def test_a_finding_says_how_many_and_quotes_nothing() -> None:
    monitor = LevelMonitor(RUNS)
    told = [one for at in range(3) for one in monitor.committed([record(ended(), at=at, run_id=f"r{at}")])]
    assert [run_id for run_id, _ in told] == ["r2", "r2"]
    assert [finding.evidence for _, finding in told] == [("fast",), ("slow",)]
    finding = told[0][1]
    assert (finding.kind, finding.severity) == ("burn_rate", "critical")
    assert finding.message == (
        "3 of 3 of the agent's runs failed within 1 h: an objective of 0.99 allows so many in 100 times as long"
    )


def test_other_events_and_no_levels_cost_nothing() -> None:
    assert not LevelMonitor(ServiceLevels()).is_needed
    assert LevelMonitor(RUNS).is_needed and LevelMonitor(ASKED).is_needed and LevelMonitor(FIND).is_needed
    assert found(RUNS, ValueRecorded(key="now", value={"type": "run_ended"}), settled(fault=Fault.TIMEOUT)) == []


def test_who_was_stopped_is_remembered_in_bounded_memory() -> None:
    monitor = LevelMonitor(RUNS)
    monitor.committed([record(CancelRequested(by="a", reason=""), run_id=f"r{number}") for number in range(1500)])
    assert len(monitor._stopped) == 1000


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_batch_is_read_in_its_order(order: Iterable[int]) -> None:
    events = [CancelRequested(by="a", reason=""), ended(Ending.HALTED)]
    told = found(RUNS, *(events[number] for number in order))
    assert bool(told) == (tuple(order) == (1, 0))
