"""Approvals that bind: one decision, by one of the named people, for exactly one call.

The book is pure state over a run's events: it is rebuilt from the journal and never stored by itself.
"""

from dataclasses import dataclass, field
from typing import Any

from plimsoll.core.canonical import digest
from plimsoll.core.errors import DecisionRefused
from plimsoll.core.events import ApprovalDecided, ApprovalRequested, CallIntended, Event

__all__ = ["ApprovalBook", "Request", "decision_body"]


@dataclass(slots=True)
class Request:
    """One request and what became of it."""

    asked: ApprovalRequested
    decided: ApprovalDecided | None = None
    consumed: bool = False

    def open_at(self, now: float) -> bool:
        """Whether somebody may still decide it."""
        return self.decided is None and now < self.asked.expires_at


@dataclass(slots=True)
class ApprovalBook:
    """The approval requests of one run, by their ids."""

    requests: dict[str, Request] = field(default_factory=dict)

    def observe(self, event: Event) -> None:
        """Takes note of an event of the run, live or replayed."""
        if isinstance(event, ApprovalRequested):
            self.requests[event.request_id] = Request(event)
        elif isinstance(event, ApprovalDecided):
            self.requests[event.request_id].decided = event
        elif isinstance(event, CallIntended) and event.decision_id is not None:
            for request in self.requests.values():
                if request.decided is not None and request.decided.decision_id == event.decision_id:
                    request.consumed = True

    def of_call(self, key: str) -> list[Request]:
        """Every request made for the call `key`, the oldest first."""
        return [request for request in self.requests.values() if request.asked.key == key]

    def open(self, now: float) -> list[Request]:
        """The requests that somebody may still decide at wall-clock time `now`."""
        return [request for request in self.requests.values() if request.open_at(now)]

    def next_id(self, run_id: str) -> str:
        """The id of the next request. It carries the run's id, so that a decision finds its run."""
        return f"{run_id}.a{len(self.requests) + 1}"

    def check_answer(self, request_id: str, *, approve: bool, note: str) -> None:
        """Raises `DecisionRefused` where an answer is wanted, and the decision to give one brings none."""
        if self.requests[request_id].asked.answers and approve and not note.strip():
            raise DecisionRefused(request_id, why="it wants an answer, and there is none: give it as the note")

    def check(self, request_id: str, *, by: str, args_digest: str, now: float) -> Request:
        """The request, if `by` may decide it now on these arguments. Raises `DecisionRefused` with the reason."""
        request = self.requests.get(request_id)
        if request is None:
            raise DecisionRefused(request_id, why="there is no such request")
        if request.decided is not None:
            raise DecisionRefused(request_id, why=f"it was {request.decided.decision} by {request.decided.by} already")
        if now >= request.asked.expires_at:
            raise DecisionRefused(request_id, why="it has expired, which means no")
        if by not in request.asked.approvers:
            raise DecisionRefused(request_id, why=f"{by} is not one of {', '.join(request.asked.approvers)}")
        if args_digest != request.asked.args_digest:
            raise DecisionRefused(request_id, why="it was made for other arguments than those asked about")
        return request


def decision_body(*, approve: bool, args: Any, note: str = "") -> dict[str, Any]:
    """What a decision carries to the run's owner: the verdict, and the digest of the arguments that were looked at."""
    return {"approve": approve, "args_digest": digest(args), "note": note}
