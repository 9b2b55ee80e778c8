"""The writer over stores that wait and fail on command."""

import asyncio
import gc
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from plimsoll.core.clock import ManualClock, SystemClock
from plimsoll.core.errors import JournalUnavailable, Misuse, Superseded
from plimsoll.core.events import Record, chain_digest, encode_event
from plimsoll.gate.simulator import simulate
from plimsoll.journal import Journal, MemoryStore, RunLog, verify_chain
from tests.journal.helpers import STARTED, TrickyStore, reports, run, settle, value, values

NEVER_S = 3600.0


def journal_on(store: MemoryStore, **options: Any) -> Journal:
    """A journal that writes only for barriers and full batches, on a clock that moves when told to."""
    return Journal(store, **{"clock": ManualClock(), "flush_s": NEVER_S, **options})


async def opened(journal: Journal, run_id: str = "r") -> RunLog:
    return journal.open(await journal.store.claim(run_id, owner="one", at=0.0))


async def fails(log: RunLog, match: str) -> JournalUnavailable:
    with pytest.raises(JournalUnavailable, match=match) as caught:
        await log.durable()
    return caught.value


# ------------------------------------------------------------------------------------------------- appending


def test_an_append_numbers_dates_and_chains() -> None:
    async def test() -> None:
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

    run(test())


def test_a_whole_clocks_date_reads_back_as_it_was_chained() -> None:
    class WholeClock(ManualClock):
        def now(self) -> float:
            return 7  # an int, which a store may give back as 7.0

    async def test() -> None:
        record = (await opened(journal_on(MemoryStore(), clock=WholeClock()))).append(STARTED)
        assert repr(record.at) == "7.0"

    run(test())


def test_a_reopened_run_goes_on_after_its_head() -> None:
    async def test() -> None:
        store = MemoryStore()
        await (await opened(journal_on(store))).commit(STARTED)
        log = await opened(journal_on(store))
        assert (log.seq, log.epoch) == (1, 2)
        await log.commit(value(1))
        records = await store.read("r")
        assert [(record.seq, record.epoch) for record in records] == [(1, 1), (2, 2)]
        verify_chain(records, head=await store.head("r"))

    run(test())


@pytest.mark.parametrize("inline", [True, False])
def test_an_append_waits_for_nothing_and_is_pending(inline: bool) -> None:
    async def test() -> None:
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

    run(test())


@pytest.mark.parametrize("inline", [True, False])
def test_the_queue_is_bounded_and_refuses_without_harm(inline: bool) -> None:
    async def test() -> None:
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

    run(test())


def test_a_full_queue_says_what_the_store_said() -> None:
    async def test() -> None:
        store = TrickyStore()
        store.failures = 10**6
        journal = journal_on(store, max_queue=1)
        log = await opened(journal)
        log.append(STARTED)
        await fails(log, "disk is full")
        with pytest.raises(JournalUnavailable, match=r"1 events wait for the disk already \(the disk is full\)"):
            log.append(value(2))
        journal.abandon()

    run(test())


@pytest.mark.parametrize("option", ["patience_s", "flush_s", "max_queue", "max_batch"])
def test_a_senseless_setting_is_refused(option: str) -> None:
    with pytest.raises(Misuse, match=option):
        journal_on(MemoryStore(), **{option: 0})


# -------------------------------------------------------------------------------------------- groups and barriers


def test_a_barrier_waits_for_the_store() -> None:
    async def test() -> None:
        store = TrickyStore()
        log = await opened(journal_on(store))
        store.gate.clear()
        waiting = asyncio.create_task(log.commit(STARTED))
        await settle()
        assert len(store.batches) == 1
        assert not waiting.done()
        store.gate.set()
        assert (await waiting).seq == 1

    run(test())


def test_a_barrier_is_not_satisfied_by_the_batch_before_it() -> None:
    async def test() -> None:
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

    run(test())


def test_many_runs_share_a_batch() -> None:
    async def test() -> None:
        store = TrickyStore()
        journal = journal_on(store)
        logs = [await opened(journal, f"r{i}") for i in range(50)]
        for _ in range(3):
            await asyncio.gather(*(log.commit(value(1)) for log in logs))
        assert [len(batch) for batch in store.batches] == [50, 50, 50]

    run(test())


@pytest.mark.parametrize("inline", [True, False])
def test_a_batch_is_capped_and_keeps_the_order(inline: bool) -> None:
    async def test() -> None:
        store = TrickyStore(inline=inline)
        journal = journal_on(store, max_batch=3)
        one, two = await opened(journal, "one"), await opened(journal, "two")
        expected = [log.append(value(i)) for i in range(4) for log in (one, two)]
        await two.durable()
        assert [len(batch) for batch in store.batches] == [3, 3, 2]
        assert [record for batch in store.batches for record in batch] == expected

    run(test())


