"""Adding records: each run's are held against its head, and what passes is written many rows to a statement.

Between two statements Python's interpreter lock changes hands, and a busy event loop is slow to give it back. So a
batch takes few of them, not one for each row.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import attrgetter
from typing import Any

from plimsoll.core.events import Record
from plimsoll.journal.chain import admit, follow, words_at_end
from plimsoll.journal.messages import Message, stored_message
from plimsoll.journal.sqlite.rows import HEAD, head_of
from plimsoll.journal.store import RunHead

__all__ = ["Appender"]

_MAX_CACHED = 10_000
_MOST_ROWS = 256
"""In one statement: SQLite takes 32,766 values, and from here on more rows save nothing."""

_EVENTS = "INSERT INTO events VALUES {rows}"
_PLACES = (
    "WITH place (key, seq, digest, at) AS (VALUES {rows})"
    " UPDATE runs SET seq = place.seq, digest = place.digest, updated_at = place.at FROM place"
    " WHERE runs.key = place.key"
)
_RESTATED = (
    "state", "agent", "ending", "reason", "wake_at", "started_at", "parent", "session", "turn", "fingerprint", "seen",
)  # fmt: skip
"""What of a head changes with the events about the run itself."""
_restated_of = attrgetter(*_RESTATED)
_RESTATE = f"UPDATE runs SET {' = ?, '.join(_RESTATED)} = ? WHERE key = ?"


class Appender:
    """Adds records and moves heads on, inside its caller's transactions. `post` leaves a message in the inbox.

    It remembers the heads of the runs that it wrote last, until it is told that they may have changed.
    """

    def __init__(self, connection: sqlite3.Connection, *, post: Callable[[Message], object]) -> None:
        self._connection = connection
        self._post = post
        self._heads: dict[str, tuple[int, RunHead]] = {}  # with the run's key

    def append(self, records: Sequence[Record]) -> frozenset[str]:
        """Adds what extends its run. Returns the runs whose records are refused, all of them: see `Store.append`."""
        by_run: dict[str, list[Record]] = {}
        for record in records:
            by_run.setdefault(record.run_id, []).append(record)
        refused = []
        events: list[tuple[Any, ...]] = []
        places: list[tuple[Any, ...]] = []
        for run_id, group in by_run.items():
            key, head = self._head(run_id)
            fresh = None if head is None else admit(head, group, known=partial(self._digest, key))
            if head is None or fresh is None:
                refused.append(run_id)
            elif fresh:
                events += [(key, r.seq, r.epoch, r.at, r.body, r.digest) for r in fresh]
                after = self._follow(key, head, fresh)
                places.append((key, after.seq, after.digest, after.updated_at))
        self._write(_EVENTS, events)
        self._write(_PLACES, places)
        return frozenset(refused)

    def _follow(self, key: int, head: RunHead, fresh: Sequence[Record]) -> RunHead:
        """Moves a head on, and restates it where it says something else of the run by now."""
        after = follow(head, fresh)
        restated = _restated_of(after)
        if restated != _restated_of(head):
            self._connection.execute(_RESTATE, (*restated, key))
            for word in words_at_end(head, after, fresh[-1]):
                self._post(stored_message(word, None))
        self.remember(key, after)
        return after

    def remember(self, key: int, head: RunHead) -> None:
        """Keeps the head of the run whose row is `key`, as it stands now."""
        if len(self._heads) >= _MAX_CACHED:
            self._heads.clear()
        self._heads[head.run_id] = (key, head)

    def forget(self, run_id: str | None = None) -> None:
        """Forgets a head, or all of them: somebody else may have changed it."""
        if run_id is None:
            self._heads.clear()
        else:
            self._heads.pop(run_id, None)

    def _head(self, run_id: str) -> tuple[int, RunHead | None]:
        if run_id in self._heads:
            return self._heads[run_id]
        row = self._connection.execute(f"SELECT {HEAD}, key FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return (0, None) if row is None else (row[-1], head_of(row))

    def _digest(self, key: int, seq: int) -> bytes | None:
        row = self._connection.execute("SELECT digest FROM events WHERE run = ? AND seq = ?", (key, seq)).fetchone()
        return None if row is None else row[0]

    def _write(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Writes all rows, by statements of a few sizes only: SQLite prepares each size once."""
        at = 0
        while left := len(rows) - at:
            size = min(1 << (left.bit_length() - 1), _MOST_ROWS)
            some = rows[at : at + size]
            self._connection.execute(_with_rows(sql, size, len(some[0])), [value for row in some for value in row])
            at += size


@cache
def _with_rows(sql: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return sql.format(rows=", ".join([row] * rows))
