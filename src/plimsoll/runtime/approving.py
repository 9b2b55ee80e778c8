"""The approval step: asks the rules, and where they want a person's word, finds it, asks for it, or parks for it."""

from collections.abc import Mapping
from typing import Any

from plimsoll.contract.model import Mode
from plimsoll.core.errors import ApprovalRefused, RunParked
from plimsoll.core.events import ApprovalDecided, ApprovalRequested, Finding
from plimsoll.oversight.approvals import Request
from plimsoll.oversight.rules import Verdict
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.state import RunState

__all__ = ["approve", "expired"]


async def approve(state: RunState, exchange: Exchange, key: str) -> str | None:
    """The id of the decision that allows this call; None when it needs none.

    Raises `ApprovalRefused` when a rule or a person says no, `RunParked` while nobody has said anything.
    """
    most = state.env.tool(exchange.dependency).max_per_run
    if most is None:
        return await _approved(state, exchange, key)
    if not state.admit(exchange.dependency, key, most=most):
        state.raise_finding(_too_often(exchange, most))
        raise ApprovalRefused(exchange.dependency, reason="rule", note=f"at most {most} in one run (max_per_run)")
    try:
        return await _approved(state, exchange, key)
    except ApprovalRefused:
        state.dismiss(exchange.dependency, key)
        raise


async def _approved(state: RunState, exchange: Exchange, key: str) -> str | None:
    env = state.env
    args: Mapping[str, Any] = exchange.args if isinstance(exchange.args, dict) else {}
    ruling = env.rules.ruling(exchange.dependency, args)
    if ruling.verdict is Verdict.RUN:
        return None
    if env.contract.protections.approvals is Mode.OBSERVE:
        state.raise_finding(_observed(exchange, ruling.rule))
        return None
    if ruling.verdict is Verdict.REFUSE:
        raise ApprovalRefused(exchange.dependency, reason="rule", note=ruling.rule)
    request = await _request(state, exchange, key, ruling.rule)
    if request.decided is None and env.clock.now() >= request.asked.expires_at:
        await expired(state, request)
    if request.consumed:
        raise ApprovalRefused(exchange.dependency, reason="voided", note="its approval has been used; one is good once")
    decided = request.decided
    if decided is None:
        raise RunParked("approval", detail=request.asked.request_id, until=request.asked.expires_at)
    if decided.decision != "approved":
        raise ApprovalRefused(exchange.dependency, reason=decided.decision, note=decided.note)
    if env.clock.now() >= request.asked.expires_at:
        raise ApprovalRefused(exchange.dependency, reason="expired", note="approved, but not used in time")
    return decided.decision_id


async def _request(state: RunState, exchange: Exchange, key: str, rule: str) -> Request:
    """The request that binds exactly this call, made now if there is none. Any other for this call is voided."""
    for request in state.approvals.of_call(key):
        asked = request.asked
        if asked.args_digest == exchange.args_digest and asked.fingerprint == state.env.fingerprint:
            return request
        if request.decided is None or request.decided.decision == "approved":
            await _decide(state, request, "voided", note="the arguments or the agent changed after it was asked")
    approval = state.env.tool(exchange.dependency).approval
    request_id = state.approvals.next_id(state.id)
    await state.commit(
        ApprovalRequested(
            request_id=request_id,
            key=key,
            dependency=exchange.dependency,
            args=exchange.args,
            args_digest=exchange.args_digest,
            fingerprint=state.env.fingerprint,
            rule=rule,
            approvers=approval.approvers if approval is not None else (),
            expires_at=state.env.clock.now() + (approval.expires_s if approval is not None else 0.0),
        )
    )
    return state.approvals.requests[request_id]


async def expired(state: RunState, request: Request) -> None:
    """Records that nobody has decided in time."""
    await _decide(state, request, "expired", note="nobody answered in time")


async def _decide(state: RunState, request: Request, decision: str, *, note: str) -> None:
    asked = request.asked
    await state.commit(
        ApprovalDecided(
            request_id=asked.request_id,
            decision_id=f"{asked.request_id}.{decision}",
            decision=decision,
            args_digest=asked.args_digest,
            by="plimsoll",
            note=note,
        )
    )


def _observed(exchange: Exchange, rule: str) -> Finding:
    return Finding(
        kind="approval_skipped",
        severity="warning",
        message=f"{exchange.dependency} would have needed a person's word: {rule}",
        dependency=exchange.dependency,
        observed=True,
    )


def _too_often(exchange: Exchange, most: int) -> Finding:
    return Finding(
        kind="limit",
        severity="warning",
        message=f"{exchange.dependency} was asked for more than {most} time(s) in one run",
        dependency=exchange.dependency,
        fault="max_per_run",
    )
