"""Metrics: what is counted and measured of an agent's runs, from the records that are durable.

They say what the journal says: a record that was lost in a crash, or refused because somebody else had taken the run
over, counts nowhere, and a replay counts nothing again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallKind, Ending
from plimsoll.core.clock import Clock
from plimsoll.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AttemptSettled,
    CallSettled,
    DoubtRaised,
    DoubtResolved,
    Event,
    Finding,
    Record,
    RunEnded,
    RungChanged,
    RunParkedEvent,
    RunResumed,
    RunStarted,
    ValueRecorded,
)
from plimsoll.core.guards import place_of, screening_in
from plimsoll.observability.telemetry import names

__all__ = ["AgentMetrics", "Metrics", "Waiting"]

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))
_WAITS = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800)
_QUICKLY = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096)
_SYNCS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0)
_OPERATIONS = {CallKind.MODEL: names.CHAT, CallKind.TOOL: names.EXECUTE_TOOL, CallKind.HTTP: names.EXECUTE_TOOL}

_DURATION = "gen_ai.client.operation.duration"
_TOKEN_USAGE = "gen_ai.client.token.usage"
_COST = "plimsoll.cost"
_STARTED = "plimsoll.runs.started"
_RUNS = "plimsoll.runs"
_PARKED = "plimsoll.runs.parked"
_RESUMED = "plimsoll.runs.resumed"
_FAILED = "plimsoll.attempts.failed"
_RETRIES = "plimsoll.retries"
_FALLBACKS = "plimsoll.fallbacks"
_DOUBTS = "plimsoll.doubts"
_RESOLVED = "plimsoll.doubts.resolved"
_FINDINGS = "plimsoll.findings"
_REQUESTED = "plimsoll.approvals.requested"
_DECIDED = "plimsoll.approvals.decided"
_WAIT = "plimsoll.approvals.wait"
_VERDICTS = "plimsoll.guard.verdicts"
_JUDGING = "plimsoll.guard.duration"
_BARRIER = "plimsoll.journal.barrier.duration"
_PENDING = "plimsoll.approvals.pending"
_OLDEST = "plimsoll.approvals.oldest"

_COUNTERS = {
    _COST: ("{USD}", "What calls of models cost, in US dollars."),
    _STARTED: ("{run}", "Runs accepted."),
    _RUNS: ("{run}", "Runs that ended."),
    _PARKED: ("{run}", "Times a run parked."),
    _RESUMED: ("{run}", "Times a run was gone on with."),
    _FAILED: ("{attempt}", "Attempts that failed, were slow, or were outrun."),
    _RETRIES: ("{attempt}", "Attempts at a call beyond its first."),
    _FALLBACKS: ("{fallback}", "Descents of a ladder from one model to the next."),
    _DOUBTS: ("{doubt}", "Writes of which nobody knew whether they happened."),
    _RESOLVED: ("{doubt}", "Answers to whether such a write happened."),
    _FINDINGS: ("{finding}", "Findings raised."),
    _REQUESTED: ("{request}", "Approvals asked for."),
    _DECIDED: ("{request}", "Approvals decided, expired or voided."),
    _VERDICTS: ("{verdict}", "Texts that a guard judged, or failed to."),
}
_HISTOGRAMS = {
    _DURATION: ("s", "How long a call of a model or a tool took, or a run was active.", _SECONDS),
    _TOKEN_USAGE: ("{token}", "Tokens used by a call of a model, all its attempts together.", _TOKENS),
    _WAIT: ("s", "From asking for an approval until it was decided.", _WAITS),
    _JUDGING: ("s", "How long a guard took over a text.", _QUICKLY),
    _BARRIER: ("s", "How long a run waited until its records were durable.", _SYNCS),
}


_FRESH_S = 60.0
"""For how long an approval that this process asked for may be missing where it looks: its run has not parked yet."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An approval that waits for a person: asked for at, and open until, these wall-clock times."""

    dependency: str
    since: float
    until: float


