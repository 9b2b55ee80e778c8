"""SQLite's and the file system's errors in our own words: what happened, to which file, and what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plimsoll.core.errors import JournalCorrupt, JournalUnavailable

__all__ = ["RESTORE", "is_corruption", "translated"]

_NO_TEXT = "Could not decode to UTF-8"
RESTORE = "Keep the file as it is, and restore a backup"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CONSTRAINT}
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it locked: end that, or wait",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this user",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look after its disk (a failing drive, a quota, a limit on file sizes?)",
    sqlite3.SQLITE_CANTOPEN: "make the file and its folder readable and writable for this user",
}


def is_corruption(error: sqlite3.Error) -> bool:
    """Whether SQLite came upon a damaged page."""
    return _code(error) == sqlite3.SQLITE_CORRUPT


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raises our errors for SQLite's and the file system's."""
    try:
        yield
    except UnicodeDecodeError as error:  # also in what SQLite says of a damaged schema
        raise JournalCorrupt("*", 0, f"{path}: a text in it is none. {RESTORE}") from error
    except sqlite3.Error as error:
        code = _code(error)
        if code == sqlite3.SQLITE_NOTADB:
            raise JournalCorrupt(
                "*", 0, f"{path} is no SQLite database, or its first page is damaged. {RESTORE}"
            ) from error
        if code in _DAMAGED or _NO_TEXT in str(error):
            raise JournalCorrupt("*", 0, f"{path}: {error}. {RESTORE}") from error
        advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
        raise JournalUnavailable(f"{path}: {error}{advice}") from error
    except OSError as error:
        raise JournalUnavailable(f"{error.filename or path}: {error.strerror}") from error
