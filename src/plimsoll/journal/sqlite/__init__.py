"""The journal in one SQLite file: the embedded default, for one machine and any number of its processes."""

from plimsoll.journal.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
