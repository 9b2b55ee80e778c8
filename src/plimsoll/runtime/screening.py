"""Screening: the guards judge a text on its way, and what they say is recorded before anything follows from it.

A text is judged once in the life of its run. On replay the recorded verdict counts, to the action that it names, also
where another model judges by then, or the contract says something else.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from plimsoll.contract.model import GuardSection, Mode
from plimsoll.core.calls import CallInfo, CallKind, Effect, ErrorRecord, Fault, Outcome, Status
from plimsoll.core.canonical import digest
from plimsoll.core.errors import OutputRejected, ReplayMismatch, RunHalted, RunParked
from plimsoll.core.events import ApprovalRequested, Event, Finding, ValueRecorded
from plimsoll.core.guards import INPUT, OUTPUT, GuardVerdict, Screening, screening_in, text_of
from plimsoll.journal.store import Store
from plimsoll.oversight.approvals import Request
from plimsoll.policies.classify import classify
from plimsoll.policies.timeout import Expired, within
from plimsoll.runtime.approving import expired
from plimsoll.runtime.foreign import is_cancelled
from plimsoll.runtime.guards import BoundGuard, GuardExchange
from plimsoll.runtime.heeding import has_news, heed
from plimsoll.runtime.pipeline import Settled
from plimsoll.runtime.state import RunState

__all__ = ["input_was_stopped", "replacement", "screen_input", "screen_output", "screen_result"]

_WITHHELD = "Withheld"
"""The error of a result that a guard has put something else in place of."""


async def screen_input(state: RunState) -> None:
    """Has the guards judge what the run was asked. Raises `RunHalted` where it may not go on, `RunParked` while a
    person is asked."""
    guards = state.env.guards
    if guards is not None and not state.started.undoes:
        await _screened(state, INPUT, state.started.input, guards.on_input())


async def screen_result(state: RunState, settled: Settled, key: str, effect: Effect) -> Settled:
    """What a call brought, as far as the guards let it through: as it is, or as a failure that says why not. What takes
    back what another run did is read by no agent, and not judged.

    What a tool says of its failure is judged, too, for it comes from outside as well. Raises as `screen_input` does.
    """
    guards, exchange, outcome = state.env.guards, settled.exchange, settled.outcome
    if guards is None or exchange.kind is CallKind.MODEL or state.started.undoes:
        return settled
    judging = guards.on_result(exchange.dependency)
    if not judging:
        return settled
    said = _said(outcome)
    replaced = await _screened(state, f"guard:tool_result:{key}", said, judging, dependency=exchange.dependency)
    if replaced is None:
        return settled
    if effect is not Effect.READ:  # an agent that is told of no result would do it again
        _halt(state, _words(replaced, f"the result of {exchange.dependency}"))
    message = _replacement(state, replaced)
    error = ErrorRecord(type=_WITHHELD, message=message, fault=Fault.FILTERED)
    return Settled(exchange, Outcome(status=Status.FAILED, error=error, attempts=outcome.attempts))


async def screen_output(state: RunState, output: Any) -> GuardVerdict | None:
    """Has the guards judge what the run is about to answer. The verdict by which that is to be replaced; None: it is
    not. Raises as `screen_input` does."""
    guards = state.env.guards
    if guards is None or state.started.undoes:
        return None
    replaced = await _screened(state, OUTPUT, output, guards.on_output(done=state.claims.done))
    if replaced is not None and not isinstance(output, str):
        _halt(state, f"{_words(replaced, 'the output')}, and only a text can be replaced by one")
    return replaced


async def input_was_stopped(store: Store, run_id: str) -> bool:
    """Whether guards did not simply let pass what the run was asked: whoever tells an agent of earlier turns is not to
    tell it that."""
    said = (screening_in(record.event) for record in await store.read(run_id) if _is_of_input(record.event))
    return any(verdict.stops for screening in said if screening is not None for verdict in screening.verdicts)


def _is_of_input(event: Event) -> bool:
    return isinstance(event, ValueRecorded) and event.key == INPUT


def replacement(state: RunState, verdict: GuardVerdict) -> tuple[str, str]:
    """What is answered in place of an output, and why."""
    return _replacement(state, verdict), _words(verdict, "its own answer")


def _said(outcome: Outcome) -> Any:
    """What came from outside: a result, or what a dependency says of its failure. The words of a refusal are ours."""
    if outcome.ok:
        return outcome.value
    return outcome.error.message if outcome.status is Status.FAILED and outcome.error is not None else ""


def _replacement(state: RunState, verdict: GuardVerdict) -> str:
    section = state.env.contract.guards.get(verdict.guard)
    return (section and section.replacement) or "This was withheld."


async def _screened(
    state: RunState, key: str, value: Any, judging: Sequence[BoundGuard], *, dependency: str = ""
) -> GuardVerdict | None:
    """Judges, or finds what was judged, and acts on it. Returns the verdict by which the text is to be replaced."""
    text = text_of(value)
    if not text.strip() or not (judging or state.replay.has(key)):
        return None
    screening = await _recorded(state, key, text) or await _judged(state, key, text, judging)
    what = f"the result of {dependency}" if dependency else f"the {key.partition(':')[2]}"
    for verdict in screening.verdicts:
        if verdict.action or verdict.fault:
            state.raise_finding(_finding(verdict, what))
    acting = [verdict for verdict in screening.verdicts if verdict.stops]
    for verdict in acting:
        if verdict.action == "halt":
            _halt(state, _words(verdict, what))
    for verdict in acting:
        if verdict.action == "hand_over":
            await _let_pass(state, key, text, verdict, what)
    return next((verdict for verdict in acting if verdict.action == "replace"), None)


def _halt(state: RunState, why: str) -> NoReturn:
    state.guard()  # a run that leaves the stack for another reason, or is only rehearsed, goes by that
    raise RunHalted(why)


async def _recorded(state: RunState, key: str, text: str) -> Screening | None:
    """What the journal says that the guards said of this text."""
    state.claim(key)
    try:
        recorded = await state.replay.value(key)
        screening = None if recorded is None else screening_in(recorded)
        if screening is not None and screening.text != digest(text):
            raise ReplayMismatch(state.id, expected=f"the text that was judged as {key}", actual="another text")
    except ReplayMismatch as mismatch:
        raise RunParked("mismatch", detail=str(mismatch)) from mismatch
    return screening


async def _judged(state: RunState, key: str, text: str, judging: Sequence[BoundGuard]) -> Screening:
    """What the guards say of it now, recorded."""
    state.guard()
    if has_news(state):
        await heed(state)
    text_digest = digest(text)
    verdicts = tuple([await _verdict(state, guard, key, text, text_digest) for guard in judging])
    state.guard()
    screening = Screening(text=text_digest, verdicts=verdicts)
    state.record(ValueRecorded(key=key, value=msgspec.to_builtins(screening), beside=state.replay.beside()))
    return screening


async def _verdict(state: RunState, guard: BoundGuard, key: str, text: str, text_digest: str) -> GuardVerdict:
    section, clock = guard.section, state.env.clock
    started = clock.monotonic()
    allowed_s = max(0.0, min(section.timeout_s, state.deadline.at - started))
    exchange = GuardExchange(guard, text, text_digest=text_digest)
    info = CallInfo(
        run_id=state.id,
        key=key,
        dependency=guard.name,
        kind=CallKind.GUARD,
        effect=Effect.READ,
        attempt=1,
        rung=0,
        deadline_s=started + allowed_s,
    )
    probability, fault = None, ""
    try:
        asking = state.env.interceptor(guard.name, info, exchange, lambda: exchange.send(None))
        probability = _probability(await within(allowed_s, asking, loop=state.loop), section, guard.name)
    except Expired:
        fault = Fault.TIMEOUT.value
    except asyncio.CancelledError as error:
        if is_cancelled(error):
            raise
        fault = classify(error).fault.value
    except Exception as error:  # whatever a guard raises is a failure to judge
        fault = classify(error).fault.value
    if fault:
        state.check_deadline()
    return GuardVerdict(
        guard=guard.name,
        model=guard.model.digest,
        label=section.label,
        probability=probability,
        action=_action(section, probability),
        observed=state.env.contract.protections.guards is Mode.OBSERVE,
        fault=fault,
        duration_s=round(clock.monotonic() - started, 6),
    )


def _probability(judged: Any, section: GuardSection, name: str) -> float:
    """How likely the label is. Raises `OutputRejected` for an answer that is none."""
    probability = judged.get(section.label)
    if not isinstance(probability, (int, float)) or not math.isfinite(probability) or not 0 <= probability <= 1:
        raise OutputRejected(name, fault=Fault.MALFORMED, detail="it gave no probability from 0 to 1 of its label")
    return round(float(probability), 6)


def _action(section: GuardSection, probability: float | None) -> str:
    """What follows; empty: nothing."""
    if probability is None:
        return "halt" if section.on_failure == "halt" else ""
    return section.action if probability >= section.above else ""


# ------------------------------------------------------------------------------------------------------------- people


async def _let_pass(state: RunState, key: str, text: str, verdict: GuardVerdict, what: str) -> None:
    """Returns where a person has said that the text may pass. Raises `RunParked` while nobody has said anything, and
    `RunHalted` where somebody said no, or nobody anything in time."""
    asked = state.approvals.of_call(key)
    request = next((each for each in asked if each.asked.dependency == verdict.guard), None)
    if request is None:
        state.guard()
        request = await _asked(state, key, text, verdict, what)
    if request.decided is None and state.env.clock.now() >= request.asked.expires_at:
        state.guard()
        await expired(state, request)
    decided = request.decided
    if decided is None:
        state.guard()
        raise RunParked("approval", detail=request.asked.request_id, until=request.asked.expires_at)
    if decided.decision != "approved":
        _halt(state, f"{_words(verdict, what)}: {decided.decision} by {decided.by}")


async def _asked(state: RunState, key: str, text: str, verdict: GuardVerdict, what: str) -> Request:
    section = state.env.contract.guards.get(verdict.guard)
    args = {"guard": verdict.guard, "label": verdict.label, "probability": verdict.probability, "text": text}
    request_id = state.approvals.next_id(state.id)
    await state.commit(
        ApprovalRequested(
            request_id=request_id,
            key=key,
            dependency=verdict.guard,
            args=args,
            args_digest=digest(args),
            fingerprint=state.env.fingerprint,
            rule=f"may {what} pass?",
            approvers=() if section is None else section.approvers,
            expires_at=state.env.clock.now() + (0.0 if section is None else section.expires_s),
        )
    )
    return state.approvals.requests[request_id]


# -------------------------------------------------------------------------------------------------------------- words


def _words(verdict: GuardVerdict, what: str) -> str:
    if verdict.fault:
        return f"guard {verdict.guard!r} could not judge {what} ({verdict.fault})"
    return f"guard {verdict.guard!r} takes {what} for {verdict.label} ({verdict.probability:.3g})"


def _finding(verdict: GuardVerdict, what: str) -> Finding:
    """A guard took a text for what it looks for, or could not judge it. Nothing of the text is in it."""
    stopping = bool(verdict.action) and verdict.action != "finding"
    if verdict.fault:
        kind, fault = "guard_failed", verdict.fault
    else:
        kind, fault = "guard_tripped", verdict.label
    if verdict.observed and stopping:
        kind = f"would_{verdict.action}"
    return Finding(
        kind=kind,
        severity="critical" if stopping and not verdict.observed else "warning",
        message=_words(verdict, what),
        dependency=verdict.guard,
        fault=fault,
        observed=verdict.observed,
    )
