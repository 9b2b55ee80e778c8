"""Rows of the tables as heads and records, and what they say when they cannot be read."""

from collections.abc import Callable, Sequence
from typing import Any

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalCorrupt
from plimsoll.core.events import Record, decode_event
from plimsoll.journal.sqlite.errors import RESTORE
from plimsoll.journal.store import RunHead, RunState

__all__ = ["ASKING", "COLUMNS", "HEAD", "due_conditions", "head_of", "record_of", "row_of"]

COLUMNS = (
    "run_id", "epoch", "owner", "state", "agent", "seq", "digest", "ending", "reason", "wake_at", "started_at",
    "updated_at", "parent", "session", "turn", "fingerprint", "seen", "posted", "asks", "erased_at",
)  # fmt: skip
"""The columns of a head: its fields, by their names."""

HEAD = ", ".join(COLUMNS)

ASKING = "runs INDEXED BY runs_that_ask WHERE asks > 0 AND erased_at IS NULL ORDER BY started_at DESC, run_id"
"""Where `Store.asking` looks, by its own index whatever SQLite thinks of the others."""


def head_of(row: Sequence[Any]) -> RunHead:
    """The head that a row of `HEAD` tells. Raises `JournalCorrupt`."""
    told = dict(zip(COLUMNS, row, strict=False))  # a key may stand behind them
    try:
        ending = None if told["ending"] is None else Ending(told["ending"])
        _check_numbers(epoch=told["epoch"], seq=told["seq"])
        return RunHead(**told | {"state": RunState(told["state"]), "ending": ending})
    except ValueError as error:
        seq = told["seq"] if isinstance(told["seq"], int) else 0
        raise JournalCorrupt(told["run_id"], seq, f"its head cannot be read: {error}. {RESTORE}") from error


def _check_numbers(**numbers: object) -> None:
    """Raises `ValueError` for what is no integer: SQLite keeps anything in any column."""
    for name, number in numbers.items():
        if not isinstance(number, int):
            raise ValueError(f"its {name} is no number")


def row_of(head: RunHead) -> tuple[Any, ...]:
    """The values of a head in `COLUMNS`."""
    return tuple(getattr(head, name) for name in COLUMNS)


def due_conditions(*, agent: str, fingerprint: str, now: float) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """The conditions of `Store.due` and their values: one for each index that finds some of its runs."""
    return (
        ("state = 'parked' AND wake_at IS NOT NULL AND agent = ? AND wake_at <= ? ORDER BY wake_at", (agent, now)),
        ("state = 'parked' AND posted > seen AND agent = ?", (agent,)),
        ("state = 'parked' AND reason = 'version' AND agent = ? AND fingerprint = ?", (agent, fingerprint)),
        ("state = 'running' AND agent = ? AND seq > 0", (agent,)),
    )


def record_of(run_id: str, seq: int, row: tuple[Any, ...], *, opened: Callable[[bytes], bytes | None]) -> Record:
    """The run's record number `seq`, which the row must tell. Raises `JournalCorrupt`."""
    number, epoch, at, body, digest = row
    if number != seq:
        raise JournalCorrupt(run_id, seq, f"it is missing, {number} is the next. {RESTORE}")
    try:
        json = opened(body)
        decode_event(body if json is None else json)
        _check_numbers(epoch=epoch)
    except (ValueError, TypeError) as error:
        raise JournalCorrupt(run_id, seq, f"it cannot be read: {error}. {RESTORE}") from error
    return Record(run_id=run_id, seq=seq, epoch=epoch, at=at, body=body, digest=digest, opened=json)