def test_a_barrier_writes_no_further_than_it_must() -> None:
    async def test() -> None:
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

    run(test())


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


def test_a_full_batch_is_written_without_a_barrier() -> None:
    async def test() -> None:
        store = TrickyStore()
        journal = journal_on(store, max_batch=3)
        log = await opened(journal)
        for i in range(4):
            log.append(value(i))
        await settle()
        assert [len(batch) for batch in store.batches] == [3]
        assert values(journal.pending()) == [3]
        await journal.close()

    run(test())


def test_what_no_barrier_asks_for_is_written_after_a_while() -> None:
    async def test() -> None:
        written = asyncio.Event()
        journal = journal_on(TrickyStore(), flush_s=0.001)
        journal.subscribe(lambda records: written.set())
        log = await opened(journal)
        for i in range(3):
            log.append(value(i))
            await written.wait()
            written.clear()
        assert values(await journal.store.read("r")) == [0, 1, 2]

    run(test())


def test_what_came_while_a_batch_was_in_flight_is_written_after_a_while_too() -> None:
    async def test() -> None:
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

    run(test())


def test_the_writers_task_belongs_to_no_run() -> None:
    current_run: ContextVar[str] = ContextVar("current_run", default="none")
    seen = []

    class Noting(TrickyStore):
        async def append(self, records: Sequence[Record]) -> frozenset[str]:
            seen.append(current_run.get())
            return await super().append(records)

    async def test() -> None:
        log = await opened(journal_on(Noting()))
        current_run.set("r")
        await log.commit(STARTED)
        assert seen == ["none"]

    run(test())


def test_an_inline_barrier_needs_no_task() -> None:
    async def test() -> None:
        log = await opened(journal_on(MemoryStore()))
        for coroutine in (log.commit(STARTED), log.durable()):
            with pytest.raises(StopIteration):
                coroutine.send(None)
        assert len(asyncio.all_tasks()) == 1

    run(test())


def test_inline_appends_stay_queued_whatever_their_number() -> None:
    async def test() -> None:
        journal = journal_on(MemoryStore(), max_batch=2, flush_s=0.000_001)
        log = await opened(journal)
        for i in range(9):
            log.append(value(i))
        await settle()
        assert len(journal.pending()) == 9
        await journal.close()
        assert len(await journal.store.read("r")) == 9

    run(test())


def test_an_inline_store_that_waits_after_all_has_one_batch_in_flight() -> None:
    async def test() -> None:
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

    run(test())


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


# --------------------------------------------------------------------------------------------------- readers


@pytest.mark.parametrize("inline", [True, False])
def test_readers_see_what_is_durable_in_order(inline: bool) -> None:
    async def test() -> None:
        journal = journal_on(TrickyStore(inline=inline), max_batch=2)
        seen: list[Record] = []
        journal.subscribe(seen.extend)
        log = await opened(journal)
        records = [log.append(value(i)) for i in range(3)]
        assert seen == []
        await log.durable()
        assert seen == records

    run(test())


def test_a_reader_may_leave_and_one_that_fails_stops_nobody() -> None:
    async def test() -> None:
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
        assert [str(report["exception"]) for report in found] == ["a reader's own fault"]

    run(test())


# -------------------------------------------------------------------------------------------------- takeover


@pytest.mark.parametrize("inline", [True, False])
def test_a_takeover_stops_that_run_only(inline: bool) -> None:
    async def test() -> None:
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
        with pytest.raises(Superseded):
            lost.append(value(3))
        with pytest.raises(Superseded):
            await lost.durable()
        await kept.commit(value(4))
        assert values(await store.read("kept")) == [2, 4]
        assert await store.read("lost") == []

    run(test())


def test_a_takeover_drops_what_the_run_had_queued_and_wakes_all_its_barriers() -> None:
    async def test() -> None:
        store = TrickyStore()
        journal = journal_on(store, max_batch=1)
        lost, kept = await opened(journal, "lost"), await opened(journal, "kept")
        await store.claim("lost", owner="two", at=1.0)
        barriers = [lost.commit(value(1)), lost.commit(value(2)), kept.commit(value(3)), lost.commit(value(4))]
        results = await asyncio.gather(*barriers, return_exceptions=True)
        assert [type(result) for result in results] == [Superseded, Superseded, Record, Superseded]
        assert [values(batch) for batch in store.batches] == [[1], [3]]
        assert journal.pending() == []

    run(test())


