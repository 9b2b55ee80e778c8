"""The tables, and the marks in the file's header that say whose they are and which format they have."""

__all__ = ["APPLICATION_ID", "SCHEMA", "VERSION"]

APPLICATION_ID = 0x504C494D  # "PLIM", in the file's header
VERSION = 1
SCHEMA = """
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
