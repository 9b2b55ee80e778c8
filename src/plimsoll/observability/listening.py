"""Listening: how what runs do is told to whoever keeps telemetry of it, as it happens.

The runtime knows these protocols, and nothing of what stands behind them. What is told comes from names, numbers and
the contract; whatever an agent was asked or answered is handed over apart from it, and a listener that is not allowed
to keep it leaves it alone. Nothing is told again on a replay.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallKind, Effect, Ending, Outcome
from plimsoll.core.events import ApprovalRequested, Record
from plimsoll.observability.detectors import Detector
from plimsoll.observability.findings import AlertSink

__all__ = ["CallBegan", "CallTold", "Listener", "Segment", "SegmentBegan", "SegmentEnded", "Telemetry"]


class SegmentBegan(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A process begins a run, or goes on with one: what it does until the run ends or parks is one *segment*.

    `version` is that of the agent's code. `came_from` is the trace context of the segment before, of this run or of the
    one that goes on as this one; empty where there was none. `crashed` is whether that one ended with its process.
    `input` is what the run was asked.
    """

    run_id: str
    version: str = ""
    session: str = ""
    parent: str = ""
    came_from: str = ""
    resumed: bool = False
    crashed: bool = False
    input: Any = None


class SegmentEnded(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How a segment ended. `reason` may quote an error, and so what an agent was asked; `output` is its answer."""

    ending: Ending
    reason: str = ""
    output: Any = None


class CallBegan(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A call that no journal answers is about to be made. `args` are a tool's, as JSON."""

    key: str
    kind: CallKind
    dependency: str
    effect: Effect
    args: Any = None


class CallTold(Protocol):
    """A call under way. Whatever serves it, on whichever thread, runs within its context."""

    def settled(self, outcome: Outcome) -> None:
        """It has this outcome. Where it is left without one, the run parks, is stopped, or was given up."""
        ...


class Segment(Detector, Protocol):
    """One segment of a run. As a detector it is shown the run's events, and raises no finding."""

    @property
    def trace(self) -> str:
        """Its trace context, as W3C's `traceparent`, to be kept in the journal; empty: there is none."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """What happens inside happens within the segment's context."""
        ...

    def call(self, began: CallBegan) -> AbstractContextManager[CallTold]:
        """What happens inside is a call of this segment."""
        ...

    def waited(self, seconds: float) -> None:
        """The run has waited so long for the disk."""
        ...

    def ended(self, ended: SegmentEnded | BaseException) -> None:
        """The segment is over: so, or by an error."""
        ...


class Listener(Protocol):
    """Is told what one agent's runs do. Whatever it is told, it returns at once and raises nothing."""

    @property
    def sink(self) -> AlertSink:
        """Where findings arrive."""
        ...

    def segment(self, began: SegmentBegan) -> Segment:
        """A segment begins now."""
        ...

    def committed(self, records: Sequence[Record]) -> None:
        """These records are durable now."""
        ...

    def asked(self, requests: Sequence[ApprovalRequested]) -> None:
        """These requests, and no other, wait for a person in the agent's journal."""
        ...


class Telemetry(Protocol):
    """What a process tells of its agents."""

    @property
    def served_at(self) -> str:
        """The address at which this process serves metrics; empty: at none."""
        ...

    def listener(self, contract: Contract) -> Listener:
        """Who is told what the agent of this contract does."""
        ...
