"""How the command line shows what runs belong together: parents and children, turns, and runs that continued as new."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rich.console import Console

from plimsoll.cli.printing import line
from plimsoll.core.calls import Ending
from plimsoll.journal.store import RunHead, RunState, Store
from plimsoll.runtime.family import Child
from plimsoll.runtime.lineage import latest_link, link_id, link_of

__all__ = ["asked_for", "belongs", "children_json", "latest_runs", "print_family", "state_of"]

Heads = Callable[[int], Awaitable[list[RunHead]]]


def state_of(head: RunHead) -> str:
    """How a run stands, in one word: its ending, once it has one."""
    return head.ending.value if head.ending is not None else head.state.value


async def asked_for(store: Store, run_id: str) -> RunHead | None:
    """The run that `run_id` means to somebody who looks: of a chain the latest, or that with the number behind a ~."""
    first, number = link_of(run_id)
    if run_id != first:
        return await store.head(link_id(first, number))
    head = await store.head(run_id)
    return None if head is None else await latest_link(store, head)


async def latest_runs(heads: Heads, *, limit: int) -> list[RunHead]:
    """The first `limit` of what `heads` gives that are something to somebody: begun, and the latest of their chain."""
    asked = limit
    while True:
        found = await heads(asked)
        shown = [head for head in found if head.seq and head.ending is not Ending.CONTINUED]
        if len(shown) >= limit or len(found) < asked:
            return shown[:limit]
        asked *= 4


def belongs(head: RunHead) -> dict[str, Any]:
    """What a run is part of, as JSON: its parent, its session and turn, its place in a chain; none of it left out."""
    return {
        "parent": head.parent or None,
        "session": head.session or None,
        "turn": head.turn or None,
        "link": link_of(head.run_id)[1],
    }


def children_json(children: Sequence[Child]) -> list[dict[str, Any]]:
    """A run's children as JSON, each with its own."""
    return [
        {
            "run_id": child.run_id,
            "agent": child.dependency,
            "state": None if child.run is None else state_of(child.run),
            "reason": "" if child.run is None else child.run.reason,
            "children": children_json(child.children),
        }
        for child in children
    ]


def print_family(out: Console, head: RunHead, children: Sequence[Child]) -> None:
    """What the run is part of, and its children as a tree."""
    first, number = link_of(head.run_id)
    if head.parent:
        line(out, "  a child of ", head.parent)
    if head.session:
        line(out, f"  a turn of the session {head.session}", f", {head.turn}" if head.turn else "")
    if number > 1:
        line(out, f"  the {number}. run of {first}; the one before is {first}~{number - 1}")
    if head.ending is Ending.CONTINUED:
        line(out, f"  it went on as {link_id(first, number + 1)}")
    _print_children(out, children, indent="  ")


def _print_children(out: Console, children: Sequence[Child], *, indent: str) -> None:
    for child in children:
        run = child.run
        state = "not begun" if run is None else state_of(run)
        why = f" ({run.reason})" if run is not None and run.reason and run.state is not RunState.RUNNING else ""
        line(out, f"{indent}└ {child.dependency}: ", (child.run_id, "bold"), f" {state}{why}")
        _print_children(out, child.children, indent=indent + "  ")
