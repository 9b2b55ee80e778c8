"""How runs belong together: children, turns of a session, and the runs of a chain, each found by its id alone.

    ticket-7713/2              the second turn of the session ticket-7713
    ticket-7713/2~3            the third run of the chain that this turn has become by continuing as new
    ticket-7713/2~3/4:billing  its child, begun by its fourth call
    ticket-7713/2/undo         the run that takes back what the second turn has done

So whoever goes on with a run finds the same others, with nothing to look them up in.
"""

import re
from urllib.parse import quote

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalCorrupt, Misuse
from plimsoll.core.events import RunStarted
from plimsoll.journal.store import RunHead, Store
from plimsoll.runtime.isolation import CIRCUIT

__all__ = [
    "check_id",
    "check_run_id",
    "child_id",
    "latest_link",
    "link_id",
    "link_of",
    "scopes_of",
    "turn_id",
    "turn_of",
    "undo_id",
]

_UNDO = re.compile(r".*/undo(-[1-9][0-9]*)?", re.DOTALL)
_LINK = re.compile(r"(?P<first>.*)~(?P<number>[1-9][0-9]*)", re.DOTALL)


def check_id(given: object) -> None:
    """Raises `Misuse` for what is no text, or empty, or cannot be written down: no run or session has that id."""
    if not isinstance(given, str) or not given:
        raise Misuse(f"{given!r} is no id: that is a text, and not empty")
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise Misuse(f"{given!r} is no id: {error}") from error


def check_run_id(run_id: str) -> None:
    """Raises `Misuse` for an id that would name a later run of another's chain, or one that takes something back, and
    for what is none at all."""
    check_id(run_id)
    if run_id.startswith(CIRCUIT):
        raise Misuse(f"{run_id!r} names a circuit; an id of your own does not begin with {CIRCUIT}")
    if _LINK.fullmatch(run_id):
        raise Misuse(f"{run_id!r} names a run of a chain; an id of your own does not end in ~ and a number")
    if _UNDO.fullmatch(run_id):
        raise Misuse(f"{run_id!r} names a run that takes back what another did: end no id of your own in /undo")


def child_id(parent: str, key: str) -> str:
    """The id of the child that the call `key` of the run `parent` begins: the same after any crash, and no other's."""
    name = quote(key, safe=":").replace("~", "%7E")
    return f"{parent}/{name.replace('u', '%75', 1)}" if _UNDO.fullmatch(f"/{name}") else f"{parent}/{name}"


def turn_id(session: str, number: int) -> str:
    """The id of a session's turn, counted from 1."""
    return f"{session}/{number}"


def undo_id(run_id: str, number: int) -> str:
    """The id of the run that takes back something of the run `run_id`, the `number`-th time that is asked for."""
    return f"{run_id}/undo" if number == 1 else f"{run_id}/undo-{number}"


def turn_of(session: str, run_id: str) -> int:
    """Which turn of the session the run `run_id` is, or is the beginning of; 0 for a later run of a turn's chain."""
    number = run_id.removeprefix(f"{session}/")
    return int(number) if number.isdecimal() else 0


def link_of(run_id: str) -> tuple[str, int]:
    """The id of the first run of the chain that `run_id` is of, and its place there, from 1."""
    match = _LINK.fullmatch(run_id)
    return (run_id, 1) if match is None else (match["first"], int(match["number"]))


def link_id(first: str, number: int) -> str:
    """The id of a run of a chain, counted from 1: the first one's own, or with its place behind it."""
    return first if number == 1 else f"{first}~{number}"


def scopes_of(run_id: str, started: RunStarted) -> tuple[str, ...]:
    """The ids by which a kill switch reaches this run: those of whatever it is part of, the outermost first, its
    chain's, and its own."""
    return tuple(dict.fromkeys((*started.within, link_of(run_id)[0], run_id)))


async def latest_link(store: Store, head: RunHead) -> RunHead:
    """The run that the chain of `head` has come to: the first that has not gone on as another.

    Looks up as many heads as the logarithm of the chain's length, since the runs of a chain are numbered without a gap.
    Raises `JournalCorrupt` when the run that another went on as is not there.
    """
    if head.ending is not Ending.CONTINUED:
        return head
    first, low = link_of(head.run_id)
    step = 1
    while await _went_on(store, link_id(first, low + step)):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if await _went_on(store, link_id(first, middle)):
            low = middle
        else:
            high = middle
    latest = await store.head(link_id(first, high))
    if latest is None:
        raise JournalCorrupt(link_id(first, high), 1, f"{link_id(first, low)} went on as this run, and it is not there")
    return latest


async def _went_on(store: Store, run_id: str) -> bool:
    head = await store.head(run_id)
    return head is not None and head.ending is Ending.CONTINUED
