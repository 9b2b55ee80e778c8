"""The harness: where everything is put together, and the only thing that starts, resumes and ends runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import msgspec

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Ending
from plimsoll.core.errors import (
    JournalCorrupt,
    JournalUnavailable,
    Misuse,
    PlimsollError,
    ReplayMismatch,
    RunBusy,
    Superseded,
    UnknownRun,
)
from plimsoll.core.events import Event, Finding, Record, RunResumed, RunStarted
from plimsoll.journal.chain import verify_chain
from plimsoll.journal.store import RunHead
from plimsoll.journal.store import RunState as HeadState
from plimsoll.journal.writer import Journal
from plimsoll.observability.findings import FindingHub, journal_finding, stuck_finding
from plimsoll.runtime.advancing import AgentFunction, advance
from plimsoll.runtime.compiled import CompiledContract, compiled
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.fingerprint import default_fingerprint
from plimsoll.runtime.inbox import copy_inbox
from plimsoll.runtime.models import ModelFunction
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.replay import Replay
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.state import RunState
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.tools import ToolSpec, Verifier, tool_spec

__all__ = ["AgentFunction", "Harness"]


def to_json(native: Any) -> Any:
    """The JSON of what an agent returned. Raises `Misuse` for what has none."""
    try:
        return msgspec.to_builtins(native)
    except (TypeError, ValueError) as error:
        raise Misuse(f"the agent returned {type(native).__name__}, which is no JSON value: {error}") from error


class Harness:
    """Runs one agent under one contract, over one journal: one life of a process.

    `agent` is an async callable; `tools` and `models` are what it may call. `verifiers` answer, by tool, whether a
    write happened. `output_of` makes JSON of what the agent returns. `fingerprint` identifies the agent's version; the
    default is over its code, its tools' and models', the contract and the installed distributions.

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
        specs = {spec.name: spec for spec in map(tool_spec, tools)}
        functions = {name: spec.function for name, spec in specs.items()}
        self.env = Environment(
            compiled=ready,
            fingerprint=fingerprint or default_fingerprint(agent, tools=functions, models=models or {}, contract=ready),
            surroundings=surroundings,
            tools=specs,
            models=models or {},
            verifiers=verifiers or {},
        )
        self.journal = Journal(
            self.store,
            clock=surroundings.clock,
            patience_s=ready.contract.journal.patience_s,
            on_trouble=partial(_alert_trouble, self.env),
        )
        self.operations = Operations(self.store, clock=surroundings.clock)
        self._output_of = output_of
        self._active = surroundings.active
        self._used_s: dict[str, float] = {}

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
        the journal, and one that did not is resumed. None makes a fresh id. Raises `RunBusy` while somebody else
        advances the run, and `JournalUnavailable` when it cannot be recorded: nothing was done then.
        """
        run_id = run_id or self.env.ids.new("run")
        with self._advancing(run_id):
            head = await self.store.head(run_id)
            if head is None or head.seq == 0:
                head = await self._claim(run_id, head)
            if head.seq == 0:
                return await self._advance(await self._accepted(head, input))
            return await self._go_on(head)

    async def resume(self, run_id: str) -> RunResult:
        """Goes on with a run that parked, or whose process died. One that has ended is answered from the journal.

        Raises `UnknownRun`; `RunBusy` while somebody else advances it; `ReplayMismatch` when the agent's code no longer
        follows the run's journal (the run is parked then, and nothing was sent); `JournalCorrupt` when the journal does
        not verify; `Misuse` when it is another agent's run.
        """
        with self._advancing(run_id):
            head = await self.store.head(run_id)
            if head is None or head.seq == 0:  # without a first event it was never accepted
                raise UnknownRun(run_id)
            return await self._go_on(head)

    async def wake(self) -> list[RunResult]:
        """Goes on with every run of this agent that can: decided, expired, or left behind by a process that died.

        Call it at startup, and whenever somebody may have decided something. A run that cannot be gone on with raises a
        finding and is left as it is; the others are not held up.
        """
        results = []
        for head in reversed(await self.store.heads()):
            if head.seq == 0 or head.agent != self.env.contract.agent.name:
                continue
            try:
                if await self._due(head):
                    results.append(await self.resume(head.run_id))
            except ReplayMismatch:
                results.append(await self.result(head.run_id))
            except (RunBusy, Superseded):
                continue  # somebody else was faster
            except PlimsollError as error:
                _alert(self.env, stuck_finding(error), run_id=head.run_id)
        return results

    async def result(self, run_id: str) -> RunResult:
        """How the run stands, from the journal alone. Raises `UnknownRun`."""
        return await self.operations.result(run_id)

    # -- the inner life of a run

    @contextmanager
    def _advancing(self, run_id: str) -> Iterator[None]:
        """Holds the run against every other harness in these surroundings. Raises `RunBusy`."""
        if run_id in self._active:
            raise RunBusy(run_id, owner="this process")
        self._active.add(run_id)
        try:
            yield
        finally:
            self._active.discard(run_id)

    async def _claim(self, run_id: str, head: RunHead | None) -> RunHead:
        """Takes the run over, if nobody who lives has it. Raises `RunBusy`."""
        if head is not None and head.state is HeadState.RUNNING and not self._is_left(head):
            raise RunBusy(run_id, owner=head.owner)
        expected = 0 if head is None else head.epoch
        try:
            return await self.store.claim(run_id, owner=self.owner, at=self.env.clock.now(), expected=expected)
        except Superseded as error:
            raise RunBusy(run_id, owner="another process") from error

    def _is_left(self, head: RunHead) -> bool:
        """Whether nobody advances a running run: its owner died, or is this process and has let go of it."""
        return head.owner == self.owner or not self.store.owner_alive(head.owner)

    async def _accepted(self, head: RunHead, input: Any) -> RunState:
        """The state of a new run, once its acceptance is durable."""
        started = RunStarted(
            agent=self.env.contract.agent.name,
            fingerprint=self.env.fingerprint,
            contract_digest=self.env.compiled.digest,
            input=msgspec.to_builtins(input),
        )
        log = self.journal.open(head)
        log.append(started)
        try:
            await log.durable()
        except JournalUnavailable:
            log.abandon()  # the caller is told that nothing was done, so nothing may be done later
            raise
        return RunState(head.run_id, env=self.env, log=log, replay=Replay(head.run_id, ()), started=started)

    async def _go_on(self, head: RunHead) -> RunResult:
        if head.state is HeadState.ENDED:
            return await self.result(head.run_id)
        if head.agent != self.env.contract.agent.name:
            raise Misuse(f"run {head.run_id} is agent {head.agent!r}'s, not {self.env.contract.agent.name!r}'s")
        claimed = await self._claim(head.run_id, head)
        return await self._advance(await self._restored(claimed, crashed=head.state is HeadState.RUNNING))

    async def _restored(self, head: RunHead, *, crashed: bool) -> RunState:
        records = await self.store.read(head.run_id)
        verify_chain(records, head=head)
        events = _events(records)
        if not events or not isinstance(events[0], RunStarted):
            raise JournalCorrupt(head.run_id, 1, "its first event is not the run's acceptance")
        replay = Replay(head.run_id, events, patience_s=self.env.contract.limits.seconds)
        state = RunState(head.run_id, env=self.env, log=self.journal.open(head), replay=replay, started=events[0])
        used_s = self._used_s.pop(head.run_id, 0.0)
        state.restore(events, [record.at for record in records], used_s=used_s)
        state.record(RunResumed(crashed=crashed, fingerprint=self.env.fingerprint))
        for entry in await self.store.inbox(head.run_id):
            copy_inbox(state, entry)
        replay.resolve(state.doubts)
        return state

    async def _advance(self, state: RunState) -> RunResult:
        result = await advance(state, self.agent, self._output_of)
        if result.ending is Ending.PARKED:
            self._used_s[state.id] = state.active_s  # where the journal could not be told
        return result

    async def _due(self, head: RunHead) -> bool:
        """Whether a run can go on now."""
        if head.state is HeadState.ENDED or head.run_id in self._active:
            return False
        if head.state is HeadState.RUNNING:
            return self._is_left(head)
        if head.wake_at is not None and head.wake_at <= self.env.clock.now():
            return True
        return await self.operations.has_news(head.run_id)


def _alert_trouble(env: Environment, trouble: JournalUnavailable | None) -> None:
    _alert(env, journal_finding(trouble), run_id="*")


def _alert(env: Environment, finding: Finding, *, run_id: str) -> None:
    """Alerts of something that no run's journal holds."""
    hub = FindingHub(env.sinks)
    hub.emit(finding, run_id=run_id, agent=env.contract.agent.name, at=env.clock.now())


def _events(records: Sequence[Record]) -> list[Event]:
    events = []
    for record in records:
        try:
            events.append(record.event)
        except (msgspec.MsgspecError, TypeError) as error:
            raise JournalCorrupt(record.run_id, record.seq, f"it is no event: {error}") from error
    return events
