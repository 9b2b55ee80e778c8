"""What is SQLite's own: files, other processes, damage."""

import asyncio
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalCorrupt, JournalUnavailable, Misuse
from plimsoll.core.events import encode_event
from plimsoll.journal import Halt, InboxEntry, InboxKind, Journal, RunHead, RunState, SQLiteStore, verify_chain
from tests.journal.helpers import STARTED, chain, run, value, values


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "down" / "journal.db"


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program at the same file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def filled(path: Path, events: int = 3, text: str = "x") -> None:
    store = SQLiteStore.open(path, owner="one")
    head = await store.claim("r", owner="one", at=1.0)
    await store.append(chain(head, STARTED, *(value(f"{text}{i}") for i in range(events - 1))))
    await store.close()


async def read(path: Path, run_id: str = "r") -> int:
    store = SQLiteStore.open(path)
    try:
        records = await store.read(run_id)
        verify_chain(records, head=await store.head(run_id))
        return len(records)
    finally:
        await store.close()


# ----------------------------------------------------------------------------------------------------- the file


def test_a_journal_is_made_with_its_folders_for_its_owner_only(path: Path) -> None:
    async def test() -> None:
        store = SQLiteStore.open(path, owner="one")
        await store.claim("r", owner="one", at=1.0)
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert files.pop("journal.db.owners") == 0o700
        assert set(files) == {"journal.db", "journal.db-wal", "journal.db-shm"}
        assert set(files.values()) == {0o600}
        await store.close()
        assert sorted(file.name for file in path.parent.iterdir()) == ["journal.db", "journal.db.owners"]
        assert list((path.parent / "journal.db.owners").iterdir()) == []

    run(test())


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
    with pytest.raises(Misuse, match="is a folder"):
        SQLiteStore.open(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalUnavailable, match=r"file.*: (Not a directory|File exists)"):
        SQLiteStore.open(tmp_path / "file" / "journal.db")


def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"Dear diary, " * 500)
    with pytest.raises(JournalCorrupt, match=r"file is not a database\. Keep the file as it is"):
        SQLiteStore.open(path)
    assert path.read_bytes() == b"Dear diary, " * 500


def test_another_programs_database_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with raw(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    with pytest.raises(Misuse, match="another program's database"):
        SQLiteStore.open(path)
    assert path.read_bytes() == before


def test_a_journal_of_a_newer_plimsoll_is_left_as_it_is(path: Path) -> None:
    run(filled(path))
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    with pytest.raises(Misuse, match=r"newer Plimsoll \(its format is 2, this one knows 1\): upgrade"):
        SQLiteStore.open(path)
    assert path.read_bytes() == before


def test_a_place_without_a_write_ahead_log(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    class Forgetful(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, *values)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Forgetful))
    with pytest.raises(JournalUnavailable, match="use a local disk"):
        SQLiteStore.open(path)
    assert list(path.parent.iterdir()) == []


# ----------------------------------------------------------------------------------------------------- damage

