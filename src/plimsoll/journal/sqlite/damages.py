"""What is wrong with a journal's file, as far as only SQLite's own tables show it."""

import sqlite3
from collections.abc import Iterator
from functools import partial

from plimsoll.core.errors import JournalCorrupt, KeyMissing
from plimsoll.core.events import GENESIS
from plimsoll.journal.evidence import Damage
from plimsoll.journal.keys import KeyRing, WrappedKey
from plimsoll.journal.messages import Message, message_link

__all__ = ["damages"]

_MOST_TOLD = 20


def damages(connection: sqlite3.Connection, ring: KeyRing | None) -> list[Damage]:
    """Damaged pages, rows that are missing or belong nowhere, ids that are none, messages that were altered, kill
    switches that nobody engaged, keys that do not open by `ring`. What cannot be looked at is damaged, too.
    """
    found: list[Damage] = []
    for look in (_pages, _ids, _strays, _gaps, _inbox, _halts, partial(_keys, ring=ring)):
        try:
            found += look(connection)
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            found.append(Damage(run_id="*", seq=0, what=f"the file is damaged: {error}"))
    return found


def _pages(connection: sqlite3.Connection) -> Iterator[Damage]:
    for (said,) in connection.execute(f"PRAGMA integrity_check({_MOST_TOLD})"):
        if said != "ok":
            yield Damage(run_id="*", seq=0, what=f"the file is damaged: {said}")


def _ids(connection: sqlite3.Connection) -> Iterator[Damage]:
    """Ids of runs that are no text. Whatever else looks at them takes that for granted."""
    for (run_id,) in connection.execute("SELECT run_id FROM runs WHERE typeof(run_id) <> 'text'"):
        yield Damage(run_id=str(run_id), seq=0, what="its id is no text")


def _strays(connection: sqlite3.Connection) -> Iterator[Damage]:
    """Rows that belong to a run which is not there, or belong to none any more."""
    for run, events in connection.execute(
        "SELECT run, count(*) FROM events WHERE run NOT IN (SELECT key FROM runs) GROUP BY run LIMIT ?", (_MOST_TOLD,)
    ):
        yield Damage(run_id="*", seq=0, what=f"a run was dropped: its {events} events are there (as run {run})")
    for run_id, erased_at, keys in connection.execute(
        "SELECT run_id, erased_at, count(run) FROM keys LEFT JOIN runs ON run = key"
        " WHERE run_id IS NULL OR erased_at IS NOT NULL GROUP BY run_id LIMIT ?",
        (_MOST_TOLD,),
    ):
        what = "it was erased, and its key is there" if erased_at is not None else f"{keys} keys belong to no run"
        yield Damage(run_id=str(run_id or "*"), seq=0, what=what)
    for (run_id,) in connection.execute(
        "SELECT run_id FROM runs r WHERE posted <> (SELECT coalesce(max(position), 0) FROM inbox i"
        " WHERE i.run_id = r.run_id) LIMIT ?",
        (_MOST_TOLD,),
    ):
        yield Damage(run_id=str(run_id), seq=0, what="its head and the inbox disagree about the last message to it")


def _gaps(connection: sqlite3.Connection) -> Iterator[Damage]:
    """Rows that are missing at the end of a table which counts those that it ever had."""
    counted = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    for table, number in (("inbox", "position"), ("acts", "seq"), ("checkpoints", "number")):
        (last,) = connection.execute(f"SELECT coalesce(max({number}), 0) FROM {table}").fetchone()
        if last != counted.get(table, 0):
            yield Damage(run_id="*", seq=0, what=f"{table} end at {last}, and there were {counted.get(table, 0)}")
    for (number,) in connection.execute(
        "SELECT DISTINCT checkpoint FROM leaves WHERE checkpoint NOT IN (SELECT number FROM checkpoints) LIMIT ?",
        (_MOST_TOLD,),
    ):
        yield Damage(run_id="*", seq=0, what=f"checkpoint {number} was dropped")
    for (number,) in connection.execute(
        "SELECT checkpoint FROM leaves GROUP BY checkpoint HAVING min(place) <> 0 OR max(place) <> count(*) - 1"
    ):
        yield Damage(run_id="*", seq=0, what=f"what checkpoint {number} covers was altered")


def _inbox(connection: sqlite3.Connection) -> Iterator[Damage]:
    digest = GENESIS
    rows = "SELECT position, digest, request_id, run_id, kind, body, sender, at FROM inbox ORDER BY position"
    for position, stored, *row in connection.execute(rows):
        message = Message(*row)
        digest = message_link(digest, position, message)
        if digest != stored:
            what = f"message {position} in the inbox, or the one before it, was altered, dropped or added"
            yield Damage(run_id=str(message.run_id), seq=0, what=what)
            return


def _keys(connection: sqlite3.Connection, *, ring: KeyRing | None) -> Iterator[Damage]:
    """Keys that do not open, as far as there is anything here to open them by."""
    if ring is None:
        return
    rows = connection.execute(
        "SELECT run_id, master, wrapped FROM keys JOIN runs ON run = key WHERE typeof(run_id) = 'text' ORDER BY run"
    )
    for run_id, master, wrapped in rows:
        try:
            ring.open(run_id, WrappedKey(master, wrapped))
        except KeyMissing:
            yield Damage(run_id=run_id, seq=0, what=f"its key is wrapped by master key {master}, which is not here")
        except JournalCorrupt as error:
            yield Damage(run_id=run_id, seq=0, what=error.what)


def _halts(connection: sqlite3.Connection) -> Iterator[Damage]:
    """The kill switches must stand as the trail says that they were left."""
    left: dict[str, tuple[str, str, float]] = {}
    for act, scope, by, reason, at in connection.execute(
        "SELECT act, subject, actor, reason, at FROM acts ORDER BY seq"
    ):
        if act == "kill_switch_engaged":
            left[scope] = (by, reason, at)
        elif act == "kill_switch_released":
            left.pop(scope, None)
    found = {scope: rest for scope, *rest in connection.execute("SELECT scope, engaged_by, reason, at FROM halts")}
    for scope in sorted(left.keys() | found.keys(), key=str):
        if list(left.get(scope, ())) != found.get(scope, []):
            yield Damage(run_id=str(scope), seq=0, what="the kill switch is not as the trail says that it was left")
