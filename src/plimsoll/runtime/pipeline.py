"""The call pipeline, in the design's order:

    replay lookup → limits → approval → ladder → intent (barrier) → retry → hedge → circuit breaker → rate limit
                  → bulkhead → timeout → the dependency → output check

`call` never raises what a dependency raised: it returns a `Settled` that says what came of the call. What it does raise
takes the run off the stack (`Unwind`) or is a caller's mistake (`Misuse`).
"""

from collections.abc import Coroutine
from typing import Any

import msgspec

from plimsoll.core.calls import CallKind, Effect, ErrorRecord, Fault, Outcome, Status, idempotency_key
from plimsoll.core.errors import (
    ApprovalRefused,
    CallFailed,
    Rejected,
    ReplayMismatch,
    RunParked,
)
from plimsoll.core.events import CallIntended, CallSettled
from plimsoll.observability.listening import CallBegan
from plimsoll.runtime.approving import approve
from plimsoll.runtime.asking import Answer, ask, climb
from plimsoll.runtime.children import follow
from plimsoll.runtime.effects import recover_intent, write
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.heeding import has_news, heed
from plimsoll.runtime.kin import ChildExchange
from plimsoll.runtime.state import RunState
from plimsoll.runtime.telling import ToldCall
from plimsoll.runtime.transactions import in_transaction

__all__ = ["Settled", "call"]

_MISSING = object()


class Settled(msgspec.Struct, frozen=True):
    """What came of a call: its recorded outcome, and how to make the native answer of it."""

    exchange: Exchange
    outcome: Outcome
    native: Any = _MISSING

    def unwrap(self) -> Any:
        """The native answer of a call that is ok. Raises `Rejected` or `CallFailed` for any other."""
        outcome = self.outcome
        if outcome.ok:
            return self.exchange.decode(outcome.value) if self.native is _MISSING else self.native
        error = outcome.error or ErrorRecord(type="Unknown", message="no error was recorded")
        if outcome.status is Status.REJECTED:
            raise rejection(self.exchange.dependency, error)
        raise CallFailed(self.exchange.dependency, fault=error.fault, attempts=outcome.attempts, message=error.message)


def rejection(dependency: str, error: ErrorRecord) -> Rejected:
    """The exception for a recorded rejection."""
    if error.type == ApprovalRefused.__name__:
        reason, _, note = error.message.partition(": ")
        return ApprovalRefused(dependency, reason=reason, note=note)
    return Rejected(error.message)


def call(state: RunState, exchange: Exchange, key: str, effect: Effect) -> Coroutine[Any, Any, Settled]:
    """Takes one call through the pipeline; `effect` is what `effect_of` says of it. To be awaited at once."""
    if state.teller is not None or state.replay.active:
        return _found_or_made(state, exchange, key, effect)
    state.replay.nothing()
    return _made(state, exchange, key, effect)


async def _found_or_made(state: RunState, exchange: Exchange, key: str, effect: Effect) -> Settled:
    """The call as the journal has it, or made and told."""
    recorded = await _replayed(state, exchange, key) if state.replay.active else state.replay.nothing()
    if recorded is not None:
        state.answered_by(exchange, recorded.outcome.rung)
        return Settled(exchange, recorded.outcome)
    if state.teller is None:
        return await _made(state, exchange, key, effect)
    began = CallBegan(key=key, kind=exchange.kind, dependency=exchange.dependency, effect=effect, args=exchange.args)
    with state.teller.call(began) as teller:
        return await _made(state, exchange, key, effect, teller)


