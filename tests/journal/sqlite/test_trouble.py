"""Storage that cannot be used for a while: each attempt says why, and nothing that was stored is lost."""

from pathlib import Path

import pytest

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalUnavailable
from plimsoll.journal import Journal, SQLiteStore, verify_chain
from tests.journal.helpers import STARTED, chain, in_loop, value
from tests.journal.sqlite.helpers import filled, in_use, nothing_was_lost, raw, read, refuses


@in_loop
async def test_a_locked_journal(path: Path) -> None:
    store, head = await in_use(path)
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        await refuses(store, head, "locked; another process holds it")
        assert await store.head("r") == head, "readers go on"
        with pytest.raises(JournalUnavailable, match="locked"):
            SQLiteStore.open(path, busy_timeout_s=0.01)
    await nothing_was_lost(store, head)


@in_loop
async def test_a_journal_that_another_program_has_for_itself(path: Path) -> None:
    await filled(path)
    with raw(path) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable, match="locked"):
            SQLiteStore.open(path, busy_timeout_s=0.01)
    assert await read(path) == 3


@in_loop
async def test_kill_switches_that_cannot_be_asked_do_not_pass_for_released(path: Path) -> None:
    store, _ = await in_use(path)
    store._watch.close()
    with pytest.raises(JournalUnavailable):
        store.outside()
    await store.close()


@in_loop
async def test_a_read_only_journal(path: Path) -> None:
    store, head = await in_use(path)
    store._writer.execute("PRAGMA query_only = ON")
    await refuses(store, head, "readonly database; make the file and its folder writable")
    store._writer.execute("PRAGMA query_only = OFF")
    await nothing_was_lost(store, head)


@in_loop
async def test_a_full_disk(path: Path) -> None:
    store, head = await in_use(path)
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalUnavailable, match="full; make room on its disk"):
        await store.append(chain(head, *(value("z" * 9000) for _ in range(3))))
    store._writer.execute("PRAGMA max_page_count = 1000000")
    await nothing_was_lost(store, head)


@in_loop
async def test_a_journal_that_was_moved_away_takes_nothing_more(path: Path) -> None:
    store, head = await in_use(path)
    path.rename(path.with_name("elsewhere.db"))
    await refuses(store, head, "was moved, replaced or deleted")
    path.touch()
    await refuses(store, head, "was moved, replaced or deleted")
    path.with_name("elsewhere.db").replace(path)
    await nothing_was_lost(store, head)


@in_loop
async def test_a_closed_store_says_so(path: Path) -> None:
    store, head = await in_use(path)
    await store.close()
    await refuses(store, head, "it was closed")
    for ask in (store.head("r"), store.read("r"), store.heads(), store.inbox("r")):
        with pytest.raises(JournalUnavailable, match="it was closed"):
            await ask
    with pytest.raises(JournalUnavailable, match="it was closed"):
        store.outside()


@in_loop
async def test_a_journal_outlasts_a_lock(path: Path) -> None:
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
