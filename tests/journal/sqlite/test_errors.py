"""SQLite's and the file system's errors in our own words."""

import errno
import sqlite3
from pathlib import Path

import pytest

from plimsoll.core.errors import JournalCorrupt, JournalUnavailable, Misuse
from plimsoll.journal.sqlite.errors import is_corruption, translated

PATH = Path("/data/journal.db")
KEEP = "Keep the file as it is, and restore a backup"
CANTOPEN_ISDIR = sqlite3.SQLITE_CANTOPEN | 2 << 8


def failed(code: int | None, text: str = "it failed") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    if code is not None:
        error.sqlite_errorcode = code
    return error


NO_TEXT = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
DAMAGED: list[tuple[Exception, str]] = [
    (NO_TEXT, f"{PATH}: a text in it is none. {KEEP}"),
    (failed(sqlite3.SQLITE_NOTADB), f"{PATH} is no SQLite database, or its first page is damaged. {KEEP}"),
    (failed(sqlite3.SQLITE_CORRUPT), f"{PATH}: it failed. {KEEP}"),
    (failed(sqlite3.SQLITE_CORRUPT_INDEX), f"{PATH}: it failed. {KEEP}"),
    (failed(sqlite3.SQLITE_CONSTRAINT_UNIQUE), f"{PATH}: it failed. {KEEP}"),
    (failed(None, "Could not decode to UTF-8 column 'x'"), f"{PATH}: Could not decode to UTF-8 column 'x'. {KEEP}"),
]


@pytest.mark.parametrize("case", DAMAGED, ids=range(len(DAMAGED)))
def test_damage_is_that_of_the_whole_journal(case: tuple[Exception, str]) -> None:
    error, says = case
    with pytest.raises(JournalCorrupt) as caught, translated(PATH):
        raise error
    assert (caught.value.run_id, caught.value.seq, caught.value.what) == ("*", 0, says)
    assert caught.value.__cause__ is error


UNAVAILABLE: list[tuple[Exception, str]] = [
    (failed(sqlite3.SQLITE_BUSY), "it failed; another process holds it locked: end that, or wait"),
    (failed(sqlite3.SQLITE_BUSY_SNAPSHOT), "it failed; another process holds it locked: end that, or wait"),
    (failed(sqlite3.SQLITE_READONLY), "it failed; make the file and its folder writable for this user"),
    (failed(sqlite3.SQLITE_FULL), "it failed; make room on its disk"),
    (
        failed(sqlite3.SQLITE_IOERR_WRITE),
        "it failed; look after its disk (a failing drive, a quota, a limit on file sizes?)",
    ),
    (failed(CANTOPEN_ISDIR), "it failed; make the file and its folder readable and writable for this user"),
    (failed(sqlite3.SQLITE_ERROR), "it failed"),
    (failed(None), "it failed"),
    (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
]


@pytest.mark.parametrize("case", UNAVAILABLE, ids=range(len(UNAVAILABLE)))
def test_what_keeps_it_from_its_work_is_told_with_what_to_do(case: tuple[Exception, str]) -> None:
    error, says = case
    with pytest.raises(JournalUnavailable) as caught, translated(PATH):
        raise error
    assert str(caught.value).endswith(f"{PATH}: {says}")
    assert caught.value.__cause__ is error


def test_a_file_systems_error_names_the_file_that_it_is_about() -> None:
    with pytest.raises(JournalUnavailable, match=r"/data/journal\.db\.owners: Permission denied$"), translated(PATH):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/journal.db.owners")


def test_any_other_error_stays_what_it_is() -> None:
    with pytest.raises(Misuse, match=r"^no$"), translated(PATH):
        raise Misuse("no")


def test_only_a_damaged_page_is_corruption() -> None:
    assert is_corruption(failed(sqlite3.SQLITE_CORRUPT)) and is_corruption(failed(sqlite3.SQLITE_CORRUPT_INDEX))
    for code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_BUSY, None):
        assert not is_corruption(failed(code))
