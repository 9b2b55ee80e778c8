"""Rows from a journal: what runs were asked, and which tool each called first.

Of every run that completed: its request, and its first tool as the label; `answer` where it called none. This is what a
router learns, and it stands in the journal already, in the words of those who ask.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from plimsoll.core.calls import CallKind, Ending
from plimsoll.core.events import CallIntended, CallSettled, Event, RunStarted
from plimsoll.journal.store import Store
from plimsoll.learning.rows import MAX_CHARACTERS, Row

__all__ = [
    "ANSWER",
    "JournalRows",
    "asked_text",
    "journal_identity",
    "journal_rows",
    "request_text",
    "rows_by",
]

ANSWER = "answer"
"""The label of a request that was answered without any tool."""

T = TypeVar("T")

_HELD = ("prompt", "content", "text", "messages", "input")
_UNREADABLE = frozenset({"[erased]", "[sealed]"})
_PEOPLE = frozenset({"user", "human"})


@dataclass(frozen=True, slots=True)
class JournalRows(Generic[T]):
    """The rows, the earliest first, the run behind each, and how many completed runs gave none: no text, too long a
    one, or erased."""

    rows: tuple[T, ...]
    runs: tuple[str, ...]
    left_out: int


async def journal_rows(store: Store, *, agent: str | None = None) -> JournalRows[Row]:
    """The rows of an open journal, of one agent or (None) of all. Raises `JournalCorrupt` for what cannot be read."""
    return await rows_by(store, _row, agent=agent)


async def rows_by(
    store: Store, read: Callable[[Sequence[Event]], T | None], *, agent: str | None = None
) -> JournalRows[T]:
    """What `read` makes of the events of each completed run, where it makes anything of them."""
    rows, runs, left_out = [], [], 0
    for head in reversed(await store.heads()):
        if head.ending is not Ending.COMPLETE or agent not in (None, head.agent):
            continue
        row = read([record.event for record in await store.read(head.run_id)])
        if row is None:
            left_out += 1
        else:
            rows.append(row)
            runs.append(head.run_id)
    return JournalRows(tuple(rows), tuple(runs), left_out)


async def journal_identity(store: Store) -> str:
    """What names a journal wherever it lies: the digest of the first record of its first run. Empty: it has no run."""
    heads = await store.heads()
    first = await store.read(heads[-1].run_id, limit=1) if heads else []
    return first[0].digest.hex() if first else ""


def _row(events: Sequence[Event]) -> Row | None:
    text = request_text(events)
    if text is None:
        return None
    tools = (
        event.dependency
        for event in events
        if isinstance(event, CallIntended | CallSettled) and event.kind is CallKind.TOOL
    )
    return Row(text, next(tools, ANSWER))


def request_text(events: Sequence[Event]) -> str | None:
    """What a run was asked, by its events; None where there is no text, one that is too long, or an erased one."""
    asked = next((event.input for event in events if isinstance(event, RunStarted)), None)
    text = asked_text(asked)
    if text is None or text in _UNREADABLE or not text.strip() or len(text) > MAX_CHARACTERS:
        return None
    return text


def asked_text(asked: Any) -> str | None:
    """What a person wrote, in whatever an adapter records of it: a text, a prompt, or the last message of a person."""
    if isinstance(asked, str):
        return asked
    if isinstance(asked, Mapping):
        if asked.get("role", asked.get("type", "user")) not in _PEOPLE and "content" in asked:
            return None
        return next((text for key in _HELD if (text := asked_text(asked.get(key))) is not None), None)
    if isinstance(asked, Sequence):
        return next((text for item in reversed(asked) if (text := asked_text(item)) is not None), None)
    return None
