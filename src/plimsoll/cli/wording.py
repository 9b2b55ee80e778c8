"""How the command line words times and events for people."""

from datetime import UTC, datetime

from plimsoll.core.calls import CallKind
from plimsoll.core.events import (
    ApprovalDecided,
    ApprovalRequested,
    AttemptSettled,
    CallIntended,
    CallSettled,
    CancelRequested,
    DoubtRaised,
    DoubtResolved,
    Event,
    FindingRaised,
    RunAdopted,
    RunContinuedEvent,
    RunEnded,
    RungChanged,
    RunParkedEvent,
    RunResumed,
    RunStarted,
    SignalReceived,
    TimerFired,
    TimerSet,
    ValueRecorded,
    event_type,
)
from plimsoll.core.guards import Screening, screening_in

__all__ = ["describe", "stamp", "when"]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def when(at: float, *, now: float) -> str:
    """A wall-clock time relative to `now`, such as `in 4 min` or `2 h ago`."""
    distance = abs(at - now)
    size, unit = next(((size, unit) for size, unit in _UNITS if distance >= size), (1, "s"))
    amount = f"{int(distance // size)} {unit}"
    return f"in {amount}" if at > now else f"{amount} ago"


def stamp(at: float) -> str:
    """A wall-clock time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _judged(key: str, screening: Screening) -> str:
    """What guards said of a text."""
    return f"{key}: " + "; ".join(
        f"{verdict.guard} {verdict.fault or f'{verdict.label} {verdict.probability:.3g}'}"
        f" → {verdict.action or 'pass'}{' (observed)' if verdict.observed else ''}"
        for verdict in screening.verdicts
    )


def describe(event: Event) -> str:  # noqa: PLR0911, PLR0912 -- one line for each kind of event
    """One line that says what happened."""
    match event:
        case RunStarted():
            whose = f", a child of {event.parent}" if event.parent else ""
            return f"accepted for agent {event.agent}{whose}"
        case CallIntended():
            if event.kind is CallKind.RUN:
                return f"about to have {event.dependency} do it, as a child"
            return f"about to call {event.dependency} ({event.effect}), key {event.idempotency_key[:8]}…"
        case AttemptSettled():
            return f"attempt {event.attempt} at {event.dependency} {event.fault}: {event.message}"
        case CallSettled():
            outcome = event.outcome
            why = f": {outcome.error.message}" if outcome.error else ""
            return f"{event.dependency} {outcome.status} after {event.duration_s:.3g} s{why}"
        case ValueRecorded():
            screening = screening_in(event)
            return f"{event.key} = {event.value!r}" if screening is None else _judged(event.key, screening)
        case ApprovalRequested():
            return f"{event.request_id} asks {', '.join(event.approvers)} about {event.dependency}: {event.rule}"
        case ApprovalDecided():
            return f"{event.request_id} {event.decision} by {event.by}{': ' + event.note if event.note else ''}"
        case DoubtRaised():
            return f"did {event.dependency} happen? {event.message}"
        case DoubtResolved():
            return f"{event.answer}, says {event.by}"
        case FindingRaised():
            return f"[{event.finding.severity}] {event.finding.kind}: {event.finding.message}"
        case RungChanged():
            return f"{event.dependency} falls back to {event.to} ({event.fault})"
        case TimerSet():
            return f"{event.key} waits until {stamp(event.until)}"
        case TimerFired():
            return f"{event.key}: its time has come"
        case SignalReceived():
            return f"{event.key} got {event.name} from {event.by} ({event.signal_id})"
        case CancelRequested():
            return f"cancelled by {event.by}: {event.reason}"
        case RunParkedEvent():
            return f"waits: {event.reason} {event.detail}"
        case RunResumed():
            forced = f", let go on by {event.forced_by}" if event.forced_by else ""
            return ("goes on after a crash" if event.crashed else "goes on") + forced
        case RunAdopted():
            return f"adopted by {event.by}: version {event.old[:12]} is now {event.new[:12]}"
        case RunContinuedEvent():
            return f"goes on as {event.following}"
        case RunEnded():
            return f"{event.ending}{': ' + event.reason if event.reason else ''}"
        case _:
            return event_type(event)
