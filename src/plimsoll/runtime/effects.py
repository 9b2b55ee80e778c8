"""Effects: how a call that changes the world is sent, and what follows when nobody knows whether it happened.

A write whose outcome is unknown is *in doubt*. It is never sent again until `verify`, or a person, has said that it did
not happen and cannot happen any more. Design section 3.
"""

import asyncio

from plimsoll.core.calls import (
    CallInfo,
    CallKind,
    Effect,
    ErrorRecord,
    Fault,
    Happened,
    NotHappenedAndCannot,
    Outcome,
    Status,
    Unknown,
    Verification,
)
from plimsoll.core.canonical import as_recorded, as_text
from plimsoll.core.errors import Misuse, RunParked
from plimsoll.core.events import CallIntended, DoubtRaised, DoubtResolved
from plimsoll.runtime.asking import Answer, retrying
from plimsoll.runtime.attempts import Attempt, Footing
from plimsoll.runtime.current import call_context
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.foreign import is_cancelled
from plimsoll.runtime.state import RunState
from plimsoll.runtime.transactions import looked_up_by, proves_nothing_happened
from plimsoll.runtime.underway import waited_for_a_thread

__all__ = ["recover_intent", "settle_leftovers", "write"]

MAX_RESENDS = 3
"""How often a write that is known not to have happened is sent again before the call is given up as failed."""


VERIFY_DELAYS_S = (0.0, 0.5, 2.0)
"""Seconds before each try of `verify`: it is a read, and may meet the same trouble as the write did."""

RECHECK_S = 60.0
"""How long a run is parked whose transaction could not be looked up, before `wake` asks the database again."""


async def write(
    state: RunState, exchange: Exchange, intent: CallIntended, *, doubt: ErrorRecord | None = None
) -> Answer:
    """Sends a call whose intent is durable, and settles whatever doubt it leaves.

    `doubt` is what became of an earlier sending that may have happened, and is not asked about: this one has its key.
    """
    terms = state.env.compiled.tools[intent.dependency]
    footing = Footing(state, exchange, intent.key, intent.effect, intent.dependency, terms)
    attempts = 0
    tried = Attempt(0, 0.0)
    for _ in range(MAX_RESENDS):
        tried = await retrying(footing)
        attempts += tried.number
        if tried.error is None:
            return _ok(exchange.encode(tried.native), attempts)
        doubt = (doubt or tried.doubt) if intent.effect is Effect.IDEMPOTENT else None
        proven = not tried.was_sent or proves_nothing_happened(exchange, tried.error, footing.refusals)
        if doubt is None and proven:
            return _failed(tried.error, attempts)
        resolved = await resolve(state, exchange, intent, doubt or tried.error)
        doubt = None
        if isinstance(resolved, Happened):
            return _ok(resolved.result, attempts)
    assert tried.error is not None
    return _failed(tried.error, attempts)


async def recover_intent(state: RunState, exchange: Exchange, intent: CallIntended) -> Answer:
    """Goes on with a call whose intent is in the journal and whose outcome is not: the process died, or parked."""
    answered = state.replay.resolved(intent.key)
    if answered is not None and answered.answer == "happened":
        return _ok(answered.value, 1)
    still_running = bool(state.env.under_way.of(intent.idempotency_key))
    lost = ErrorRecord(type="Crash", message="the process died before the outcome was recorded", fault=Fault.CRASH)
    doubt: ErrorRecord | None = None
    looked_up = intent.effect is Effect.TRANSACTION  # the database knows better than a person
    if answered is not None and answered.answer == "not_happened" and not still_running and not looked_up:
        await state.commit(intent)  # from here on the answer no longer holds: it is sent again
    elif intent.effect is Effect.IDEMPOTENT and not still_running:
        doubt = lost
    else:
        resolved = await resolve(state, exchange, intent, lost)
        if isinstance(resolved, Happened):
            return _ok(resolved.result, 1)
    return await write(state, exchange, intent, doubt=doubt)


async def resolve(
    state: RunState, exchange: Exchange, intent: CallIntended, error: ErrorRecord
) -> Happened | NotHappenedAndCannot:
    """Settles a doubt by the tool's `verify`, or parks the run for a person."""
    _raise_doubt(state, intent, error)
    answer = await _verified(state, exchange, intent)
    if isinstance(answer, Unknown):
        await state.commit(DoubtResolved(key=intent.key, answer="unknown", by="verify", value=answer.why))
        state.sent.pop(intent.key, None)  # it has been asked about, also where the run ends and does not park
        again = intent.effect is Effect.TRANSACTION and not answer.final
        until = state.env.clock.now() + RECHECK_S if again else None
        raise RunParked("doubt", detail=intent.key, until=until)
    if isinstance(answer, Happened):
        await state.commit(DoubtResolved(key=intent.key, answer="happened", by="verify", value=answer.result))
        return answer
    state.record(DoubtResolved(key=intent.key, answer="not_happened", by="verify"))
    await state.commit(intent)  # it is sent again, and a crash after that must find it in doubt
    return answer


