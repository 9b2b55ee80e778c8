"""The harness: where everything is put together, and the only thing that starts, resumes and ends runs."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace as replace_result
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Ending
from plimsoll.core.canonical import as_recorded
from plimsoll.core.criticality import current_criticality
from plimsoll.core.errors import (
    DayLimitExceeded,
    JournalUnavailable,
    Misuse,
    ReplayMismatch,
    RunBusy,
    RunErased,
    RunHalted,
    RunParked,
    Superseded,
    UnknownRun,
)
from plimsoll.core.events import Finding, RunAdopted, RunEnded, RunStarted
from plimsoll.journal.store import OTHER_VERSION, RunHead
from plimsoll.journal.store import RunState as HeadState
from plimsoll.journal.writer import Journal
from plimsoll.observability.findings import NO_RUN, journal_finding, limit_finding, settle_sink, stuck_finding
from plimsoll.observability.listening import SegmentEnded
from plimsoll.policies.deadline import Deadline
from plimsoll.runtime.advancing import AgentFunction, Telling, advance, cut_short, park
from plimsoll.runtime.compensation import Compensator, UndoingOf, undo, undoing_of
from plimsoll.runtime.compiled import CompiledContract, compiled
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.databases.opening import open_databases
from plimsoll.runtime.databases.sharing import Transactions
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.fingerprint import default_fingerprint
from plimsoll.runtime.imports import functions_of
from plimsoll.runtime.kin import Descent
from plimsoll.runtime.lineage import check_id, check_run_id, latest_link, link_of
from plimsoll.runtime.messaging import hand_over, left_behind, still_asked
from plimsoll.runtime.models import ModelFunction
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.rehearsing import Adoption, rehearse
from plimsoll.runtime.replay import Replay
from plimsoll.runtime.restoring import restored
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.resuming import go_on, last_trace
from plimsoll.runtime.sessions import Session
from plimsoll.runtime.state import RunState
from plimsoll.runtime.status import report_if_due
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.telling import tell_waiting, telling, telling_failure, told
from plimsoll.runtime.tools import ToolSpec, Verifier, tool_spec
from plimsoll.runtime.undoable import undo_steps
from plimsoll.runtime.watching import Watch

__all__ = ["AgentFunction", "Harness"]


_LEFT = (HeadState.RUNNING, HeadState.PARKED)


def as_it_is(native: Any) -> Any:
    """What an agent returned is its output where nobody says anything else."""
    return native


def nothing(native: Any) -> None:
    """What is carried on to the next turn where nobody says anything else."""


PLAINLY = Telling(output_of=as_it_is, carried_of=nothing)


class Harness:
    """Runs one agent under one contract, over one journal: one life of a process.

    `agent` is an async callable; `tools` and `models` are what it may call. `verifiers` answer, by tool, whether a
    write happened. `compensators` take back, by tool, what was done. `connections` are the databases of transaction
    tools by the names of their connections, as URLs or opened (see `plimsoll.runtime.databases`). Of these three, those
    left out are the contract's, whose relative paths start in `directory`, as its modules may lie there. `children` are
    the agents that it may have do a part of its work, by name: harnesses over the same store, or whatever makes one in
    given surroundings, such as `partial(Harness, contract, agent=billing)`; those that are made here are closed with
    this one. `output_of` makes JSON of what the agent returns, `carried_of` what the next turn of a session is handed
    besides. `fingerprint` identifies the agent's version; the default is over its code, its tools', models' and
    children's, the contract and the installed distributions.

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
        compensators: Mapping[str, Compensator] | UndoingOf | None = None,
        connections: Mapping[str, Database | str] | None = None,
        directory: str | Path = ".",
        children: Mapping[str, "Harness | Callable[..., Harness]"] | None = None,
        fingerprint: str = "",
        output_of: Callable[[Any], Any] = as_it_is,
        carried_of: Callable[[Any], Any] = nothing,
    ) -> None:
        self.agent = agent
        self.store = surroundings.store
        self.owner = surroundings.owner
        ready = compiled(contract)
        specs = {spec.name: spec for spec in map(tool_spec, tools)}
        functions = {name: spec.function for name, spec in specs.items()}
        verifying = functions_of(ready.contract, "verify", given=verifiers or {}, directory=directory)
        self.children = _brought_up(children or {}, surroundings)
        self._made_here = [child for child in self.children.values() if child not in (children or {}).values()]
        self._undoing = undoing_of(ready.contract, compensators or {}, verifying, directory=directory)
        named = {name for name, tool in ready.contract.tools.items() if tool.compensate is not None}
        self.env: Environment = Environment(
            compiled=ready,
            fingerprint=fingerprint
            or default_fingerprint(
                agent,
                tools=functions,
                models=models or {},
                children={name: child.env.fingerprint for name, child in self.children.items()},
                contract=ready,
            ),
            surroundings=surroundings,
            tools=specs,
            models=models or {},
            verifiers=verifying,
            transactions=Transactions(open_databases(ready.contract, given=connections or {}, directory=directory)),
            children=self.children,
            undoable=self._undoing.tools | named,
        )
        self.journal = Journal(
            self.store,
            clock=surroundings.clock,
            patience_s=ready.contract.journal.patience_s,
            on_trouble=partial(_alert_trouble, self.env),
        )
        self._checkpointer = surroundings.checkpointer
        if self._checkpointer is not None:
            self.journal.subscribe(self._checkpointer.committed)
        env = self.env  # and not self: nothing that belongs to a harness holds it
        self.watch = Watch(
            ready.contract,
            store=self.store,
            clock=surroundings.clock,
            alert=lambda finding, run_id: env.alert(finding, run_id=run_id),
        )
        if self.watch.reads_records:
            self.journal.subscribe(self.watch.committed)
        if self.env.listener is not None:
            self.journal.subscribe(self.env.listener.committed)
        self.operations = Operations(self.store, clock=surroundings.clock, ids=surroundings.ids, owner=self.owner)
        self._telling = Telling(output_of=output_of, carried_of=carried_of)
        self._active = surroundings.active
        self._left = surroundings.left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Writes what is queued, and closes the journal. The store stays open: it belongs to whoever made it.

        Waits for threads of tools that outlived their attempts: until they end, nobody may take their runs over; and
        some seconds at most for alerts on their way.
        """
        await self.env.under_way.rest()
        try:
            for child in self._made_here:
                await child.close()
            if self.env.day is not None:
                await self.env.day.close()
            await self.journal.close()
            if self._checkpointer is not None:
                await self._checkpointer.settle()
        finally:
            for sink in self.env.sinks:
                await settle_sink(sink)

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult:
        """Runs the agent on `input` (JSON) until it ends or parks.

        `run_id` makes it idempotent: asked again with the same id, a run that ended is not repeated but answered from
        the journal, and one that did not is resumed. None makes a fresh id. The agent is handed the input as it is
        recorded: a tuple as a list, a date as a text. Raises `Misuse` for an id that is none and for an input that has
        no JSON form, `RunBusy` while somebody else advances the run, `DayLimitExceeded` for a new run when no more may
        begin today, and `JournalUnavailable` when it cannot be recorded. Nothing was done then.
        """
        if run_id is None:
            run_id = self.env.ids.new("run")
        check_run_id(run_id)
        return await self.lead(run_id, self.beginning(input))

    async def resume(self, run_id: str, *, take_over: bool = False, forced_by: str = "") -> RunResult:
        """Goes on with a run that parked, or whose process died. One that has ended is answered from the journal.

        `take_over` takes the run, and its children, from an owner that still lives but is known to be stuck. Whatever
        that one does later goes into no journal. A write that it was about to send may still come, so `verify` must
        reckon with it. `forced_by` is the person who lets it go on although its process has died too often
        (`limits.max_resumes`); from there on that is counted anew.

        Raises `UnknownRun`; `RunBusy` while somebody else advances it; `ReplayMismatch` when the agent's code no longer
        follows the run's journal (the run is parked then, and nothing was sent); `JournalCorrupt` when the journal does
        not verify; `Misuse` when it is another agent's run, and `RunErased` when somebody has erased it.
        """
        check_id(run_id)
        return await self.lead(run_id, None, take_over=take_over, forced_by=forced_by)

    def session(self, session_id: str) -> Session:
        """The conversation of this name: runs that follow one another. It may be new, or go on from any process."""
        return Session(session_id, harness=self)

    async def wake(self) -> list[RunResult]:
        """Goes on with every run of this agent that can: decided, signalled, cancelled, or its time has come, or its
        process has died.

        Call it at startup, and whenever somebody may have done something to a run; a `Dispatcher` does so by itself. A
        run that cannot be gone on with raises a finding and is left as it is; the others are not held up.
        """
        results = [result for child in self.children.values() for result in await child.wake()]
        for head in await self.due():
            try:
                results.append(await self.resume(head.run_id))
            except ReplayMismatch:
                results.append(await self.result(head.run_id))
            except (RunBusy, Superseded):
                continue  # somebody else was faster
            except Exception as error:
                self.alert(stuck_finding(error), run_id=head.run_id)
        await self.tell_waiting()
        return results

    async def tell_waiting(self) -> None:
        """Tells whoever listens what waits for a person in this agent's runs, whichever process has asked."""
        await tell_waiting(self.env, self.operations.requests)

    async def compensate(self, run_id: str, *, by: str, keys: Sequence[str] | None = None) -> RunResult:
        """Takes back what a run that has ended has done, the latest first, in a run of its own (`RUN/undo`).

        `by` is who wants it; `keys` are the calls to take back, of those that its result names as `undoable` (None:
        all). Each is taken back once, however often that is asked; where one cannot be, those before it are left as
        they are, and may be asked for again. Raises `UnknownRun`; `RunBusy` while somebody takes something back; and
        `Misuse` where the run has not ended, is another agent's, or has no such call.
        """
        plan = await self.operations.undo_plan(run_id, keys=keys)
        if plan.calls is None:
            return await self.lead(plan.run_id, None)
        asked = {"by": by, "calls": msgspec.to_builtins(plan.calls)}
        return await self.lead(plan.run_id, replace(self.beginning(asked), undoes=run_id))

    async def compensate_family(self, run_id: str, *, by: str) -> list[RunResult]:
        """As `compensate`, with what its children did, and theirs: all in reverse order, each in a run of its own.

        Ends with the first that does not complete; asked again, it goes on from there. Raises what `compensate` does,
        and `Misuse` where a child is of an agent that is not among `children`.
        """
        results: list[RunResult] = []
        for step in await undo_steps(self.store, run_id):
            harness = self._of_kin(step.agents)
            if step.keys is None:
                results.append(await harness.lead(step.run_id, None))
            else:
                results.append(await harness.compensate(step.run_id, by=by, keys=step.keys))
            if results[-1].ending is not Ending.COMPLETE:
                break
        return results

    def _of_kin(self, agents: Sequence[str]) -> "Harness":
        """The harness of a child, of a child of that, and so on, by their names; this one for none."""
        harness = self
        for name in agents:
            if name not in harness.children:
                raise Misuse(f"a child {name!r} did a part of it, and {harness.env.contract.agent.name} has none here")
            harness = harness.children[name]
        return harness

    async def adopt(self, run_id: str, *, by: str, dry_run: bool = False) -> Adoption:
        """Takes over a run that another version of the agent began, where this version's code replays its journal.

        To find that out, the code is executed up to where it would go live: nothing is sent, written or alerted.
        `dry_run` leaves it at that; otherwise a run that matches belongs to this version from then on, says `by`, and
        `wake` goes on with it. Raises `UnknownRun`; `Misuse` when it has ended, or is another agent's; `RunBusy` while
        somebody advances it.
        """
        with self._advancing(link_of(run_id)[0]):
            head = await self._adoptable(run_id)
            if not dry_run:
                self._check_left(head)
            old, new = head.fingerprint, self.env.fingerprint
            if old == new:
                return Adoption(run_id=run_id, old=old, new=new)
            records = await self.store.read(head.run_id)
            difference = await rehearse(head, records, env=self.env, code_of=self._code_of)
            if difference or dry_run:
                return Adoption(run_id=run_id, old=old, new=new, difference=difference)
            log = self.journal.open(await self._claim(head))
            await log.commit(RunAdopted(by=by, old=old, new=new))
            return Adoption(run_id=run_id, old=old, new=new, adopted=True)

    async def of_other_versions(self) -> list[RunHead]:
        """The runs of this agent that another version of it began, and that have not ended, the oldest first."""
        agent, version = self.env.contract.agent.name, self.env.fingerprint
        left = [head for state in _LEFT for head in await self.store.heads(state=state)]
        others = [head for head in left if head.agent == agent and head.fingerprint != version]
        return sorted(others, key=lambda head: (head.started_at, head.run_id))

    def family(self) -> list["Harness"]:
        """This harness and those of its children, of theirs, and so on, each once, the youngest first."""
        found: dict[int, Harness] = {}
        for child in self.children.values():
            found |= {id(each): each for each in child.family()}
        return [*found.values(), self]

    async def due(self, *, limit: int | None = None) -> list[RunHead]:
        """The runs of this agent that `wake` would go on with now, at most `limit` of them."""
        heads = await self.store.due(
            agent=self.env.contract.agent.name,
            fingerprint=self.env.fingerprint,
            owner=self.owner,
            now=self.env.clock.now(),
            limit=None if limit is None else limit + len(self._active),
        )
        return [head for head in heads if link_of(head.run_id)[0] not in self._active][:limit]

    def alert(self, finding: Finding, *, run_id: str = NO_RUN) -> None:
        """Alerts of something that no run's journal holds; `run_id` is `*` where it is about no run."""
        self.env.alert(finding, run_id=run_id)

    async def result(self, run_id: str) -> RunResult:
        """How the run stands, from the journal alone. Raises `UnknownRun`."""
        return await self.operations.result(run_id)

    # -- the inner life of a run

    def beginning(self, input: Any) -> RunStarted:
        """The first event of a run of this agent. Raises `Misuse` for an input that has no JSON form."""
        return RunStarted(
            agent=self.env.contract.agent.name,
            fingerprint=self.env.fingerprint,
            contract_digest=self.env.compiled.digest,
            input=as_recorded(input, what="the input of the run"),
            criticality=current_criticality(),
        )

    async def run_child(self, run_id: str, input: Any, *, descent: Descent) -> RunResult:
        """Begins the run `run_id` as somebody's child, or goes on with it, until it ends or parks."""
        left_s = None if descent.deadline is None else descent.deadline.remaining(self.env.clock)
        began = replace(
            self.beginning(input),
            criticality=descent.criticality,
            parent=descent.parent,
            within=descent.within,
            allowed_s=left_s,
        )
        return await self.lead(run_id, began, deadline=descent.deadline, taken_from=descent.taken_from)

    async def lead(
        self,
        run_id: str,
        began: RunStarted | None,
        *,
        fresh: bool = False,
        take_over: bool = False,
        deadline: Deadline | None = None,
        forced_by: str = "",
        taken_from: str = "",
    ) -> RunResult:
        """Takes a run, and those that it goes on as, until the last ends or parks.

        `began` begins a run that there is not yet; without it, such a run raises `UnknownRun`. `fresh` wants a new one:
        raises `RunBusy` when it is there already. `deadline` is one that a child has to keep besides its own;
        `taken_from` is an owner from which the run is taken over, where it has it.
        """
        first, _ = link_of(run_id)
        with self._advancing(first):
            head = await self.store.head(run_id) if taken_from else None
            if head is not None:
                take_over = (await latest_link(self.store, head)).owner == taken_from
            taken = await self._taken(run_id, began, fresh=fresh, take_over=take_over, forced_by=forced_by)
            while isinstance(taken, RunState):
                if taken.continued is None:
                    if deadline is not None:
                        taken.keep_within(deadline)
                    result = await self._advance(taken)
                    if taken.continued is None:
                        return replace_result(result, run_id=first)
                taken = await self._next(taken)
            return replace_result(taken, run_id=first)

    async def _taken(
        self,
        run_id: str,
        began: RunStarted | None,
        *,
        fresh: bool = False,
        take_over: bool = False,
        forced_by: str = "",
    ) -> RunState | RunResult:
        """The run, or the latest of its chain, ready to be advanced; how it ended, where it has.

        A new one is counted among those of the day: what goes on, or takes back what another did, is none.
        """
        found = partial(self._found, run_id, began, fresh=fresh, take_over=take_over, forced_by=forced_by)
        day = self.env.day
        if day is None or began is None or began.undoes or link_of(run_id)[1] > 1:
            return await found()
        count = await day.admit()
        is_new = False
        try:
            taken = await found(refused=count.over if day.enforced else None)
            if isinstance(taken, RunState) and not taken.replay.resumed:
                is_new = True
                if count.over is not None:
                    taken.raise_finding(limit_finding(count.over, observed=True))
            return taken
        finally:
            if not is_new:
                day.dismiss(count)

    async def _found(
        self,
        run_id: str,
        began: RunStarted | None,
        *,
        fresh: bool = False,
        take_over: bool = False,
        forced_by: str = "",
        refused: DayLimitExceeded | None = None,
    ) -> RunState | RunResult:
        """As `_taken`. `refused`, where it is given, is raised in place of beginning a new run."""
        if began is not None and refused is None:
            try:  # most are new: then there is nothing to look for
                new = await self.store.begin(run_id, owner=self.owner, at=self.env.clock.now())
            except Superseded:
                pass
            else:
                return await self._accepted(new, began)
        found = await self.store.head(run_id)
        if refused is not None and (found is None or found.seq == 0):
            raise refused
        if found is None:
            raise UnknownRun(run_id)
        head = await latest_link(self.store, found)
        if head.seq > 0:
            if fresh:
                raise RunBusy(run_id, owner="somebody who was faster")
            if began is not None and began.parent != head.parent:
                raise Misuse(f"run {run_id} is there already, and is {_whose(head)}, not {_whose(began)}")
            return await self._going_on(head, take_over=take_over, forced_by=forced_by)
        if began is None:  # without a first event it was never accepted
            raise UnknownRun(run_id)
        return await self._accepted(await self._claim(head), began)

    async def _next(self, state: RunState) -> RunState | RunResult:
        """Begins the run that `state` goes on as, and then ends `state`."""
        assert state.continued is not None
        if state.teller is not None:
            state.teller.ended(SegmentEnded(ending=Ending.CONTINUED))
        try:
            await hand_over(state, state.continued.following)
            following = await self._taken(state.continued.following, _following(state, self))
            leaves, asks = await left_behind(state), await still_asked(state)
            active_s = round(state.active_s, 6)
            await state.commit(RunEnded(ending=Ending.CONTINUED, active_s=active_s, leaves=leaves, asks=asks))
        except JournalUnavailable as error:  # what is recorded says how to go on
            return RunResult(run_id=state.id, ending=Ending.PARKED, reason=f"journal: {error}")
        except RunParked as signal:
            return RunResult(run_id=state.id, ending=Ending.PARKED, reason=f"{signal.reason}: {signal.detail}")
        return following

    @contextmanager
    def _advancing(self, run_id: str) -> Iterator[None]:
        """Holds a run, and all of its chain, against every other harness in these surroundings. Raises `RunBusy`."""
        if run_id in self._active:
            raise RunBusy(run_id, owner="this process")
        self._active.add(run_id)
        try:
            yield
        except asyncio.CancelledError:
            self._left.setdefault(run_id, 0.0)
            raise
        finally:
            self._active.discard(run_id)
            report_if_due(self.env)

    async def _claim(self, head: RunHead, *, take_over: bool = False) -> RunHead:
        """Takes the run over, if nobody who lives has it, or all the same. Raises `RunBusy`."""
        if not take_over:
            self._check_left(head)
        at = self.env.clock.now()
        try:
            return await self.store.claim(head.run_id, owner=self.owner, at=at, expected=head.epoch)
        except Superseded as error:
            raise RunBusy(head.run_id, owner="another process") from error

    def _check_left(self, head: RunHead) -> None:
        """Raises `RunBusy` unless nobody advances the run: its owner died, or is this process and has let go of it."""
        if head.state is HeadState.RUNNING and head.owner != self.owner and self.store.owner_alive(head.owner):
            raise RunBusy(head.run_id, owner=head.owner)

    async def _accepted(self, head: RunHead, started: RunStarted) -> RunState | RunResult:
        """The state of a new run, once its acceptance is durable."""
        if head.seq > 0:  # somebody else's claim came to nothing, but for its beginning
            return await self._going_on(head)
        posted = self.store.outside().posted
        log = self.journal.open(head)
        teller = telling(self.env, head.run_id, started, came_from=started.trace)
        started = replace(started, trace=teller.trace) if teller else started
        with telling_failure(teller):
            log.append(started)
            try:
                await log.durable()
            except JournalUnavailable:
                log.abandon()  # the caller is told that nothing was done, so nothing may be done later
                raise
            except Superseded as error:
                raise RunBusy(head.run_id, owner="another process") from error
        state = RunState(head.run_id, env=self.env, log=log, replay=Replay(head.run_id, ()), started=started)
        state.tell(teller)
        if not head.posted and not started.within:  # nobody has sent it anything: until now nobody knew of it
            state.mailbox.posted = posted
        return state

    async def _adoptable(self, run_id: str) -> RunHead:
        head = await self.store.head(run_id)
        if head is None or head.seq == 0:
            raise UnknownRun(run_id)
        head = await latest_link(self.store, head)
        if head.state is HeadState.ENDED:
            raise Misuse(f"run {run_id} has ended ({head.ending}): there is nothing to go on with")
        self._check_own(head)
        return head

    def _check_own(self, head: RunHead) -> None:
        if head.agent != self.env.contract.agent.name:
            raise Misuse(f"run {head.run_id} is agent {head.agent!r}'s, not {self.env.contract.agent.name!r}'s")

    async def _going_on(self, head: RunHead, *, take_over: bool = False, forced_by: str = "") -> RunState | RunResult:
        if head.erased_at is not None:
            raise RunErased(head.run_id)
        theirs = head.reason == OTHER_VERSION and head.fingerprint != self.env.fingerprint
        if head.state is HeadState.ENDED or (theirs and head.posted <= head.seen):
            return await self.result(head.run_id)
        self._check_own(head)
        claimed = await self._claim(head, take_over=take_over)
        records = await self.store.read(head.run_id)
        left_s = self._left.pop(link_of(head.run_id)[0], None)
        used_s = left_s or 0.0
        state, events = restored(claimed, records, env=self.env, log=self.journal.open(claimed), used_s=used_s)
        rehearsal = partial(rehearse, claimed, records, env=self.env, code_of=self._code_of)
        let_go = left_s is not None and head.owner == self.owner
        crashed = head.state is HeadState.RUNNING and not let_go
        state.taken_from = head.owner if take_over and head.owner != self.owner else ""
        state.tell(telling(self.env, head.run_id, state.started, came_from=last_trace(events), crashed=crashed))
        with telling_failure(state.teller):
            try:
                await go_on(state, events, crashed=crashed, forced_by=forced_by, rehearsal=rehearsal)
            except RunParked as signal:
                return await told(state.teller, park(state, signal))
            except RunHalted as signal:
                return await self._with_undoable(await told(state.teller, cut_short(state, signal)))
        return state

    async def _advance(self, state: RunState) -> RunResult:
        first, _ = link_of(state.id)
        how = PLAINLY if state.started.undoes else self._telling
        try:
            result = await told(state.teller, advance(state, self._code_of(state.started), how))
        except asyncio.CancelledError:
            self._left[first] = state.active_s  # its caller gave it up, and does not wait for the disk
            raise
        finally:
            if state.day is not None:
                state.day.leave()
        if self.env.day is not None:
            await self.env.day.trim()
        if result.ending is Ending.PARKED and result.reason.startswith("journal:"):
            self._left[first] = state.active_s  # the journal could not be told
        return await self._with_undoable(result)

    def _code_of(self, started: RunStarted) -> AgentFunction:
        """What is executed: the agent, or where a run takes back what another has done, whatever does that."""
        return partial(undo, undoing=self._undoing) if started.undoes else self.agent

    async def _with_undoable(self, result: RunResult) -> RunResult:
        if result.ending in (Ending.HALTED, Ending.FAILED):
            return replace_result(result, undoable=await self.operations.undoable(result.run_id))
        return result