def test_opening_a_run_anew_ends_its_earlier_log() -> None:
    async def test() -> None:
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

    run(test())


def test_a_run_with_unsynced_events_is_not_opened_twice_in_one_epoch() -> None:
    async def test() -> None:
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

    run(test())


# --------------------------------------------------------------------------------------------- a failing store


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("after_writing", [True, False])
def test_a_store_that_fails_for_a_while_is_outlasted(inline: bool, after_writing: bool) -> None:
    async def test() -> None:
        store = TrickyStore(inline=inline)
        store.failures, store.fails_after_writing = 4, after_writing
        told: list[JournalUnavailable | None] = []
        clock = ManualClock()
        journal = journal_on(store, clock=clock, on_trouble=told.append)
        seen: list[Record] = []
        journal.subscribe(seen.extend)
        log = await opened(journal)
        records = [log.append(value(1)), await log.commit(value(2))]
        assert await store.read("r") == seen == records, "written once, told once"
        assert [type(error) for error in told] == [JournalUnavailable, type(None)]
        assert 0 < clock.monotonic() < 5.0

    run(test())


@pytest.mark.parametrize("inline", [True, False])
def test_a_barrier_loses_patience_and_a_later_one_succeeds(inline: bool) -> None:
    async def test() -> None:
        store = TrickyStore(inline=inline)
        store.failures = 10**6
        told: list[JournalUnavailable | None] = []
        clock = ManualClock()
        journal = journal_on(store, clock=clock, patience_s=7.0, on_trouble=told.append)
        log = await opened(journal)
        record = log.append(STARTED)
        error = await fails(log, r"disk is full.* waited 7 s; its events are kept")
        assert isinstance(error.__cause__, JournalUnavailable)
        assert 7.0 <= clock.monotonic() <= 9.0
        assert journal.pending() == [record]
        await fails(log, "disk is full")
        assert 14.0 <= clock.monotonic() <= 18.0
        assert len(told) == 1
        store.failures = 0
        await log.commit(value(2))
        assert told[1:] == [None]
        assert [record.seq for record in await store.read("r")] == [1, 2]

    run(test())


def test_nobody_retries_an_inline_store_for_nobody() -> None:
    async def test() -> None:
        store = TrickyStore(inline=True)
        store.failures = 10**6
        log = await opened(journal_on(store))
        log.append(STARTED)
        await fails(log, "disk is full")
        await settle()
        assert len(asyncio.all_tasks()) == 1

    run(test())


def test_retries_go_on_when_nobody_waits() -> None:
    async def test() -> None:
        store = TrickyStore()
        written = asyncio.Event()
        journal = journal_on(store)
        journal.subscribe(lambda records: written.set())
        log = await opened(journal)
        store.failures = 10**6
        log.append(STARTED)
        await fails(log, "disk is full")
        store.failures = 0
        await written.wait()
        assert len(await store.read("r")) == 1

    run(test())


def test_a_store_that_gives_no_answer_is_trouble_too() -> None:
    async def test() -> None:
        store = TrickyStore()
        told: list[JournalUnavailable | None] = []
        journal = journal_on(store, patience_s=0.01, on_trouble=told.append)
        log, other = await opened(journal), await opened(journal, "s")
        store.gate.clear()
        log.append(STARTED)
        await fails(log, "gives no answer. This run waited 0.01 s")
        other.append(STARTED)
        await fails(other, "gives no answer")
        assert len(told) == 1 and len(store.batches) == 1
        store.gate.set()
        await log.durable()
        await other.durable()
        assert told[1:] == [None]
        assert len(store.batches) == 2

    run(test())


def test_a_satisfied_barrier_raises_no_alarm_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        call_later = loop.call_later
        timers: list[asyncio.TimerHandle] = []

        def noted(*arguments: Any) -> asyncio.TimerHandle:
            timers.append(call_later(*arguments))
            return timers[-1]

        log = await opened(journal_on(TrickyStore()))
        monkeypatch.setattr(loop, "call_later", noted)
        await log.commit(STARTED)
        assert timers and all(timer.cancelled() or timer.when() - loop.time() > 1000 for timer in timers)

    run(test())


def test_whatever_a_store_raises_loses_nothing() -> None:
    async def test() -> None:
        store = TrickyStore()
        store.failures, store.error = 10**6, ValueError("no such thing")
        log = await opened(journal_on(store))
        log.append(STARTED)
        await fails(log, r"ValueError\('no such thing'\)")
        store.failures = 0
        await log.durable()
        assert len(await store.read("r")) == 1

    run(test())


