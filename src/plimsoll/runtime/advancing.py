"""Advancing a run: executes its agent's code until it ends or parks, and writes down how it stands."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from msgspec.structs import replace

from plimsoll.contract.model import Mode
from plimsoll.core.calls import Ending
from plimsoll.core.canonical import as_recorded, as_text
from plimsoll.core.errors import ReplayMismatch, RunContinued, RunHalted, RunHandedOff, RunParked, Unwind
from plimsoll.core.events import RunContinuedEvent, RunEnded, RunParkedEvent
from plimsoll.core.guards import OUTPUT
from plimsoll.observability.findings import claim_finding, mismatch_finding
from plimsoll.runtime.current import run_context
from plimsoll.runtime.effects import settle_leftovers
from plimsoll.runtime.foreign import is_cancelled
from plimsoll.runtime.lineage import link_id, link_of
from plimsoll.runtime.messaging import left_behind, still_asked
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.screening import replacement, screen_input, screen_output
from plimsoll.runtime.state import RunState
from plimsoll.runtime.waiting import grace_left_s

__all__ = ["AgentFunction", "Telling", "advance", "answer_of", "cut_short", "drain", "is_own", "park", "unwind_in"]

AgentFunction = Callable[[Run, Any], Awaitable[Any]]
"""An agent: an async callable from its run and its input (JSON) to its output (JSON)."""

_WAITS = frozenset({"approval", "child", "doubt", "signal", "timer"})
"""Why a run is parked that a timer of its own may wake. Nothing else than what it waits for gets the others further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How what an agent returned is told: its output, and what the next turn of its session is handed. Each is JSON, or
    has a JSON form."""

    output_of: Callable[[Any], Any]
    carried_of: Callable[[Any], Any]


async def advance(state: RunState, agent: AgentFunction, telling: Telling) -> RunResult:
    """Executes `agent` until the run ends, parks, or is to go on as a new one (`Ending.CONTINUED`).

    Raises `ReplayMismatch` when the code no longer follows the journal; the run is parked then. When the caller
    cancels, calls under way are cancelled and awaited, and the run is left where it was.
    """
    run = Run(state)
    token = run_context.set(run)
    try:
        return await _until_it_stops(run, agent, telling)
    except asyncio.CancelledError:
        state.unwind(RunHalted("the caller gave the run up"))
        await drain(state, grace_s=0.0)
        raise
    finally:
        run_context.reset(token)


async def _until_it_stops(run: Run, agent: AgentFunction, telling: Telling) -> RunResult:
    state = run.state
    native = None
    ended: RunEnded | RunContinuedEvent
    try:
        try:
            native = await answer_of(run, agent)
            state.guard()
            _check_all_asked(state, but_for=OUTPUT)
            ended, native = await _ended(state, native, telling)
            _check_all_asked(state)
        except BaseException as error:
            signal = unwind_in(error)
            if signal is None and not is_own(error):
                raise
            await _leave(state, signal or RunHalted("the run failed"))
            if isinstance(signal, RunParked):
                return await park(state, signal)
            ended = _ended_by(state, signal, error)
        else:
            await _leave(state, RunHalted("the run is over"))
        await settle_leftovers(state)
        if isinstance(ended, RunContinuedEvent):
            await state.commit(ended)
            state.continued = ended
            return RunResult(run_id=state.id, ending=Ending.CONTINUED)
        leaves, asks = await left_behind(state), await still_asked(state)
        ended = replace(ended, active_s=round(state.active_s, 6), did=state.did, leaves=leaves, asks=asks)
        await state.commit(ended)
    except RunParked as signal:  # the ending itself could not be written
        return await park(state, signal)
    answered = ended.ending in (Ending.COMPLETE, Ending.DEGRADED)
    return RunResult(
        run_id=state.id,
        ending=ended.ending,
        output=ended.output if answered else None,
        reason=ended.reason,
        findings=tuple(state.findings),
        did=ended.did,
        native=native if answered else None,
    )


async def answer_of(run: Run, agent: AgentFunction) -> Any:
    """What the agent returns, once the guards have let it be asked."""
    await screen_input(run.state)
    return await agent(run, run.state.started.input)


def unwind_in(error: BaseException) -> Unwind | None:
    """The signal that took the run off the stack, also where a task group has wrapped it. Halting goes before
    parking, and that before whatever else ends the run."""
    if isinstance(error, Unwind):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    found = [signal for inner in error.exceptions if (signal := unwind_in(inner)) is not None]
    return min(found, key=_rank, default=None)


def is_own(error: BaseException) -> bool:
    """Whether it is the agent's own code that has failed: so it has where it awaits something that was cancelled."""
    return isinstance(error, Exception) or (isinstance(error, asyncio.CancelledError) and not is_cancelled(error))


