"""The watch over all runs of an agent: feeds monitors from the store and from what becomes durable, and alerts."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from plimsoll.contract.model import Contract
from plimsoll.core.clock import Clock
from plimsoll.core.errors import KeyMissing
from plimsoll.core.events import Finding, Record
from plimsoll.journal.store import InboxEntry, InboxKind, RunHead, RunState, Store
from plimsoll.observability.monitors.levels import LevelMonitor
from plimsoll.observability.monitors.reviewers import ReviewMonitor
from plimsoll.observability.monitors.views import Decision, Glance, Monitor, View, seen
from plimsoll.observability.monitors.waiting import QueueMonitor, SilenceMonitor

__all__ = ["Watch"]

LOOK_S = 30.0
_MAX_ASKED = 10_000
_MAX_DECIDED = 1000
_BY_PEOPLE = ("approved", "denied")


class Watch:
    """What no single run can see. Made by the harness, one for its agent.

    `committed` is told what becomes durable in this process. `look`, which a `Dispatcher` calls every half a minute,
    reads the store: as much as there are runs that run or wait for people, whatever has ended. `alert` takes findings.
    """

    def __init__(
        self, contract: Contract, *, store: Store, clock: Clock, alert: Callable[[Finding, str], None]
    ) -> None:
        levels = contract.service_levels
        self._agent = contract.agent.name
        self._store = store
        self._clock = clock
        self._alert = alert
        self._levels = LevelMonitor(levels)
        silent_s = contract.limits.seconds if levels.silent_s is None else levels.silent_s
        self._monitors: tuple[Monitor, ...] = (
            SilenceMonitor(silent_s),
            QueueMonitor(levels.waiting_s),
            ReviewMonitor(),
        )
        self._asks = any(tool.approval is not None for tool in contract.tools.values())
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._decided: deque[tuple[str, str, str]] = deque(maxlen=_MAX_DECIDED)
        self._looked_at = float("-inf")

    @property
    def reads_records(self) -> bool:
        """Whether it has to be told what becomes durable."""
        return self._asks or self._levels.is_needed

    def committed(self, records: Sequence[Record]) -> None:
        """Takes in records that are durable now: a subscriber of the journal."""
        if self._asks:
            for record in records:
                self._note(record)
        if self._levels.is_needed:
            for run_id, finding in self._levels.committed(records):
                self._alert(finding, run_id)

    async def look(self) -> None:
        """Looks at all runs, unless it has just done so."""
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        running, waiting = await self._store.heads(state=RunState.RUNNING), await self._store.asking()
        view = View(
            running=self._glances(running), waiting=self._glances(waiting), decided=tuple(await self._decisions())
        )
        at = self._clock.now()
        for monitor in self._monitors:
            for run_id, finding in monitor.look(view, now=at):
                self._alert(finding, run_id)

    def _glances(self, heads: Sequence[RunHead]) -> tuple[Glance, ...]:
        return tuple(Glance(run_id=head.run_id, since=head.updated_at) for head in heads if head.agent == self._agent)

    def _note(self, record: Record) -> None:
        """Remembers when somebody was asked, and that somebody has decided: when, the inbox knows."""
        event = seen(record)
        if event.type == "approval_requested":
            self._asked[event.request_id] = record.at
            if len(self._asked) > _MAX_ASKED:
                self._asked.popitem(last=False)
        elif event.type == "approval_decided" and event.decision in _BY_PEOPLE:
            self._decided.append((record.run_id, event.decision_id, event.request_id))

    async def _decisions(self) -> list[Decision]:
        """What people have decided since the last look, by when they did, and not by when the run acted on it."""
        noted = {(run_id, decision_id): request_id for run_id, decision_id, request_id in self._decided}
        self._decided.clear()
        made = []
        for run_id in dict.fromkeys(run_id for run_id, _ in noted):
            for entry in await self._inbox(run_id):
                request_id = noted.get((run_id, entry.request_id))
                if entry.kind is InboxKind.DECISION and request_id is not None:
                    approved, asked_at = bool(entry.body["approve"]), self._asked.pop(request_id, None)
                    made.append(Decision(run_id=run_id, by=entry.by, approved=approved, at=entry.at, asked_at=asked_at))
        return sorted(made, key=lambda decision: decision.at)

    async def _inbox(self, run_id: str) -> list[InboxEntry]:
        try:
            return await self._store.inbox(run_id)
        except KeyMissing:  # then nobody here can read what was decided
            return []
