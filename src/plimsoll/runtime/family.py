"""The family of a run, read from the journal: its children, and theirs."""

from collections.abc import Iterator
from dataclasses import dataclass

from plimsoll.core.calls import CallKind
from plimsoll.core.events import CallIntended
from plimsoll.journal.store import RunHead, RunState, Store
from plimsoll.runtime.lineage import child_id, latest_link

__all__ = ["Child", "children_of", "open_below"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child as its parent called it. `run` is where its run stands, or its chain's latest; None: not begun yet."""

    run_id: str
    key: str
    dependency: str
    run: RunHead | None
    children: tuple["Child", ...] = ()


async def children_of(store: Store, run_id: str) -> tuple[Child, ...]:
    """The children of the run `run_id`, each with its own, in the order in which they were called."""
    events = [record.event for record in await store.read(run_id)]
    calls = {event.key: event for event in events if isinstance(event, CallIntended) and event.kind is CallKind.RUN}
    return tuple([await _child(store, run_id, call) for call in calls.values()])


async def open_below(store: Store, run_id: str) -> list[str]:
    """The ids of the children of the run `run_id`, and of theirs, that have begun and not ended."""

    def below(children: tuple[Child, ...]) -> Iterator[str]:
        for child in children:
            if child.run is not None and child.run.state is not RunState.ENDED:
                yield child.run_id
            yield from below(child.children)

    return list(below(await children_of(store, run_id)))


async def _child(store: Store, parent: str, call: CallIntended) -> Child:
    run_id = child_id(parent, call.key)
    head = await store.head(run_id)
    if head is None or head.seq == 0:
        return Child(run_id=run_id, key=call.key, dependency=call.dependency, run=None)
    head = await latest_link(store, head)
    children = await children_of(store, head.run_id)
    return Child(run_id=run_id, key=call.key, dependency=call.dependency, run=head, children=children)