class Metrics:
    """The instruments of a process, shared by its agents."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._clock = clock
        self._agents: list[AgentMetrics] = []
        self._counters = {
            name: meter.create_counter(name, unit=unit, description=text) for name, (unit, text) in _COUNTERS.items()
        }
        self._histograms = {
            name: meter.create_histogram(name, unit=unit, description=text, explicit_bucket_boundaries_advisory=bounds)
            for name, (unit, text, bounds) in _HISTOGRAMS.items()
        }
        text = "Approvals that wait for a person now."
        meter.create_observable_gauge(_PENDING, callbacks=[self._pending], unit="{request}", description=text)
        text = "How long the oldest approval has waited; 0 where none waits."
        meter.create_observable_gauge(_OLDEST, callbacks=[self._oldest], unit="s", description=text)

    def now(self) -> float:
        """The wall-clock time."""
        return self._clock.now()

    def count(self, name: str, told: Mapping[str, Any], by: float = 1) -> None:
        """Counts something that is told by these attributes."""
        self._counters[name].add(by, told)

    def measure(self, name: str, told: Mapping[str, Any], value: float) -> None:
        """Something that is told by these attributes measures so much."""
        self._histograms[name].record(value, told)

    def waited(self, seconds: float, *, agent: str) -> None:
        """A run has waited so long for the disk."""
        self.measure(_BARRIER, {names.AGENT: agent}, seconds)

    def of(self, contract: Contract) -> "AgentMetrics":
        """What is counted of the agent of this contract. The same for all of its harnesses in the process."""
        known = next((agent for agent in self._agents if agent.name == contract.agent.name), None)
        if known is None:
            known = AgentMetrics(self, contract)
            self._agents.append(known)
        return known

    def finding(self, finding: Finding, *, agent: str) -> None:
        """A finding was raised."""
        told: dict[str, Any] = {
            names.AGENT: agent,
            names.FINDING_KIND: finding.kind,
            names.SEVERITY: finding.severity,
            names.OBSERVED: finding.observed,
        }
        cause = {names.DEPENDENCY: finding.dependency, names.FAULT: finding.fault}
        self.count(_FINDINGS, told | {name: str(value) for name, value in cause.items() if value is not None})

    def _pending(self, options: CallbackOptions) -> Iterable[Observation]:
        for agent, dependency, open_now in self._waiting():
            yield Observation(len(open_now), {names.AGENT: agent, names.DEPENDENCY: dependency})

    def _oldest(self, options: CallbackOptions) -> Iterable[Observation]:
        now = self._clock.now()
        for agent, dependency, open_now in self._waiting():
            age_s = max((now - waiting.since for waiting in open_now), default=0.0)
            yield Observation(max(age_s, 0.0), {names.AGENT: agent, names.DEPENDENCY: dependency})

    def _waiting(self) -> Iterator[tuple[str, str, list[Waiting]]]:
        """What waits, by agent and dependency; also of none, for each that has asked or may ask."""
        now = self._clock.now()
        for agent in tuple(self._agents):
            waiting = list(agent.waiting.values())
            for dependency in sorted({*agent.asking, *(each.dependency for each in waiting)}):
                mine = [each for each in waiting if each.dependency == dependency and each.until > now]
                yield agent.name, dependency, mine


class AgentMetrics:
    """What is counted of one agent. `waiting` holds what waits for a person, by the ids of the requests."""

    def __init__(self, metrics: Metrics, contract: Contract) -> None:
        self.name = contract.agent.name
        self.waiting: dict[str, Waiting] = {}
        self._metrics = metrics
        self._expires_s = {name: tool.approval.expires_s for name, tool in contract.tools.items() if tool.approval}
        self.asking = tuple(self._expires_s)
        self._models = {name: names.model_names(name, model) for name, model in contract.models.items()}
        self._rungs: dict[tuple[str, str], str] = {}  # the models that calls under way ask, by run and key
        self._agent = {names.AGENT: self.name}
        self._run_id = ""  # of the record that is counted
        self._takers: Mapping[type[Any], Callable[[Any, float], None]] = {
            RunStarted: self._started,
            RunEnded: self._ended,
            RunParkedEvent: self._parked,
            RunResumed: self._resumed,
            CallSettled: self._settled,
            AttemptSettled: self._attempt,
            RungChanged: self._rung,
            DoubtRaised: self._doubt,
            DoubtResolved: self._resolved,
            ApprovalRequested: self._requested,
            ApprovalDecided: self._decided,
            ValueRecorded: self._judged,
        }

    def committed(self, records: Sequence[Record]) -> Iterator[tuple[Record, Event]]:
        """Counts these records, and returns those that have to do with approvals, which are told as events, too."""
        for record in records:
            event = record.event
            taker = self._takers.get(type(event))
            if taker is not None:
                self._run_id = record.run_id
                taker(event, record.at)
            if isinstance(event, RunEnded):
                self._left(record.run_id)
            if isinstance(event, (ApprovalRequested, ApprovalDecided)):
                yield record, event

    def asked(self, requests: Sequence[ApprovalRequested]) -> None:
        """These, and no other, wait for a person, but for what was asked while somebody looked."""
        since = self._metrics.now() - _FRESH_S
        fresh = {request_id: each for request_id, each in self.waiting.items() if each.since > since}
        self.waiting = fresh | {
            request.request_id: self.waiting.get(request.request_id) or self._waits(request, self._since(request))
            for request in requests
        }

    def _left(self, run_id: str) -> None:
        """Nobody may decide what a run that has ended asked for, and none of its calls is under way."""
        for call in [each for each in self._rungs if each[0] == run_id]:
            del self._rungs[call]
        for request_id in [each for each in self.waiting if each.rpartition(".")[0] == run_id]:
            del self.waiting[request_id]

    def _since(self, request: ApprovalRequested) -> float:
        """When it was asked, as far as its expiry and the contract tell."""
        return request.expires_at - self._expires_s.get(request.dependency, 0.0)

    def _waits(self, request: ApprovalRequested, since: float) -> Waiting:
        return Waiting(dependency=request.dependency, since=since, until=request.expires_at)

    def _started(self, event: RunStarted, at: float) -> None:
        self._metrics.count(_STARTED, self._agent)

    def _ended(self, event: RunEnded, at: float) -> None:
        self._metrics.count(_RUNS, {**self._agent, names.ENDING: event.ending.value})
        told = {**self._agent, names.OPERATION: names.INVOKE_AGENT, names.PROVIDER: names.OTHER}
        if event.ending in (Ending.FAILED, Ending.HALTED):
            told[names.ERROR_TYPE] = event.ending.value
        self._metrics.measure(_DURATION, told, event.active_s)

    def _parked(self, event: RunParkedEvent, at: float) -> None:
        self._metrics.count(_PARKED, {**self._agent, names.PARKED_FOR: event.reason})

    def _resumed(self, event: RunResumed, at: float) -> None:
        self._metrics.count(_RESUMED, {**self._agent, names.CRASHED: event.crashed})

    def _settled(self, event: CallSettled, at: float) -> None:
        operation, outcome = _OPERATIONS.get(event.kind), event.outcome
        if operation is None:
            return
        told = {**self._agent, names.OPERATION: operation}
        if event.kind is CallKind.MODEL:
            told.update(self._models.get(event.dependency, {}))
            told[names.RESPONSE_MODEL] = self._answering(event)
        else:
            told |= {names.TOOL: event.dependency, names.PROVIDER: names.OTHER}
        if outcome.usage is not None:
            for kind, count in (("input", outcome.usage.input_tokens), ("output", outcome.usage.output_tokens)):
                self._metrics.measure(_TOKEN_USAGE, {**told, names.TOKEN_TYPE: kind}, count)
            if outcome.usage.usd:
                self._metrics.count(_COST, told, outcome.usage.usd)
        if outcome.attempts > 1:
            self._metrics.count(_RETRIES, {**self._agent, names.DEPENDENCY: event.dependency}, outcome.attempts - 1)
        if outcome.error is not None:
            told = {**told, names.ERROR_TYPE: outcome.error.fault.value}
        self._metrics.measure(_DURATION, told, event.duration_s)

    def _answering(self, event: CallSettled) -> str:
        """The name of the model that answered, or was asked last."""
        name = self._rungs.pop((self._run_id, event.key), event.dependency)
        return self._models.get(name, {}).get(names.REQUEST_MODEL, name)

    def _attempt(self, event: AttemptSettled, at: float) -> None:
        told = {**self._agent, names.DEPENDENCY: event.dependency, names.FAULT: event.fault.value}
        self._metrics.count(_FAILED, told)

    def _rung(self, event: RungChanged, at: float) -> None:
        self._rungs[self._run_id, event.key] = event.to
        told = {names.DEPENDENCY: event.dependency, names.TO: event.to, names.FAULT: event.fault.value}
        self._metrics.count(_FALLBACKS, {**self._agent, **told})

    def _doubt(self, event: DoubtRaised, at: float) -> None:
        self._metrics.count(_DOUBTS, {**self._agent, names.DEPENDENCY: event.dependency})

    def _resolved(self, event: DoubtResolved, at: float) -> None:
        self._metrics.count(_RESOLVED, {**self._agent, names.ANSWERED: event.answer})

    def _judged(self, event: ValueRecorded, at: float) -> None:
        screening = screening_in(event)
        if screening is None:
            return
        for verdict in screening.verdicts:
            told: dict[str, Any] = {**self._agent, names.GUARD: verdict.guard, names.GUARD_ON: place_of(event.key)}
            self._metrics.measure(_JUDGING, told, verdict.duration_s)
            told |= {names.GUARD_ACTION: verdict.action or "pass", names.OBSERVED: verdict.observed}
            if verdict.fault:
                told[names.FAULT] = verdict.fault
            self._metrics.count(_VERDICTS, told)

    def _requested(self, event: ApprovalRequested, at: float) -> None:
        self.waiting[event.request_id] = self._waits(event, at)
        self._metrics.count(_REQUESTED, {**self._agent, names.DEPENDENCY: event.dependency})

    def _decided(self, event: ApprovalDecided, at: float) -> None:
        waited = self.waiting.pop(event.request_id, None)
        told = {**self._agent, names.DECISION: event.decision}
        if waited is not None:
            told[names.DEPENDENCY] = waited.dependency
            self._metrics.measure(_WAIT, told, max(at - waited.since, 0.0))
        self._metrics.count(_DECIDED, told)
