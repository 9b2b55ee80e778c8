"""How a run's end of the journal, a barrier, and the journal itself come to an end."""

import asyncio
import gc

import pytest

from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import JournalUnavailable, Misuse, Superseded
from plimsoll.core.events import Record
from plimsoll.journal import Journal, MemoryStore, verify_chain
from tests.journal.helpers import (
    STARTED,
    TrickyStore,
    in_loop,
    journal_on,
    opened,
    reports,
    settle,
    value,
    values,
)

# ------------------------------------------------------------------------------------------------------------- takeover


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_a_takeover_stops_that_run_only(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store)
    seen: list[Record] = []
    journal.subscribe(seen.extend)
    lost, kept = await opened(journal, "lost"), await opened(journal, "kept")
    await store.claim("lost", owner="two", at=1.0)
    results = await asyncio.gather(lost.commit(value(1)), kept.commit(value(2)), return_exceptions=True)
    assert isinstance(results[0], Superseded) and (results[0].run_id, results[0].epoch) == ("lost", 1)
    assert isinstance(results[1], Record)
    assert seen == [results[1]]
    with pytest.raises(Superseded) as refused:
        lost.append(value(3))
    assert (refused.value.run_id, refused.value.epoch) == ("lost", 1)
    with pytest.raises(Superseded) as refused:
        await lost.durable()
    assert (refused.value.run_id, refused.value.epoch) == ("lost", 1)
    await kept.commit(value(4))
    assert values(await store.read("kept")) == [2, 4]
    assert await store.read("lost") == []


@in_loop
async def test_a_takeover_drops_what_the_run_had_queued_and_wakes_all_its_barriers() -> None:
    store = TrickyStore()
    journal = journal_on(store, max_batch=1)
    lost, kept = await opened(journal, "lost"), await opened(journal, "kept")
    await store.claim("lost", owner="two", at=1.0)
    barriers = [lost.commit(value(1)), lost.commit(value(2)), kept.commit(value(3)), lost.commit(value(4))]
    results = await asyncio.gather(*barriers, return_exceptions=True)
    assert [type(result) for result in results] == [Superseded, Superseded, Record, Superseded]
    assert [values(batch) for batch in store.batches] == [[1], [3]]
    assert journal.pending() == []


@in_loop
async def test_opening_a_run_anew_ends_its_earlier_log() -> None:
    store = TrickyStore()
    journal = journal_on(store)
    earlier = await opened(journal)
    await earlier.commit(STARTED)
    earlier.append(value(1))
    waiting = asyncio.create_task(earlier.durable())
    later = journal.open(await store.claim("r", owner="one", at=1.0))
    with pytest.raises(Superseded):
        await waiting
    await later.commit(value(2))
    assert values(await store.read("r")) == [2]
    with pytest.raises(Superseded):
        earlier.append(value(3))
    await journal.close()
    verify_chain(await store.read("r"), head=await store.head("r"))


@in_loop
async def test_a_run_with_unsynced_events_is_not_opened_twice_in_one_epoch() -> None:
    store = MemoryStore()
    journal = journal_on(store)
    head = await store.claim("r", owner="one", at=0.0)
    log = journal.open(head)
    log.append(STARTED)
    with pytest.raises(Misuse, match="claim it anew"):
        journal.open(head)
    await log.durable()
    again = await store.head("r")
    assert again is not None
    await journal.open(again).commit(value(1))
    with pytest.raises(Superseded):
        log.append(value(2))


# --------------------------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_a_cancelled_barrier_harms_neither_its_batch_nor_the_others(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store)
    one, two = await opened(journal, "one"), await opened(journal, "two")
    store.gate.clear()
    barriers = [asyncio.create_task(log.commit(value(1))) for log in (one, two)]
    await settle()
    barriers[0].cancel()
    await settle()
    assert barriers[0].cancelled()
    assert not barriers[1].done()
    store.gate.set()
    await barriers[1]
    await one.commit(value(2))
    assert values(await store.read("one")) == [1, 2]
    assert values(await store.read("two")) == [1]


@in_loop
async def test_a_barrier_that_was_cancelled_is_told_nothing() -> None:
    store = TrickyStore()
    journal = journal_on(store)
    log = await opened(journal)
    store.gate.clear()
    waiting = asyncio.create_task(log.commit(STARTED))
    await settle()
    waiting.cancel()
    await settle()
    journal.open(await store.claim("r", owner="one", at=1.0))
    assert waiting.cancelled()
    store.gate.set()
    await journal.close()


@in_loop
async def test_a_barrier_cancelled_as_it_fails_leaves_no_complaint() -> None:
    found = reports()
    store = TrickyStore()
    journal = journal_on(store)
    log = await opened(journal)
    store.gate.clear()
    waiting = asyncio.create_task(log.commit(STARTED))
    await settle()
    journal.abandon()
    waiting.cancel()
    await settle()
    assert waiting.cancelled()
    del waiting
    gc.collect()
    assert found == []


# -------------------------------------------------------------------------------------------------------------- the end


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_closing_writes_what_is_queued_and_takes_no_more(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store, max_batch=2)
    log = await opened(journal)
    for i in range(5):
        log.append(value(i))
    await journal.close()
    await journal.close()
    assert values(await store.read("r")) == [0, 1, 2, 3, 4]
    assert len(asyncio.all_tasks()) == 1
    with pytest.raises(JournalUnavailable, match=r": it was closed; open another$"):
        log.append(value(5))
    await log.durable()


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_closing_on_a_failing_store_says_so_and_may_be_tried_again(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store)
    log = await opened(journal)
    log.append(STARTED)
    store.failures = 10**6
    with pytest.raises(JournalUnavailable, match="disk is full"):
        await journal.close()
    assert len(asyncio.all_tasks()) == 1
    assert len(journal.pending()) == 1
    store.failures = 0
    await journal.close()
    assert len(await store.read("r")) == 1


@in_loop
async def test_closing_stops_the_timer() -> None:
    journal = journal_on(TrickyStore(), flush_s=0.001)
    log = await opened(journal)
    log.append(STARTED)
    await journal.close()
    assert journal._timer is None


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_abandoning_drops_what_is_queued(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store)
    log = await opened(journal)
    await log.commit(STARTED)
    log.append(value(1))
    journal.abandon()
    assert journal.pending() == []
    with pytest.raises(JournalUnavailable, match="abandoned"):
        log.append(value(2))
    with pytest.raises(JournalUnavailable, match="abandoned"):
        await log.durable()
    await journal.close()
    assert len(await store.read("r")) == 1


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_abandoning_with_a_batch_in_flight(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store)
    seen: list[Record] = []
    journal.subscribe(seen.extend)
    log = await opened(journal)
    store.gate.clear()
    waiting = asyncio.create_task(log.commit(STARTED))
    await settle()
    journal.abandon()
    store.gate.set()
    with pytest.raises(JournalUnavailable, match="abandoned"):
        await waiting
    await settle()
    assert seen == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_the_real_clock_will_do() -> None:
    journal = Journal(TrickyStore(), clock=SystemClock())
    log = await opened(journal)
    record = await log.commit(STARTED)
    assert record.at > 1_700_000_000
    await journal.close()
