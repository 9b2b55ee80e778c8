"""Runs that say nothing, and people who are waited for."""

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.observability.monitors.views import Glance, View
from plimsoll.observability.monitors.waiting import QueueMonitor, SilenceMonitor


def view(*, running: dict[str, float] | None = None, waiting: dict[str, float] | None = None) -> View:
    return View(
        running=tuple(Glance(run_id=name, since=since) for name, since in (running or {}).items()),
        waiting=tuple(Glance(run_id=name, since=since) for name, since in (waiting or {}).items()),
    )


def test_a_run_that_says_nothing_is_told_once() -> None:
    monitor = SilenceMonitor(300.0)
    assert monitor.look(view(running={"a": 1000.0, "b": 1200.0}), now=1300.0) == []
    ((run_id, finding),) = monitor.look(view(running={"a": 1000.0, "b": 1200.0}), now=1301.0)
    assert (run_id, finding.kind, finding.severity, finding.fault) == ("a", "silent_run", "critical", "silence")
    assert finding.message.startswith("the run has recorded nothing for 301 s, more than 300 s")
    assert monitor.look(view(running={"a": 1000.0}), now=1400.0) == []


def test_one_that_has_spoken_and_fallen_silent_again_is_told_again() -> None:
    monitor = SilenceMonitor(300.0)
    monitor.look(view(running={"a": 0.0}), now=400.0)
    assert monitor.look(view(running={"a": 390.0}), now=500.0) == []
    assert len(monitor.look(view(running={"a": 390.0}), now=700.0)) == 1
    assert monitor.look(view(), now=800.0) == []
    assert monitor._told == {}


def test_what_waits_for_people_too_long_is_told_together_and_again_after_as_long() -> None:
    monitor = QueueMonitor(600.0)
    waiting = view(waiting={"a": 100.0, "b": 50.0, "c": 640.0})
    assert monitor.look(waiting, now=650.0) == []
    ((run_id, finding),) = monitor.look(waiting, now=701.0)
    assert (run_id, finding.kind, finding.severity) == ("b", "queue_too_old", "warning")
    assert finding.message.startswith("2 run(s) have waited for people for more than 600 s, the oldest for 651 s")
    assert monitor.look(waiting, now=1300.0) == []
    ((_, finding),) = monitor.look(waiting, now=1302.0)
    assert finding.message.startswith("3 run(s)")


def test_a_queue_that_was_empty_in_between_is_told_anew() -> None:
    monitor = QueueMonitor(600.0)
    assert len(monitor.look(view(waiting={"a": 0.0}), now=700.0)) == 1
    assert monitor.look(view(), now=710.0) == []
    assert len(monitor.look(view(waiting={"b": 0.0}), now=720.0)) == 1


def test_a_clock_that_was_set_back_holds_nothing_back() -> None:
    monitor = QueueMonitor(600.0)
    assert len(monitor.look(view(waiting={"a": 0.0}), now=100_000.0)) == 1
    assert len(monitor.look(view(waiting={"a": 0.0}), now=700.0)) == 1


def test_no_time_at_all_is_refused() -> None:
    for make in (SilenceMonitor, QueueMonitor):
        with pytest.raises(Misuse, match="above 0"):
            make(0.0)
