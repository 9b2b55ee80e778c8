"""The index of the runs that may go on, by itself: what is due in each store is tested in `test_due`."""

from msgspec.structs import replace

from plimsoll.journal import RunHead, RunState
from plimsoll.journal.store import OTHER_VERSION
from plimsoll.journal.waking import Waking

PARKED = RunHead(run_id="r", epoch=1, owner="one", seq=2, state=RunState.PARKED, reason="timer", fingerprint="f")


def found(waking: Waking, now: float = 0.0, fingerprint: str = "f") -> list[str]:
    return [head.run_id for head in waking.at(now, fingerprint=fingerprint)]


def test_of_a_time_that_was_put_off_or_brought_forward_the_last_counts() -> None:
    for first, then in ((5.0, 9.0), (9.0, 5.0)):
        waking = Waking()
        waking.keep(replace(PARKED, wake_at=first))
        waking.keep(replace(PARKED, wake_at=then))
        assert found(waking, then - 0.5) == []
        assert found(waking, then) == ["r"] == found(waking, then), "until it is told that it went on"
        waking.keep(replace(PARKED, wake_at=None))
        assert found(waking, 99.0) == []


def test_the_timely_come_first_and_the_running_last() -> None:
    waking = Waking()
    waking.keep(replace(PARKED, run_id="running", state=RunState.RUNNING))
    waking.keep(replace(PARKED, run_id="claimed", state=RunState.RUNNING, seq=0))
    waking.keep(replace(PARKED, run_id="version", reason=OTHER_VERSION))
    waking.keep(replace(PARKED, run_id="news", posted=2, seen=1))
    waking.keep(replace(PARKED, run_id="late", wake_at=2.0))
    waking.keep(replace(PARKED, run_id="early", wake_at=1.0))
    assert found(waking, 3.0) == ["early", "late", "news", "version", "running"]
    assert found(waking, 1.0, fingerprint="g") == ["early", "news", "running"]