def _rank(signal: Unwind) -> int:
    return 0 if isinstance(signal, RunHalted) else 1 if isinstance(signal, RunParked) else 2


def _check_all_asked(state: RunState, *, but_for: str = "") -> None:
    unasked = state.replay.unasked(but_for=but_for)
    if unasked is not None:
        mismatch = ReplayMismatch(state.id, expected=unasked, actual="the end of the run")
        raise RunParked("mismatch", detail=str(mismatch)) from mismatch


def _ended_by(state: RunState, signal: Unwind | None, error: BaseException) -> RunEnded | RunContinuedEvent:
    """The ending of a run whose code did not return. An agent's own error is how its run ends."""
    if isinstance(signal, RunHalted):
        return RunEnded(ending=Ending.HALTED, reason=str(signal))
    _check_all_asked(state)
    if isinstance(signal, RunHandedOff):
        return RunEnded(ending=Ending(signal.ending), output=signal.output, reason=signal.reason)
    if isinstance(signal, RunContinued):
        first, number = link_of(state.id)
        return RunContinuedEvent(following=link_id(first, number + 1), input=signal.input)
    return RunEnded(ending=Ending.FAILED, reason=f"{type(error).__name__}: {as_text(error)}")


async def _ended(state: RunState, native: Any, telling: Telling) -> tuple[RunEnded, Any]:
    """The ending of a run whose code returned: honest about who answered, and about what was claimed. And what it
    returned, where that is what is answered."""
    output = as_recorded(telling.output_of(native), what="what the agent returned")
    carried = as_recorded(telling.carried_of(native), what="what it hands on") if state.started.session else None
    undone = state.claims_undone(output)
    if undone:
        observed = state.env.contract.protections.silent_failures is Mode.OBSERVE
        finding = claim_finding(undone, observed=observed)
        state.raise_finding(finding)
        if not observed:
            return RunEnded(ending=Ending.HALTED, reason=finding.message), None
    replaced = await screen_output(state, output)
    if replaced is not None:
        text, why = replacement(state, replaced)
        return RunEnded(ending=Ending.DEGRADED, output=text, reason=why), None
    if state.degraded:
        return RunEnded(ending=Ending.DEGRADED, output=output, reason=state.degraded, carried=carried), native
    return RunEnded(ending=Ending.COMPLETE, output=output, carried=carried), native


async def _leave(state: RunState, signal: Unwind) -> None:
    """Refuses every further call, and gives parallel calls under way a bounded grace to settle."""
    with suppress(RunParked):  # the journal cannot be written; the next barrier says so
        state.settle_left()
    state.unwind(signal)
    await drain(state, grace_s=grace_left_s(state))


async def drain(state: RunState, *, grace_s: float) -> None:
    """Waits for the calls under way, cancels those that are late, and waits for them too."""
    current = asyncio.current_task()
    others = {task for task in state.inflight if task is not current and not task.done()}
    if not others:
        return
    late = others
    if grace_s > 0:
        _, late = await asyncio.wait(others, timeout=grace_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)


async def cut_short(state: RunState, signal: RunHalted) -> RunResult:
    """Ends a run of which none of the code is to be executed any more. What it left in doubt stays so, and is told."""
    state.unwind(signal)
    try:
        await settle_leftovers(state)
        ended = RunEnded(
            ending=Ending.HALTED,
            reason=str(signal),
            active_s=round(state.active_s, 6),
            did=state.did,
            leaves=await left_behind(state),
            asks=await still_asked(state),
        )
        await state.commit(ended)
    except RunParked as worse:
        return await park(state, worse)
    return RunResult(run_id=state.id, ending=Ending.HALTED, reason=ended.reason, findings=tuple(state.findings))


async def park(state: RunState, signal: RunParked) -> RunResult:
    """Writes down what the run waits for. Raises `ReplayMismatch` where that is why it is parked."""
    if signal.reason not in ("journal", "superseded"):
        if signal.reason == "mismatch":
            state.raise_finding(mismatch_finding())
        now = state.env.clock.now()
        parked = RunParkedEvent(
            reason=signal.reason,
            detail=signal.detail,
            until=state.waits.wake_at(signal.until, now=now) if signal.reason in _WAITS else signal.until,
            active_s=round(state.active_s, 6),
            seen=state.mailbox.seen_but_for(state.asked_below),
            asks=len(state.approvals.open(now)) + state.in_doubt,
        )
        try:
            await state.commit(parked)
        except RunParked as worse:
            signal = worse
    if isinstance(signal.__cause__, ReplayMismatch):
        raise signal.__cause__
    now = state.env.clock.now()
    return RunResult(
        run_id=state.id,
        ending=Ending.PARKED,
        reason=f"{signal.reason}: {signal.detail}",
        findings=tuple(state.findings),
        waiting_for=(*(request.asked for request in state.approvals.open(now)), *chain(*state.asked_below.values())),
    )