def _raise_doubt(state: RunState, intent: CallIntended, error: ErrorRecord) -> None:
    state.record(
        DoubtRaised(
            key=intent.key,
            dependency=intent.dependency,
            idempotency_key=intent.idempotency_key,
            fault=error.fault,
            message=error.message[:500],
        )
    )


async def settle_leftovers(state: RunState) -> None:
    """Before a run ends: finds out about every write that was sent and whose outcome is not recorded.

    Nothing is sent again. What nobody knows stays a doubt in the journal, with the finding that says so.
    """
    for intent, exchange in list(state.sent.values()):
        await _settle_leftover(state, intent, exchange, "the run ended while it was under way")
    for intent in state.replay.unasked_intents():
        known = state.doubts.get(intent.key)
        answered = known is not None and known.answer != "unknown"
        if not answered and intent.kind is not CallKind.RUN:  # a child tells in its own journal what it did
            made = looked_up_by(state, intent) or state.env.exchange_of(intent)
            await _settle_leftover(state, intent, made, "the run ended before its code came to it again")
    state.sent.clear()


async def _settle_leftover(state: RunState, intent: CallIntended, exchange: Exchange | None, why: str) -> None:
    """Finds out about a write that its run leaves behind; `exchange` is None where it is known by its name alone."""
    _raise_doubt(state, intent, ErrorRecord(type="RunEnded", message=why, fault=Fault.CRASH))
    answer = Unknown(why) if exchange is None else await _verified(state, exchange, intent)
    if isinstance(answer, Unknown):
        by = "plimsoll" if exchange is None else "verify"
        state.record(DoubtResolved(key=intent.key, answer="unknown", by=by, value=answer.why))
        return
    value = answer.result if isinstance(answer, Happened) else None
    said = "happened" if isinstance(answer, Happened) else "not_happened"
    state.record(DoubtResolved(key=intent.key, answer=said, by="verify", value=value))


async def _verified(state: RunState, exchange: Exchange, intent: CallIntended) -> Verification:
    """What `verify` says; `Unknown` where it fails, takes too long, or answers something else."""
    env = state.env
    answer: Verification = Unknown("not asked")
    for delay_s in VERIFY_DELAYS_S:
        await env.clock.sleep(delay_s)
        answer = await _verify_once(state, exchange, intent)
        if not isinstance(answer, Unknown) or answer.final:
            break
    return answer


async def _verify_once(state: RunState, exchange: Exchange, intent: CallIntended) -> Verification:
    env = state.env
    timeout_s = env.tool(exchange.dependency).timeout_s
    info = CallInfo(
        run_id=state.id,
        key=intent.key,
        dependency=intent.dependency,
        kind=intent.kind,
        effect=Effect.READ,
        attempt=1,
        rung=0,
        deadline_s=env.clock.monotonic() + timeout_s,
        sending=state.sends[intent.key],
    )
    token = call_context.set(info)
    try:
        async with asyncio.timeout(timeout_s):
            answer = await env.interceptor(
                f"{intent.dependency}.verify", info, exchange, lambda: exchange.verify(intent.idempotency_key)
            )
    except (Exception, asyncio.CancelledError) as error:  # a verify that fails has verified nothing, however it fails
        if is_cancelled(error):
            raise
        starved = f"no thread was free for it within {timeout_s:g} s" if waited_for_a_thread(error) else ""
        return Unknown(f"verify failed: {type(error).__name__}: {starved or as_text(error)}")
    finally:
        call_context.reset(token)
    return _in_json(answer)


def _in_json(answer: object) -> Verification:
    """What `verify` answered, as the journal can have it. A result without a JSON form is nobody's answer."""
    if isinstance(answer, NotHappenedAndCannot):
        return answer
    if isinstance(answer, Unknown):
        return Unknown(as_text(answer.why), final=answer.final)
    if isinstance(answer, Happened):
        try:
            return Happened(as_recorded(answer.result, what="the result that verify told"))
        except Misuse as error:
            return Unknown(str(error))
    return Unknown(f"verify answered {answer!r}, which is none of Happened, NotHappenedAndCannot, Unknown")


def _ok(value: object, attempts: int) -> Answer:
    return Answer(Outcome(status=Status.OK, value=value, attempts=attempts))


def _failed(error: ErrorRecord, attempts: int) -> Answer:
    return Answer(Outcome(status=Status.FAILED, error=error, attempts=attempts))
