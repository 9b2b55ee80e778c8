"""The harness: where everything is put together, and the only thing that starts, resumes and ends runs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Ending
from plimsoll.core.errors import (
    JournalUnavailable,
    Misuse,
    ReplayMismatch,
    RunBusy,
    Superseded,
)
from plimsoll.core.events import Finding, RunAdopted
from plimsoll.core.guards import Guard
from plimsoll.journal.store import RunHead
from plimsoll.journal.store import RunState as HeadState
from plimsoll.journal.writer import Journal
from plimsoll.observability.findings import NO_RUN, journal_finding, settle_sink, stuck_finding
from plimsoll.runtime.advancing import AgentFunction, Telling
from plimsoll.runtime.compensation import Compensator, UndoingOf, undoing_of
from plimsoll.runtime.compiled import CompiledContract, compiled
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.databases.opening import open_databases
from plimsoll.runtime.databases.sharing import Transactions
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.fingerprint import default_fingerprint
from plimsoll.runtime.guards import bound_guards, guarded
from plimsoll.runtime.imports import functions_of
from plimsoll.runtime.leading import Leading, as_it_is, nothing
from plimsoll.runtime.lineage import check_id, check_run_id, link_of
from plimsoll.runtime.models import ModelFunction
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.rehearsing import Adoption, rehearse
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.sessions import Session
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.telling import tell_waiting
from plimsoll.runtime.tools import ToolSpec, Verifier, tool_spec
from plimsoll.runtime.undoable import undo_steps
from plimsoll.runtime.watching import Watch

__all__ = ["AgentFunction", "Harness"]

_LEFT = (HeadState.RUNNING, HeadState.PARKED)


class Harness(Leading):
    """Runs one agent under one contract, over one journal: one life of a process.

    `agent` is an async callable; `tools` and `models` are what it may call. `verifiers` answer, by tool, whether a
    write happened. `compensators` take back, by tool, what was done. `connections` are the databases of transaction
    tools by the names of their connections, as URLs or opened (see `plimsoll.runtime.databases`). Of these three, those
    left out are the contract's, whose relative paths start in `directory`, as its modules may lie there. `children` are
    the agents that it may have do a part of its work, by name: harnesses over the same store, or whatever makes one in
    given surroundings, such as `partial(Harness, contract, agent=billing)`; those that are made here are closed with
    this one. `guards` judge for the contract's guards, by their names: as `plimsoll.learning.guards.load_guards` brings
    them. `output_of` makes JSON of what the agent returns, `carried_of` what the next turn of a session is handed
    besides. `fingerprint` identifies the agent's version; the default is over its code, its tools', models' and
    children's, the contract, the models of its guards and the installed distributions.

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
        guards: Mapping[str, Guard] | None = None,
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
            or guarded(
                default_fingerprint(
                    agent,
                    tools=functions,
                    models=models or {},
                    children={name: child.env.fingerprint for name, child in self.children.items()},
                    contract=ready,
                ),
                guards or {},
            ),
            surroundings=surroundings,
            tools=specs,
            models=models or {},
            verifiers=verifying,
            transactions=Transactions(open_databases(ready.contract, given=connections or {}, directory=directory)),
            children=self.children,
            undoable=self._undoing.tools | named,
            guards=bound_guards(ready.contract, guards or {}),
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


def _alert_trouble(env: Environment, trouble: JournalUnavailable | None) -> None:
    env.alert(journal_finding(trouble))
