"""Rows for guards, from a journal: which requests were handed to a person, and which answers say something was done.

What a journal knows is what happened, not what a text says: such labels are right on the whole, and wrong in places.
Look at the rows before anything learns from them. Prompt injection stands in no journal: its rows are a file of yours.
"""

import re
from collections.abc import Collection, Sequence
from functools import partial

from plimsoll.core.calls import CallKind, Effect, Status
from plimsoll.core.errors import Misuse
from plimsoll.core.events import ApprovalRequested, CallSettled, DoubtResolved, Event, RunEnded
from plimsoll.journal.store import Store
from plimsoll.learning.journals import JournalRows, request_text, rows_by
from plimsoll.learning.rows import MAX_CHARACTERS, Row

__all__ = ["CLAIMS_ACTION", "NEEDS_HUMAN", "OTHER", "guard_rows"]

NEEDS_HUMAN = "needs_human"
"""The label of a request that was handed to a person."""
CLAIMS_ACTION = "claims_action"
"""The label of an answer that ends a run in which something was changed."""
OTHER = "other"
"""The label of all others."""

_HANDS_OVER = re.compile(r"human|person|escalat|hand_?(over|off)", re.IGNORECASE)


async def guard_rows(
    store: Store, kind: str, *, agent: str | None = None, tools: Collection[str] = ()
) -> JournalRows[Row]:
    """The rows of an open journal for the guard `kind`, `needs_human` or `claims_action`, the earliest first.

    `tools` hand over to a person (none: those whose name says so); a model's rung that asks people does, too. `agent`
    as for `journal_rows`. Raises `Misuse` for another kind, and `JournalCorrupt`.
    """
    match kind:
        case "needs_human":
            return await rows_by(store, partial(_needs_human, tools=frozenset(tools)), agent=agent)
        case "claims_action":
            return await rows_by(store, _claims_action, agent=agent)
        case _:
            raise Misuse(f"a journal has no rows for {kind!r}: {NEEDS_HUMAN} or {CLAIMS_ACTION}")


def _needs_human(events: Sequence[Event], tools: Collection[str]) -> Row | None:
    text = request_text(events)
    if text is None:
        return None

    def hands_over(tool: str) -> bool:
        return tool in tools if tools else _HANDS_OVER.search(tool) is not None

    handed = any(
        event.answers if isinstance(event, ApprovalRequested) else _was_done(event) and hands_over(event.dependency)
        for event in events
        if isinstance(event, ApprovalRequested | CallSettled)
    )
    return Row(text, NEEDS_HUMAN if handed else OTHER)


def _claims_action(events: Sequence[Event]) -> Row | None:
    said = next((event.output for event in events if isinstance(event, RunEnded)), None)
    if not isinstance(said, str) or not said.strip() or len(said) > MAX_CHARACTERS or request_text(events) is None:
        return None
    changed = any(
        event.answer == "happened" if isinstance(event, DoubtResolved) else _was_done(event) and _changes(event)
        for event in events
        if isinstance(event, CallSettled | DoubtResolved)
    )
    return Row(said, CLAIMS_ACTION if changed else OTHER)


def _was_done(event: CallSettled) -> bool:
    return event.kind is CallKind.TOOL and event.outcome.status is Status.OK


def _changes(event: CallSettled) -> bool:
    return event.effect is not Effect.READ
