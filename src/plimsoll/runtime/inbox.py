"""The inbox: what outsiders asked of a run, copied into its journal by its owner, who checks it once more."""

from typing import Any

from plimsoll.core.canonical import digest
from plimsoll.core.errors import DecisionRefused
from plimsoll.core.events import ApprovalDecided, DoubtResolved, Finding
from plimsoll.journal.store import InboxEntry, InboxKind
from plimsoll.oversight.approvals import ApprovalBook
from plimsoll.runtime.state import RunState

__all__ = [
    "cancel_entry",
    "check_entry",
    "copy_inbox",
    "decision_entry",
    "doubt_entry",
    "signal_entry",
    "signal_request",
]


def decision_entry(request_id: str, *, approve: bool, args_digest: str, by: str, note: str, at: float) -> InboxEntry:
    """The message that carries a decision. The same decision posted twice is one message."""
    body = {"request_id": request_id, "approve": approve, "args_digest": args_digest, "note": note}
    run_id, _, _ = request_id.rpartition(".")
    identity = digest({"body": body, "by": by})[:16]
    return InboxEntry(
        request_id=f"{request_id}:{identity}", run_id=run_id, kind=InboxKind.DECISION, body=body, by=by, at=at
    )


def doubt_entry(
    run_id: str, key: str, *, send: int, happened: bool, value: Any, note: str = "", by: str, at: float
) -> InboxEntry:
    """The message that carries a person's answer to the doubt about the call `key`, as it was sent the `send`-th time.

    Should it be sent again and be in doubt again, that is another question, which this does not answer.
    """
    body = {"key": key, "send": send, "happened": happened, "value": value, "note": note}
    identity = digest({"body": body, "by": by})[:16]
    return InboxEntry(
        request_id=f"{run_id}:{key}:{identity}", run_id=run_id, kind=InboxKind.DOUBT, body=body, by=by, at=at
    )


def signal_entry(
    run_id: str, name: str, payload: Any, *, signal_id: str, by: str, at: float, sent_to: str = ""
) -> InboxEntry:
    """The message that carries a signal. The same signal sent twice is one message.

    `sent_to` is the run that it was sent to, of which `run_id` may be a later one; empty where that hands it on.
    """
    body = {"signal_id": signal_id, "name": name, "payload": payload}
    return InboxEntry(
        request_id=signal_request(sent_to or run_id, signal_id),
        run_id=run_id,
        kind=InboxKind.SIGNAL,
        body=body,
        by=by,
        at=at,
    )


def signal_request(run_id: str, signal_id: str) -> str:
    """The request id of a signal that was sent to the run `run_id`, or handed on to it."""
    return f"{run_id}:signal:{signal_id}"


def cancel_entry(run_id: str, *, by: str, reason: str, at: float) -> InboxEntry:
    """The message that cancels a run. The first one stands."""
    return InboxEntry(
        request_id=f"{run_id}:cancel", run_id=run_id, kind=InboxKind.CANCEL, body={"reason": reason}, by=by, at=at
    )


def copy_inbox(state: RunState, entry: InboxEntry) -> None:
    """Copies one message into the run's journal, if it holds now; otherwise raises a finding, or leaves it be."""
    if entry.kind is InboxKind.DECISION:
        _copy_decision(state, entry)
    elif entry.kind is InboxKind.DOUBT:
        _copy_doubt(state, entry)


def _copy_decision(state: RunState, entry: InboxEntry) -> None:
    request_id = entry.body["request_id"]
    request = state.approvals.requests.get(request_id)
    if request is None or request.decided is not None:
        return
    try:
        check_entry(state.approvals, entry)
    except DecisionRefused as refused:
        state.raise_finding(
            Finding(
                kind="decision_refused",
                severity="critical",
                message=str(refused),
                dependency=request.asked.dependency,
                fault="invalid_decision",
                evidence=(request.asked.key,),
            )
        )
        return
    state.record(
        ApprovalDecided(
            request_id=request_id,
            decision_id=entry.request_id,
            decision="approved" if entry.body["approve"] else "denied",
            args_digest=entry.body["args_digest"],
            by=entry.by,
            note=entry.body["note"],
        )
    )


def check_entry(book: ApprovalBook, entry: InboxEntry) -> None:
    """Raises `DecisionRefused` when this decision does not hold, or is not the one that was posted."""
    body = entry.body
    request_id = body["request_id"]
    book.check(request_id, by=entry.by, args_digest=body["args_digest"], now=entry.at)
    if entry.request_id != f"{request_id}:{digest({'body': body, 'by': entry.by})[:16]}":
        raise DecisionRefused(request_id, why="it is not what was posted: somebody has changed the inbox")


def _copy_doubt(state: RunState, entry: InboxEntry) -> None:
    key = entry.body["key"]
    doubt = state.doubts.get(key)
    if doubt is None or doubt.answer != "unknown" or entry.body["send"] != state.sends[key]:
        return
    answer = "happened" if entry.body["happened"] else "not_happened"
    body = entry.body
    state.record(DoubtResolved(key=key, answer=answer, by=entry.by, value=body["value"], note=body.get("note", "")))
