"""Advancing a run: executes its agent's code until it ends or parks, and writes down how it stands."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from plimsoll.contract.model import Mode
from plimsoll.core.calls import Ending
from plimsoll.core.errors import ReplayMismatch, RunHalted, RunParked, Unwind
from plimsoll.core.events import RunEnded, RunParkedEvent
from plimsoll.observability.findings import claim_finding
from plimsoll.runtime.current import run_context
from plimsoll.runtime.effects import settle_leftovers
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.state import RunState

__all__ = ["AgentFunction", "advance"]

AgentFunction = Callable[[Run, Any], Awaitable[Any]]
"""An agent: an async callable from its run and its input (JSON) to its output (JSON)."""

GRACE_S = 5.0
"""How long parallel calls under way may still settle when their run leaves the stack."""


async def advance(state: RunState, agent: AgentFunction, output_of: Callable[[Any], Any]) -> RunResult:
    """Executes `agent` until the run ends or parks.

    Raises `ReplayMismatch` when the code no longer follows the journal; the run is parked then. When the caller
    cancels, calls under way are cancelled and awaited, and the run is left as a crash would leave it.
    """
    run = Run(state)
    token = run_context.set(run)
    try:
        return await _until_it_stops(run, agent, output_of)
    except asyncio.CancelledError:
        state.unwind(RunHalted("the caller gave the run up"))
        await _drain(state, grace_s=0.0)
        raise
    finally:
        run_context.reset(token)


async def _until_it_stops(run: Run, agent: AgentFunction, output_of: Callable[[Any], Any]) -> RunResult:
    state = run.state
    native = None
    try:
        try:
            native = await agent(run, state.started.input)
            state.guard()
            _check_all_asked(state)
            ended = _ended(state, output_of(native))
        except BaseException as error:
            signal = _unwind_in(error)
            if signal is None and not isinstance(error, Exception):
                raise
            await _leave(state, signal or RunHalted("the run failed"))
            if isinstance(signal, RunParked):
                return await _parked(state, signal)
            ended = RunEnded(ending=Ending.HALTED, reason=str(signal))
            if signal is None:  # an agent's own error is how its run ends
                _check_all_asked(state)
                ended = RunEnded(ending=Ending.FAILED, reason=f"{type(error).__name__}: {error}")
        else:
            await _leave(state, RunHalted("the run is over"))
        await settle_leftovers(state)
        await state.commit(replace(ended, active_s=round(state.active_s, 6)))
    except RunParked as signal:  # the ending itself could not be written
        return await _parked(state, signal)
    answered = ended.ending in (Ending.COMPLETE, Ending.DEGRADED)
    return RunResult(
        run_id=state.id,
        ending=ended.ending,
        output=ended.output if answered else None,
        reason=ended.reason,
        findings=tuple(state.findings),
        native=native if answered else None,
    )


def _unwind_in(error: BaseException) -> Unwind | None:
    """The signal that took the run off the stack, also where a task group has wrapped it. Halting goes first."""
    if isinstance(error, Unwind):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    found = [signal for inner in error.exceptions if (signal := _unwind_in(inner)) is not None]
    return next((signal for signal in found if isinstance(signal, RunHalted)), found[0] if found else None)


def _check_all_asked(state: RunState) -> None:
    unasked = state.replay.unasked()
    if unasked is not None:
        mismatch = ReplayMismatch(state.id, expected=unasked, actual="the end of the run")
        raise RunParked("mismatch", detail=str(mismatch)) from mismatch


def _ended(state: RunState, output: Any) -> RunEnded:
    """The ending of a run whose code returned: honest about who answered, and about what was claimed."""
    undone = state.claims_undone(output)
    if undone:
        observed = state.env.contract.protections.silent_failures is Mode.OBSERVE
        finding = claim_finding(undone, observed=observed)
        state.raise_finding(finding)
        if not observed:
            return RunEnded(ending=Ending.HALTED, reason=finding.message)
    if state.degraded:
        return RunEnded(ending=Ending.DEGRADED, output=output, reason=state.degraded)
    return RunEnded(ending=Ending.COMPLETE, output=output)


async def _leave(state: RunState, signal: Unwind) -> None:
    """Refuses every further call, and gives parallel calls under way a bounded grace to settle."""
    state.unwind(signal)
    await _drain(state, grace_s=GRACE_S)


async def _drain(state: RunState, *, grace_s: float) -> None:
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


async def _parked(state: RunState, signal: RunParked) -> RunResult:
    if signal.reason not in ("journal", "superseded"):
        parked = RunParkedEvent(
            reason=signal.reason, detail=signal.detail, until=signal.until, active_s=round(state.active_s, 6)
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
        waiting_for=tuple(request.asked for request in state.approvals.open(now)),
    )
