"""What monitors are shown, and what they are: of the store as it stands, and of records as they become durable."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from plimsoll.core.calls import CallKind, Ending, Fault, Status
from plimsoll.core.events import Finding, Record

__all__ = ["Decision", "Glance", "Monitor", "Raised", "Seen", "View", "seen"]

Raised = tuple[str, Finding]
"""A finding, and the run that it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A run from outside. `since` is the wall-clock time of its last durable event."""

    run_id: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decided, and when, by the wall clock. `asked_at` is None where nobody knows."""

    run_id: str
    by: str
    approved: bool
    at: float
    asked_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What can be seen of an agent's runs: those that run, those that wait for people, and what people have decided
    since the last look, in that order."""

    running: tuple[Glance, ...] = ()
    waiting: tuple[Glance, ...] = ()
    decided: tuple[Decision, ...] = ()


class Monitor(Protocol):
    """Looks at an agent's runs now and then. Keeps bounded state."""

    def look(self, view: View, *, now: float) -> Iterable[Raised]:
        """What the view, taken at wall-clock time `now`, brings to light."""
        ...


class _Failure(msgspec.Struct, frozen=True, gc=False):
    fault: Fault = Fault.EXCEPTION


class _Came(msgspec.Struct, frozen=True, gc=False):
    status: Status
    error: _Failure | None = None
    rung: int = 0


class _Told(msgspec.Struct, frozen=True, gc=False):
    kind: str = ""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """The few fields of an event that monitors read, of whatever type. The rest is skipped, not decoded."""

    type: str
    kind: CallKind | None = None
    dependency: str = ""
    duration_s: float = 0.0
    outcome: _Came | None = None
    ending: Ending | None = None
    active_s: float = 0.0
    finding: _Told | None = None
    request_id: str = ""
    decision_id: str = ""
    decision: str = ""
    by: str = ""


_decode: Any = msgspec.json.Decoder(Seen).decode


def seen(record: Record) -> Seen:
    """What monitors read of a record."""
    said: Seen = _decode(record.json)
    return said
