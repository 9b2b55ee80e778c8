"""Rows of the tables as heads and records, and what they say when they cannot be read."""

from collections.abc import Sequence
from typing import Any

import msgspec

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalCorrupt
from plimsoll.core.events import Record, decode_event
from plimsoll.journal.codec import Unreadable, opened
from plimsoll.journal.sqlite.errors import RESTORE
from plimsoll.journal.store import RunHead, RunState

__all__ = ["HEAD", "head_of", "record_of"]

HEAD = "run_id, epoch, owner, state, agent, seq, digest, ending, reason, wake_at, started_at, updated_at"
"""The columns of a head, in the order of `head_of`."""


def head_of(row: Sequence[Any]) -> RunHead:
    """The head that a row of `HEAD` tells. Raises `JournalCorrupt`."""
    run_id, epoch, owner, state, agent, seq, digest, ending, reason, wake_at, started_at, updated_at = row[:12]
    try:
        return RunHead(
            run_id=run_id, epoch=epoch, owner=owner, state=RunState(state), agent=agent, seq=seq, digest=digest,
            ending=None if ending is None else Ending(ending), reason=reason, wake_at=wake_at, started_at=started_at,
            updated_at=updated_at,
        )  # fmt: skip
    except ValueError as error:
        raise JournalCorrupt(run_id, seq, f"its head cannot be read: {error}. {RESTORE}") from error


def record_of(run_id: str, seq: int, row: tuple[Any, ...]) -> Record:
    """The run's record number `seq`, which the row must tell. Raises `JournalCorrupt`."""
    number, epoch, at, body, digest = row
    if number != seq:
        raise JournalCorrupt(run_id, seq, f"it is missing, {number} is the next. {RESTORE}")
    try:
        json = opened(body, None)
        decode_event(body if json is None else json)
    except (msgspec.DecodeError, Unreadable, TypeError) as error:
        raise JournalCorrupt(run_id, seq, f"it cannot be read: {error}. {RESTORE}") from error
    return Record(run_id=run_id, seq=seq, epoch=epoch, at=at, body=body, digest=digest, opened=json)
