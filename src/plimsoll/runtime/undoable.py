"""What a run has done and can be taken back, by its journal and those of the runs that took something back already."""

import math
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from plimsoll.core.calls import CallKind
from plimsoll.core.errors import Misuse, RunErased, UnknownRun
from plimsoll.core.events import CallIntended, CallSettled, DoubtResolved, Event, RunStarted
from plimsoll.journal.store import InboxEntry, RunHead, RunState, Store
from plimsoll.runtime.doubts import answer_to, open_doubts
from plimsoll.runtime.lineage import child_id, latest_link, link_id, link_of, undo_id
from plimsoll.runtime.result import Undoable

__all__ = [
    "Link",
    "UndoPlan",
    "UndoStep",
    "links",
    "taken_back",
    "tools_undone",
    "undo_plan",
    "undo_steps",
    "undoable_calls",
]


class UndoPlan:
    """Which run takes something back, and what: `calls`, the latest first. None where that run is there already."""

    __slots__ = ("calls", "run_id")

    def __init__(self, run_id: str, calls: Sequence[Undoable] | None) -> None:
        self.run_id = run_id
        self.calls = calls


@dataclass(frozen=True, slots=True)
class UndoStep:
    """One run that takes something back: the calls `keys` of the run `run_id`, or, where `keys` is None, the run itself
    that was begun for it before. `agents` are the names by which the child is called, from the outermost."""

    agents: tuple[str, ...]
    run_id: str
    keys: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Link:
    """One run of a chain, by its id and its place there, from 1."""

    run_id: str
    number: int
    events: Sequence[Event]

    def key(self, key: str) -> str:
        """What its call `key` is called among those of the whole chain."""
        return key if self.number == 1 else f"{key}~{self.number}"


async def links(store: Store, first: str) -> AsyncIterator[Link]:
    """The runs of the chain that the run `first` began, in their order."""
    for number in count(1):
        run_id = link_id(first, number)
        events = [record.event for record in await store.read(run_id)]
        if not events:
            return
        yield Link(run_id, number, events)


async def undo_steps(store: Store, run_id: str) -> list[UndoStep]:
    """How to take back what a run that has ended has done, and its children, and theirs: the latest first.

    What is being taken back already is gone on with first; where all of it was, these are the runs that did so. Raises
    `UnknownRun`, `RunErased`, and `Misuse` where the run has not ended, or never did anything of the kind.
    """
    first = link_of((await _over(store, run_id)).run_id)[0]
    for again in (False, True):
        steps = [step async for step in _steps(store, first, agents=(), again=again)]
        if steps:
            return steps
    raise Misuse(f"run {first} has done nothing that can be taken back")


async def _steps(store: Store, run_id: str, *, agents: tuple[str, ...], again: bool) -> AsyncIterator[UndoStep]:
    """`again` has the runs among them that took something back and have ended."""
    begun = await _undo_runs(store, run_id)
    if begun and (again or begun[-1].state is not RunState.ENDED):
        yield UndoStep(agents, begun[-1].run_id, None)
    left = {call.key for call in await undoable_calls(store, run_id)}
    together: list[str] = []
    for key, child in [each async for each in _in_order(store, run_id)][::-1]:
        if child is None:
            together += [key] if key in left else []
            continue
        below = [step async for step in _steps(store, key, agents=(*agents, child), again=again)]
        if below and together:
            yield UndoStep(agents, run_id, tuple(together))
            together = []
        for step in below:
            yield step
    if together:
        yield UndoStep(agents, run_id, tuple(together))


async def _in_order(store: Store, run_id: str) -> AsyncIterator[tuple[str, str | None]]:
    """The calls of a chain by their keys, and its children by their ids and names, in the order in which they ended."""
    async for link in links(store, run_id):
        calls = {event.key: event for event in link.events if isinstance(event, CallIntended)}
        settled = [event.key for event in link.events if isinstance(event, (CallSettled, DoubtResolved))]
        for key in dict.fromkeys((*settled, *calls)):
            call = calls.get(key)
            if call is not None and call.kind is CallKind.RUN:
                yield child_id(link.run_id, key), call.dependency
            else:
                yield link.key(key), None


async def _over(store: Store, run_id: str) -> RunHead:
    """The latest run of the chain, which has ended. Raises `UnknownRun`, `RunErased`, and `Misuse`."""
    head = await store.head(link_of(run_id)[0])
    if head is None:
        raise UnknownRun(run_id)
    head = await latest_link(store, head)
    if head.erased_at is not None:
        raise RunErased(run_id)
    if head.state is not RunState.ENDED:
        raise Misuse(f"run {run_id} has not ended: what it does is taken back only when it does nothing more")
    return head


