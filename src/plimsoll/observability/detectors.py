"""Detectors: each reads one run's events as they are recorded, keeps bounded state, and raises findings.

A detector is deterministic: the same events bring it to the same state. On replay, `restore` rebuilds that state and
nothing is raised again.
"""

from collections.abc import Iterable
from typing import Any, Protocol

from plimsoll.contract.model import Contract, Mode
from plimsoll.core.events import Event, Finding
from plimsoll.observability.attempts import AttemptDetector, RecoveryDetector
from plimsoll.observability.claims import ClaimDetector
from plimsoll.observability.loops import LoopDetector
from plimsoll.observability.people import ApprovalDetector, DoubtDetector
from plimsoll.observability.progress import ProgressDetector
from plimsoll.observability.spending import SpendingDetector

__all__ = [
    "ApprovalDetector",
    "AttemptDetector",
    "ClaimDetector",
    "Detector",
    "DoubtDetector",
    "LoopDetector",
    "ProgressDetector",
    "RecoveryDetector",
    "SpendingDetector",
    "default_detectors",
]


class Detector(Protocol):
    """Watches one run."""

    @property
    def reads(self) -> frozenset[type[Any]]:
        """The kinds of events that it looks at; it need not be shown any other."""
        ...

    def observe(self, event: Event, *, at: float) -> Iterable[Finding]:
        """What `event`, recorded at wall-clock time `at`, brings to light. The state has changed when this returns."""
        ...

    def restore(self, event: Event) -> None:
        """Takes in an event that was observed before: the state changes, and nothing is raised."""
        ...


def default_detectors(contract: Contract) -> list[Detector]:
    """A fresh set for one run, without the `ClaimDetector`: whoever ends a run has to ask that one by name."""
    observed = contract.protections.loops is Mode.OBSERVE
    return [
        AttemptDetector(),
        LoopDetector(contract.limits.repeats, observed=observed),
        ProgressDetector(contract.limits.repeats, observed=observed),
        SpendingDetector(contract.limits),
        ApprovalDetector(),
        DoubtDetector(),
        RecoveryDetector(),
    ]
