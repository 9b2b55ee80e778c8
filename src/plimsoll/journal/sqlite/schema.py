"""The tables, made step by step: a new file takes every step, an older one those that it has not taken yet.

A step is a small function on the connection, inside the one transaction of the whole migration. What a step did in a
release is never changed; a new version is a new step at the end.
"""

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from plimsoll.core.events import GENESIS
from plimsoll.journal.messages import Message, message_link
from plimsoll.journal.sqlite.evidence import note
from plimsoll.journal.trail import ActKind

__all__ = ["APPLICATION_ID", "STEPS", "Step"]

Step = Callable[[sqlite3.Connection], None]

APPLICATION_ID = 0x504C494D  # "PLIM", in the file's header

_RUNS_AND_EVENTS = """
CREATE TABLE runs (
    key INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, owner TEXT NOT NULL,
    state TEXT NOT NULL, agent TEXT NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, ending TEXT,
    reason TEXT NOT NULL, wake_at REAL, started_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE INDEX runs_by_state ON runs (state, started_at);
CREATE TABLE events (
    run INTEGER NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL,
    body BLOB NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (run, seq));
CREATE TABLE inbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL, sender TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX inbox_by_run ON inbox (run_id, position);
CREATE TABLE halts (scope TEXT PRIMARY KEY, engaged_by TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
"""

_EVIDENCE = """
ALTER TABLE runs ADD COLUMN erased_at REAL;
ALTER TABLE inbox ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
CREATE TABLE keys (run INTEGER PRIMARY KEY, master TEXT NOT NULL, wrapped BLOB NOT NULL);
CREATE TABLE acts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, act TEXT NOT NULL, subject TEXT NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, digest BLOB NOT NULL);
CREATE TABLE checkpoints (
    number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL, signature BLOB NOT NULL);
CREATE TABLE leaves (
    checkpoint INTEGER NOT NULL, place INTEGER NOT NULL, run_id TEXT NOT NULL, seq INTEGER NOT NULL,
    digest BLOB NOT NULL, PRIMARY KEY (checkpoint, place)) WITHOUT ROWID;
"""


_LINEAGE = """
ALTER TABLE runs ADD COLUMN parent TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN session TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN turn TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_by_session ON runs (session, started_at) WHERE session <> '';
"""

_WAKING = """
ALTER TABLE runs ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN posted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN asks INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET asks = 1 WHERE state = 'parked';
UPDATE runs SET posted = coalesce((SELECT max(position) FROM inbox WHERE inbox.run_id = runs.run_id), 0);
CREATE INDEX runs_by_time ON runs (agent, wake_at) WHERE state = 'parked' AND wake_at IS NOT NULL;
CREATE INDEX runs_with_news ON runs (agent) WHERE state = 'parked' AND posted > seen;
CREATE INDEX runs_that_ask ON runs (started_at) WHERE asks > 0 AND erased_at IS NULL;
CREATE INDEX runs_of_other_versions ON runs (agent, fingerprint) WHERE state = 'parked' AND reason = 'version';
"""

_SPENDING = """
CREATE TABLE spending (
    account TEXT NOT NULL, day INTEGER NOT NULL, owner TEXT NOT NULL, nanos INTEGER NOT NULL, tokens INTEGER NOT NULL,
    runs INTEGER NOT NULL, PRIMARY KEY (account, day, owner)) WITHOUT ROWID;
"""


class _Started(msgspec.Struct):
    fingerprint: str = ""


_started = msgspec.json.Decoder(_Started)


def _runs_and_events(connection: sqlite3.Connection) -> None:
    """Version 1: runs, their events, the inbox, the kill switches."""
    _execute(connection, _RUNS_AND_EVENTS)


def _evidence(connection: sqlite3.Connection) -> None:
    """Version 2: run keys, the trail, checkpoints; the inbox becomes a chain; runs tell whom they belong to, and
    what wakes them; what the limits of a day have been drawn on."""
    _execute(connection, _EVIDENCE)
    _execute(connection, _LINEAGE)
    _execute(connection, _WAKING)
    _execute(connection, _SPENDING)
    for key, body in connection.execute("SELECT run, body FROM events WHERE seq = 1").fetchall():
        values = (_started.decode(body).fingerprint, key)
        connection.execute("UPDATE runs SET fingerprint = ? WHERE key = ?", values)
    digest = GENESIS
    messages = "SELECT position, request_id, run_id, kind, body, sender, at FROM inbox ORDER BY position"
    for position, *row in connection.execute(messages).fetchall():
        digest = message_link(digest, position, Message(*row))
        connection.execute("UPDATE inbox SET digest = ? WHERE position = ?", (digest, position))
    last = "(SELECT coalesce(max(position), 0) FROM inbox)"  # version 1 counted messages that came twice, too
    connection.execute(f"UPDATE sqlite_sequence SET seq = {last} WHERE name = 'inbox'")
    for scope, by, reason, at in connection.execute("SELECT scope, engaged_by, reason, at FROM halts").fetchall():
        note(connection, ActKind.ENGAGED, scope, by=by, reason=reason, at=at)


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";"):  # `executescript` would commit what is open
        connection.execute(statement)


STEPS: Sequence[Step] = (_runs_and_events, _evidence)
"""The step that leads to each version, from version 1 on. A file's version counts those it has taken."""