DAMAGES: dict[str, tuple[int, str, tuple[object, ...]]] = {
    "no event": (2, "UPDATE events SET body = ? WHERE seq = 2", (b'{"type":"party"}',)),
    "no JSON": (2, "UPDATE events SET body = ? WHERE seq = 2", (b"\x00\xff",)),
    "no bytes": (2, "UPDATE events SET body = ? WHERE seq = 2", (5,)),
    "altered": (2, "UPDATE events SET body = ? WHERE seq = 2", (encode_event(value("other")),)),
    "dated anew": (3, "UPDATE events SET at = 0.5 WHERE seq = 3", ()),
    "dropped": (2, "DELETE FROM events WHERE seq = 2", ()),
    "cut off": (3, "DELETE FROM events WHERE seq = 3", ()),
    "no state": (3, "UPDATE runs SET state = 'dancing'", ()),
    "no ending": (3, "UPDATE runs SET ending = 'happily'", ()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_with_its_place(path: Path, damage: str) -> None:
    seq, sql, arguments = DAMAGES[damage]
    run(filled(path))
    with raw(path) as connection:
        connection.execute(sql, arguments)
    with pytest.raises(JournalCorrupt) as caught:
        run(read(path))
    assert (caught.value.run_id, caught.value.seq) == ("r", seq)


@pytest.mark.parametrize("damage", ["no event", "no JSON", "no bytes", "dropped"])
def test_what_cannot_be_read_is_found_by_reading(path: Path, damage: str) -> None:
    async def test() -> None:
        seq, sql, arguments = DAMAGES[damage]
        await filled(path)
        with raw(path) as connection:
            connection.execute(sql, arguments)
        store = SQLiteStore.open(path)
        for after in (0, 1):
            with pytest.raises(JournalCorrupt) as caught:
                await store.read("r", after=after)
            assert (caught.value.run_id, caught.value.seq) == ("r", seq)
        await store.close()

    run(test())


def test_a_damaged_page_is_found(path: Path) -> None:
    run(filled(path, events=100, text="y" * 300))
    content = path.read_bytes()
    page = content.index(b"y50") // 4096 * 4096
    path.write_bytes(content[:page] + b"\xff" * 4096 + content[page + 4096 :])
    with pytest.raises(JournalCorrupt, match="restore a backup") as caught:
        run(read(path))
    assert caught.value.run_id == "r"
    assert 40 <= caught.value.seq <= 52, "where the page begins"


def test_a_failure_to_read_is_no_damage(path: Path) -> None:
    async def test() -> None:
        await filled(path)
        store = SQLiteStore.open(path)
        store._reader.close()
        with pytest.raises(JournalUnavailable, match="closed"):
            await store.read("r")
        await store.close()

    run(test())


def test_a_head_that_lost_its_place_overwrites_nothing(path: Path) -> None:
    async def test() -> None:
        await filled(path)
        with raw(path) as connection:
            connection.execute("UPDATE runs SET seq = 1")
        store = SQLiteStore.open(path, owner="two")
        head = await store.claim("r", owner="two", at=2.0)
        with pytest.raises(JournalCorrupt, match="UNIQUE"):
            await store.append(chain(head, value("new")))
        assert values(await store.read("r")) == ["x0", "x1"]
        await store.close()

    run(test())


# ------------------------------------------------------------------------------------- storage that cannot be used


def halt(scope: str) -> Halt:
    return Halt(scope=scope, by="ann", reason="enough", at=1.0)


async def refuses(store: SQLiteStore, head: RunHead, match: str) -> None:
    """Nothing can be written now, and each attempt says why."""
    message = InboxEntry(request_id="q", run_id="r", kind=InboxKind.DOUBT, body=1, by="ann", at=1.0)
    for attempt in (
        store.append(chain(head, STARTED)),
        store.claim("r", owner="one", at=2.0),
        store.post(message),
        store.engage(halt("r")),
        store.release("*"),
    ):
        with pytest.raises(JournalUnavailable, match=match):
            await attempt


async def nothing_was_lost(store: SQLiteStore, head: RunHead) -> None:
    assert await store.head("r") == head
    assert dict(store.halts()) == {"*": halt("*")}
    assert await store.inbox("r") == []
    records = chain(head, STARTED)
    assert await store.append(records) == frozenset()
    assert await store.read("r") == records
    await store.close()


async def in_use(path: Path) -> tuple[SQLiteStore, RunHead]:
    store = SQLiteStore.open(path, owner="one", busy_timeout_s=0.01)
    await store.engage(halt("*"))
    return store, await store.claim("r", owner="one", at=1.0)


def test_a_locked_journal(path: Path) -> None:
    async def test() -> None:
        store, head = await in_use(path)
        with raw(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            await refuses(store, head, "locked; another process holds it")
            assert await store.head("r") == head, "readers go on"
            with pytest.raises(JournalUnavailable, match="locked"):
                SQLiteStore.open(path, busy_timeout_s=0.01)
        await nothing_was_lost(store, head)

    run(test())


def test_a_journal_that_another_program_has_for_itself(path: Path) -> None:
    async def test() -> None:
        await filled(path)
        with raw(path) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalUnavailable, match="locked"):
                SQLiteStore.open(path, busy_timeout_s=0.01)
        assert await read(path) == 3

    run(test())


def test_kill_switches_that_cannot_be_asked_do_not_pass_for_released(path: Path) -> None:
    async def test() -> None:
        store, _ = await in_use(path)
        store._watch.close()
        with pytest.raises(JournalUnavailable):
            store.halts()
        await store.close()

    run(test())


def test_a_read_only_journal(path: Path) -> None:
    async def test() -> None:
        store, head = await in_use(path)
        store._writer.execute("PRAGMA query_only = ON")
        await refuses(store, head, "readonly database; make the file and its folder writable")
        store._writer.execute("PRAGMA query_only = OFF")
        await nothing_was_lost(store, head)

    run(test())


def test_a_full_disk(path: Path) -> None:
    async def test() -> None:
        store, head = await in_use(path)
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalUnavailable, match="full; make room on its disk"):
            await store.append(chain(head, *(value("z" * 9000) for _ in range(3))))
        store._writer.execute("PRAGMA max_page_count = 1000000")
        await nothing_was_lost(store, head)

    run(test())


def test_a_journal_that_was_moved_away_takes_nothing_more(path: Path) -> None:
    async def test() -> None:
        store, head = await in_use(path)
        path.rename(path.with_name("elsewhere.db"))
        await refuses(store, head, "was moved, replaced or deleted")
        path.touch()
        await refuses(store, head, "was moved, replaced or deleted")
        path.with_name("elsewhere.db").replace(path)
        await nothing_was_lost(store, head)

    run(test())


def test_a_closed_store_says_so(path: Path) -> None:
    async def test() -> None:
        store, head = await in_use(path)
        await store.close()
        await refuses(store, head, "it was closed")
        for ask in (store.head("r"), store.read("r"), store.heads(), store.inbox("r")):
            with pytest.raises(JournalUnavailable, match="it was closed"):
                await ask
        with pytest.raises(JournalUnavailable, match="it was closed"):
            store.halts()

    run(test())


def test_a_journal_outlasts_a_lock(path: Path) -> None:
    async def test() -> None:
        store, head = await in_use(path)
        told: list[JournalUnavailable | None] = []
        journal = Journal(store, clock=ManualClock(), on_trouble=told.append)
        log = journal.open(head)
        with raw(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalUnavailable, match="locked"):
                await log.commit(STARTED)
        await log.commit(value(2))
        assert len(told) == 2
        await journal.close()
        verify_chain(await store.read("r"), head=await store.head("r"))
        await store.close()

    run(test())


# --------------------------------------------------------------------------------------------- several processes


def test_two_stores_see_each_others_records_at_once(path: Path) -> None:
    async def test() -> None:
        one, two = SQLiteStore.open(path, owner="one"), SQLiteStore.open(path, owner="two")
        head = await one.claim("r", owner="one", at=1.0)
        for turn, store in enumerate((one, two, one, two), 1):
            records = chain(head, value(turn), value(turn))
            assert await store.append(records) == frozenset()
            assert (await two.read("r"))[-2:] == records
            found = await one.head("r")
            assert found is not None
            head = found
        assert head.seq == 8
        await one.close()
        await two.close()

    run(test())


def test_two_processes_may_write_at_the_same_time(path: Path) -> None:
    async def test() -> None:
        async def advance(store: SQLiteStore, run_id: str, owner: str) -> None:
            head = await store.claim(run_id, owner=owner, at=1.0)
            for record in chain(head, *(value(i) for i in range(40))):
                assert await store.append([record]) == frozenset()

        one, two = SQLiteStore.open(path, owner="one"), SQLiteStore.open(path, owner="two")
        await asyncio.gather(advance(one, "a", "one"), advance(two, "b", "two"))
        for run_id in ("a", "b"):
            assert values(await one.read(run_id)) == list(range(40))
        await one.close()
        await two.close()

    run(test())


def test_kill_switches_are_read_again_only_when_something_changed(path: Path) -> None:
    async def test() -> None:
        store, _ = await in_use(path)
        halts = store.halts()
        assert store.halts() is halts
        await store.close()

    run(test())


def test_many_heads_are_forgotten_and_found_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr("plimsoll.journal.sqlite.store._MAX_CACHED_HEADS", 2)
        store = SQLiteStore.open(path, owner="one")
        heads = [await store.claim(f"r{i}", owner="one", at=1.0) for i in range(5)]
        assert await store.append([record for head in heads for record in chain(head, STARTED)]) == frozenset()
        assert len(store._heads) <= 2
        assert [head.seq for head in await store.heads(state=RunState.RUNNING)] == [1] * 5
        await store.close()

    run(test())


def test_an_owners_name_is_one_processs_own(path: Path) -> None:
    one = SQLiteStore.open(path, owner="one")
    with pytest.raises(Misuse, match="another process runs as owner 'one'"):
        SQLiteStore.open(path, owner="one")
    two = SQLiteStore.open(path, owner="two")
    with pytest.raises(Misuse, match="another process runs as owner 'one'"):
        run(two.claim("r", owner="one", at=1.0))
    run(one.close())
    again = SQLiteStore.open(path, owner="one")
    assert two.owner_alive("one")
    run(again.close())
    run(two.close())


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_senseless_owner_is_refused(path: Path, name: str) -> None:
    with pytest.raises(Misuse, match="1 to 200 characters"):
        SQLiteStore.open(path, owner=name)


@pytest.mark.parametrize("name", ["..", "a/b", ".", "*", "ü"])
def test_an_owners_name_stays_in_its_folder(path: Path, name: str) -> None:
    store, other = SQLiteStore.open(path, owner=name), SQLiteStore.open(path)
    assert other.owner_alive(name)
    assert len(list(path.with_name("journal.db.owners").iterdir())) == 1
    run(store.close())
    assert not other.owner_alive(name)
    run(other.close())


def test_the_files_of_the_dead_are_removed(path: Path) -> None:
    folder = path.with_name("journal.db.owners")
    folder.mkdir(parents=True)
    (folder / "dead.lock").touch()
    (folder / "gone.lock").touch()
    one = SQLiteStore.open(path, owner="one")
    assert [file.name for file in folder.iterdir()] == ["one.lock"]
    (folder / "late.lock").touch()
    assert not one.owner_alive("late")
    two = SQLiteStore.open(path, owner="two")
    assert sorted(file.name for file in folder.iterdir()) == ["one.lock", "two.lock"]
    run(one.close())
    run(two.close())


def test_a_lock_on_a_removed_file_is_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody tidies the folder up between our opening the file and our locking it."""
    flock = fcntl.flock
    removed: list[Path] = []

    def remove_first(descriptor: int, operation: int) -> None:
        file = path.with_name("journal.db.owners") / "one.lock"
        if not removed:
            removed.append(file)
            file.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", remove_first)
    one = SQLiteStore.open(path, owner="one")
    monkeypatch.setattr("fcntl.flock", flock)
    two = SQLiteStore.open(path)
    assert removed and two.owner_alive("one")
    run(one.close())
    run(two.close())


def process(code: str, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


OPEN = """
import sys
from pathlib import Path
from plimsoll.journal import SQLiteStore
print("ready", flush=True)
sys.stdin.readline()
store = SQLiteStore.open(Path(sys.argv[1]), owner=sys.argv[2])
print(dict(store.halts()), flush=True)
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


APPEND_UNTIL_KILLED = """
import asyncio, sys
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import ValueRecorded
from plimsoll.journal import Journal, SQLiteStore

async def advance(journal, run_id):
    log = journal.open(await journal.store.claim(run_id, owner="child", at=1.0))
    while True:
        log.append(ValueRecorded(key="k", value="unasked" * 50))
        record = await log.commit(ValueRecorded(key="k", value=log.seq))
        print(run_id, record.seq, flush=True)

async def main():
    journal = Journal(SQLiteStore.open(sys.argv[1], owner="child"), clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        for i in range(5):
            group.create_task(advance(journal, f"run-{i}"))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    child = process(APPEND_UNTIL_KILLED, path)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(300)]
    watching = SQLiteStore.open(path, owner="heir")
    assert watching.owner_alive("child")
    child.kill()
    rest, _ = child.communicate()
    lines += [line + "\n" for line in rest.split("\n")[:-1]]  # the last may be cut off
    acknowledged: Counter[str] = Counter()
    for line in lines:
        run_id, seq = line.split()
        acknowledged[run_id] = max(acknowledged[run_id], int(seq))
    assert len(acknowledged) == 5

    async def inherit() -> None:
        assert not watching.owner_alive("child")
        for run_id, seq in acknowledged.items():
            records = await watching.read(run_id)
            assert len(records) >= seq
            head = await watching.claim(run_id, owner="heir", at=2.0)
            verify_chain(records, head=head)
            assert (head.epoch, head.state) == (2, RunState.RUNNING)
            assert await watching.append(chain(head, value("heir"))) == frozenset()
        await watching.close()

    run(inherit())


def test_a_cancelled_claim_leaves_the_store_usable(path: Path) -> None:
    async def test() -> None:
        store = SQLiteStore.open(path, owner="one")
        claiming = asyncio.create_task(store.claim("r", owner="one", at=1.0))
        await asyncio.wait([claiming], timeout=0)
        claiming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claiming
        head = await store.claim("r", owner="one", at=2.0)
        assert await store.append(chain(head, STARTED)) == frozenset()
        await store.close()

    run(test())
