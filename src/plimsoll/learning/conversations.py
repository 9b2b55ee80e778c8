"""Conversations from a journal: what a run was asked, each call that it made with what came of it, and its answer.

This is what a policy learns: the next call from everything before it. One JSON object a line,
`{"request": …, "calls": [{"tool": …, "arguments": {…}, "result": …, "ok": true}], "answer": …}`: calls that were made
at the same time stand one after the other, as they do in the journal, and are learned so.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.calls import CallKind, Effect, Outcome, Status
from plimsoll.core.canonical import canonical_json, is_json, parse_json
from plimsoll.core.events import CallIntended, CallSettled, DoubtResolved, Event, RunEnded, RunStarted
from plimsoll.journal.store import Store
from plimsoll.learning.errors import DataError
from plimsoll.learning.journals import JournalRows, request_text, rows_by
from plimsoll.learning.lineage import Source, source_of
from plimsoll.learning.rows import MAX_CHARACTERS

__all__ = [
    "Conversation",
    "Decision",
    "Made",
    "as_result",
    "digest_of",
    "journal_conversations",
    "read_conversations",
]

MAX_BYTES = 1_000_000
"""The longest line, in bytes: a conversation with more in it is no row."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was made. `result` is JSON; where it is not `ok`, the text that says why not.

    `reads`: by its contract it changes nothing.
    """

    tool: str
    arguments: dict[str, Any]
    result: Any = None
    ok: bool = True
    reads: bool = False


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One run: the request, its calls in order, and what it answered (JSON).

    `group` is whose it is: conversations of one group, such as a customer's, are learned from or judged by, all
    together. A journal says the run's session; empty is a group of its own.
    """

    request: str
    calls: tuple[Made, ...] = ()
    answer: Any = None
    group: str = ""

    @property
    def decisions(self) -> Iterator["Decision"]:
        """Each of its next calls, and at last that there is none."""
        for number in range(len(self.calls) + 1):
            following = self.calls[number] if number < len(self.calls) else None
            yield Decision(self.request, self.calls[:number], following)


@dataclass(frozen=True, slots=True)
class Decision:
    """A moment of a conversation: what was asked, the calls `before`, and the call that was made next (None: it was
    answered)."""

    request: str
    before: tuple[Made, ...]
    next: Made | None


async def journal_conversations(store: Store, *, agent: str | None = None) -> JournalRows[Conversation]:
    """The conversations of an open journal, of one agent or (None) of all. Raises `JournalCorrupt`."""
    return await rows_by(store, _conversation, agent=agent)


def _conversation(events: Sequence[Event]) -> Conversation | None:
    text = request_text(events)
    if text is None:
        return None
    asked: dict[str, tuple[str, Any]] = {}
    changing: set[str] = set()
    came: dict[str, tuple[Any, bool]] = {}
    answer, session = None, ""
    for event in events:
        if isinstance(event, CallIntended | CallSettled) and event.kind is CallKind.TOOL:
            asked.setdefault(event.key, (event.dependency, event.args))
            if event.effect is not Effect.READ:
                changing.add(event.key)
        match event:
            case CallSettled(kind=CallKind.TOOL):
                came[event.key] = _came_of(event.outcome)
            case DoubtResolved(answer="happened"):
                came[event.key] = as_result(event.value), True
            case RunStarted():
                session = event.session
            case RunEnded():
                answer = event.output
    if not all(isinstance(arguments, dict) for _, arguments in asked.values()):
        return None  # erased, or sealed
    calls = (
        Made(tool=tool, arguments=arguments, result=came[key][0], ok=came[key][1], reads=key not in changing)
        for key, (tool, arguments) in asked.items()
        if key in came
    )
    found = Conversation(request=text, calls=tuple(calls), answer=answer, group=session)
    return found if len(canonical_json(found)) <= MAX_BYTES else None


def _came_of(outcome: Outcome) -> tuple[Any, bool]:
    if outcome.status is Status.OK:
        return as_result(outcome.value), True
    return (outcome.error.message if outcome.error is not None else str(outcome.status)), False


def as_result(value: Any) -> Any:
    """A tool's result as the data that it is: objects and arrays that frameworks hand on as text are read."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and is_json(value):
        return parse_json(value)
    return value


def digest_of(conversations: Sequence[Conversation]) -> str:
    """SHA-256 over all of them, in order."""
    made = hashlib.sha256()
    for conversation in conversations:
        made.update(canonical_json(conversation))
    return made.hexdigest()


def read_conversations(path: Path) -> tuple[list[Conversation], Source]:
    """The conversations of a `.jsonl` file, and what is known of where they come from.

    Raises `DataError`, with the line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), 0, f"it cannot be read: {error.strerror}") from error
    read = [_read(line, str(path), number) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
    if not read:
        raise DataError(str(path), 0, "it has no conversations")
    return read, source_of(path, raw)


def _read(line: bytes, file: str, number: int) -> Conversation:
    if len(line) > MAX_BYTES:
        raise DataError(file, number, f"a conversation of {len(line):,} bytes; {MAX_BYTES:,} are the most")
    try:
        found = msgspec.json.decode(line, type=Conversation)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(file, number, f'this is no {{"request": …, "calls": […], "answer": …}}: {error}') from error
    if not found.request.strip():
        raise DataError(file, number, "its request is empty: take the line away")
    if len(found.request) > MAX_CHARACTERS:
        raise DataError(
            file, number, f"a request of {len(found.request):,} characters; {MAX_CHARACTERS:,} are the most"
        )
    return found