def test_a_listener_of_trouble_that_fails_stops_nobody() -> None:
    async def test() -> None:
        found = reports()
        store = TrickyStore()
        store.failures = 1

        def broken(error: JournalUnavailable | None) -> None:
            raise RuntimeError("a listener's own fault")

        log = await opened(journal_on(store, on_trouble=broken))
        await log.commit(STARTED)
        assert len(found) == 2

    run(test())


class Crash(BaseException):
    """What a simulator may raise, and nobody catches."""


def test_a_crash_of_the_writer_leaves_no_barrier_hanging() -> None:
    async def test() -> None:
        found = reports()
        store = TrickyStore()
        store.failures, store.error = 1, Crash("the writer's own fault")
        journal = journal_on(store)
        one, two = await opened(journal, "one"), await opened(journal, "two")
        barriers = [one.commit(value(1)), two.commit(value(2))]
        for error in await asyncio.gather(*barriers, return_exceptions=True):
            assert isinstance(error, JournalUnavailable)
            assert "its writer stopped (the writer's own fault)" in str(error)
        assert [report["exception"] for report in found] == [store.error]
        assert values(journal.pending()) == [1, 2]
        await asyncio.gather(one.durable(), two.durable())
        assert values([*await store.read("one"), *await store.read("two")]) == [1, 2]

    run(test())


def test_an_inline_crash_goes_up_through_the_barrier() -> None:
    async def test() -> None:
        store = TrickyStore(inline=True)
        store.failures, store.error = 1, Crash()
        journal = journal_on(store)
        log = await opened(journal)
        with pytest.raises(Crash):
            await log.commit(STARTED)
        assert len(journal.pending()) == 1
        await log.durable()

    run(test())


def test_a_cancelled_writer_leaves_no_barrier_hanging() -> None:
    async def test() -> None:
        store = TrickyStore()
        journal = journal_on(store)
        log = await opened(journal)
        store.gate.clear()
        waiting = asyncio.create_task(log.commit(STARTED))
        await settle()
        (writer,) = asyncio.all_tasks() - {asyncio.current_task(), waiting}
        writer.cancel()
        with pytest.raises(JournalUnavailable, match="its writer stopped"):
            await waiting
        store.gate.set()
        await log.durable()
        assert len(await store.read("r")) == 1

    run(test())


# ----------------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("inline", [True, False])
def test_a_cancelled_barrier_harms_neither_its_batch_nor_the_others(inline: bool) -> None:
    async def test() -> None:
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

    run(test())


def test_a_barrier_that_was_cancelled_is_told_nothing() -> None:
    async def test() -> None:
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

    run(test())


def test_a_barrier_cancelled_as_it_fails_leaves_no_complaint() -> None:
    async def test() -> None:
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

    run(test())


# ------------------------------------------------------------------------------------------------------ the end


@pytest.mark.parametrize("inline", [True, False])
def test_closing_writes_what_is_queued_and_takes_no_more(inline: bool) -> None:
    async def test() -> None:
        store = TrickyStore(inline=inline)
        journal = journal_on(store, max_batch=2)
        log = await opened(journal)
        for i in range(5):
            log.append(value(i))
        await journal.close()
        await journal.close()
        assert values(await store.read("r")) == [0, 1, 2, 3, 4]
        assert len(asyncio.all_tasks()) == 1
        with pytest.raises(JournalUnavailable, match="closed"):
            log.append(value(5))
        await log.durable()

    run(test())


@pytest.mark.parametrize("inline", [True, False])
def test_closing_on_a_failing_store_says_so_and_may_be_tried_again(inline: bool) -> None:
    async def test() -> None:
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

    run(test())


def test_closing_stops_the_timer() -> None:
    async def test() -> None:
        journal = journal_on(TrickyStore(), flush_s=0.001)
        log = await opened(journal)
        log.append(STARTED)
        await journal.close()
        assert journal._timer is None

    run(test())


@pytest.mark.parametrize("inline", [True, False])
def test_abandoning_drops_what_is_queued(inline: bool) -> None:
    async def test() -> None:
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

    run(test())


@pytest.mark.parametrize("inline", [True, False])
def test_abandoning_with_a_batch_in_flight(inline: bool) -> None:
    async def test() -> None:
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

    run(test())


def test_the_real_clock_will_do() -> None:
    async def test() -> None:
        journal = Journal(TrickyStore(), clock=SystemClock())
        log = await opened(journal)
        record = await log.commit(STARTED)
        assert record.at > 1_700_000_000
        await journal.close()

    run(test())
