"""Adding records: each run's are held against its head, and what passes is written many rows to a statement.

Between two statements Python's interpreter lock changes hands, and a busy event loop is slow to give it back. So a
batch takes a few of them, not one for each row.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from operator import attrgetter
from typing import Any

from plimsoll.core.errors import JournalCorrupt
from plimsoll.core.events import Record
from plimsoll.journal.chain import admit, follow, moved_on, restated, words_at_end
from plimsoll.journal.keys import WrappedKey
from plimsoll.journal.messages import stored_message
from plimsoll.journal.sqlite.evidence import put_key
from plimsoll.journal.sqlite.inbox import post
from plimsoll.journal.sqlite.rows import COLUMNS, HEAD, head_of, row_of
from plimsoll.journal.store import RunHead

__all__ = ["Appender"]

_MAX_CACHED = 10_000
_MOST_BEGUN = 100_000
"""Runs that were begun and came to nothing, as they do while the disk is full, are forgotten in the end."""
_MOST_ROWS = 256
"""In one statement: SQLite takes 32,766 values, and from here on more rows save nothing."""

_EVENTS = "INSERT INTO events VALUES {rows}"
_PLACES = (
    "WITH place (key, seq, digest, at) AS (VALUES {rows})"
    " UPDATE runs SET seq = place.seq, digest = place.digest, updated_at = place.at FROM place"
    " WHERE runs.key = place.key"
)
_POSTED = "(SELECT coalesce(max(position), 0) FROM inbox WHERE inbox.run_id = begun.run_id)"
_BEGUN = (
    f"WITH begun ({HEAD}) AS (VALUES {{rows}}) INSERT INTO runs ({HEAD})"
    f" SELECT {', '.join(_POSTED if name == 'posted' else name for name in COLUMNS)} FROM begun WHERE TRUE"
    " ON CONFLICT (run_id) DO NOTHING RETURNING run_id, key"
)
_RESTATED = (
    "state", "agent", "ending", "reason", "wake_at", "started_at", "parent", "session", "turn", "fingerprint", "seen",
    "asks",
)  # fmt: skip
"""What of a head changes with the events about the run itself."""
_restated_of = attrgetter(*_RESTATED)
_RESTATE = (
    f"WITH said (key, {', '.join(_RESTATED)}) AS (VALUES {{rows}})"
    f" UPDATE runs SET {', '.join(f'{name} = said.{name}' for name in _RESTATED)} FROM said WHERE runs.key = said.key"
)


class _Run:
    """A run that has a row, and its head as it stands."""

    __slots__ = ("digest", "head", "key")

    def __init__(self, key: int, head: RunHead, digest: Callable[[int, int], bytes | None]) -> None:
        self.key = key
        self.head = head
        self.digest = partial(digest, key)


class Appender:
    """Adds records and moves heads on, inside its caller's transactions.

    It remembers the heads of the runs that it wrote last, until it is told that they may have changed. Whenever it
    leaves a message, it calls `on_post`.
    """

    def __init__(self, connection: sqlite3.Connection, *, on_post: Callable[[], object]) -> None:
        self._connection = connection
        self._on_post = on_post
        self._runs: dict[str, _Run] = {}
        self._begun: dict[str, tuple[RunHead, WrappedKey | None]] = {}  # and have no row yet
        self._decided: list[str] = []  # those that have one by now, ours or another's, if this transaction commits

    def begin(self, head: RunHead, key: WrappedKey | None) -> None:
        """Has a run's row, and its key, written with its first records, or its next claim."""
        if len(self._begun) >= _MOST_BEGUN:
            for earliest in list(self._begun)[: _MOST_BEGUN // 2]:
                self._begun.pop(earliest, None)
        self._begun[head.run_id] = (head, key)

    def key_of_begun(self, run_id: str) -> WrappedKey | None:
        """The key of a run that was begun, and is not written yet."""
        return self._begun[run_id][1] if run_id in self._begun else None

    def settle(self, run_id: str) -> None:
        """Writes the row of a run that was begun, before somebody else claims it."""
        if run_id in self._begun:
            self._insert([self._begun[run_id][0]])
            self._decided.append(run_id)

    def append(self, records: Sequence[Record]) -> frozenset[str]:
        """Adds what extends its run. Returns the runs whose records are refused, all of them: see `Store.append`."""
        by_run = _by_run(records)
        # Looked up before anything is written: a head that cannot be read raises, and the transaction goes on.
        runs = {
            run_id: self._runs.get(run_id) or self._look_up(run_id) for run_id in by_run.keys() - self._begun.keys()
        }
        added = self._begin({run_id: group for run_id, group in by_run.items() if run_id not in runs})
        places: list[Any] = []
        said: list[Any] = []
        refused = []
        for run_id, group in by_run.items():
            if run_id in added:
                continue
            run = runs[run_id] if run_id in runs else self._contested(run_id, group[0])
            fresh = None if run is None else admit(run.head, group, known=run.digest)
            if run is None or fresh is None:
                refused.append(run_id)
            elif fresh:
                added[run_id] = run.key, fresh
                if self._follow(run, fresh):
                    said += (run.key, *_restated_of(run.head))
                places += (run.key, run.head.seq, run.head.digest, run.head.updated_at)
        self._write(_EVENTS, _event_values(added.values()), columns=6)
        self._write(_PLACES, places, columns=4)
        self._write(_RESTATE, said, columns=1 + len(_RESTATED))
        return frozenset(refused)

    def _contested(self, run_id: str, first: Record) -> _Run | None:
        """A begun run whose row is there already: ours by an earlier try, or None because somebody else was faster."""
        try:
            run = self._look_up(run_id)
        except JournalCorrupt:
            return None
        return run if run is not None and run.digest(1) == first.digest else None

    def _begin(self, by_run: Mapping[str, Sequence[Record]]) -> dict[str, tuple[int, list[Record]]]:
        """Writes the rows of begun runs as their first records leave them: of those that nobody else has."""
        self._decided += by_run
        begun: dict[str, tuple[RunHead, list[Record]]] = {}
        for run_id, group in by_run.items():
            head, _ = self._begun[run_id]
            fresh = admit(head, group, known=_nothing)
            if fresh:
                begun[run_id] = follow(head, fresh), fresh
        added: dict[str, tuple[int, list[Record]]] = {}
        for run_id, key in self._insert([after for after, _ in begun.values()]):
            after, fresh = begun[run_id]
            self._leave_words(self._begun[run_id][0], after, fresh)
            self.remember(key, after)
            added[run_id] = key, fresh
        return added

    def _insert(self, heads: Sequence[RunHead]) -> list[tuple[str, int]]:
        """Writes rows, and keys, of begun runs. Returns the ids and row keys of those that had none."""
        values = [value for head in heads for value in row_of(head)]
        inserted = self._write(_BEGUN, values, columns=len(COLUMNS))
        for run_id, key in inserted:
            if (wrapped := self.key_of_begun(run_id)) is not None:
                put_key(self._connection, key, wrapped)
        return inserted

    def _follow(self, run: _Run, fresh: Sequence[Record]) -> bool:
        """Moves a run's head on. Returns whether its records say something of the run itself."""
        before, said = run.head, restated(run.head, fresh)
        run.head = moved_on(said, fresh[-1])
        if said is not before:
            self._leave_words(before, run.head, fresh)
        return said is not before

    def _leave_words(self, before: RunHead, after: RunHead, fresh: Sequence[Record]) -> None:
        for word in words_at_end(before, after, fresh[-1]):
            self._on_post()
            post(self._connection, stored_message(word, None))

    def remember(self, key: int, head: RunHead) -> _Run:
        """Keeps the head of the run whose row is `key`, as it stands now."""
        if len(self._runs) >= _MAX_CACHED:
            self._runs.clear()
        run = self._runs[head.run_id] = _Run(key, head, self._digest)
        return run

    def forget(self, run_id: str | None = None) -> None:
        """Forgets a head, or all of them: somebody else may have changed it, or what was written was taken back."""
        if run_id is None:
            self._runs.clear()
            self._decided.clear()
        else:
            self._runs.pop(run_id, None)

    def committed(self) -> None:
        """What was written stays."""
        for run_id in self._decided:
            self._begun.pop(run_id, None)
        self._decided.clear()

    def _look_up(self, run_id: str) -> _Run | None:
        row = self._connection.execute(f"SELECT {HEAD}, key FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return None if row is None else self.remember(row[-1], head_of(row))

    def _digest(self, key: int, seq: int) -> bytes | None:
        row = self._connection.execute("SELECT digest FROM events WHERE run = ? AND seq = ?", (key, seq)).fetchone()
        return None if row is None else row[0]

    def _write(self, sql: str, values: list[Any], *, columns: int) -> list[Any]:
        """Writes rows, whose values follow one another, by statements of a few sizes only: SQLite prepares each once.

        Returns what they return.
        """
        at, returned = 0, []
        while left := (len(values) - at) // columns:
            rows = min(1 << (left.bit_length() - 1), _MOST_ROWS)
            some = values[at : at + rows * columns]
            returned += self._connection.execute(_with_rows(sql, rows, columns), some).fetchall()
            at += rows * columns
        return returned


def _by_run(records: Sequence[Record]) -> dict[str, list[Record]]:
    by_run: dict[str, list[Record]] = {}
    for record in records:
        by_run.setdefault(record.run_id, []).append(record)
    return by_run


def _event_values(added: Iterable[tuple[int, list[Record]]]) -> list[Any]:
    values: list[Any] = []
    for key, records in added:
        for record in records:
            values += (key, record.seq, record.epoch, record.at, record.body, record.digest)
    return values


def _nothing(seq: int) -> None:
    """The digest of a stored record, of a run that has none."""


@cache
def _with_rows(sql: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return sql.format(rows=", ".join([row] * rows))
