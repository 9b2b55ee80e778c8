"""Keys, acts and checkpoints in SQLite's tables. Each function works inside its caller's transaction."""

import sqlite3
from collections.abc import Iterator
from typing import Any

from plimsoll.core.errors import JournalCorrupt, RunErased, UnknownRun
from plimsoll.core.events import GENESIS
from plimsoll.journal.checkpoints import Checkpoint, Leaf, MakeCheckpoint, parse_checkpoint
from plimsoll.journal.evidence import check_erasable
from plimsoll.journal.keys import KeyRing, WrappedKey
from plimsoll.journal.sqlite.errors import RESTORE
from plimsoll.journal.sqlite.rows import HEAD, head_of
from plimsoll.journal.trail import Act, ActKind, Mark, act_after

__all__ = [
    "all_acts",
    "all_checkpoints",
    "all_leaves",
    "erase",
    "erased_by",
    "make_checkpoint",
    "note",
    "put_key",
    "rewrap",
    "wrapped_key",
]

_CHECKPOINTS = "SELECT number, body, signature FROM checkpoints"
_ACTS = "SELECT seq, at, act, subject, actor, reason, digest FROM acts"
_REWRAPPED_AT_ONCE = 1000


# ---------------------------------------------------------------------------------------------------------------- keys


def wrapped_key(connection: sqlite3.Connection, run_id: str) -> WrappedKey | None:
    """The run's key as it is stored, None for a run without one. Raises `RunErased` where it was destroyed."""
    row = connection.execute(
        "SELECT erased_at, master, wrapped FROM runs LEFT JOIN keys ON run = key WHERE run_id = ?", (run_id,)
    ).fetchone()
    if row is not None and row[0] is not None:
        raise RunErased(run_id)
    return None if row is None or row[1] is None else WrappedKey(row[1], row[2])


def put_key(connection: sqlite3.Connection, run: int, key: WrappedKey) -> None:
    """Keeps the key of the run whose row is `run`."""
    connection.execute("INSERT INTO keys VALUES (?, ?, ?)", (run, key.master, key.wrapped))


def rewrap(connection: sqlite3.Connection, ring: KeyRing) -> int:
    """Puts some keys under the ring's first master key, and says how many; 0 when there is none left."""
    rows = connection.execute(
        "SELECT run, run_id, master, wrapped FROM keys JOIN runs ON run = key WHERE master <> ? LIMIT ?",
        (ring.first, _REWRAPPED_AT_ONCE),
    ).fetchall()
    for run, run_id, master, wrapped in rows:
        key = ring.rewrap(run_id, WrappedKey(master, wrapped))
        connection.execute("UPDATE keys SET master = ?, wrapped = ? WHERE run = ?", (key.master, key.wrapped, run))
    return len(rows)


