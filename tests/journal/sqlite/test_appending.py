"""Adding records to a file: runs that are begun and not written, and tries of which nobody knows what came of them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.journal import RunHead, SQLiteStore
from plimsoll.journal.codec import is_sealed, opened
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.keys import WrappedKey
from plimsoll.journal.sqlite.appending import Appender
from plimsoll.journal.sqlite.opening import create
from tests.journal.helpers import STARTED, chain, in_loop, journal_on, value


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    create(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def begun(appender: Appender, run_id: str, key: WrappedKey | None = None) -> RunHead:
    head = RunHead(run_id=run_id, epoch=1, owner="one", started_at=1.0, updated_at=1.0)
    appender.begin(head, key)
    return head


def test_of_too_many_runs_that_came_to_nothing_the_earliest_half_is_forgotten(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plimsoll.journal.sqlite.appending._MOST_BEGUN", 6)
    for many, forgotten in ((6, set()), (7, {"7.0", "7.1", "7.2"})):
        appender = Appender(connection, on_post=int)
        heads = [begun(appender, f"{many}.{number}") for number in range(many)]
        records = [record for head in heads for record in chain(head, STARTED)]
        assert appender.append(records) == forgotten


@pytest.mark.parametrize("more", [(), (value(1),)])
def test_what_was_written_by_a_try_that_nobody_heard_of_is_not_written_again(
    connection: sqlite3.Connection, more: tuple[object, ...]
) -> None:
    appender = Appender(connection, on_post=int)
    records = chain(begun(appender, "r"), STARTED, *more)  # type: ignore[arg-type]
    assert appender.append(records) == frozenset()
    appender.forget()
    assert appender.append(records) == frozenset()
    assert connection.execute("SELECT seq FROM events").fetchall() == [(record.seq,) for record in records]
    appender.committed()
    assert appender.append(chain(RunHead(run_id="r", epoch=1, owner="one"), value("other"))) == {"r"}


def test_once_it_is_durable_a_begun_run_is_one_like_any_other(connection: sqlite3.Connection) -> None:
    appender, key = Appender(connection, on_post=int), WrappedKey("master", b"key")
    appended = [begun(appender, run_id, key) for run_id in ("a", "b")]
    for head in appended:
        assert appender.append(chain(head, STARTED)) == frozenset()
    settled = begun(appender, "settled", key)
    appender.settle(settled.run_id)
    begun(appender, "waiting", key)
    appender.committed()
    known = [appender.key_of_begun(run_id) for run_id in ("a", "b", "settled", "waiting", "nobody")]
    assert known == [None, None, None, key, None]
    assert connection.execute("SELECT run_id FROM keys JOIN runs ON run = key ORDER BY run").fetchall() == [
        ("a",), ("b",), ("settled",),
    ]  # fmt: skip


@in_loop
async def test_a_begun_runs_key_is_kept_as_its_own(path: Path) -> None:
    plain = SQLiteStore.open(path, owner="one")
    await journal_on(plain).open(await plain.begin("plain", owner="one", at=1.0)).commit(STARTED)
    await plain.close()
    store = SQLiteStore.open(path, owner="one", keys=MasterKeys([bytes(32)]))
    await journal_on(store).open(await store.begin("sealed", owner="one", at=1.0)).commit(STARTED)
    await store.close()
    again = SQLiteStore.open(path, keys=MasterKeys([bytes(32)]))
    assert (await again.run_key("plain"), await again.run_key("sealed")) != (None, None)
    assert [record.event for record in await again.read("sealed")] == [STARTED]
    assert await again.damages() == []
    await again.close()


@in_loop
async def test_who_begins_a_run_is_its_owner_from_then_on(path: Path) -> None:
    store, other = SQLiteStore.open(path), SQLiteStore.open(path)
    await store.begin("r", owner="late", at=1.0)
    assert other.owner_alive("late")
    await store.begin("s", owner="late", at=1.0)
    with pytest.raises(Misuse, match="another process runs as owner 'late'"):
        await other.begin("t", owner="late", at=1.0)
    await store.close()
    assert not other.owner_alive("late")
    await other.close()


@in_loop
async def test_an_encrypted_run_is_sealed_and_read_by_whoever_has_the_key(path: Path) -> None:
    keys = MasterKeys([bytes(32)])
    store, other = SQLiteStore.open(path, owner="one", keys=keys), SQLiteStore.open(path, keys=keys)
    await store.claim("r", owner="one", at=1.0)
    body, json = other.encoder("r")(STARTED)
    assert is_sealed(body) and opened(body, await store.run_key("r")) == json
    await journal_on(store).open(await store.claim("r", owner="one", at=2.0)).commit(STARTED)
    looking = SQLiteStore.look(path, keys=keys)
    assert [record.event for record in await looking.read("r")] == [STARTED]
    for each in (looking, other, store):
        await each.close()
