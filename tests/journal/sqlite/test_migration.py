"""A journal of an earlier version is brought up to this one's, whole or not at all."""

import logging
import os
import signal
import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalUnavailable
from plimsoll.journal import Halt, InboxKind, RunState, SQLiteStore, verify_chain
from plimsoll.journal.evidence import Damage
from plimsoll.journal.sqlite import opening
from plimsoll.journal.sqlite.schema import STEPS, Step
from tests.journal.helpers import chain, in_loop, run, value, values
from tests.journal.sqlite.helpers import process, raw

VERSION_1 = """
PRAGMA journal_mode = WAL;
PRAGMA application_id = 1347176781;
PRAGMA user_version = 1;
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
INSERT INTO halts VALUES ('*', 'ann', 'enough', 4.5);
INSERT INTO inbox VALUES
    (1, 'new.a1:x', 'new', 'decision', '{"approve":true}', 'ann', 3.5),
    (4, 'parked.a1:y', 'parked', 'doubt', '{"happened":false}', 'bo', 3.75);
"""
STARTED = b'{"agent":"shop","contract_digest":"c","fingerprint":"f","input":{"ask":1},"type":"run_started"}'
PARKED = b'{"active_s":1.5,"detail":"parked.a1","reason":"approval","type":"run_parked","until":99.5}'
ENDED = b'{"active_s":2.0,"ending":"failed","output":null,"reason":"no answer","type":"run_ended"}'
RUNS: dict[str, tuple[str, str | None, str, float | None, list[bytes]]] = {
    "new": ("running", None, "", None, []),
    "under-way": ("running", None, "", None, [STARTED]),
    "parked": ("parked", None, "approval", 99.5, [STARTED, PARKED]),
    "ended": ("ended", "failed", "no answer", None, [STARTED, ENDED]),
}


@pytest.fixture
def version_1(path: Path) -> Path:
    """A journal as version 1 left it, with a run in every state."""
    path.parent.mkdir(parents=True)
    with raw(path) as file:
        file.executescript(VERSION_1)
        for key, (run_id, (state, ending, reason, wake_at, bodies)) in enumerate(RUNS.items(), 1):
            digest = bytes(32)
            for seq, body in enumerate(bodies, 1):
                at = key + seq / 4
                digest = sha256(digest + f"{run_id}\0{seq}\0{2}\0{at!r}\0".encode() + body).digest()
                file.execute("INSERT INTO events VALUES (?, ?, 2, ?, ?, ?)", (key, seq, at, body, digest))
            agent = "shop" if bodies else ""
            row = (key, run_id, 2, "old", state, agent, len(bodies), digest, ending, reason, wake_at, key + 0.25, 9.0)
            file.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    return path


def version_of(path: Path) -> int:
    with raw(path) as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        return int(version)


def contents(path: Path) -> str:
    with raw(path) as file:
        return "\n".join(file.iterdump())


async def everything_is_there(path: Path) -> None:
    store = SQLiteStore.open(path, owner="new-owner")
    heads = {head.run_id: head for head in await store.heads()}
    assert list(heads) == ["ended", "parked", "under-way", "new"]
    for run_id, (state, ending, reason, wake_at, bodies) in RUNS.items():
        head, records = heads[run_id], await store.read(run_id)
        assert [record.body for record in records] == bodies
        verify_chain(records, head=head)
        assert (head.state, head.ending, head.reason) == (RunState(state), ending and Ending(ending), reason)
        assert (head.epoch, head.owner, head.wake_at, head.updated_at) == (2, "old", wake_at, 9.0)
    assert dict(store.outside().halts) == {"*": Halt(scope="*", by="ann", reason="enough", at=4.5)}
    (message,) = await store.inbox("parked")
    assert (message.position, message.kind, message.body) == (4, InboxKind.DOUBT, {"happened": False})
    assert [head.run_id for head in await store.asking()] == ["parked"], "who knows what it waits for"
    head = await store.claim("under-way", owner="new-owner", at=10.0)
    assert await store.append(chain(head, value("goes on"))) == frozenset()
    assert values(await store.read("under-way")) == ["goes on"]
    await store.close()


def test_everything_is_there_after_it(version_1: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="plimsoll.journal"):
        run(everything_is_there(version_1))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{version_1} has format 1: bringing it to format 2, in one transaction",
        f"{version_1} has format 2 now; an earlier Plimsoll will refuse it",
    ]
    caplog.clear()
    run(SQLiteStore.open(version_1).close())
    assert caplog.records == []


def test_its_tables_are_those_of_a_new_journal(version_1: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    schemas = []
    for path in (version_1, new):
        run(SQLiteStore.open(path).close())
        with raw(path) as file:
            rows = file.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()
        schemas.append([" ".join(str(row).split()) for row in rows])
    assert schemas[0] == schemas[1]


async def damages(path: Path) -> list[Damage]:
    store = SQLiteStore.open(path)
    found = await store.damages()
    await store.close()
    return found


def test_messages_that_were_there_are_chained(version_1: Path) -> None:
    run(SQLiteStore.open(version_1).close())
    with raw(version_1) as file:
        digests = [digest for (digest,) in file.execute("SELECT digest FROM inbox ORDER BY position")]
    assert len(set(digests)) == 2 and {len(digest) for digest in digests} == {32}
    assert run(damages(version_1)) == []


def failing(error: BaseException) -> Step:
    def step(connection: sqlite3.Connection) -> None:
        connection.execute("DROP TABLE halts")
        raise error

    return step


def test_a_step_that_fails_leaves_the_file_as_it_was(version_1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(version_1)
    with monkeypatch.context() as patch:
        patch.setattr(opening, "STEPS", (*STEPS, failing(sqlite3.OperationalError("disk I/O error"))))
        with pytest.raises(JournalUnavailable, match="disk I/O error"):
            SQLiteStore.open(version_1)
    assert (version_of(version_1), contents(version_1)) == (1, before)
    run(everything_is_there(version_1))


MIGRATE_AND_DIE = """
import os, signal, sys
from plimsoll.journal import SQLiteStore
from plimsoll.journal.sqlite import opening

def die(connection):
    connection.execute("DROP TABLE halts")
    connection.execute("PRAGMA cache_spill = 1")
    os.kill(os.getpid(), signal.SIGKILL)

opening.STEPS = (*opening.STEPS, die)
SQLiteStore.open(sys.argv[1])
"""


def test_a_process_that_dies_at_it_leaves_the_file_as_it_was(version_1: Path) -> None:
    before = contents(version_1)
    child = process(MIGRATE_AND_DIE, version_1)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert (version_of(version_1), contents(version_1)) == (1, before)
    run(everything_is_there(version_1))


OPEN = """
import asyncio, sys
from plimsoll.journal import SQLiteStore

sys.stdin.readline()
store = SQLiteStore.open(sys.argv[1])
print(len(asyncio.run(store.heads())), flush=True)
"""


def test_processes_that_open_it_at_once_all_get_it(version_1: Path) -> None:
    children = [process(OPEN, version_1) for _ in range(3)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        out, _ = child.communicate()
        assert (child.returncode, out) == (0, "4\n")
    assert version_of(version_1) == 2


@in_loop
async def test_a_step_is_taken_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(opening, "STEPS", (*STEPS, lambda connection: taken.append(os.getpid())))
    for _ in range(3):
        await SQLiteStore.open(path).close()
    assert len(taken) == 1
    assert version_of(path) == 3
