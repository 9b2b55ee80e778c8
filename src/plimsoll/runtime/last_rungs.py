"""What answers where no model can: an answer that was given before, or a person."""

from msgspec.structs import replace

from plimsoll.core.calls import ErrorRecord, Fault
from plimsoll.core.canonical import parse_json
from plimsoll.core.errors import OutputRejected, RunParked
from plimsoll.core.events import ApprovalRequested
from plimsoll.oversight.approvals import Request
from plimsoll.policies.classify import classify
from plimsoll.policies.ladder import Rung
from plimsoll.runtime.approving import expired
from plimsoll.runtime.attempts import Attempt, Footing, inspected
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.state import RunState

__all__ = ["given_before", "handed_over", "waits_for_a_person"]

_RULE = "no model could answer"


async def given_before(footing: Footing, *, max_age_s: float) -> Attempt:
    """What a model of the ladder answered to the very same request, where that is not too long ago."""
    env, exchange = footing.state.env, footing.exchange
    cache = env.answers[exchange.dependency]
    known = cache.get(exchange.cache_key(), now=env.clock.monotonic(), max_age_s=max_age_s)
    if known is None:
        return _none("NothingCached", "the same was not asked before, or too long ago", Fault.EMPTY)
    value = parse_json(known[1])
    return Attempt(0, 0.0, exchange.decode(value), value=value)


async def handed_over(footing: Footing) -> Attempt:
    """The answer of a person, who is asked for it durably. The run parks until there is one, or it is too late."""
    assert footing.rung is not None
    request = _request_of(footing.state, footing.exchange, footing.key) or await _asked(footing)
    now = footing.state.env.clock.now()
    if request.decided is None and now >= request.asked.expires_at:
        await expired(footing.state, request)
    decided = request.decided
    if decided is None:
        raise RunParked("approval", detail=request.asked.request_id, until=request.asked.expires_at)
    if decided.decision != "approved":
        return _none("NobodyAnswered", f"{decided.decision} by {decided.by}: {decided.note}", Fault.TIMEOUT)
    spoken = Rung(footing.rung.name, replace(footing.rung.model, canned=decided.note, hand_over=()))
    try:
        native = await footing.exchange.send(spoken)
    except OutputRejected as error:  # the agent answers with data, and these are words
        return Attempt(0, 0.0, error=classify(error, now=now))
    return inspected(replace(footing, rung=spoken), 0, 0.0, native)


def waits_for_a_person(state: RunState, exchange: Exchange, key: str) -> bool:
    """Whether this call was handed over to a person before, in this life of the run or an earlier one."""
    return _request_of(state, exchange, key) is not None


def _request_of(state: RunState, exchange: Exchange, key: str) -> Request | None:
    for request in state.approvals.of_call(key):
        if request.asked.answers and request.asked.args_digest == exchange.args_digest:
            return request
    return None


async def _asked(footing: Footing) -> Request:
    state, exchange = footing.state, footing.exchange
    assert footing.rung is not None
    request_id = state.approvals.next_id(state.id)
    await state.commit(
        ApprovalRequested(
            request_id=request_id,
            key=footing.key,
            dependency=footing.site,
            args=None,
            args_digest=exchange.args_digest,
            fingerprint=state.env.fingerprint,
            rule=_RULE,
            approvers=footing.rung.model.hand_over,
            expires_at=state.env.clock.now() + footing.rung.model.answer_within_s,
            answers=True,
        )
    )
    return state.approvals.requests[request_id]


def _none(kind: str, message: str, fault: Fault) -> Attempt:
    return Attempt(0, 0.0, error=ErrorRecord(type=kind, message=message, fault=fault))
