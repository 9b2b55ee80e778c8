"""The journal: whatever an agent does, written once, to an append-only record."""

from plimsoll.journal.chain import verify_chain
from plimsoll.journal.memory import MemoryStore
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.journal.store import Halt, InboxEntry, InboxKind, Outside, RunHead, RunState, Store
from plimsoll.journal.writer import Journal, RunLog

__all__ = [
    "Halt",
    "InboxEntry",
    "InboxKind",
    "Journal",
    "MemoryStore",
    "Outside",
    "RunHead",
    "RunLog",
    "RunState",
    "SQLiteStore",
    "Store",
    "verify_chain",
]
