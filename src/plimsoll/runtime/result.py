"""What a run returns."""

from dataclasses import dataclass, field
from typing import Any

from plimsoll.core.calls import Ending
from plimsoll.core.events import ApprovalRequested, Finding

__all__ = ["RunResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run stands.

    `output` is what the agent returned (None unless `complete` or `degraded`); `reason` says why it stands otherwise;
    `findings` are those raised in the run's whole life; `waiting_for` are the approval requests that a parked run needs
    decided; `native` is the framework's own result object where there is one and the run ended in this process.
    """

    run_id: str
    ending: Ending
    output: Any = None
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    waiting_for: tuple[ApprovalRequested, ...] = ()
    native: Any = field(default=None, compare=False, repr=False)

    @property
    def answered(self) -> bool:
        """Whether there is an answer to hand on: the run is complete, or degraded and says so."""
        return self.ending in (Ending.COMPLETE, Ending.DEGRADED)
