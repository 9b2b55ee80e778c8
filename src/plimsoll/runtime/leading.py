"""Leading a run: taking it, beginning it or going on with it, and whatever it goes on as, until that ends or parks."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_result
from functools import partial
from typing import Any

from msgspec.structs import replace

from plimsoll.core.calls import Ending
from plimsoll.core.canonical import as_recorded
from plimsoll.core.criticality import current_criticality
from plimsoll.core.errors import (
    DayLimitExceeded,
    JournalUnavailable,
    Misuse,
    RunBusy,
    RunErased,
    RunHalted,
    RunParked,
    Superseded,
    UnknownRun,
)
from plimsoll.core.events import RunEnded, RunStarted
from plimsoll.journal.store import OTHER_VERSION, RunHead, Store
from plimsoll.journal.store import RunState as HeadState
from plimsoll.journal.writer import Journal
from plimsoll.observability.findings import limit_finding
from plimsoll.observability.listening import SegmentEnded
from plimsoll.policies.deadline import Deadline
from plimsoll.runtime.advancing import AgentFunction, Telling, advance, cut_short, park
from plimsoll.runtime.compensation import UndoingOf, undo
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.kin import Descent
from plimsoll.runtime.lineage import latest_link, link_of
from plimsoll.runtime.messaging import hand_over, left_behind, still_asked
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.rehearsing import rehearse
from plimsoll.runtime.replay import Replay
from plimsoll.runtime.restoring import restored
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.resuming import go_on, last_trace
from plimsoll.runtime.state import RunState
from plimsoll.runtime.status import report_if_due
from plimsoll.runtime.telling import telling, telling_failure, told

__all__ = ["PLAINLY", "Leading", "as_it_is", "nothing"]


def as_it_is(native: Any) -> Any:
    """What an agent returned is its output where nobody says anything else."""
    return native


def nothing(native: Any) -> None:
    """What is carried on to the next turn where nobody says anything else."""


PLAINLY = Telling(output_of=as_it_is, carried_of=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taking:
    """How a run is taken: `fresh`, only where there is none yet; from an owner who lives (`take_over`); let go on by a
    person (`forced_by`) although its process has died too often."""

    fresh: bool = False
    take_over: bool = False
    forced_by: str = ""


_AS_ANY = _Taking()


class Leading:
    """Takes runs, new ones and others, and leads each to its end, or until it parks: the inner life of a `Harness`,
    which puts it together."""

    agent: AgentFunction
    store: Store
    owner: str
    env: Environment
    journal: Journal
    operations: Operations
    _telling: Telling
    _undoing: UndoingOf
    _active: set[str]
    _left: dict[str, float]

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
            taken = await self._taken(run_id, began, _Taking(fresh=fresh, take_over=take_over, forced_by=forced_by))
            while isinstance(taken, RunState):
                if taken.continued is None:
                    if deadline is not None:
                        taken.keep_within(deadline)
                    result = await self._advance(taken)
                    if taken.continued is None:
                        return replace_result(result, run_id=first)
                taken = await self._next(taken)
            return replace_result(taken, run_id=first)

    async def _taken(self, run_id: str, began: RunStarted | None, how: _Taking = _AS_ANY) -> RunState | RunResult:
        """The run, or the latest of its chain, ready to be advanced; how it ended, where it has.

        A new one is counted among those of the day: what goes on, or takes back what another did, is none.
        """
        found = partial(self._found, run_id, began, how)
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
        self, run_id: str, began: RunStarted | None, how: _Taking, *, refused: DayLimitExceeded | None = None
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
            if how.fresh:
                raise RunBusy(run_id, owner="somebody who was faster")
            if began is not None and began.parent != head.parent:
                raise Misuse(f"run {run_id} is there already, and is {_whose(head)}, not {_whose(began)}")
            return await self._going_on(head, how)
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

    async def _going_on(self, head: RunHead, how: _Taking = _AS_ANY) -> RunState | RunResult:
        if head.erased_at is not None:
            raise RunErased(head.run_id)
        theirs = head.reason == OTHER_VERSION and head.fingerprint != self.env.fingerprint
        if head.state is HeadState.ENDED or (theirs and head.posted <= head.seen):
            return await self.operations.result(head.run_id)
        self._check_own(head)
        claimed = await self._claim(head, take_over=how.take_over)
        records = await self.store.read(head.run_id)
        left_s = self._left.pop(link_of(head.run_id)[0], None)
        used_s = left_s or 0.0
        state, events = restored(claimed, records, env=self.env, log=self.journal.open(claimed), used_s=used_s)
        rehearsal = partial(rehearse, claimed, records, env=self.env, code_of=self._code_of)
        let_go = left_s is not None and head.owner == self.owner
        crashed = head.state is HeadState.RUNNING and not let_go
        state.taken_from = head.owner if how.take_over and head.owner != self.owner else ""
        state.tell(telling(self.env, head.run_id, state.started, came_from=last_trace(events), crashed=crashed))
        with telling_failure(state.teller):
            try:
                await go_on(state, events, crashed=crashed, forced_by=how.forced_by, rehearsal=rehearsal)
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


def _whose(run: RunHead | RunStarted) -> str:
    return f"a child of {run.parent}" if run.parent else "no child of another run"


def _following(state: RunState, harness: Leading) -> RunStarted:
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
