"""Opening a journal's file: made where there is none, and left as it is where it is not ours."""

import logging
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp

from plimsoll.core.errors import JournalCorrupt, JournalUnavailable, Misuse
from plimsoll.journal.sqlite.errors import RESTORE
from plimsoll.journal.sqlite.schema import APPLICATION_ID, STEPS, Step

__all__ = ["COPY", "check", "copied_if_older", "create", "prepare", "to_be_read"]

COPY = "journal.db"
"""What the copy of a journal is called in its folder."""

_logger = logging.getLogger("plimsoll.journal")


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
    """Checks that the file is ours, before anything in it is changed; brings its tables up to this version's."""
    connection.execute("BEGIN")
    _version(connection, path)
    connection.execute("COMMIT")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalUnavailable(f"{path} is no place for a write-ahead log (a network drive?); use a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache; elsewhere nothing
    connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
    if not os.access(path, os.W_OK):  # SQLite opens such a file all the same, and fails at the first write
        raise JournalUnavailable(f"{path} may only be read: make the file and its folder writable for this user")
    connection.execute("BEGIN IMMEDIATE")  # shows a locked file at once
    _migrate(connection, path)
    connection.execute("COMMIT")


def to_be_read(path: Path) -> str:
    """The URI by which the file is opened for reading alone: where nobody can write beside it, without a lock."""
    fixed = "" if os.access(path.parent, os.W_OK) or path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    return f"{path.as_uri()}?mode=ro{fixed}"


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `Misuse` for a file that is not ours."""
    _version(connection, path)


def copied_if_older(path: Path) -> TemporaryDirectory[str] | None:
    """A folder with a copy of the file, `COPY`, brought up to this version's tables; None where it has them.

    The file stays as it is. The folder is the caller's to remove.
    """
    with closing(sqlite3.connect(to_be_read(path), uri=True, isolation_level=None)) as old:
        version = _version(old, path)
        if version == len(STEPS):
            return None
        _logger.warning(
            "%s has format %d: a copy of it is read, brought to format %d. It stays as it is", path, version, len(STEPS)
        )
        folder = TemporaryDirectory(prefix="plimsoll-")
        try:
            with closing(sqlite3.connect(Path(folder.name) / COPY, isolation_level=None)) as new:
                old.backup(new)
                new.execute("BEGIN")
                _migrate(new, path, silent=True)
                new.execute("COMMIT")
        except BaseException:
            folder.cleanup()
            raise
        return folder


def _migrate(connection: sqlite3.Connection, path: Path, *, silent: bool = False) -> None:
    """Takes the steps that the file has not taken: all of them, or with a crash in between none."""
    version, newest = _version(connection, path), len(STEPS)
    if version == newest:
        return
    told = version and not silent
    if told:
        _logger.warning("%s has format %d: bringing it to format %d, in one transaction", path, version, newest)
    for step in STEPS[version:]:
        _take(step, connection, path, version)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {newest}")
    if told:
        _logger.warning("%s has format %d now; an earlier Plimsoll will refuse it", path, newest)


def _take(step: Step, connection: sqlite3.Connection, path: Path, version: int) -> None:
    try:
        step(connection)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
            raise
        what = f"{path} says that its format is {version}, and its tables do not agree: {error}"
        raise JournalCorrupt("*", 0, f"{what}. {RESTORE}") from error


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """How many steps the file has taken; 0 for an empty one. Raises `Misuse` for one that is not ours to write."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise Misuse(f"{path} is another program's database; name another file. Nothing was changed")
    if version < 0 or bool(version) != bool(tables):
        raise JournalCorrupt("*", 0, f"{path} says that its format is {version}, which is none. {RESTORE}")
    if version > len(STEPS):
        raise Misuse(
            f"{path} was written by a newer Plimsoll (its format is {version}, this one knows {len(STEPS)}):"
            " upgrade plimsoll-ai. Nothing was changed"
        )
    return int(version)
