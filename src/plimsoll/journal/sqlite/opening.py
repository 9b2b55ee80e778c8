"""Opening a journal's file: made where there is none, and left as it is where it is not ours."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import mkstemp

from plimsoll.core.errors import JournalUnavailable, Misuse
from plimsoll.journal.sqlite.schema import APPLICATION_ID, SCHEMA, VERSION

__all__ = ["create", "prepare"]


def create(path: Path) -> None:
    """Makes an empty journal where nothing is yet: ready to use as soon as it can be seen, whoever else tries too."""
    if path.is_dir():
        raise Misuse(f"{path} is a folder; the journal is a file, such as {path / 'journal.db'}")
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = mkstemp(prefix=f"{path.name}.new-", dir=path.parent)  # for its owner only: mode 0600
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as connection:
            prepare(connection, Path(name))
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Checks that the file is ours, before anything in it is changed; makes the tables where there are none."""
    connection.execute("BEGIN")
    _is_new(connection, path)
    connection.execute("COMMIT")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalUnavailable(f"{path} is no place for a write-ahead log (a network drive?); use a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache; elsewhere nothing
    connection.execute("BEGIN IMMEDIATE")  # shows a read-only or locked file at once
    if _is_new(connection, path):
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise Misuse(f"{path} is another program's database; name another file. Nothing was changed")
    if version > VERSION:
        raise Misuse(
            f"{path} was written by a newer Plimsoll (its format is {version}, this one knows {VERSION}):"
            " upgrade plimsoll-ai. Nothing was changed"
        )
    return not tables
