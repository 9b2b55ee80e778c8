"""The file: made where there is none, and left as it is where it is not ours."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from plimsoll.core.errors import JournalCorrupt, JournalUnavailable, Misuse
from plimsoll.journal import SQLiteStore
from plimsoll.journal.sqlite.errors import RESTORE
from plimsoll.journal.sqlite.schema import APPLICATION_ID
from tests.journal.helpers import in_loop, run
from tests.journal.sqlite.helpers import filled, process, raw, read


@in_loop
async def test_a_journal_is_made_with_its_folders_for_its_owner_only(path: Path) -> None:
    store = SQLiteStore.open(path, owner="one")
    await store.claim("r", owner="one", at=1.0)
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files.pop("journal.db.owners") == 0o700
    assert set(files) == {"journal.db", "journal.db-wal", "journal.db-shm"}
    assert set(files.values()) == {0o600}
    await store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["journal.db", "journal.db.owners"]
    assert [file.name for file in (path.parent / "journal.db.owners").iterdir()] == ["bell"]


def test_it_is_as_durable_as_sqlite_can_be(path: Path) -> None:
    store = SQLiteStore.open(path)
    (mode,) = store._writer.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = store._writer.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)
    run(store.close())


def test_an_empty_file_becomes_a_journal(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    run(filled(path))
    assert run(read(path)) == 3


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"^\S+ is a folder; the journal is a file, such as \S+/journal\.db$"):
        SQLiteStore.open(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalUnavailable, match=r"file.*: (Not a directory|File exists)"):
        SQLiteStore.open(tmp_path / "file" / "journal.db")


def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"Dear diary, " * 500)
    with pytest.raises(JournalCorrupt, match=r"^the journal is damaged: .*\.db is no SQLite database.* Keep the file"):
        SQLiteStore.open(path)
    assert path.read_bytes() == b"Dear diary, " * 500


def test_another_programs_database_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with raw(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(
        Misuse, match=r"^\S+/journal\.db is another program's database; name another file\. Nothing was changed$"
    ):
        SQLiteStore.open(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_plimsoll_is_left_as_it_is(path: Path) -> None:
    run(filled(path))
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 3")
    before = path.read_bytes()
    with pytest.raises(Misuse, match=r"newer Plimsoll \(its format is 3, this one knows 2\): upgrade"):
        SQLiteStore.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("version", "tables", "says"),
    [
        (1, "notes (text)", "1, and its tables do not agree: no such table: runs"),
        (1, None, "1, which is none"),
        (0, "notes (text)", "0, which is none"),
        (-1, "notes (text)", "-1, which is none"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_left_as_it_is(
    path: Path, version: int, tables: str | None, says: str
) -> None:
    path.parent.mkdir(parents=True)
    with raw(path) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        if tables is not None:
            connection.execute(f"CREATE TABLE {tables}")
    for _ in range(2):
        with pytest.raises(JournalCorrupt) as caught:
            SQLiteStore.open(path)
        assert (caught.value.run_id, caught.value.seq) == ("*", 0)
        assert caught.value.what == f"{path} says that its format is {says}. {RESTORE}"


def test_a_place_without_a_write_ahead_log(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    class Forgetful(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, *values)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Forgetful))
    with pytest.raises(JournalUnavailable, match="use a local disk"):
        SQLiteStore.open(path)
    assert list(path.parent.iterdir()) == []


def test_it_is_made_beside_its_place_and_not_on_another_disk(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(path.with_name("nowhere")))
    run(filled(path))
    assert run(read(path)) == 3


def test_who_comes_second_takes_what_the_first_has_made(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    link, raced = os.link, []

    def late(made: str, place: Path) -> None:
        if not raced:
            raced.append(place)
            run(filled(path))
        link(made, place)

    monkeypatch.setattr("os.link", late)
    store = SQLiteStore.open(path)
    run(store.close())
    assert raced and run(read(path)) == 3
    assert [file.name for file in path.parent.iterdir() if ".new-" in file.name] == []


OPEN = """
import sys
from pathlib import Path
from plimsoll.journal import SQLiteStore
print("ready", flush=True)
sys.stdin.readline()
store = SQLiteStore.open(Path(sys.argv[1]), owner=sys.argv[2])
print(dict(store.outside().halts), flush=True)
sys.stdin.readline()
"""


def test_processes_that_make_the_same_journal_at_once_all_get_it(path: Path) -> None:
    children = [process(OPEN, path, f"owner-{i}") for i in range(4)]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "{}\n"
    for child in children:
        child.communicate("\n")
        assert child.returncode == 0
    assert [file.name for file in path.parent.iterdir() if ".new-" in file.name] == []
