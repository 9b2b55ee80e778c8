"""The writer over stores that wait on command: appending, groups, barriers, readers."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalUnavailable, Misuse
from plimsoll.core.events import Record, chain_digest, encode_event
from plimsoll.gate.simulator import simulate
from plimsoll.journal import MemoryStore, RunLog, verify_chain
from tests.journal.helpers import (
    STARTED,
    TrickyStore,
    fails,
    in_loop,
    journal_on,
    opened,
    reports,
    run,
    settle,
    value,
    values,
)

# ------------------------------------------------------------------------------------------------------------ appending


@in_loop
async def test_an_append_numbers_dates_and_chains() -> None:
    clock = ManualClock(epoch_s=100)
    journal = journal_on(MemoryStore(), clock=clock)
    log = await opened(journal)
    first = log.append(STARTED)
    clock.advance(2.5)
    second = await log.commit(value(1))
    assert (first.run_id, first.seq, first.epoch, first.at, first.body) == ("r", 1, 1, 100.0, encode_event(STARTED))
    assert (second.seq, second.at) == (2, 102.5)
    assert second.digest == chain_digest(
        first.digest, run_id="r", seq=2, epoch=1, at=102.5, body=encode_event(value(1))
    )
    assert (log.seq, log.digest) == (2, second.digest)
    assert await journal.store.read("r") == [first, second]


@in_loop
async def test_a_whole_clocks_date_reads_back_as_it_was_chained() -> None:
    class WholeClock(ManualClock):
        def now(self) -> float:
            return 7  # an int, which a store may give back as 7.0

    record = (await opened(journal_on(MemoryStore(), clock=WholeClock()))).append(STARTED)
    assert repr(record.at) == "7.0"


@in_loop
async def test_a_reopened_run_goes_on_after_its_head() -> None:
    store = MemoryStore()
    await (await opened(journal_on(store))).commit(STARTED)
    log = await opened(journal_on(store))
    assert (log.seq, log.epoch) == (1, 2)
    await log.commit(value(1))
    records = await store.read("r")
    assert [(record.seq, record.epoch) for record in records] == [(1, 1), (2, 2)]
    verify_chain(records, head=await store.head("r"))


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_an_append_waits_for_nothing_and_is_pending(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store)
    log = await opened(journal)
    records = [log.append(STARTED), log.append(value(1))]
    await settle()
    assert store.batches == []
    assert journal.pending() == records
    await log.durable()
    assert journal.pending() == []
    assert store.batches == [records]
    await log.durable()
    assert len(store.batches) == 1, "nothing was left to write"


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_a_run_is_crowded_from_half_a_queue_on(inline: bool) -> None:
    journal = journal_on(TrickyStore(inline=inline), max_queue=4)
    log = await opened(journal)
    seen = [log.crowded]
    for number in range(3):
        log.append(value(number))
        seen.append(log.crowded)
    assert seen == [False, False, True, True]
    await log.durable()
    assert not log.crowded
    await journal.close()


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_a_barrier_behind_nothing_is_none(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    store.gate.clear()
    journal = journal_on(store)
    log = await opened(journal)
    await log.durable()
    store.gate.set()
    await log.commit(value(1))
    written = len(store.batches)
    await log.durable()
    assert (written, len(store.batches)) == (1, 1)
    await journal.close()


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_the_queue_is_bounded_and_refuses_without_harm(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store, max_queue=2)
    log = await opened(journal)
    log.append(STARTED)
    log.append(value(1))
    place = (log.seq, log.digest)
    with pytest.raises(JournalUnavailable, match=r"2 events wait for the disk already$"):
        log.append(value(2))
    assert (log.seq, log.digest) == place
    await log.durable()
    await log.commit(value(3))
    assert values(await store.read("r")) == [1, 3]
    verify_chain(await store.read("r"))


@in_loop
async def test_a_full_queue_says_what_the_store_said() -> None:
    store = TrickyStore()
    store.failures = 10**6
    journal = journal_on(store, max_queue=1)
    log = await opened(journal)
    log.append(STARTED)
    await fails(log, "disk is full")
    with pytest.raises(JournalUnavailable, match=r"1 events wait for the disk already \(the disk is full\)"):
        log.append(value(2))
    journal.abandon()


@pytest.mark.parametrize("option", ["patience_s", "flush_s", "max_queue", "max_batch"])
def test_a_senseless_setting_is_refused(option: str) -> None:
    with pytest.raises(Misuse, match=option):
        journal_on(MemoryStore(), **{option: 0})


# -------------------------------------------------------------------------------------------------- groups and barriers


@in_loop
async def test_a_barrier_waits_for_the_store() -> None:
    store = TrickyStore()
    log = await opened(journal_on(store))
    store.gate.clear()
    waiting = asyncio.create_task(log.commit(STARTED))
    await settle()
    assert len(store.batches) == 1
    assert not waiting.done()
    store.gate.set()
    assert (await waiting).seq == 1


@in_loop
async def test_a_barrier_is_not_satisfied_by_the_batch_before_it() -> None:
    store = TrickyStore()
    log = await opened(journal_on(store))
    store.gate.clear()
    first = asyncio.create_task(log.commit(STARTED))
    await settle()
    second = asyncio.create_task(log.commit(value(2)))
    await settle()
    assert len(store.batches) == 1, "one batch in flight"
    store.gate.set()
    await first
    assert not second.done()
    await second
    assert [len(batch) for batch in store.batches] == [1, 1]


@in_loop
async def test_many_runs_share_a_batch() -> None:
    store = TrickyStore()
    journal = journal_on(store)
    logs = [await opened(journal, f"r{i}") for i in range(50)]
    for _ in range(3):
        await asyncio.gather(*(log.commit(value(1)) for log in logs))
    assert [len(batch) for batch in store.batches] == [50, 50, 50]


@in_loop
async def test_a_batch_that_is_worth_its_sync_does_not_wait_for_those_who_are_still_to_be_woken() -> None:
    async def work(log: RunLog) -> None:
        await log.commit(value(1))
        for _ in range(9):
            log.append(value(2))
        await log.commit(value(3))

    store = TrickyStore()
    journal = journal_on(store)
    logs = [await opened(journal, f"r{i}") for i in range(100)]
    await asyncio.gather(*(work(log) for log in logs))
    assert [len(batch) for batch in store.batches[:2]] == [100, 160]
    assert sum(map(len, store.batches)) == 1100


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_a_batch_is_capped_and_keeps_the_order(inline: bool) -> None:
    store = TrickyStore(inline=inline)
    journal = journal_on(store, max_batch=3)
    one, two = await opened(journal, "one"), await opened(journal, "two")
    expected = [log.append(value(i)) for i in range(4) for log in (one, two)]
    await two.durable()
    assert [len(batch) for batch in store.batches] == [3, 3, 2]
    assert [record for batch in store.batches for record in batch] == expected


@in_loop
async def test_a_barrier_writes_no_further_than_it_must() -> None:
    store = TrickyStore()
    journal = journal_on(store, max_batch=2)
    one, two = await opened(journal, "one"), await opened(journal, "two")
    one.append(value(1))
    two.append(value(2))
    two.append(value(3))
    await one.durable()
    await settle()
    assert values(journal.pending()) == [3]
    await two.durable()


def test_a_barrier_writes_no_further_after_a_flush_either() -> None:
    async def test() -> None:
        written = asyncio.Event()
        journal = journal_on(TrickyStore(), flush_s=0.001, max_batch=2)
        journal.subscribe(lambda records: written.set())
        one, two = await opened(journal, "one"), await opened(journal, "two")
        one.append(value(0))
        await written.wait()
        await settle()
        one.append(value(1))
        two.append(value(2))
        two.append(value(3))
        await one.durable()
        await settle()
        assert values(journal.pending()) == [3]
        await journal.close()

    simulate(test)  # a real timer of 1 ms would be a race


@in_loop
async def test_a_full_batch_is_written_without_a_barrier() -> None:
    store = TrickyStore()
    journal = journal_on(store, max_batch=3)
    log = await opened(journal)
    for i in range(3):
        log.append(value(i))
    log.append(value(3))
    await settle()
    assert [len(batch) for batch in store.batches] == [3]
    assert values(journal.pending()) == [3]
    await journal.close()


@in_loop
async def test_a_batch_is_full_with_its_last_event() -> None:
    store = TrickyStore()
    log = await opened(journal_on(store, max_batch=3))
    for number in range(3):
        assert store.batches == []
        log.append(value(number))
        await settle()
    assert [len(batch) for batch in store.batches] == [3]


@in_loop
async def test_what_no_barrier_asks_for_is_written_after_a_while() -> None:
    written = asyncio.Event()
    journal = journal_on(TrickyStore(), flush_s=0.001)
    journal.subscribe(lambda records: written.set())
    log = await opened(journal)
    for i in range(3):
        log.append(value(i))
        await written.wait()
        written.clear()
    assert values(await journal.store.read("r")) == [0, 1, 2]


@in_loop
async def test_what_came_while_a_batch_was_in_flight_is_written_after_a_while_too() -> None:
    store = TrickyStore()
    journal = journal_on(store, flush_s=0.001)
    written: list[Record] = []
    all_written = asyncio.Event()

    def note(records: Sequence[Record]) -> None:
        written.extend(records)
        if len(written) == 2:
            all_written.set()

    journal.subscribe(note)
    log = await opened(journal)
    store.gate.clear()
    first = asyncio.create_task(log.commit(value(1)))
    await settle()
    log.append(value(2))
    store.gate.set()
    await first
    await all_written.wait()
    assert values(written) == [1, 2]


@in_loop
async def test_the_writers_task_belongs_to_no_run() -> None:
    current_run: ContextVar[str] = ContextVar("current_run", default="none")
    seen = []

    class Noting(TrickyStore):
        async def append(self, records: Sequence[Record]) -> frozenset[str]:
            seen.append(current_run.get())
            return await super().append(records)

    log = await opened(journal_on(Noting()))
    current_run.set("r")
    await log.commit(STARTED)
    assert seen == ["none"]


@in_loop
async def test_an_inline_barrier_needs_no_task() -> None:
    log = await opened(journal_on(MemoryStore()))
    for coroutine in (log.commit(STARTED), log.durable()):
        with pytest.raises(StopIteration):
            coroutine.send(None)
    assert len(asyncio.all_tasks()) == 1


@in_loop
async def test_inline_appends_stay_queued_whatever_their_number() -> None:
    journal = journal_on(MemoryStore(), max_batch=2, flush_s=0.000_001)
    log = await opened(journal)
    for i in range(9):
        log.append(value(i))
    await settle()
    assert len(journal.pending()) == 9
    await journal.close()
    assert len(await journal.store.read("r")) == 9


@in_loop
async def test_an_inline_store_that_waits_after_all_has_one_batch_in_flight() -> None:
    store = TrickyStore(inline=True)
    journal = journal_on(store)
    one, two = await opened(journal, "one"), await opened(journal, "two")
    store.gate.clear()
    barriers = [asyncio.create_task(log.commit(value(1))) for log in (one, two)]
    await settle()
    assert len(store.batches) == 1
    store.gate.set()
    await asyncio.gather(*barriers)
    assert [len(batch) for batch in store.batches] == [1, 1]


def test_a_journal_outlives_its_event_loop() -> None:
    store = TrickyStore()
    journal = journal_on(store, flush_s=3600.0)
    written: list[Record] = []
    journal.subscribe(written.extend)

    async def commit_two_and_append_one() -> None:
        log = await opened(journal)
        await asyncio.gather(log.commit(value(1)), log.commit(value(2)))
        log.append(value(3))

    async def append_and_wait() -> None:
        written_all = asyncio.Event()
        journal.subscribe(lambda records: written_all.set())
        (await opened(journal)).append(value(4))
        await written_all.wait()

    run(commit_two_and_append_one())
    run(commit_two_and_append_one())
    assert values(written) == [1, 2, 1, 2], "the second claim fenced what the first left un-synced"
    journal._flush_s = 0.001  # only now, or the timer races with the end of the first loops
    run(append_and_wait())
    assert values(written) == [1, 2, 1, 2, 4]
    assert run(store.read("r")) == written


# -------------------------------------------------------------------------------------------------------------- readers


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_readers_see_what_is_durable_in_order(inline: bool) -> None:
    journal = journal_on(TrickyStore(inline=inline), max_batch=2)
    seen: list[Record] = []
    journal.subscribe(seen.extend)
    log = await opened(journal)
    records = [log.append(value(i)) for i in range(3)]
    assert seen == []
    await log.durable()
    assert seen == records


@in_loop
async def test_a_reader_may_leave_and_one_that_fails_stops_nobody() -> None:
    found = reports()
    journal = journal_on(TrickyStore())
    seen: list[Record] = []

    def broken(records: Sequence[Record]) -> None:
        raise RuntimeError("a reader's own fault")

    leave = journal.subscribe(broken)
    journal.subscribe(seen.extend)
    log = await opened(journal)
    await log.commit(value(1))
    leave()
    leave()
    await log.commit(value(2))
    assert values(seen) == [1, 2]
    assert [(report["message"], str(report["exception"])) for report in found] == [
        ("a listener of the journal failed", "a reader's own fault")
    ]
