"""Which runs are open, and may go on: an index over heads, for a store that keeps them in memory."""

import heapq
from collections.abc import Iterator

from plimsoll.journal.store import OTHER_VERSION, RunHead, RunState

__all__ = ["Waking"]


class Waking:
    """Told of every head as it changes, it finds those that may go on without looking at the others."""

    __slots__ = ("_asking", "_news", "_of_other_versions", "_open", "_running", "_timed", "_times")

    def __init__(self) -> None:
        self._open: dict[str, RunHead] = {}
        self._asking: dict[str, RunHead] = {}
        self._running: dict[str, RunHead] = {}
        self._news: dict[str, RunHead] = {}
        self._of_other_versions: dict[str, RunHead] = {}
        self._timed: dict[str, RunHead] = {}
        self._times: list[tuple[float, str]] = []  # a heap; what no head in `_timed` says any more is out of date

    def keep(self, head: RunHead) -> None:
        """The head of a run, new or changed."""
        parked = head.state is RunState.PARKED
        _put(self._open, head, when=head.state is not RunState.ENDED)
        _put(self._asking, head, when=head.asks > 0 and head.erased_at is None)
        _put(self._running, head, when=head.state is RunState.RUNNING and head.seq > 0)
        _put(self._news, head, when=parked and head.posted > head.seen)
        _put(self._of_other_versions, head, when=parked and head.reason == OTHER_VERSION)
        if parked and head.wake_at is not None:
            before = self._timed.get(head.run_id)
            if before is None or before.wake_at != head.wake_at:
                heapq.heappush(self._times, (head.wake_at, head.run_id))
        _put(self._timed, head, when=parked and head.wake_at is not None)

    @property
    def open(self) -> dict[str, RunHead]:
        """The runs that have not ended, in the order in which they were first claimed."""
        return self._open

    @property
    def asking(self) -> dict[str, RunHead]:
        """The runs that have something for people to answer."""
        return self._asking

    def at(self, now: float, *, fingerprint: str) -> Iterator[RunHead]:
        """The heads of the parked runs that may go on at `now`, the timely ones first, and of all that are running."""
        found = self._due(now) | self._news
        found |= {run_id: head for run_id, head in self._of_other_versions.items() if head.fingerprint == fingerprint}
        yield from (found | self._running).values()

    def _due(self, now: float) -> dict[str, RunHead]:
        due: dict[str, RunHead] = {}
        while self._times and self._times[0][0] <= now:
            at, run_id = heapq.heappop(self._times)
            head = self._timed.get(run_id)
            if head is not None and head.wake_at == at:
                due[run_id] = head
        for run_id, head in due.items():
            heapq.heappush(self._times, (head.wake_at or 0.0, run_id))
        return due


def _put(index: dict[str, RunHead], head: RunHead, *, when: bool) -> None:
    if when:
        index[head.run_id] = head
    else:
        index.pop(head.run_id, None)
