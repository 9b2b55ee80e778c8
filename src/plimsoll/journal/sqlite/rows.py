"""Rows of the tables as heads and records, and what they say when they cannot be read."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalCorrupt
from plimsoll.core.events import Record, decode_event
from plimsoll.journal.codec import Unreadable
from plimsoll.journal.sqlite.errors import RESTORE
from plimsoll.journal.store import RunHead, RunState

__all__ = ["COLUMNS", "HEAD", "head_of", "record_of", "row_of"]

COLUMNS = (
    "run_id", "epoch", "owner", "state", "agent", "seq", "digest", "ending", "reason", "wake_at", "started_at",
    "updated_at", "parent", "session", "turn", "erased_at",
)  # fmt: skip
"""The columns of a head: its fields, by their names."""

HEAD = ", ".join(COLUMNS)


def head_of(row: Sequence[Any]) -> RunHead:
    """The head that a row of `HEAD` tells. Raises `JournalCorrupt`."""
    told = dict(zip(COLUMNS, row, strict=False))  # a key may stand behind them
    try:
        ending = None if told["ending"] is None else Ending(told["ending"])
        return RunHead(**told | {"state": RunState(told["state"]), "ending": ending})
    except ValueError as error:
        raise JournalCorrupt(told["run_id"], told["seq"], f"its head cannot be read: {error}. {RESTORE}") from error


def row_of(head: RunHead, columns: Sequence[str] = COLUMNS) -> tuple[Any, ...]:
    """The values of a head in these columns."""
    return tuple(getattr(head, name) for name in columns)


def record_of(run_id: str, seq: int, row: tuple[Any, ...], *, opened: Callable[[bytes], bytes | None]) -> Record:
    """The run's record number `seq`, which the row must tell. Raises `JournalCorrupt`."""
    number, epoch, at, body, digest = row
    if number != seq:
        raise JournalCorrupt(run_id, seq, f"it is missing, {number} is the next. {RESTORE}")
    try:
        json = opened(body)
        decode_event(body if json is None else json)
    except (msgspec.DecodeError, Unreadable, TypeError) as error:
        raise JournalCorrupt(run_id, seq, f"it cannot be read: {error}. {RESTORE}") from error
    return Record(run_id=run_id, seq=seq, epoch=epoch, at=at, body=body, digest=digest, opened=json)
