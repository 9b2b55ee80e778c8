"""The writer over stores that fail on command, or crash."""

import asyncio
from typing import Any

import pytest

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalUnavailable
from plimsoll.core.events import Record
from tests.journal.helpers import (
    STARTED,
    TrickyStore,
    fails,
    in_loop,
    journal_on,
    opened,
    reports,
    settle,
    value,
    values,
)

# ------------------------------------------------------------------------------------------------------ a failing store


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("after_writing", [True, False])
@in_loop
async def test_a_store_that_fails_for_a_while_is_outlasted(inline: bool, after_writing: bool) -> None:
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


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_a_barrier_loses_patience_and_a_later_one_succeeds(inline: bool) -> None:
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


class SleepyClock(ManualClock):
    """Notes how long it slept."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(seconds)


@pytest.mark.parametrize("inline", [True, False])
@in_loop
async def test_it_tries_again_after_10_ms_and_ever_longer_up_to_a_second(inline: bool) -> None:
    store, clock = TrickyStore(inline=inline), SleepyClock()
    store.failures = 10
    journal = journal_on(store, clock=clock, patience_s=60.0, max_batch=1)
    log = await opened(journal)
    log.append(value(1))
    told: list[object] = []

    def fail_once_more(records: object) -> None:
        store.failures = 0 if told else 1
        told.append(records)

    journal.subscribe(fail_once_more)
    await log.commit(value(2))
    first = 10 - inline  # an inline store was tried before, by the barrier itself
    assert clock.slept[:first] == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0][:first])
    assert clock.slept[first:] == [0.01], "once it was back, it begins anew"


@in_loop
async def test_nobody_retries_an_inline_store_for_nobody() -> None:
    store = TrickyStore(inline=True)
    store.failures = 10**6
    log = await opened(journal_on(store))
    log.append(STARTED)
    await fails(log, "disk is full")
    await settle()
    assert len(asyncio.all_tasks()) == 1


@in_loop
async def test_retries_go_on_when_nobody_waits() -> None:
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


@in_loop
async def test_a_store_that_gives_no_answer_is_trouble_too() -> None:
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


@in_loop
async def test_a_satisfied_barrier_raises_no_alarm_later(monkeypatch: pytest.MonkeyPatch) -> None:
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


@in_loop
async def test_whatever_a_store_raises_loses_nothing() -> None:
    store = TrickyStore()
    store.failures, store.error = 10**6, ValueError("no such thing")
    log = await opened(journal_on(store))
    log.append(STARTED)
    await fails(log, r"ValueError\('no such thing'\)")
    store.failures = 0
    await log.durable()
    assert len(await store.read("r")) == 1


@in_loop
async def test_a_listener_of_trouble_that_fails_stops_nobody() -> None:
    found = reports()
    store = TrickyStore()
    store.failures = 1

    def broken(error: JournalUnavailable | None) -> None:
        raise RuntimeError("a listener's own fault")

    log = await opened(journal_on(store, on_trouble=broken))
    await log.commit(STARTED)
    assert len(found) == 2


class Crash(BaseException):
    """What a simulator may raise, and nobody catches."""


@in_loop
async def test_a_crash_of_the_writer_leaves_no_barrier_hanging() -> None:
    found = reports()
    store = TrickyStore()
    store.failures, store.error = 1, Crash("the writer's own fault")
    journal = journal_on(store)
    one, two = await opened(journal, "one"), await opened(journal, "two")
    barriers = [one.commit(value(1)), two.commit(value(2))]
    for error in await asyncio.gather(*barriers, return_exceptions=True):
        assert isinstance(error, JournalUnavailable)
        assert "its writer stopped (the writer's own fault)" in str(error)
    assert [(report["message"], report["exception"]) for report in found] == [
        ("the journal's writer crashed", store.error)
    ]
    assert values(journal.pending()) == [1, 2]
    await asyncio.gather(one.durable(), two.durable())
    assert values([*await store.read("one"), *await store.read("two")]) == [1, 2]


@in_loop
async def test_an_inline_crash_goes_up_through_the_barrier() -> None:
    store = TrickyStore(inline=True)
    store.failures, store.error = 1, Crash()
    journal = journal_on(store)
    log = await opened(journal)
    with pytest.raises(Crash):
        await log.commit(STARTED)
    assert len(journal.pending()) == 1
    await log.durable()


@in_loop
async def test_a_cancelled_writer_leaves_no_barrier_hanging() -> None:
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