async def _made(
    state: RunState, exchange: Exchange, key: str, effect: Effect, teller: ToldCall | None = None
) -> Settled:
    """Makes a call that the journal does not answer. `teller` is told its outcome."""
    if state.stopped:
        state.guard()
    if state.log.crowded:
        await state.commit()  # more is done than the disk can follow
    started = state.env.clock.monotonic()
    if effect is not Effect.READ and has_news(state):
        await heed(state)  # nothing may be intended any more; a read is stopped at its first attempt
    intent = state.replay.intent(key) if state.replay.resumed else None
    if effect is Effect.TRANSACTION and (intent is None or intent.effect is effect):
        exchange = in_transaction(state, exchange, key, sent_before=intent is not None)
    if isinstance(exchange, ChildExchange):
        answer = await _child(state, exchange, key)
    elif intent is not None:
        state.sent[key] = (intent, exchange)
        answer = await recover_intent(state, exchange, intent)
    else:
        state.reserve(exchange, key, now=started)
        answer = await _send(state, exchange, key, effect)
    outcome = answer.outcome
    settled = CallSettled(
        key=key,
        kind=exchange.kind,
        dependency=exchange.dependency,
        effect=effect,
        args_digest=exchange.args_digest,
        args=exchange.args if effect is Effect.READ else None,
        outcome=outcome,
        duration_s=round(state.env.clock.monotonic() - started, 6),
        result_digest=exchange.sameness(outcome.value) if outcome.status is Status.OK else "",
        beside=state.replay.beside(),
    )
    state.account(settled)
    state.record(settled)
    if teller is not None:
        teller.settled(outcome)
    if effect is not Effect.READ:
        state.sent.pop(key, None)
    state.answered_by(exchange, outcome.rung)
    if outcome.status is not Status.OK:
        state.check_deadline()
    if state.stopped:
        state.guard()
    return Settled(exchange, outcome, answer.native if answer.has_native else _MISSING)


def effect_of(state: RunState, exchange: Exchange) -> Effect:
    """What the contract says that the call does to the world. Whatever a child does, it is begun but once."""
    if exchange.kind is CallKind.RUN:
        return Effect.IDEMPOTENT
    return Effect.READ if exchange.kind is CallKind.MODEL else state.env.compiled.tools[exchange.dependency].effect


async def _child(state: RunState, exchange: ChildExchange, key: str) -> Answer:
    """How a child ended. One may write, so none is begun where this run may not."""
    if state.read_only and state.replay.intent(key) is None:
        return rejected("ReadOnly", f"{state.read_only!r} answered in this run, and may not write")
    return Answer(await follow(state, exchange, key))


async def _replayed(state: RunState, exchange: Exchange, key: str) -> CallSettled | None:
    try:
        return await state.replay.settled(key, dependency=exchange.dependency, args_digest=exchange.args_digest)
    except ReplayMismatch as mismatch:
        raise RunParked("mismatch", detail=str(mismatch)) from mismatch


async def _send(state: RunState, exchange: Exchange, key: str, effect: Effect) -> Answer:
    """Rules and approval, then the ladder; for what has an effect, the durable intent before it."""
    if exchange.kind is CallKind.MODEL:
        return await climb(state, exchange, key)
    if effect is not Effect.READ and state.read_only:
        return rejected("ReadOnly", f"{state.read_only!r} answered in this run, and may not write")
    decision_id = None
    if state.env.compiled.tools[exchange.dependency].is_judged:
        try:
            decision_id = await approve(state, exchange, key)
        except ApprovalRefused as refused:
            return rejected("ApprovalRefused", f"{refused.reason}: {refused.note}")
    if effect is Effect.READ:
        return await ask(state, exchange, key)
    intent = CallIntended(
        key=key,
        kind=exchange.kind,
        dependency=exchange.dependency,
        effect=effect,
        args=exchange.args,
        args_digest=exchange.args_digest,
        idempotency_key=idempotency_key(state.id, key),
        decision_id=decision_id,
        undoable=exchange.dependency in state.env.undoable,
    )
    await state.commit(intent)
    if has_news(state):
        await heed(state)
    state.sent[key] = (intent, exchange)
    return await write(state, exchange, intent)


def rejected(kind: str, message: str) -> Answer:
    """The answer of a call that a policy or a person refused."""
    error = ErrorRecord(type=kind, message=message, fault=Fault.REFUSED)
    return Answer(Outcome(status=Status.REJECTED, error=error, attempts=0))
