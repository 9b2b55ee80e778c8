"""The state of one run: its journal, its books and counters, and the rules for touching them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from msgspec.structs import replace

from plimsoll.contract.model import Contract, Limits, Mode, Protections
from plimsoll.core.calls import CallKind, Status, Usage
from plimsoll.core.canonical import digest
from plimsoll.core.errors import (
    JournalUnavailable,
    KillSwitchEngaged,
    LimitExceeded,
    Misuse,
    RunHalted,
    RunParked,
    Superseded,
    Unwind,
)
from plimsoll.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AttemptSettled,
    CallIntended,
    CallSettled,
    CancelRequested,
    DoubtResolved,
    Event,
    Finding,
    FindingRaised,
    RunAdopted,
    RunContinuedEvent,
    RunParkedEvent,
    RunResumed,
    RunStarted,
    SignalReceived,
    TimerFired,
    TimerSet,
)
from plimsoll.journal.store import Outside
from plimsoll.journal.writer import RunLog
from plimsoll.observability.detectors import ClaimDetector, Detector, default_detectors
from plimsoll.observability.findings import FindingHub, kill_finding, limit_finding
from plimsoll.oversight.approvals import ApprovalBook
from plimsoll.policies.deadline import Deadline
from plimsoll.policies.limits import ALL_LIMITS, NOTHING, LimitLedger, add_usage
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.lineage import link_of, scopes_of
from plimsoll.runtime.mailbox import Mailbox
from plimsoll.runtime.replay import Replay
from plimsoll.runtime.siblings import Siblings
from plimsoll.runtime.streams import Streams
from plimsoll.runtime.telling import Told
from plimsoll.runtime.waits import Waits

__all__ = ["RunState", "cancellation"]

BOOKED = frozenset(
    {
        ApprovalRequested,
        ApprovalDecided,
        CallIntended,
        CancelRequested,
        DoubtResolved,
        SignalReceived,
        TimerFired,
        TimerSet,
    }
)
"""The events that the books of a run take note of."""
_ENDS_A_WAIT = frozenset({TimerFired, SignalReceived})
_BEGINS_A_SEGMENT = (RunResumed, RunAdopted)
_MEASURED = (AttemptSettled, CallSettled)
REPEATS = frozenset({"repeats"})
_ANSWER_BY_RUNG = frozenset({CallKind.MODEL, CallKind.RUN})
LONG_S = 1.0
"""From how many seconds on an attempt is long enough to be worth a write to the disk."""


class RunState:
    """What the pipeline and the harness know of a run. An agent's code sees only `Run`."""

    def __init__(self, run_id: str, *, env: Environment, log: RunLog, replay: Replay, started: RunStarted) -> None:
        contract = env.contract
        self.id = run_id
        self.env = env
        self.log = log
        self.replay = replay
        self.started = started
        self.criticality = started.criticality
        self.limits = LimitLedger(_limits_of(contract, started))
        self.day = None if env.day is None else env.day.tab()
        self.approvals = ApprovalBook()
        self.mailbox = Mailbox()
        self.heeded: Outside | None = None
        """What the store knew when the run last looked at all of it."""
        self.waits = Waits()
        self.cancelled: CancelRequested | None = None
        self.hub = FindingHub(env.sinks)
        self.scopes = scopes_of(run_id, started)
        self.siblings = Siblings()
        self.asked_below: dict[str, tuple[ApprovalRequested, ...]] = {}
        self.open_children: set[str] = set()
        self.continued: RunContinuedEvent | None = None
        self.taken_from = ""
        self.claims = ClaimDetector(contract, did=started.did)
        self.detectors: list[Detector] = [*default_detectors(contract), self.claims]
        self.teller: Told | None = None
        self._readers_of: dict[type[Event], list[Detector]] = {}
        self.findings: list[Finding] = []
        self.admitted: dict[str, set[str]] = {}
        self.doubts: dict[str, DoubtResolved] = {}
        self.sends: Counter[str] = Counter()
        self.sent: dict[str, tuple[CallIntended, Exchange]] = {}
        self.keys: set[str] = set()
        self.degraded: str = ""
        self.read_only: str = ""
        self.grace_ends_at: float | None = None
        """Until when what runs beside may go on, where the run leaves the stack for a call that has let it before."""
        self.inflight: set[asyncio.Task[Any]] = set()
        self.streams = Streams()
        self.loop = asyncio.get_running_loop()  # asked once: in Python 3.11 each asking is a system call
        self.segment_started = env.clock.monotonic()
        self.active_before_s = started.used_s
        self.deadline = Deadline(self.segment_started + self.limits.limits.seconds - started.used_s)
        self._observed_limits = observed_limits(contract.protections)
        self.stopped = False
        """Whether `guard` raises. For whoever asks before every call."""
        self._unwinding: Unwind | None = None
        self._halting = ""
        self._rested_until = self.segment_started
        self._ordinal = 0

    @property
    def active_s(self) -> float:
        """Seconds this run has been active, in all its segments."""
        return self.active_before_s + self.env.clock.monotonic() - self.segment_started

    def record(self, event: Event) -> None:
        """Appends an event, and lets detectors and books see it."""
        kind = type(event)
        if kind in _ENDS_A_WAIT:
            event = replace(event, beside=self.replay.beside())
        try:
            at = self.log.append(event).at
        except JournalUnavailable as error:
            raise RunParked("journal", detail=str(error)) from error
        except Superseded as error:
            raise RunParked("superseded", detail=str(error)) from error
        if kind in BOOKED:
            self._book(event)
        for detector in self._readers_of.get(kind) or self._readers(kind):
            for finding in detector.observe(event, at=at):
                self.raise_finding(finding)

    async def commit(self, event: Event | None = None) -> None:
        """Appends `event`, if given, and returns when everything so far is durable. Parks when that cannot be had."""
        if event is not None:
            self.record(event)
        began = 0.0 if self.teller is None else self.env.clock.monotonic()
        try:
            await self.log.durable()
        except JournalUnavailable as error:
            raise RunParked("journal", detail=str(error)) from error
        except Superseded as error:
            raise RunParked("superseded", detail=str(error)) from error
        if self.teller is not None:
            self.teller.waited(self.env.clock.monotonic() - began)

    def tell(self, teller: Told | None) -> None:
        """From here on `teller` is told what the run does."""
        self.teller = teller
        if teller is not None:
            self.detectors.append(teller)
            self._readers_of.clear()

    def _readers(self, kind: type[Event]) -> list[Detector]:
        """The detectors that read events of this kind."""
        readers = self._readers_of.get(kind)
        if readers is None:
            readers = [detector for detector in self.detectors if kind in detector.reads]
            self._readers_of[kind] = readers
        return readers

    def raise_finding(self, finding: Finding) -> None:
        """Records a finding, unless this run has raised it already, and alerts. A loop halts the run."""
        if not self.hub.emit(finding, run_id=self.id, agent=self.started.agent, at=self.env.clock.now()):
            return
        self.findings.append(finding)
        with suppress(JournalUnavailable, Superseded):  # it has been alerted; the next barrier parks the run
            self.log.append(FindingRaised(finding=finding))
        if finding.kind == "loop" and self.env.contract.protections.loops is Mode.ENFORCE:
            self._halt(self._halting or finding.message)

    def reserve(self, exchange: Exchange, key: str, *, now: float) -> None:
        """Counts a coming call, at its worst, against the limits. Halts a run that would pass one.

        `now` is the monotonic clock's.
        """
        limits, contract = self.limits, self.env.contract
        is_model = exchange.kind is CallKind.MODEL
        worst = limits.worst_case(contract.models[exchange.dependency], exchange.input_tokens) if is_model else NOTHING
        try:
            over_all = limits.before_call(
                active_s=self.active_before_s + now - self.segment_started,
                worst=worst,
                key=key,
                dependency=None if is_model else exchange.dependency,
                args_digest=None if is_model else exchange.args_digest,
                observe=self._observed_limits,
            )
        except LimitExceeded as error:
            self.halt_at(error)
        for over in over_all:
            self.raise_finding(limit_finding(over, observed=True))

    def reserve_attempt(self, exchange: Exchange, key: str, *, rung: str, spent: Usage | None) -> LimitExceeded | None:
        """Counts one more attempt at the model `rung`, at its own price and its worst, against the limits.

        `spent` is what the call has used up so far. What is returned says why the attempt may not be made.
        """
        worst = self.limits.worst_case(self.env.contract.models[rung], exchange.input_tokens)
        try:
            over_all = self.limits.before_attempt(
                key=key, worst=add_usage(spent, worst) or NOTHING, observe=self._observed_limits
            )
        except LimitExceeded as error:
            return error
        for over in over_all:
            self.raise_finding(limit_finding(over, observed=True))
        return None

    async def hold_today(self, exchange: Exchange, key: str, *, rung: str, spent: Usage | None) -> LimitExceeded | None:
        """As `reserve_attempt`, against the limits of the day. Parks the run where they cannot be known."""
        if self.day is None:
            return None
        worst = self.limits.worst_case(self.env.contract.models[rung], exchange.input_tokens)
        try:
            over = await self.day.hold(key, add_usage(spent, worst) or NOTHING)
        except JournalUnavailable as error:
            raise RunParked("journal", detail=str(error)) from error
        if over is None or self.day.enforced:
            return over
        self.raise_finding(limit_finding(over, observed=True))
        return None

    def admit(self, dependency: str, key: str, *, most: int) -> bool:
        """Counts the call `key` among those that one run may make of a tool; False where it would be one too many.

        Counted before anything is awaited, so that parallel calls cannot pass together.
        """
        admitted = self.admitted.setdefault(dependency, set())
        if key not in admitted and len(admitted) >= most:
            return False
        admitted.add(key)
        return True

    def dismiss(self, dependency: str, key: str) -> None:
        """The call `key` was admitted and then rejected: it does not count."""
        self.admitted.get(dependency, set()).discard(key)

    def _note_admitted(self, event: Event) -> None:
        if isinstance(event, CallIntended):
            counts = True
        elif isinstance(event, CallSettled):
            counts = event.kind is not CallKind.MODEL and event.outcome.status is not Status.REJECTED
        else:
            return
        if counts:
            self.admitted.setdefault(event.dependency, set()).add(event.key)

    def check_deadline(self) -> None:
        """Halts the run whose time ran out while a call was under way."""
        if self.env.contract.protections.limits is Mode.ENFORCE and self.deadline.passed(self.env.clock):
            allowed = self.limits.limits.seconds
            self.halt_at(LimitExceeded("seconds", allowed=allowed, needed=self.active_s))

    def keep_within(self, deadline: Deadline) -> None:
        """Gives the run no more time than is left before another deadline: that of its parent."""
        limits = self.limits.limits
        seconds = min(limits.seconds, self.active_s + deadline.remaining(self.env.clock))
        self.limits.limits = replace(limits, seconds=seconds)
        self.deadline = Deadline(self.segment_started + seconds - self.active_before_s)

    def halt_at(self, error: LimitExceeded) -> NoReturn:
        """Halts the run that would pass a limit."""
        self.raise_finding(limit_finding(error))
        raise RunHalted(str(error)) from error

    def guard(self) -> None:
        """Raises when this run may do nothing more: it is unwinding, or something halted it."""
        if self._unwinding is not None:
            raise self._unwinding
        if self._halting:
            raise RunHalted(self._halting)

    def _halt(self, why: str) -> None:
        self.stopped, self._halting = True, why

    def check_switch(self) -> Outside:
        """Halts the run when a kill switch is engaged on it, on what it is part of, or on all. Returns what it saw."""
        outside = self.env.store.outside()
        halts = outside.halts
        halt = next((halts[scope] for scope in ("*", *self.scopes) if scope in halts), None) if halts else None
        if halt is not None:
            error = KillSwitchEngaged(halt.scope, by=halt.by, reason=halt.reason)
            self.raise_finding(kill_finding(error))
            raise RunHalted(str(error)) from error
        return outside

    @property
    def in_doubt(self) -> int:
        """How many writes wait for a person to say whether they happened."""
        return sum(doubt.answer == "unknown" for doubt in self.doubts.values())

    async def keep_time(self, spent_s: float) -> None:
        """After an attempt that took long, makes durable that this time is used up, if the journal can be written.

        Otherwise a run that crashes again and again would have its whole deadline each time.
        """
        if spent_s >= LONG_S:
            with suppress(JournalUnavailable, Superseded):
                await self.log.durable()

    def rest(self, since: float) -> None:
        """Between `since`, on the monotonic clock, and now the run did nothing but wait: that is no active time."""
        now = self.env.clock.monotonic()
        rested_s = now - max(since, self._rested_until)
        if rested_s > 0:  # waits beside each other rest but once
            self._rested_until = now
            self.active_before_s -= rested_s
            self.deadline = Deadline(self.deadline.at + rested_s)

    @property
    def leaving(self) -> bool:
        """Whether the run is being taken off the stack."""
        return self._unwinding is not None

    def unwind(self, signal: Unwind) -> None:
        """From here on every call raises `signal`."""
        self.stopped, self._unwinding = True, signal

    def answered_by(self, exchange: Exchange, rung: int) -> None:
        """Notes that rung `rung` of a ladder answered; below the first, the run is degraded."""
        if rung == 0 or exchange.kind not in _ANSWER_BY_RUNG:
            return
        if exchange.kind is CallKind.RUN:
            self.degraded = self.degraded or f"{exchange.dependency!r}, which it called, was degraded"
            return
        name = self.env.ladders[exchange.dependency].rungs[rung].name
        self.degraded = self.degraded or f"answered by {name!r}, because {exchange.dependency!r} could not"
        if not self.env.contract.models[name].may_write:
            self.read_only = name

    def restore(self, events: Sequence[Event], dates: Sequence[float], *, used_s: float = 0.0) -> None:
        """Brings counters, books and detectors to where `events` left them, without any finding or alert.

        `dates` are the events' wall-clock times: active time is what passed between each start and its last event, as
        far as that can be.
        `used_s` is what this process knows to be used up at least, where that could not be written.
        """
        last, segment_s = dates[0], 0.0
        for event, at in zip(events, dates, strict=True):
            if isinstance(event, _BEGINS_A_SEGMENT):
                self.active_before_s += segment_s
                segment_s = 0.0
            else:
                segment_s += self._passed(event, at - last, before_s=self.active_before_s + segment_s)
            last = at
            if type(event) in BOOKED:
                self._book(event)
            self._note_admitted(event)
            for detector in self._readers(type(event)):
                detector.restore(event)
            if isinstance(event, FindingRaised):
                self.hub.restore(event.finding, run_id=self.id)
                self.findings.append(event.finding)
            elif isinstance(event, CallSettled):
                self.limits.before_call(active_s=0.0, key=event.key, observe=ALL_LIMITS)
                self.account(event)
            elif isinstance(event, RunParkedEvent):
                self.active_before_s = event.active_s
                segment_s = 0.0
            elif isinstance(event, RunContinuedEvent):
                self.continued = event
        self.active_before_s = max(used_s, self.active_before_s + segment_s)
        self.deadline = Deadline(self.segment_started + self.limits.limits.seconds - self.active_before_s)

    def _passed(self, event: Event, gap_s: float, *, before_s: float) -> float:
        """The active seconds between `event` and the one before it, `gap_s` by a wall clock that may have been set.

        A run whose time is up makes no call. Where it made one after that, the clock was wrong, and what the call
        itself took is all that is known.
        """
        took_s = event.duration_s if isinstance(event, _MEASURED) else 0.0
        called = isinstance(event, (*_MEASURED, CallIntended))
        if called and before_s + gap_s - took_s > self.limits.limits.seconds:
            return min(took_s, gap_s)
        return gap_s if gap_s >= 0 else took_s

    def _book(self, event: Event) -> None:
        """Keeps the books of the run, of an event that is live or replayed."""
        self.approvals.observe(event)
        self._note_doubt(event)
        self.mailbox.observe(event)
        self.waits.observe(event)
        if isinstance(event, CancelRequested):
            self.cancelled = event
            self._halt(cancellation(event))

    def _note_doubt(self, event: Event) -> None:
        """Keeps the latest answer to each doubt. An intent after it means that the write is sent again: no answer."""
        if isinstance(event, DoubtResolved):
            self.doubts[event.key] = event
        elif isinstance(event, CallIntended):
            self.sends[event.key] += 1
            self.doubts.pop(event.key, None)

    @property
    def did(self) -> tuple[str, ...]:
        """The tools that were carried out by now, where somebody else will have to know: the run is a child, a turn, or
        of a chain."""
        started = self.started
        known = bool(started.parent or started.session or started.did) or link_of(self.id)[1] > 1
        return self.claims.done if known else ()

    def claims_undone(self, output: Any) -> list[str]:
        """The tools whose effect the answer claims and the journal does not have."""
        return self.claims.undone_in(output)

    def account(self, settled: CallSettled) -> None:
        """Counts a settled call against the limits."""
        outcome = settled.outcome
        self.limits.settled(outcome.usage, key=settled.key)
        if self.day is not None:
            self.day.settle(settled.key, outcome.usage)
        if settled.kind is not CallKind.MODEL and outcome.ok:
            result = settled.result_digest or digest(outcome.value)
            self.limits.repeated(settled.dependency, settled.args_digest, result, effect=settled.effect)

    def settle_left(self) -> None:
        """Settles the streams whose receivers have left. Only now is it known that the run goes on after that."""
        for settled in self.streams.written():
            self.account(settled)
            self.record(replace(settled, beside=self.replay.beside()))

    def claim(self, key: str) -> None:
        """Takes a key for one thing that the run asks for. Raises `Misuse` where it has it already: on replay nobody
        could tell which is meant."""
        if key in self.keys:
            raise Misuse(f"run {self.id} asks for two things under the key {key!r}; each needs its own")
        self.keys.add(key)

    def next_key(self, dependency: str) -> str:
        """The key of the next call: its ordinal of issue in the run, and its dependency."""
        self._ordinal += 1
        return f"{self._ordinal}:{dependency}"


def _limits_of(contract: Contract, started: RunStarted) -> Limits:
    """The contract's limits; of a child, no more seconds than its parent had left."""
    limits = contract.limits
    if started.allowed_s is None or started.allowed_s >= limits.seconds:
        return limits
    return replace(limits, seconds=started.allowed_s)


def cancellation(asked: CancelRequested) -> str:
    """Why a run that was cancelled ended, in words."""
    return f"cancelled by {asked.by}{': ' if asked.reason else ''}{asked.reason}"


def observed_limits(protections: Protections) -> frozenset[str]:
    """The limits that are only reported. How often a call may repeat itself belongs to the loops."""
    observed = ALL_LIMITS - REPEATS if protections.limits is Mode.OBSERVE else frozenset()
    return observed | REPEATS if protections.loops is Mode.OBSERVE else observed
