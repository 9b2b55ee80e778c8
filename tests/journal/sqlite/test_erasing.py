"""What is erased is gone from the files, too."""

from pathlib import Path

import pytest

from plimsoll.journal import InboxEntry, InboxKind, SQLiteStore
from plimsoll.journal.encryption import MasterKeys
from tests.journal.helpers import ENDED, STARTED, in_loop, journal_on
from tests.journal.sqlite.helpers import raw

OLD, BOTH = MasterKeys([bytes(32)]), MasterKeys([bytes(range(32)), bytes(32)])
MANY = 150


async def filled(path: Path) -> None:
    """So many encrypted runs that their keys fill several pages."""
    store = SQLiteStore.open(path, owner="one", keys=OLD)
    journal = journal_on(store, max_batch=1000)
    for number in range(MANY):
        log = journal.open(await store.claim(f"r{number}", owner="one", at=1.0))
        log.append(STARTED)
        log.append(ENDED)
    await journal.close()
    await store.close()


def keys_in(path: Path) -> list[bytes]:
    with raw(path) as file:
        return [wrapped for (wrapped,) in file.execute("SELECT wrapped FROM keys ORDER BY run")]


def contents(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob("journal.db*")) if file.is_file())


@in_loop
async def test_no_copy_of_an_erased_runs_key_is_left_in_any_file(path: Path) -> None:
    await filled(path)
    keys = keys_in(path)
    gone = [0, 1, 70, 71, 72, MANY - 1]
    store, other = SQLiteStore.open(path), SQLiteStore.open(path)
    await store.heads()
    for number in gone:
        assert (await store.erase(f"r{number}", by="ann", reason="", at=2.0)).wiped
    there = contents(path)
    assert [number for number, key in enumerate(keys) if key not in there] == gone
    await store.close()
    await other.close()


@in_loop
async def test_no_copy_of_a_key_under_the_old_master_key_is_left(path: Path) -> None:
    await filled(path)
    old = keys_in(path)
    store = SQLiteStore.open(path, keys=BOTH)
    assert await store.rewrap(by="ann", at=2.0) == MANY
    there = contents(path)
    assert not any(key in there for key in old)
    assert all(key in there for key in keys_in(path))
    await store.close()


@in_loop
async def test_while_somebody_reads_the_key_may_still_stand_in_the_log(path: Path) -> None:
    await filled(path)
    (key, *_) = keys_in(path)
    store = SQLiteStore.open(path, busy_timeout_s=0.01)
    with raw(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM runs").fetchone()
        assert not (await store.erase("r0", by="ann", reason="", at=2.0)).wiped
        assert key in contents(path)
        reader.execute("COMMIT")
    assert (await store.erase("r0", by="ann", reason="", at=3.0)).wiped
    assert key not in contents(path)
    await store.close()


@in_loop
async def test_many_keys_are_rewrapped_part_by_part(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll.journal.sqlite.evidence._REWRAPPED_AT_ONCE", 40)
    await filled(path)
    store = SQLiteStore.open(path, keys=BOTH)
    assert await store.rewrap(by="ann", at=2.0) == MANY
    assert [act.reason for act in await store.acts()] == [f"{MANY} run keys"]
    await store.close()


@in_loop
async def test_a_message_to_an_encrypted_run_stands_sealed_in_the_file(path: Path) -> None:
    store = SQLiteStore.open(path, owner="one", keys=OLD)
    await journal_on(store).open(await store.claim("r", owner="one", at=1.0)).commit(STARTED)
    body = {"note": "for nobody else"}
    await store.post(InboxEntry(request_id="r.a1", run_id="r", kind=InboxKind.DECISION, body=body, by="ann", at=2.0))
    assert b"for nobody else" not in contents(path)
    assert [(entry.request_id, entry.body) for entry in await store.inbox("r")] == [("r.a1", body)]
    await store.close()
