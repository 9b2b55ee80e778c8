"""The throttle: between findings and people who would stop reading if each were sent to them."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import Finding
from plimsoll.observability.background import kept_going
from plimsoll.observability.findings import SEVERITIES, AlertSink, settle_sink

__all__ = ["Throttle"]

_ASKS_PEOPLE = ("approval_", "in_doubt")
_BY_EVIDENCE = ("burn_rate", "rubber_stamp")
"""Of these, one rate or one person is not the other."""
_CLEARED_BY = {"circuit_closed": "circuit_open", "journal": "journal"}
"""What is over, by the kind of the finding that says so: one that is only news."""
_MAX_CAUSES = 10_000
_MAX_HELD = 100
_SHOWN = 5
_HELD_S = 60.0
_NEVER = float("inf")

Cause = tuple[object, ...]


@dataclass(slots=True)
class _Alert:
    """A finding as it reached the throttle: the latest of its cause."""

    finding: Finding
    run_id: str
    agent: str
    at: float


@dataclass(slots=True)
class _Told:
    """A cause that was told: until when it is not told again, and how often it was there since."""

    until: float
    latest: _Alert
    rank: int
    again: int = 0


class Throttle:
    """Tells each cause once, and no more than so many a minute. Stands in front of one sink.

    The same cause (agent, kind, dependency and fault; which rate burns, and who rubber-stamps) of any run is passed on
    at once, and then not again for `window_s` seconds; when they are over it is told how often it was there meanwhile,
    with the latest run. It is told at once when it has become more severe. What asks a person for something (approvals,
    doubts) is told for every call. What was told to be over is told at once when it begins anew.

    At most `per_minute` alerts pass in a minute, in bursts as large (a token bucket). Half of the bucket is kept for
    what is critical, so that no flood of warnings takes its place. What was held back is summed up a minute later.
    `severity` is the least that passes. All of it is this process's own, and in bounded memory.
    """

    def __init__(
        self,
        sink: AlertSink,
        *,
        clock: Clock,
        window_s: float = 3600.0,
        per_minute: int = 20,
        severity: str = "info",
    ) -> None:
        if window_s <= 0 or per_minute < 1 or severity not in SEVERITIES:
            raise Misuse("window_s must be above 0, per_minute at least 1, severity info, warning or critical")
        self._sink = sink
        self._clock = clock
        self._window_s = window_s
        self._per_minute = per_minute
        self._least = SEVERITIES[severity]
        self._told: OrderedDict[Cause, _Told] = OrderedDict()  # by `until`, the earliest first
        self._repeated = 0  # how many of these were there again
        self._held: dict[Cause, tuple[_Alert, int]] = {}
        self._held_more = 0
        self._held_until = _NEVER
        self._tokens = float(per_minute)
        self._filled_at = clock.monotonic()
        self._task: asyncio.Task[None] | None = None

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        rank = SEVERITIES.get(finding.severity, 1)
        if rank < self._least:
            return
        self.tick()
        alert = _Alert(finding, run_id, agent, at)
        cause = _cause_of(alert)
        told = self._told.get(cause)
        if told is not None and rank <= told.rank:
            told.latest = alert
            self._repeated += not told.again
            told.again += 1
        else:
            more = 0 if told is None else told.again
            self._tell(cause, alert, rank, more=more, untold=more + 1)
        self._see_to_it()

    def tick(self) -> None:
        """Tells what is due by now: how often a cause was there again, and what was held back."""
        now = self._clock.monotonic()
        for cause, told in self._over(now):
            self._drop(cause)
            if told.again:
                self._tell(cause, told.latest, told.rank, more=told.again, untold=told.again)
        if now >= self._held_until:
            self._sum_up()

    async def settle(self) -> None:
        """Tells all that is left to be told, and waits for the sink: before a process ends in peace."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
        for told in self._told.values():
            if told.again:
                self._pass_on(told.latest, again=told.again)
        self._told.clear()
        self._repeated = 0
        self._sum_up()
        await settle_sink(self._sink)

    def _over(self, now: float) -> list[tuple[Cause, _Told]]:
        """The causes whose time is over, the earliest first."""
        over = []
        for cause, told in self._told.items():
            if told.until > now:
                break
            over.append((cause, told))
        return over

    def _tell(self, cause: Cause, alert: _Alert, rank: int, *, more: int, untold: int) -> None:
        """Passes an alert on and begins its window; or holds it back, where too many have passed already.

        `more` is how often the cause was there since it was last told, `untold` that with this alert itself.
        """
        self._drop(cause)
        if not self._take(rank):
            self._hold(cause, alert, untold)
            return
        if len(self._told) >= _MAX_CAUSES:
            oldest = next(iter(self._told))
            dropped = self._drop(oldest)
            if dropped is not None and dropped.again:
                self._hold(oldest, dropped.latest, dropped.again)
        self._told[cause] = _Told(self._clock.monotonic() + self._window_s, alert, rank)
        if rank == 0 and alert.finding.kind in _CLEARED_BY:
            self._clear(alert)
        self._pass_on(alert, again=more)

    def _clear(self, alert: _Alert) -> None:
        """What this tells to be over is told at once should it begin anew: nobody is to believe that all is well."""
        kind, finding = _CLEARED_BY[alert.finding.kind], alert.finding
        over = (alert.agent, kind, finding.dependency)
        for cause, told in list(self._told.items()):
            if cause[:3] == over and told.rank > 0:
                self._drop(cause)

    def _drop(self, cause: Cause) -> _Told | None:
        told = self._told.pop(cause, None)
        if told is not None and told.again:
            self._repeated -= 1
        return told

    def _take(self, rank: int) -> bool:
        """Takes a token, if there is one for this severity."""
        now = self._clock.monotonic()
        passed_s, self._filled_at = now - self._filled_at, now
        self._tokens = min(float(self._per_minute), self._tokens + passed_s * self._per_minute / 60.0)
        kept = 0.0 if rank >= SEVERITIES["critical"] else float(self._per_minute // 2)
        if self._tokens < kept + 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _hold(self, cause: Cause, alert: _Alert, count: int) -> None:
        """Keeps it for the sum. Where that is full, what matters least is only counted."""
        if not self._held and not self._held_more:
            self._held_until = self._clock.monotonic() + _HELD_S
        known = self._held.get(cause)
        if known is not None:
            self._held[cause] = (max(alert, known[0], key=_rank), known[1] + count)
            return
        if len(self._held) >= _MAX_HELD:
            least = min(reversed(self._held), key=lambda held: _rank(self._held[held][0]))
            if _rank(alert) <= _rank(self._held[least][0]):
                self._held_more += count
                return
            self._held_more += self._held.pop(least)[1]
        self._held[cause] = (alert, count)

    def _sum_up(self) -> None:
        """Tells what was held back, in one alert: the most severe first."""
        held, more = sorted(self._held.values(), key=lambda one: -_rank(one[0])), self._held_more
        self._held, self._held_more, self._held_until = {}, 0, _NEVER
        if not held:
            return
        worst = held[0][0]
        words = [f"{count} × {_words(alert.finding)}" for alert, count in held[:_SHOWN]]
        total = more + sum(count for _, count in held)
        rest = total - sum(count for _, count in held[:_SHOWN])
        words += [f"{rest} others"] if rest else []
        summary = Finding(
            kind="alerts_held_back",
            severity=worst.finding.severity,
            message=f"{total} alert(s) were held back, more than {self._per_minute} a minute: {', '.join(words)}",
        )
        self._pass_on(_Alert(summary, worst.run_id, worst.agent, worst.at), again=0)

    def _pass_on(self, alert: _Alert, *, again: int) -> None:
        finding = alert.finding
        if again:
            words = f"{finding.message} ({again} more in {_span(self._window_s)})"
            finding = replace(finding, message=words)
        self._sink.emit(finding, run_id=alert.run_id, agent=alert.agent, at=alert.at)

    def _see_to_it(self) -> None:
        """Sees to it that what is to be told later is, though no finding may come: by a task, where there is a loop."""
        if self._repeated or self._held:
            self._task = kept_going(self._task, self._keep_telling)

    async def _keep_telling(self) -> None:
        while self._repeated or self._held:
            due = min(self._held_until, next((told.until for told in self._told.values()), _NEVER))
            await self._clock.sleep(max(due - self._clock.monotonic(), 0.001))
            try:
                self.tick()
            except Exception as error:  # the sink's own affair: the next sum is told all the same
                words = "a sum of alerts could not be told (%s)"
                logging.getLogger("plimsoll.alerts").warning(words, type(error).__name__)


def _cause_of(alert: _Alert) -> Cause:
    finding = alert.finding
    cause: Cause = (alert.agent, finding.kind, finding.dependency, finding.fault, finding.observed)
    if finding.kind.startswith(_ASKS_PEOPLE):
        return (*cause, alert.run_id, *finding.evidence)
    return (*cause, *finding.evidence) if finding.kind in _BY_EVIDENCE else cause


def _rank(alert: _Alert) -> int:
    return SEVERITIES.get(alert.finding.severity, 1)


def _words(finding: Finding) -> str:
    about: Iterable[str] = filter(None, (finding.dependency, finding.fault))
    return f"{finding.kind} ({', '.join(about)})" if finding.dependency or finding.fault else finding.kind


def _span(seconds: float) -> str:
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"
