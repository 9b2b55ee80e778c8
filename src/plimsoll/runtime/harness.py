"""The harness: where everything is put together, and the only thing that starts, resumes and ends runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

import msgspec

from plimsoll.contract.model import Contract, Mode
from plimsoll.core.calls import Ending
from plimsoll.core.errors import (
    JournalCorrupt,
    JournalUnavailable,
    Misuse,
    ReplayMismatch,
    RunHalted,
    RunParked,
    UnknownRun,
    Unwind,
)
from plimsoll.core.events import Event, RunEnded, RunParkedEvent, RunResumed, RunStarted
from plimsoll.journal.chain import verify_chain
from plimsoll.journal.store import RunHead
from plimsoll.journal.store import RunState as HeadState
from plimsoll.journal.writer import Journal
from plimsoll.observability.findings import FindingHub, claim_finding, journal_finding
from plimsoll.runtime.compiled import CompiledContract, compiled
from plimsoll.runtime.current import run_context
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.inbox import copy_inbox
from plimsoll.runtime.models import ModelFunction
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.replay import Replay
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.state import RunState
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import ToolSpec, Verifier, tool_spec

__all__ = ["AgentFunction", "Harness"]

AgentFunction = Callable[[Run, Any], Awaitable[Any]]
"""An agent: an async callable from its run and its input (JSON) to its output (JSON)."""

GRACE_S = 5.0
"""How long parallel calls under way may still settle when their run leaves the stack."""


def to_json(native: Any) -> Any:
    """The JSON of what an agent returned. Raises `Misuse` for what has none."""
    try:
        return msgspec.to_builtins(native)
    except (TypeError, ValueError) as error:
        raise Misuse(f"the agent returned {type(native).__name__}, which is no JSON value: {error}") from error


class Harness:
    """Runs one agent under one contract, over one journal: one life of a process.

    `agent` is an async callable; `tools` and `models` are what it may call. `verifiers` answer, by tool, whether a
    write happened. `output_of` makes JSON of what the agent returns. `fingerprint` identifies the agent's version.

    >>> async with Harness(contract, agent=agent, surroundings=local(contract), tools=[refund]) as harness:
    ...     result = await harness.run({"order": "W1"}, run_id="ticket-7713")
    """

    def __init__(
        self,
        contract: Contract | CompiledContract,
        *,
        agent: AgentFunction,
        surroundings: Surroundings,
        tools: Sequence[Callable[..., Any] | ToolSpec] = (),
        models: Mapping[str, ModelFunction] | None = None,
        verifiers: Mapping[str, Verifier] | None = None,
        fingerprint: str = "",
        output_of: Callable[[Any], Any] = to_json,
    ) -> None:
        self.agent = agent
        self.store = surroundings.store
        self.owner = surroundings.owner
        ready = compiled(contract)
        self.env = Environment(
            compiled=ready,
            fingerprint=fingerprint or ready.digest,
            surroundings=surroundings,
            tools={spec.name: spec for spec in map(tool_spec, tools)},
            models=models or {},
            verifiers=verifiers or {},
        )
        self.journal = Journal(
            self.store,
            clock=surroundings.clock,
            patience_s=ready.contract.journal.patience_s,
            on_trouble=self._journal_trouble,
        )
        self.operations = Operations(self.store, clock=surroundings.clock)
        self._output_of = output_of
        self._active: set[str] = set()
        self._used_s: dict[str, float] = {}  # of runs that parked because the journal could not be written

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Writes what is queued, and closes the journal. The store stays open: it belongs to whoever made it."""
        await self.journal.close()

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult:
        """Runs the agent on `input` (JSON) until it ends or parks.

        `run_id` makes it idempotent: asked again with the same id, a run that ended is not repeated but answered from
        the journal, and one that did not is resumed. None makes a fresh id. Raises `JournalUnavailable` when the run
        cannot be recorded: nothing was done then.
        """
        run_id = run_id or self.env.ids.new("run")
        known = await self.store.head(run_id)
        if known is not None and known.seq > 0:
            return await self.resume(run_id)
        head = await self.store.claim(run_id, owner=self.owner, at=self.env.clock.now())
        started = RunStarted(
            agent=self.env.contract.agent.name,
            fingerprint=self.env.fingerprint,
            contract_digest=self.env.compiled.digest,
            input=msgspec.to_builtins(input),
        )
        log = self.journal.open(head)
        log.append(started)
        await log.durable()
        state = RunState(run_id, env=self.env, log=log, replay=Replay(run_id, ()), started=started)
        return await self._advance(state)

    async def resume(self, run_id: str) -> RunResult:
        """Goes on with a run that parked, or whose process died. One that has ended is answered from the journal.

        Raises `UnknownRun`; `ReplayMismatch` when the agent's code no longer follows the run's journal (the run is
        parked then, and nothing was sent); `JournalCorrupt` when the journal does not verify.
        """
        head = await self.store.head(run_id)
        if head is None or head.seq == 0:  # without a first event it was never accepted
            raise UnknownRun(run_id)
        if run_id in self._active:
            raise Misuse(f"run {run_id} is being advanced by this process already")
        if head.state is HeadState.ENDED:
            return await self.result(run_id)
        self._active.add(run_id)
        try:
            state = await self._restored(head)
        finally:
            self._active.discard(run_id)
        return await self._advance(state)

    async def wake(self) -> list[RunResult]:
        """Goes on with every run that can: decided, expired, or left behind by a process that died. Call it at startup,
        and whenever somebody may have decided something."""
        results = []
        for head in reversed(await self.store.heads()):
            if head.seq == 0 or head.run_id in self._active or not await self._due(head):
                continue
            try:
                results.append(await self.resume(head.run_id))
            except ReplayMismatch:
                results.append(await self.result(head.run_id))
        return results

    async def result(self, run_id: str) -> RunResult:
        """How the run stands, from the journal alone. Raises `UnknownRun`."""
        return await self.operations.result(run_id)

    # -- the inner life of a run

    async def _restored(self, head: RunHead) -> RunState:
        before = await self.store.read(head.run_id)
        crashed = head.state is HeadState.RUNNING
        head = await self.store.claim(head.run_id, owner=self.owner, at=self.env.clock.now())
        records = await self.store.read(head.run_id) if head.seq != len(before) else before
        verify_chain(records)
        events: list[Event] = [record.event for record in records]
        if not events or not isinstance(events[0], RunStarted):
            raise JournalCorrupt(head.run_id, 1, "its first event is not the run's acceptance")
        log = self.journal.open(head)
        replay = Replay(head.run_id, events)
        state = RunState(head.run_id, env=self.env, log=log, replay=replay, started=events[0])
        state.restore(events, [record.at for record in records], used_s=self._used_s.pop(head.run_id, 0.0))
        state.record(RunResumed(crashed=crashed, fingerprint=self.env.fingerprint))
        for entry in await self.store.inbox(head.run_id):
            copy_inbox(state, entry)
        replay.resolve(state.doubts)
        return state

    async def _advance(self, state: RunState) -> RunResult:
        self._active.add(state.id)
        run = Run(state)
        token = run_context.set(run)
        try:
            return await self._until_it_stops(run, state)
        finally:
            run_context.reset(token)
            self._active.discard(state.id)

    async def _until_it_stops(self, run: Run, state: RunState) -> RunResult:
        try:
            try:
                native = await self.agent(run, state.started.input)
                state.guard()
                unasked = state.replay.unasked()
                if unasked is not None:
                    mismatch = ReplayMismatch(state.id, expected=unasked, actual="the end of the run")
                    raise RunParked("mismatch", detail=str(mismatch)) from mismatch
                ended = self._ended(state, native)
            except Unwind as signal:
                await self._leave(state, signal)
                if isinstance(signal, RunParked):
                    return await self._parked(state, signal)
                native, ended = None, RunEnded(ending=Ending.HALTED, reason=str(signal))
            except Exception as error:  # an agent's own error is how its run ends
                await self._leave(state, RunHalted("the run failed"))
                native, ended = None, RunEnded(ending=Ending.FAILED, reason=f"{type(error).__name__}: {error}")
            await state.commit(msgspec.structs.replace(ended, active_s=round(state.active_s, 6)))
        except RunParked as signal:  # the ending itself could not be written
            return await self._parked(state, signal)
        answered = ended.ending in (Ending.COMPLETE, Ending.DEGRADED)
        return RunResult(
            run_id=state.id,
            ending=ended.ending,
            output=ended.output if answered else None,
            reason=ended.reason,
            findings=tuple(state.findings),
            native=native if answered else None,
        )

    def _ended(self, state: RunState, native: Any) -> RunEnded:
        """The ending of a run whose code returned: honest about who answered, and about what was claimed."""
        output = self._output_of(native)
        undone = state.claims_undone(output)
        if undone:
            observed = self.env.contract.protections.silent_failures is Mode.OBSERVE
            finding = claim_finding(undone, observed=observed)
            state.raise_finding(finding)
            if not observed:
                return RunEnded(ending=Ending.HALTED, reason=finding.message)
        if state.degraded:
            return RunEnded(ending=Ending.DEGRADED, output=output, reason=state.degraded)
        return RunEnded(ending=Ending.COMPLETE, output=output)

    async def _leave(self, state: RunState, signal: Unwind) -> None:
        """Refuses every further call, and gives parallel calls under way a bounded grace to settle."""
        state.unwind(signal)
        others = {task for task in state.inflight if task is not asyncio.current_task() and not task.done()}
        if not others:
            return
        _, late = await asyncio.wait(others, timeout=GRACE_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _parked(self, state: RunState, signal: RunParked) -> RunResult:
        if signal.reason not in ("journal", "superseded"):
            parked = RunParkedEvent(
                reason=signal.reason, detail=signal.detail, until=signal.until, active_s=round(state.active_s, 6)
            )
            try:
                await state.commit(parked)
            except RunParked as worse:
                signal = worse
        if signal.reason == "journal":
            self._used_s[state.id] = state.active_s
        if isinstance(signal.__cause__, ReplayMismatch):
            raise signal.__cause__
        now = self.env.clock.now()
        return RunResult(
            run_id=state.id,
            ending=Ending.PARKED,
            reason=f"{signal.reason}: {signal.detail}",
            findings=tuple(state.findings),
            waiting_for=tuple(request.asked for request in state.approvals.open(now)),
        )

    async def _due(self, head: RunHead) -> bool:
        """Whether a run can go on now."""
        if head.state is HeadState.ENDED:
            return False
        if head.state is HeadState.RUNNING:
            return head.owner == self.owner or not self.store.owner_alive(head.owner)
        if head.wake_at is not None and head.wake_at <= self.env.clock.now():
            return True
        return await self.operations.has_news(head.run_id)

    def _journal_trouble(self, trouble: JournalUnavailable | None) -> None:
        hub = FindingHub(self.env.sinks)  # the journal's trouble is nobody's run; each change of it is news
        agent = self.env.contract.agent.name
        hub.emit(journal_finding(trouble), run_id="*", agent=agent, at=self.env.clock.now())
