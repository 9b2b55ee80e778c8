"""Operations: what people and other processes may do to runs that they do not own.

Everything here goes through the store's inbox and switches, so it works while the owner runs, sleeps, or is dead.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from plimsoll.core.calls import Ending
from plimsoll.core.canonical import canonical_json, digest, parse_json
from plimsoll.core.clock import Clock, SystemClock
from plimsoll.core.errors import DecisionRefused, Misuse, UnknownRequest, UnknownRun
from plimsoll.core.events import (
    ApprovalRequested,
    DoubtRaised,
    DoubtResolved,
    Event,
    FindingRaised,
    RunEnded,
    RunParkedEvent,
)
from plimsoll.core.ids import Ids, RandomIds
from plimsoll.journal.spending import Spend
from plimsoll.journal.store import Halt, InboxEntry, InboxKind, RunHead, RunState, Store
from plimsoll.oversight.approvals import ApprovalBook, Request
from plimsoll.runtime.answering import InDoubt, answer, in_doubt
from plimsoll.runtime.daily import day_of
from plimsoll.runtime.family import open_below
from plimsoll.runtime.inbox import cancel_entry, check_entry, decision_entry
from plimsoll.runtime.isolation import circuit_scope
from plimsoll.runtime.lineage import latest_link, link_id, link_of, turn_id
from plimsoll.runtime.mailbox import check_signal_name
from plimsoll.runtime.messaging import deliver, send
from plimsoll.runtime.result import RunResult, Undoable
from plimsoll.runtime.status import ProcessStatus
from plimsoll.runtime.undoable import UndoPlan, undo_plan, undoable_calls

__all__ = ["EVERYTHING", "Operations"]

_statuses = msgspec.json.Decoder(list[ProcessStatus])

EVERYTHING = "*"
"""The kill switch's scope that means every run."""