def erase(connection: sqlite3.Connection, run_id: str, *, by: str, reason: str, at: float) -> Act:
    """Destroys the run's key, and notes who said so; of a run that was erased already, finds that note."""
    row = connection.execute(f"SELECT {HEAD}, key FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise UnknownRun(run_id)
    head, run = head_of(row), row[-1]
    if head.erased_at is not None:
        return erased_by(connection, run_id)
    check_erasable(head, encrypted=wrapped_key(connection, run_id) is not None)
    # Overwritten where it stands, and only then taken out: no copy of it is left in the page.
    connection.execute("UPDATE keys SET wrapped = zeroblob(length(wrapped)) WHERE run = ?", (run,))
    connection.execute("DELETE FROM keys WHERE run = ?", (run,))
    connection.execute("UPDATE runs SET erased_at = ? WHERE key = ?", (at, run))
    return note(connection, ActKind.ERASED, run_id, by=by, reason=reason, at=at)


# ---------------------------------------------------------------------------------------------------------------- acts


def note(connection: sqlite3.Connection, act: ActKind, subject: str, *, by: str, reason: str, at: float) -> Act:
    """Adds an act to the trail."""
    made = act_after(_acts_mark(connection), act, subject, by=by, reason=reason, at=at)
    values = (made.seq, made.at, made.act.value, made.subject, made.by, made.reason, made.digest)
    connection.execute("INSERT INTO acts VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    return made


def all_acts(connection: sqlite3.Connection) -> list[Act]:
    """The trail. Raises `JournalCorrupt` for an act that cannot be read."""
    return [_act(row) for row in connection.execute(f"{_ACTS} ORDER BY seq")]


def erased_by(connection: sqlite3.Connection, run_id: str) -> Act:
    """The act that erased the run. Raises `JournalCorrupt` where there is none."""
    row = connection.execute(f"{_ACTS} WHERE act = ? AND subject = ?", (ActKind.ERASED.value, run_id)).fetchone()
    if row is None:
        raise JournalCorrupt(run_id, 0, f"it was erased, and the trail does not say by whom. {RESTORE}")
    return _act(row)


def _act(row: tuple[int, float, str, str, str, str, bytes]) -> Act:
    seq, at, act, subject, by, reason, digest = row
    try:
        return Act(seq=seq, at=at, act=ActKind(act), subject=subject, by=by, reason=reason, digest=digest)
    except ValueError as error:
        raise JournalCorrupt("*", 0, f"act {seq} of the trail cannot be read: {error}. {RESTORE}") from error


def _acts_mark(connection: sqlite3.Connection) -> Mark:
    row = connection.execute("SELECT seq, digest FROM acts ORDER BY seq DESC LIMIT 1").fetchone()
    return Mark() if row is None else Mark(count=row[0], digest=row[1])


# --------------------------------------------------------------------------------------------------------- checkpoints


def make_checkpoint(connection: sqlite3.Connection, make: MakeCheckpoint) -> Checkpoint | None:
    """Makes and keeps a checkpoint over whatever came since the last one; None where nothing did."""
    row = connection.execute(f"{_CHECKPOINTS} ORDER BY number DESC LIMIT 1").fetchone()
    previous = None if row is None else _checkpoint(row)
    leaves = list(_moved_since(connection, _covered(connection)))
    marks = (_acts_mark(connection), _inbox_mark(connection))
    if not leaves and marks == ((previous.acts, previous.inbox) if previous is not None else (Mark(), Mark())):
        return None
    made = make(previous, leaves, *marks)
    connection.execute("INSERT INTO checkpoints VALUES (?, ?, ?)", (made.number, made.body, made.signature))
    connection.executemany(
        "INSERT INTO leaves VALUES (?, ?, ?, ?, ?)",
        [(made.number, place, leaf.run_id, leaf.seq, leaf.digest) for place, leaf in enumerate(leaves)],
    )
    return made


def _covered(connection: sqlite3.Connection) -> int:
    """The row id of the last event that a checkpoint covers, 0 where there is none.

    Events are never deleted, so that their row ids follow one another in the order of writing.
    """
    (last,) = connection.execute(
        "SELECT coalesce(max(e.rowid), 0) FROM leaves l JOIN runs r ON r.run_id = l.run_id"
        " JOIN events e ON e.run = r.key AND e.seq = l.seq WHERE checkpoint = (SELECT max(checkpoint) FROM leaves)"
    ).fetchone()
    return int(last)


def _moved_since(connection: sqlite3.Connection, covered: int) -> Iterator[Leaf]:
    rows = connection.execute(
        "SELECT run_id, e.seq, e.digest FROM (SELECT run, max(seq) AS top FROM events WHERE rowid > ? GROUP BY run) m"
        " JOIN events e ON e.run = m.run AND e.seq = m.top JOIN runs ON key = m.run ORDER BY m.run",
        (covered,),
    )
    return (Leaf(*row) for row in rows)


def _inbox_mark(connection: sqlite3.Connection) -> Mark:
    (count,) = connection.execute("SELECT count(*) FROM inbox").fetchone()
    row = connection.execute("SELECT digest FROM inbox ORDER BY position DESC LIMIT 1").fetchone()
    return Mark(count=count, digest=GENESIS if row is None else row[0])


def all_checkpoints(connection: sqlite3.Connection) -> list[Checkpoint]:
    """Every checkpoint. Raises `JournalCorrupt` for one that cannot be read."""
    return [
        _checkpoint(row)
        for row in connection.execute("SELECT number, body, signature FROM checkpoints ORDER BY number")
    ]


def all_leaves(connection: sqlite3.Connection, number: int) -> list[Leaf]:
    """What the checkpoint of this number covers. Raises `JournalCorrupt` where that cannot be read."""
    rows = connection.execute("SELECT run_id, seq, digest FROM leaves WHERE checkpoint = ? ORDER BY place", (number,))
    leaves: list[Leaf] = []
    for run_id, seq, digest in rows:
        if not (isinstance(run_id, str) and isinstance(seq, int) and isinstance(digest, bytes)):
            raise JournalCorrupt("*", 0, f"what checkpoint {number} covers was altered, and cannot be read. {RESTORE}")
        leaves.append(Leaf(run_id, seq, digest))
    return leaves


def _checkpoint(row: tuple[Any, ...]) -> Checkpoint:
    number, body, signature = row[:3]
    try:
        checkpoint = parse_checkpoint(body, memoryview(signature).tobytes())
    except (ValueError, TypeError) as error:
        raise JournalCorrupt("*", 0, f"checkpoint {number} cannot be read: {error}. {RESTORE}") from error
    if checkpoint.number != number:
        raise JournalCorrupt(
            "*", 0, f"checkpoint {checkpoint.number} stands in the place of number {number}. {RESTORE}"
        )
    return checkpoint
