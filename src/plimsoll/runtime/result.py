"""What a run returns."""

from dataclasses import dataclass, field
from typing import Any

from plimsoll.core.calls import Ending
from plimsoll.core.events import ApprovalRequested, Finding

__all__ = ["RunResult", "Undoable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoable:
    """A call that was carried out, and that can be taken back: the call `key` to `tool`, its arguments and result."""

    key: str
    tool: str
    args: Any
    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run stands.

    `output` is what the agent returned (None unless `complete` or `degraded`); `reason` says why it stands otherwise;
    `findings` are those raised in the run's whole life; `waiting_for` are the approval requests that a parked run needs
    decided, its children's among them; `did` are the tools that were carried out, where the run is a child, a turn of a
    session, or has continued as new; `undoable` is what a run that was halted or failed has done and can be taken back,
    by `compensate`; `native` is the framework's own result object where there is one and the run ended
    in this process. Of a run that has continued as new, `run_id` is the first one's and all else the latest one's.
    """

    run_id: str
    ending: Ending
    output: Any = None
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    waiting_for: tuple[ApprovalRequested, ...] = ()
    did: tuple[str, ...] = ()
    undoable: tuple[Undoable, ...] = ()
    native: Any = field(default=None, compare=False, repr=False)

    @property
    def answered(self) -> bool:
        """Whether there is an answer to hand on: the run is complete, or degraded and says so."""
        return self.ending in (Ending.COMPLETE, Ending.DEGRADED)
