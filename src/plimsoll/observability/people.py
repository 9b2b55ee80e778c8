"""Detectors of what concerns people: approvals asked for and not given, and writes that somebody must look into."""

from collections.abc import Sequence
from typing import Any

from plimsoll.core.events import ApprovalDecided, ApprovalRequested, DoubtRaised, DoubtResolved, Event, Finding

__all__ = ["ApprovalDetector", "DoubtDetector"]

_MAX_OPEN = 1000

_VERIFY_FAILED = "verify failed: "
"""How an unknown answer begins, in the journal, where `verify` raised; the kind of its error follows."""

_DECISIONS = {
    "denied": ("info", "a person said no"),
    "expired": ("warning", "nobody answered in time"),
    "voided": ("critical", "what was approved is not what would have been done"),
}


class ApprovalDetector:
    """Approvals that wait for a person, and those that were denied, expired or voided."""

    reads: frozenset[type[Any]] = frozenset({ApprovalRequested, ApprovalDecided})

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, str]] = {}

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if isinstance(event, ApprovalRequested):
            _keep(self._open, event.request_id, (event.dependency, event.key))
            finding = Finding(
                kind="approval_pending",
                severity="info",
                message=f"{event.dependency} waits for a person: {event.request_id}",
                dependency=event.dependency,
                evidence=(event.key, event.request_id),
            )
            return (finding,)
        if not isinstance(event, ApprovalDecided):
            return ()
        dependency, key = self._open.pop(event.request_id, (None, None))
        if event.decision not in _DECISIONS:
            return ()
        severity, words = _DECISIONS[event.decision]
        finding = Finding(
            kind=f"approval_{event.decision}",
            severity=severity,
            message=f"{dependency or 'a call'} was not approved: {words} ({event.request_id})",
            dependency=dependency,
            fault=event.decision,
            evidence=(event.request_id,) if key is None else (key, event.request_id),
        )
        return (finding,)

    def restore(self, event: Event) -> None:
        self.observe(event, at=0.0)


class DoubtDetector:
    """Writes of which nobody knows whether they happened."""

    reads: frozenset[type[Any]] = frozenset((DoubtRaised, DoubtResolved))

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, str]] = {}

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if isinstance(event, DoubtRaised):
            _keep(self._open, event.key, (event.dependency, event.fault))
            finding = Finding(
                kind="in_doubt",
                severity="warning",
                message=f"nobody knows yet whether {event.dependency} happened ({event.fault})",
                dependency=event.dependency,
                fault=event.fault,
                evidence=(event.key,),
            )
            return (finding,)
        if not isinstance(event, DoubtResolved):
            return ()
        if event.answer != "unknown":
            self._open.pop(event.key, None)
            return ()
        dependency, fault = self._open.get(event.key, (None, None))
        finding = Finding(
            kind="in_doubt_unresolved",
            severity="critical",
            message=f"a person must find out whether {dependency or event.key} happened{_broken(event)}",
            dependency=dependency,
            fault=fault,
            evidence=(event.key,),
        )
        return (finding,)

    def restore(self, event: Event) -> None:
        self.observe(event, at=0.0)


def _broken(event: DoubtResolved) -> str:
    """That it was `verify` itself that failed, and how: by the kind of its error, since its words may be anybody's."""
    said = event.value if isinstance(event.value, str) else ""
    return f" ({': '.join(said.split(': ')[:2])})" if said.startswith(_VERIFY_FAILED) else ""


def _keep(open_: dict[str, tuple[str, str]], key: str, value: tuple[str, str]) -> None:
    """Remembers what is open, the oldest being forgotten when there is far too much of it."""
    open_[key] = value
    if len(open_) > _MAX_OPEN:
        del open_[next(iter(open_))]
