"""Service levels: what the contract promises of an agent's runs and of what it depends on, held against the journal."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from plimsoll.contract.model import ServiceLevel, ServiceLevels
from plimsoll.core.calls import CallKind, Ending, Fault, Status
from plimsoll.core.events import Finding, Record
from plimsoll.observability.monitors.burn_rate import Burn, BurnRate
from plimsoll.observability.monitors.views import Raised, Seen, seen

__all__ = ["LevelMonitor"]

_RUNS = ("", None)
_NOBODYS_FAULT = (Status.REJECTED, Status.ABANDONED)
_MAX_STOPPED = 1000


class LevelMonitor:
    """Raises `burn_rate` when an error budget burns too fast (see `BurnRate`), by objective: `errors` or `latency`.

    A run is good when it ends complete or degraded; one that a person cancelled, or stopped by the kill switch, says
    nothing, nor does one that goes on as another. A call is good when it succeeds, or its dependency refuses for a
    reason of its trade; one that a policy or a person rejected says nothing. Of a model, an answer of a lower rung is
    the failure that it hides. Of what is good, what takes longer than `within_s` is slow: active seconds of a run, all
    attempts of a call.
    """

    def __init__(self, levels: ServiceLevels) -> None:
        self._tracked: dict[tuple[str, CallKind | None], _Tracked] = {}
        if levels.runs is not None:
            self._tracked[_RUNS] = _Tracked(levels.runs)
        self._tracked |= {(name, CallKind.MODEL): _Tracked(level) for name, level in levels.models.items()}
        self._tracked |= {(name, CallKind.TOOL): _Tracked(level) for name, level in levels.tools.items()}
        self._stopped: OrderedDict[str, None] = OrderedDict()

    @property
    def is_needed(self) -> bool:
        """Whether there is any level to hold."""
        return bool(self._tracked)

    def committed(self, records: Sequence[Record]) -> list[Raised]:
        """Takes in records that are durable now."""
        return [(record.run_id, finding) for record in records for finding in self._taken_in(record)]

    def _taken_in(self, record: Record) -> Iterator[Finding]:
        event = seen(record)
        if event.type == "call_settled":
            kind = CallKind.MODEL if event.kind is CallKind.MODEL else CallKind.TOOL
            tracked = self._tracked.get((event.dependency, kind))
            if tracked is not None:
                yield from tracked.add(event.dependency, record.at, _call(event), event.duration_s)
        elif event.type == "run_ended":
            tracked = self._tracked.get(_RUNS)
            by_a_person = record.run_id in self._stopped
            self._stopped.pop(record.run_id, None)
            if tracked is not None and not by_a_person and event.ending is not Ending.CONTINUED:
                good = event.ending in (Ending.COMPLETE, Ending.DEGRADED)
                yield from tracked.add(None, record.at, good, event.active_s)
        elif event.type == "cancel_requested" or _is_kill(event):
            self._stopped[record.run_id] = None
            if len(self._stopped) > _MAX_STOPPED:
                self._stopped.popitem(last=False)


def _is_kill(event: Seen) -> bool:
    return event.type == "finding_raised" and event.finding is not None and event.finding.kind == "kill_switch"


def _call(event: Seen) -> bool | None:
    """Whether a call was good; None where it says nothing."""
    came = event.outcome
    if came is None or came.status in _NOBODYS_FAULT:
        return None
    if came.status is Status.OK:
        return came.rung == 0
    return came.error is not None and came.error.fault is Fault.REFUSED


class _Tracked:
    """One service level, and how its budgets stand."""

    __slots__ = ("_errors", "_latency", "_level")

    def __init__(self, level: ServiceLevel) -> None:
        self._level = level
        self._errors = None if level.objective is None else BurnRate(level.objective)
        self._latency = None if level.within_s is None else BurnRate(level.quantile)

    def add(self, name: str | None, at: float, good: bool | None, seconds: float) -> Iterator[Finding]:
        if good is None:
            return
        if self._errors is not None:
            for burn in self._errors.add(at, good=good):
                yield _finding(name, "errors", "failed", self._level.objective, burn)
        if good and self._latency is not None and self._level.within_s is not None:
            for burn in self._latency.add(at, good=seconds <= self._level.within_s):
                words = f"took longer than {self._level.within_s:g} s"
                yield _finding(name, "latency", words, self._level.quantile, burn)


def _finding(name: str | None, fault: str, words: str, objective: float | None, burn: Burn) -> Finding:
    what = "the agent's runs" if name is None else f"the calls of {name}"
    hours = burn.rate.long_s / 3600.0
    return Finding(
        kind="burn_rate",
        severity="critical",
        message=(
            f"{burn.bad} of {burn.total} of {what} {words} within {hours:g} h: an objective of {objective:g} allows so"
            f" many in {burn.times:.3g} times as long"
        ),
        dependency=name,
        fault=fault,
        evidence=(burn.rate.name,),
    )