class Operations:
    """Decides approvals, settles doubts, sends signals, cancels, and throws kill switches."""

    def __init__(
        self, store: Store, *, clock: Clock | None = None, ids: Ids | None = None, owner: str | None = None
    ) -> None:
        self.store = store
        self.clock = clock or SystemClock()
        self.ids = ids or RandomIds()
        self._owner = owner

    async def events(self, run_id: str) -> list[Event]:
        """The run's events, in order. Raises `UnknownRun`."""
        records = await self.store.read(run_id)
        if not records:
            raise UnknownRun(run_id)
        return [record.event for record in records]

    async def result(self, run_id: str) -> RunResult:
        """How the run stands, from the journal alone; of one that has continued as new, how the latest one does.

        Raises `UnknownRun`.
        """
        head = await self._latest(run_id)
        events = await self.events(head.run_id)
        ended = next((event for event in reversed(events) if isinstance(event, RunEnded)), None)
        answered = ended is not None and ended.ending in (Ending.COMPLETE, Ending.DEGRADED)
        return RunResult(
            run_id=link_of(head.run_id)[0],
            ending=ended.ending if ended is not None else Ending.PARKED,
            output=ended.output if ended is not None and answered else None,
            reason=ended.reason if ended is not None else head.reason,
            findings=tuple(event.finding for event in events if isinstance(event, FindingRaised)),
            waiting_for=await self._waiting_for(events) if not ended else (),
            did=ended.did if ended is not None else (),
            undoable=await self.undoable(run_id) if ended is not None and not answered else (),
        )

    async def undoable(self, run_id: str) -> tuple[Undoable, ...]:
        """What the run has done and can be taken back, in the order in which it was done. Raises `UnknownRun`."""
        await self._latest(run_id)
        return tuple(await undoable_calls(self.store, link_of(run_id)[0]))

    async def undo_plan(self, run_id: str, *, keys: Sequence[str] | None) -> UndoPlan:
        """How to take back what the run has done; see `Harness.compensate`, which does it."""
        return await undo_plan(self.store, run_id, keys)

    async def _latest(self, run_id: str) -> RunHead:
        """The run itself, or the one that it has gone on as. Raises `UnknownRun`."""
        head = await self.store.head(link_id(*link_of(run_id)))
        if head is None:
            raise UnknownRun(run_id)
        return await latest_link(self.store, head)

    async def _waiting_for(self, events: list[Event]) -> tuple[ApprovalRequested, ...]:
        """The open requests of a run and, where it waits for a child, of that."""
        own = tuple(request.asked for request in _book(events).open(self.clock.now()))
        last = events[-1]
        if isinstance(last, RunParkedEvent) and last.reason == "child":
            return (*own, *(await self.result(last.detail)).waiting_for)
        return own

    async def requests(self, *, agent: str | None = None) -> list[Request]:
        """Every approval request that somebody may decide now, the oldest first; of one agent's runs, or of all (None).

        Costs as much as people are asked.
        """
        now = self.clock.now()
        found: list[Request] = []
        for head in reversed(await self.store.asking()):
            if head.state is RunState.ENDED:
                continue  # it left doubts, and nobody may let it do anything
            if agent not in (None, head.agent):
                continue
            book = _book(await self.events(head.run_id))
            decided = {each.body["request_id"] for each in await self.store.inbox(head.run_id) if _decides(book, each)}
            found.extend(request for request in book.open(now) if request.asked.request_id not in decided)
        return found

    async def request(self, request_id: str) -> Request:
        """The approval request of this id. Raises `UnknownRequest`."""
        run_id, _, _ = request_id.rpartition(".")
        if await self.store.head(run_id) is None:
            raise UnknownRequest(request_id)
        request = _book(await self.events(run_id)).requests.get(request_id)
        if request is None:
            raise UnknownRequest(request_id)
        return request

    async def decide(
        self, request_id: str, *, approve: bool, by: str, note: str = "", args: Mapping[str, Any] | None = None
    ) -> bool:
        """Decides an approval request. The run's owner acts on it when it next wakes.

        `args` are the arguments that the decider looked at (None: those of the request); if they are not those of the
        request, the decision is refused. Where an answer is wanted (`answers`), `note` is that answer. False when this
        very decision was made already. Raises `UnknownRequest`, and `DecisionRefused` with the reason.
        """
        request = await self.request(request_id)
        args_digest = request.asked.args_digest if args is None else digest(dict(args))
        now = self.clock.now()
        book = ApprovalBook({request_id: request})
        book.check(request_id, by=by, args_digest=args_digest, now=now)
        book.check_answer(request_id, approve=approve, note=note)
        head = await self.store.head(request_id.rpartition(".")[0])
        if head is not None and head.state is RunState.ENDED:
            raise DecisionRefused(request_id, why=f"its run has ended ({head.ending})")
        entry = decision_entry(request_id, approve=approve, args_digest=args_digest, by=by, note=note, at=now)
        for earlier in await self.store.inbox(entry.run_id):
            same = earlier.body.get("request_id") == request_id and earlier.request_id != entry.request_id
            if same and _decides(book, earlier):
                raise DecisionRefused(request_id, why=f"{earlier.by} has decided it already")
        return await self.store.post(entry)

    async def resolve(
        self, run_id: str, key: str, *, happened: bool, by: str, value: Any = None, note: str = ""
    ) -> bool:
        """Answers a doubt: whether the write `key` happened, what it returned (`value`, JSON), and how it is known
        (`note`). The run's owner acts on it when it next wakes; for a run that has ended it is the last word.

        The answer is about the write as it was last sent: should it be sent again and be in doubt again, that is
        another doubt. False when this very answer was given already. Raises `UnknownRun`, and `Misuse` when the write
        is not in doubt or was answered otherwise, or when `value` is no JSON or the result of what did not happen.
        """
        if value is not None and not happened:
            raise Misuse("what did not happen returned nothing; give a value only for what happened")
        found_out = "happened" if happened else "not_happened"
        said = DoubtResolved(key=key, answer=found_out, by=by, value=parse_json(canonical_json(value)), note=note)
        self._owner = self._owner or self.ids.new("operations")  # under which name it writes, where a run has ended
        return await answer(self.store, run_id, key, said, owner=self._owner, clock=self.clock)

    async def doubts(self, run_id: str) -> Mapping[str, DoubtRaised]:
        """The writes that wait for a person to say whether they happened, by call key: those of a run, ended or not,
        and of the runs that it has continued as, whose keys end in `~` and their number. Raises `UnknownRun`."""
        return {each.key: each.raised for each in await self.in_doubt(run_id) if each.said is None}

    async def in_doubt(self, run_id: str | None = None) -> list[InDoubt]:
        """As `doubts`, with all that is known of each; of all runs where none is named, the oldest first. Those that
        somebody has answered, and whose run has not acted on it yet, are among them.

        Costs as much as people are asked, however many runs there are. Raises `UnknownRun`.
        """
        return await in_doubt(self.store, run_id)

    async def kill(self, *, by: str, reason: str, scope: str = EVERYTHING) -> None:
        """Engages the kill switch on one run with its children, on one session, or on everything: no run in its scope
        makes another call."""
        known = scope == EVERYTHING or await self.store.head(scope) or await self.store.head(turn_id(scope, 1))
        if not known:
            raise UnknownRun(scope)
        await self.store.engage(Halt(scope=scope, by=by, reason=reason, at=self.clock.now()))

    async def release(self, *, scope: str = EVERYTHING, by: str = "") -> bool:
        """Releases a kill switch. Runs that it halted stay halted. False when none was engaged."""
        return await self.store.release(scope, by=by, at=self.clock.now())

    async def isolate(self, dependency: str, *, agent: str, by: str, reason: str) -> None:
        """Forces the circuit breaker of an agent's dependency open, in every process, before its next attempt: models
        fall to the rung below, tools fail at once. In a process whose contract gives it none, nothing changes."""
        await self.store.engage(Halt(scope=circuit_scope(agent, dependency), by=by, reason=reason, at=self.clock.now()))

    async def restore(self, dependency: str, *, agent: str, by: str = "") -> bool:
        """Ends an isolation: the next attempts are probes. False where it was not isolated."""
        return await self.store.release(circuit_scope(agent, dependency), by=by, at=self.clock.now())

    def statuses(self) -> list[ProcessStatus]:
        """How each agent's dependencies stand in each process that lives and has asked any that a policy guards."""
        said = [status for body in self.store.reports().values() for status in _statuses.decode(body)]
        return sorted(said, key=lambda status: (status.agent, status.owner))

    async def drawn_today(self, agent: str) -> Spend:
        """What all runs of the agent have spent of today's limits, and what processes have set aside to spend."""
        return await self.store.drawn(agent, day_of(self.clock.now()))

    async def signal(
        self, run_id: str, name: str, payload: Any = None, *, by: str, signal_id: str | None = None
    ) -> bool:
        """Sends the signal `name` with `payload` (JSON) to a run. It may come before the run waits for it.

        `signal_id` makes it idempotent: sent again under the same id, it is one signal; None makes a fresh id. A run
        that went on as a new one gets it there. False when this very signal was sent already. Raises `UnknownRun`, and
        `Misuse` when the run has ended, the payload is no JSON, or the id was given to another signal.
        """
        check_signal_name(name)
        payload, known = parse_json(canonical_json(payload)), signal_id or self.ids.new("signal")
        at = self.clock.now()
        new, stands = await send(self.store, run_id, name, payload, signal_id=known, by=by, at=at)
        if (stands.body["name"], stands.body["payload"]) != (name, payload):
            other = stands.body["name"]
            raise Misuse(f"signal id {known!r} was given to another signal already ({other!r}, by {stands.by})")
        return new

    async def cancel(self, run_id: str, *, by: str, reason: str = "") -> bool:
        """Cancels a run: it makes no further call, and ends halted. Its children are cancelled with it; of a session,
        the turn that has not ended.

        A run that is advanced now ends before its next call, a parked one when it is next woken, without any of its
        code being executed. False when it was cancelled already. Raises `UnknownRun`, and `Misuse` when it has ended.
        """
        make = partial(cancel_entry, by=by, reason=reason, at=self.clock.now())
        run_id, *below = await self.cancelled_with(run_id)
        new = await deliver(self.store, run_id, make, what="a cancellation")
        for child in below:
            with suppress(Misuse):  # it has ended meanwhile
                await deliver(self.store, child, make, what="a cancellation")
        return new

    async def cancelled_with(self, run_id: str) -> tuple[str, ...]:
        """What `cancel` cancels: the run, or the open turn of the session of that name, and its open children.

        Raises `UnknownRun`, and `Misuse` for a session whose turns have all ended.
        """
        if await self.store.head(run_id) is None:
            turns = [await latest_link(self.store, head) for head in await self.store.heads(session=run_id)]
            left = [head.run_id for head in turns if head.state is not RunState.ENDED]
            if turns and not left:
                raise Misuse(f"every turn of session {run_id} has ended: a cancellation cannot reach it any more")
            run_id = link_of(left[0])[0] if left else run_id
        head = await self._latest(run_id)
        return (run_id, *await open_below(self.store, head.run_id))

    async def runs(self) -> list[RunHead]:
        """Every run at a glance, the latest started first."""
        return await self.store.heads()


def _decides(book: ApprovalBook, entry: InboxEntry) -> bool:
    """Whether this message is a decision that holds."""
    if entry.kind is not InboxKind.DECISION:
        return False
    try:
        check_entry(book, entry)
    except DecisionRefused:
        return False
    return True


def _book(events: list[Event]) -> ApprovalBook:
    book = ApprovalBook()
    for event in events:
        book.observe(event)
    return book
