"""The events of the journal. Whatever an agent does is one of these, written once, in order, for ever.

An event is a frozen struct tagged by its `type`; its body in the journal is its canonical JSON. `Record` is the event
as it stands in the journal: numbered, owned, dated and chained.
"""

import hashlib
from typing import Any

import msgspec

from plimsoll.core.calls import CallKind, Effect, Ending, Fault, Outcome
from plimsoll.core.criticality import Criticality

__all__ = [
    "GENESIS",
    "ApprovalDecided",
    "ApprovalRequested",
    "AttemptSettled",
    "CallIntended",
    "CallSettled",
    "CancelRequested",
    "DoubtRaised",
    "DoubtResolved",
    "Event",
    "Finding",
    "FindingRaised",
    "Record",
    "RunAdopted",
    "RunContinuedEvent",
    "RunEnded",
    "RunParkedEvent",
    "RunResumed",
    "RunStarted",
    "RungChanged",
    "SignalReceived",
    "TimerFired",
    "TimerSet",
    "ValueRecorded",
    "chain_digest",
    "decode_event",
    "encode_event",
    "event_type",
]

GENESIS = bytes(32)
"""The digest that precedes a run's first event."""


class _Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


class RunStarted(_Event, frozen=True, kw_only=True, tag="run_started"):
    """A run was accepted. `input` is what it was asked, as JSON. `undoes` is the run whose effects it takes back.

    `parent` is the run that it is a child of, `session` the conversation that it is a turn of, `turn` the caller's own
    name for that turn. `within` names whatever it is part of, the outermost first: who halts one of these halts this
    run too. `allowed_s` are the active seconds that its parent had left, `used_s` those that earlier runs of its chain
    used up. `did` names the tools that were carried out before, in its session or its chain. `criticality` is how much
    it matters, beside other runs, when not all calls can be made. `trace` is where telemetry began to tell it, as W3C's
    `traceparent`; empty: nobody does.
    """

    agent: str
    fingerprint: str
    contract_digest: str
    input: Any
    parent: str = ""
    session: str = ""
    turn: str = ""
    within: tuple[str, ...] = ()
    allowed_s: float | None = None
    used_s: float = 0.0
    did: tuple[str, ...] = ()
    undoes: str = ""
    criticality: Criticality = Criticality.DEFAULT
    trace: str = ""


class CallIntended(_Event, frozen=True, kw_only=True, tag="call_intended"):
    """A call with an effect is about to be sent. Durable before it is. Consumes the decision that it names.

    `undoable` is whether something was there that takes it back.
    """

    key: str
    kind: CallKind
    dependency: str
    effect: Effect
    args: Any
    args_digest: str
    idempotency_key: str
    decision_id: str | None = None
    undoable: bool = False


class AttemptSettled(_Event, frozen=True, kw_only=True, tag="attempt_settled"):
    """One attempt failed, or was slow, and the call went on. `rung` is its position on the ladder, from 0."""

    key: str
    dependency: str
    rung: int
    attempt: int
    fault: Fault
    message: str
    duration_s: float


class CallSettled(_Event, frozen=True, kw_only=True, tag="call_settled"):
    """A call has its outcome. `args` stands here only where no `call_intended` carries it.

    `result_digest` tells results apart, without what varies between two that say the same (ids, dates, token counts);
    empty for a call that is not ok. `beside`, here and in what else ends something that the code asked for, is how many
    others it had asked for by then without an outcome: a replay hands this one out only when it has done so again.
    """

    key: str
    kind: CallKind
    dependency: str
    effect: Effect
    args_digest: str
    outcome: Outcome
    duration_s: float
    args: Any = None
    result_digest: str = ""
    beside: int = 0


class ValueRecorded(_Event, frozen=True, kw_only=True, tag="value_recorded"):
    """Something that would differ on replay: the time, a random number, an identifier."""

    key: str
    value: Any
    beside: int = 0


class ApprovalRequested(_Event, frozen=True, kw_only=True, tag="approval_requested"):
    """A person's word is needed. Binds the exact call: dependency, arguments, run and agent fingerprint.

    `answers`: the word itself is wanted, instead of a model's. The note of an approval is the answer then.
    """

    request_id: str
    key: str
    dependency: str
    args: Any
    args_digest: str
    fingerprint: str
    rule: str
    approvers: tuple[str, ...]
    expires_at: float
    answers: bool = False


class ApprovalDecided(_Event, frozen=True, kw_only=True, tag="approval_decided"):
    """`decision` is `approved`, `denied`, `expired` or `voided`; `by` is who said so (`plimsoll` for the last two)."""

    request_id: str
    decision_id: str
    decision: str
    args_digest: str
    by: str
    note: str = ""


class DoubtRaised(_Event, frozen=True, kw_only=True, tag="doubt_raised"):
    """Nobody knows whether a write happened: its answer was lost, came too late, or made no sense."""

    key: str
    dependency: str
    idempotency_key: str
    fault: Fault
    message: str


class DoubtResolved(_Event, frozen=True, kw_only=True, tag="doubt_resolved"):
    """`answer` is `happened`, `not_happened` or `unknown`; `by` is `verify` or a person, and `note` how they know."""

    key: str
    answer: str
    by: str
    value: Any = None
    note: str = ""