async def undo_plan(store: Store, run_id: str, keys: Sequence[str] | None) -> UndoPlan:
    """How to take back the calls `keys` of a run that has ended (None: all that can be).

    While one run takes something back, nothing else is planned: it is gone on with first. Raises `UnknownRun`,
    `RunErased`, and `Misuse` where the run has not ended, has no such call, or never did anything of the kind.
    """
    run_id = link_of(run_id)[0]
    await _over(store, run_id)
    before = await _undo_runs(store, run_id)
    if before and before[-1].state is not RunState.ENDED:
        return UndoPlan(before[-1].run_id, None)
    calls = await undoable_calls(store, run_id)
    wanted = calls if keys is None else [call for call in calls if call.key in keys]
    missing = sorted(set(keys or ()) - {call.key for call in wanted})
    if missing:
        known = ", ".join(call.key for call in calls) or "nothing"
        raise Misuse(f"{', '.join(missing)} of run {run_id} cannot be taken back; what can: {known}")
    if not wanted and before:
        return UndoPlan(before[-1].run_id, None)
    if not wanted:
        raise Misuse(f"run {run_id} has done nothing that can be taken back")
    return UndoPlan(undo_id(run_id, len(before) + 1), wanted[::-1])


async def undoable_calls(store: Store, run_id: str) -> list[Undoable]:
    """What the run `run_id`, and those that it went on as, have done and can be taken back, in order of settling.

    Of an erased run nobody knows what it did.
    """
    head = await store.head(run_id)
    if head is None or head.erased_at is not None:
        return []
    taken = await _taken_back(store, run_id)
    done: list[Undoable] = []
    async for link in links(store, run_id):
        done += _done(link, await store.inbox(link.run_id))
    return [call for call in done if call.key not in taken]


def _done(link: Link, inbox: Sequence[InboxEntry]) -> list[Undoable]:
    intents: dict[str, CallIntended] = {}
    results: dict[str, object] = {}
    for event in link.events:
        if isinstance(event, CallIntended) and event.undoable:
            intents[event.key] = event
        elif isinstance(event, CallSettled) and event.outcome.ok:
            results[event.key] = event.outcome.value
        elif isinstance(event, DoubtResolved) and event.answer == "happened":
            results.setdefault(event.key, event.value)
    for key in open_doubts(link.events):
        said = answer_to(link.events, inbox, key)
        if said is not None and said.body["happened"]:
            results[key] = said.body["value"]
    return [
        Undoable(key=link.key(key), tool=intents[key].dependency, args=intents[key].args, result=result)
        for key, result in results.items()
        if key in intents
    ]


async def _undo_runs(store: Store, run_id: str) -> list[RunHead]:
    """The runs that take back, or took back, something of this one."""
    heads: list[RunHead] = []
    for number in count(1):
        head = await store.head(undo_id(run_id, number))
        if head is None or head.seq == 0:
            return heads
        heads.append(head)
    raise AssertionError("unreachable")


async def _taken_back(store: Store, run_id: str) -> set[str]:
    """The calls that were taken back, are being, or may have been."""
    taken: set[str] = set()
    for head in await _undo_runs(store, run_id):
        events = [record.event for record in await store.read(head.run_id)]
        if head.state is not RunState.ENDED:
            taken.update(_asked(events))
            continue
        taken.update(event.key for event in events if isinstance(event, CallSettled) and event.outcome.ok)
        taken.update(event.key for event in events if isinstance(event, DoubtResolved) and event.answer == "happened")
        inbox = await store.inbox(head.run_id)
        for key in open_doubts(events):
            said = answer_to(events, inbox, key)
            if said is None or said.body["happened"]:
                taken.add(key)
    return taken


async def taken_back(store: Store, run_id: str, *, before: float = math.inf) -> dict[str, bool]:
    """The calls of a run, and of those that it went on as, that somebody had taken back before a wall-clock time, by
    their keys. False: perhaps, for nobody knows."""
    taken: dict[str, bool] = {}
    for head in await _undo_runs(store, run_id):
        for record in await store.read(head.run_id):
            event = record.event
            if record.at >= before or not isinstance(event, (CallIntended, CallSettled, DoubtResolved)):
                continue
            if isinstance(event, CallIntended) or (isinstance(event, DoubtResolved) and event.answer == "unknown"):
                taken.setdefault(event.key, False)
            elif event.answer == "happened" if isinstance(event, DoubtResolved) else event.outcome.ok:
                taken[event.key] = True
            elif not taken.get(event.key):
                taken.pop(event.key, None)
    return taken


async def tools_undone(store: Store, run_ids: Iterable[str]) -> frozenset[str]:
    """The tools that these runs, each with those that it went on as, have carried out, and of which nothing stands: all
    of it was taken back."""
    stands: set[str] = set()
    gone: set[str] = set()
    for run_id in run_ids:
        taken = await taken_back(store, run_id)
        async for link in links(store, run_id):
            for event in link.events:
                if isinstance(event, CallIntended):
                    (gone if taken.get(link.key(event.key)) else stands).add(event.dependency)
                elif isinstance(event, CallSettled) and event.kind is CallKind.RUN and event.outcome.value:
                    stands.update(event.outcome.value["did"])
    return frozenset(gone - stands)


def _asked(events: Sequence[Event]) -> Iterator[str]:
    started = events[0]
    assert isinstance(started, RunStarted)
    return (call["key"] for call in started.input["calls"])