def _brought_up(
    children: Mapping[str, "Harness | Callable[..., Harness]"], surroundings: Surroundings
) -> dict[str, Harness]:
    """The harnesses of the children. Raises `Misuse` for one over another store: its runs would not be found again."""
    made = {
        name: child if isinstance(child, Harness) else child(surroundings=surroundings)
        for name, child in children.items()
    }
    for name, harness in made.items():
        if harness.store is not surroundings.store:
            raise Misuse(f"the child {name!r} runs over another store than its parent; give it the same surroundings")
    return made


def _whose(run: RunHead | RunStarted) -> str:
    return f"a child of {run.parent}" if run.parent else "no child of another run"


def _following(state: RunState, harness: Harness) -> RunStarted:
    """The first event of the run that `state` goes on as."""
    assert state.continued is not None
    return replace(
        harness.beginning(state.continued.input),
        criticality=state.criticality,
        parent=state.started.parent,
        session=state.started.session,
        turn=state.started.turn,
        within=state.started.within,
        allowed_s=state.started.allowed_s,
        used_s=round(state.active_s, 6),
        did=state.claims.done,
        trace="" if state.teller is None else state.teller.trace,
    )


def _alert_trouble(env: Environment, trouble: JournalUnavailable | None) -> None:
    env.alert(journal_finding(trouble))