class Finding(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What a detector saw, and its cause.

    `kind` says what it is (`loop`, `silent_failure`, `attempt_failed`, …), `severity` is `info`, `warning` or
    `critical`; `dependency` and `fault` name the cause where there is one; `evidence` holds the keys of the calls.
    `observed` marks what a protection in `observe` mode would have done.
    """

    kind: str
    severity: str
    message: str
    dependency: str | None = None
    fault: str | None = None
    evidence: tuple[str, ...] = ()
    observed: bool = False


class FindingRaised(_Event, frozen=True, kw_only=True, tag="finding_raised"):
    """A detector raised a finding."""

    finding: Finding


class RungChanged(_Event, frozen=True, kw_only=True, tag="rung_changed"):
    """A call descended its ladder from one rung to the next, because of `fault`."""

    key: str
    dependency: str
    rung: int
    to: str
    fault: Fault


class TimerSet(_Event, frozen=True, kw_only=True, tag="timer_set"):
    """The run waits at `key` until the wall-clock time `until`, at the latest. Durable before the wait begins."""

    key: str
    until: float


class TimerFired(_Event, frozen=True, kw_only=True, tag="timer_fired"):
    """The wait at `key` is over, because its time has come."""

    key: str
    beside: int = 0


class SignalReceived(_Event, frozen=True, kw_only=True, tag="signal_received"):
    """The wait at `key` is over, because the signal `name` came. `signal_id` identifies it; no wait gets it again."""

    key: str
    name: str
    signal_id: str
    payload: Any
    by: str
    beside: int = 0


class CancelRequested(_Event, frozen=True, kw_only=True, tag="cancel_requested"):
    """Somebody wants the run to end, and it will make no further call."""

    by: str
    reason: str


class RunParkedEvent(_Event, frozen=True, kw_only=True, tag="run_parked"):
    """The run waits. `until` is the wall-clock time at which it may go on by itself, if any; `active_s` was used up.

    `seen` is the position in the inbox up to which it has acted on everything: what comes later wakes it. `asks` is how
    many approvals and doubts of its own people are to answer (None: not told, as in a journal of format 1).
    """

    reason: str
    detail: str
    active_s: float
    until: float | None = None
    seen: int = 0
    asks: int | None = None


class RunResumed(_Event, frozen=True, kw_only=True, tag="run_resumed"):
    """An owner goes on with the run, after parking or after a crash (`crashed`). Durable before the agent's code runs.

    `forced_by` is who let it go on although it had crashed too often; crashes are counted from there. `trace` is as in
    `run_started`.
    """

    crashed: bool
    fingerprint: str
    forced_by: str = ""
    trace: str = ""


class RunAdopted(_Event, frozen=True, kw_only=True, tag="run_adopted"):
    """From here on the run belongs to another version of its agent, whose code replays it. `by` is who said so."""

    by: str
    old: str
    new: str


class RunContinuedEvent(_Event, frozen=True, kw_only=True, tag="run_continued"):
    """The run goes on as the run `following`, with `input`. Durable before that begins; once it has, this one ends."""

    following: str
    input: Any


class RunEnded(_Event, frozen=True, kw_only=True, tag="run_ended"):
    """The run is over. `output` is JSON; `reason` says why it did not complete.

    `did` names the tools that were carried out by then, for the runs that it is part of; `carried` is what the next
    turn of its session is handed besides the output. `leaves` names the runs of children that have not ended: the store
    cancels them in the transaction that ends this one. `asks` is how many doubts it leaves for people to answer: what
    they say is all that comes after this event.
    """

    ending: Ending
    output: Any = None
    reason: str = ""
    active_s: float = 0.0
    did: tuple[str, ...] = ()
    carried: Any = None
    leaves: tuple[str, ...] = ()
    asks: int = 0


Event = (
    RunStarted
    | CallIntended
    | AttemptSettled
    | CallSettled
    | ValueRecorded
    | ApprovalRequested
    | ApprovalDecided
    | DoubtRaised
    | DoubtResolved
    | FindingRaised
    | RungChanged
    | TimerSet
    | TimerFired
    | SignalReceived
    | CancelRequested
    | RunParkedEvent
    | RunResumed
    | RunAdopted
    | RunContinuedEvent
    | RunEnded
)

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    """The event's canonical JSON."""
    return _encoder.encode(event)


def decode_event(body: bytes) -> Event:
    """The event that `body` writes. Raises `msgspec.ValidationError` when it writes none."""
    event: Event = _decoder.decode(body)
    return event


def event_type(event: Event) -> str:
    """The event's name in the journal, such as `call_settled`."""
    return str(event.__struct_config__.tag)


class Record(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An event as it stands in the journal.

    `seq` counts from 1 within the run; `epoch` is the owner's, rising by one with each takeover; `at` is wall-clock
    seconds; `digest` chains it to the one before (32 bytes). `body` is what is stored, and `opened` the event's JSON
    where the body is compressed or sealed.
    """

    run_id: str
    seq: int
    epoch: int
    at: float
    body: bytes
    digest: bytes
    opened: bytes | None = None

    @property
    def json(self) -> bytes:
        """The event's canonical JSON."""
        return self.body if self.opened is None else self.opened

    @property
    def event(self) -> Event:
        """The event itself, decoded."""
        return decode_event(self.json)


def chain_digest(previous: bytes, *, run_id: str, seq: int, epoch: int, at: float, body: bytes) -> bytes:
    """SHA-256 over the previous digest, the event's place, owner and date, and its body."""
    head = f"{run_id}\x00{seq}\x00{epoch}\x00{at!r}\x00".encode()
    return hashlib.sha256(previous + head + body).digest()
