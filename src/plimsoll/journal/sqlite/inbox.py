"""The inbox in SQLite's tables. Each function works inside its caller's transaction."""

import sqlite3

from msgspec.structs import astuple

from plimsoll.core.events import GENESIS
from plimsoll.journal.messages import Message, message_link

__all__ = ["message_with", "messages_to", "post"]

_COLUMNS = "position, request_id, run_id, kind, body, sender, at"


def post(connection: sqlite3.Connection, message: Message) -> bool:
    """Leaves a message. False when one with its `request_id` is there already."""
    if connection.execute("SELECT 1 FROM inbox WHERE request_id = ?", (message.request_id,)).fetchone():
        return False
    last = connection.execute("SELECT position, digest FROM inbox ORDER BY position DESC LIMIT 1").fetchone()
    before, digest = last or (0, GENESIS)
    values = (before + 1, *astuple(message), message_link(digest, before + 1, message))
    connection.execute("INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    connection.execute("UPDATE runs SET posted = ? WHERE run_id = ?", (before + 1, message.run_id))
    return True


def messages_to(connection: sqlite3.Connection, run_id: str, *, after: int) -> list[tuple[int, Message]]:
    """The run's messages with a position above `after`, in order, and their positions."""
    return _messages(connection, "run_id = ? AND position > ? ORDER BY position", (run_id, after))


def message_with(connection: sqlite3.Connection, request_id: str) -> list[tuple[int, Message]]:
    """The message with this id, and its position, if there is one."""
    return _messages(connection, "request_id = ?", (request_id,))


def _messages(connection: sqlite3.Connection, which: str, values: tuple[object, ...]) -> list[tuple[int, Message]]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM inbox WHERE {which}", values)
    return [(position, Message(*row)) for position, *row in rows]
