"""Whatever processes begin, die, retry, hedge and close at the same time: a day's limit is never passed."""

import asyncio
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from plimsoll.contract.model import DayLimits
from plimsoll.core.calls import Usage
from plimsoll.core.clock import ManualClock
from plimsoll.journal import MemoryStore, SQLiteStore
from plimsoll.journal.spending import Spend
from plimsoll.runtime.daily import DAY_S, NANOS, DayBook, DayTab, day_of

LIMITS = DayLimits(usd=1.0, tokens=2000, runs=2)
USD = 0.001

processes = st.integers(0, 2)
keys = st.integers(0, 3).map(str)
sizes = st.integers(0, 400)


def usage(size: int) -> Usage:
    return Usage(input_tokens=size, usd=size * USD)


class Process:
    """One life of a process: its share, one run that it advances, and what that run has been allowed."""

    def __init__(self, book: DayBook, tab: DayTab) -> None:
        self.book, self.tab = book, tab
        self.under_way: dict[str, tuple[int, int]] = {}
        """Calls by their key: the day on which each began, and its worst."""


class Days(RuleBasedStateMachine):
    """The model: per day, what was admitted. A call counts at its worst until it is settled; one that nobody settled
    counts so for ever, for it may have been sent."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock(epoch_s=DAY_S * 20_000.0)
        self.lives = 0
        self.living: dict[int, Process] = {}
        self.stores: list[Any] = []
        self.used: dict[int, int] = {}
        self.begun: dict[int, int] = {}

    def wait(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def open(self) -> Any:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        for number in range(3):
            self._live(number)

    def _live(self, number: int) -> Process:
        self.lives += 1
        store = self.open()
        book = DayBook(LIMITS, account="shop", owner=f"life-{self.lives}", store=store, clock=self.clock)
        self.living[number] = Process(book, book.tab())
        return self.living[number]

    def _today(self) -> int:
        return day_of(self.clock.now())

    def _lost(self, process: Process) -> None:
        for day, worst in process.under_way.values():
            self.used[day] = self.used.get(day, 0) + worst
        process.under_way = {}

    @rule(number=processes, key=keys, size=sizes)
    def attempt(self, number: int, key: str, size: int) -> None:
        """The first attempt of a call, or another one: what it may have used up by then, and the next one's worst."""
        process = self.living[number]
        over = self.wait(process.tab.hold(key, usage(size)))
        if over is None:
            day, _ = process.under_way.get(key, (self._today(), 0))
            process.under_way[key] = (day, size)

    @rule(calls=st.lists(st.tuples(processes, keys, sizes), max_size=5, unique_by=lambda call: call[:2]))
    def attempts_at_once(self, calls: list[tuple[int, str, int]]) -> None:
        async def all_of_them() -> list[Any]:
            return await asyncio.gather(
                *(self.living[number].tab.hold(key, usage(size)) for number, key, size in calls)
            )

        for (number, key, size), over in zip(calls, self.wait(all_of_them()), strict=True):
            if over is None:
                day, _ = self.living[number].under_way.get(key, (self._today(), 0))
                self.living[number].under_way[key] = (day, size)

    @rule(number=processes, key=keys, size=sizes, turns=st.integers(0, 4))
    def attempt_that_is_given_up(self, number: int, key: str, size: int, turns: int) -> None:
        """Whoever waits for the store is cancelled; what is drawn for it must not get lost, or be spent twice."""

        async def give_up() -> bool:
            asked = asyncio.ensure_future(self.living[number].tab.hold(key, usage(size)))
            for _ in range(turns):
                passed = self.loop.create_future()
                self.loop.call_soon(passed.set_result, None)
                await passed
            asked.cancel()
            await asyncio.wait([asked])
            return not asked.cancelled() and asked.result() is None

        if self.wait(give_up()):
            day, _ = self.living[number].under_way.get(key, (self._today(), 0))
            self.living[number].under_way[key] = (day, size)

    @rule(number=processes, key=keys, more=sizes)
    def hedge(self, number: int, key: str, more: int) -> None:
        process = self.living[number]
        day, size = process.under_way.get(key, (self._today(), 0))
        if process.tab.hold_of_hand(key, usage(size + more)):
            process.under_way[key] = (day, size + more)

    @rule(number=processes, key=keys, share=st.floats(0, 1))
    def settle(self, number: int, key: str, share: float) -> None:
        process = self.living[number]
        day, size = process.under_way.pop(key, (0, 0))
        process.tab.settle(key, usage(int(size * share)))
        self.used[day] = self.used.get(day, 0) + int(size * share)

    @rule(number=processes)
    def replay(self, number: int) -> None:
        """A run that is gone on with, here or by a process that takes it over, settles again what the journal has."""
        tab = self.living[number].book.tab()
        before = self.living[number].book.hand().free
        for key in map(str, range(4)):
            tab.settle(key, usage(400))
        assert self.living[number].book.hand().free == before

    @rule(number=processes)
    def leave(self, number: int) -> None:
        """The run is given up, and its process lives on."""
        process = self.living[number]
        process.tab.leave()
        self._lost(process)

    @rule(number=processes)
    def begin_a_run(self, number: int) -> None:
        count = self.wait(self.living[number].book.admit())
        if count.over is None:
            self.begun[self._today()] = self.begun.get(self._today(), 0) + 1

    @rule(number=processes, hours=st.sampled_from([0, 25]))
    def begin_no_run(self, number: int, hours: int) -> None:
        """A run that was counted, and then could not be recorded, or was there already."""
        count = self.wait(self.living[number].book.admit())
        self.clock.advance(hours * 3600.0)
        self.living[number].book.dismiss(count)

    @rule(number=processes)
    def trim(self, number: int) -> None:
        self.wait(self.living[number].book.trim())

    @rule(number=processes)
    def die(self, number: int) -> None:
        self._lost(self.living[number])
        self._live(number)

    @rule(number=processes)
    def close(self, number: int) -> None:
        process = self.living[number]
        process.tab.leave()
        self._lost(process)
        self.wait(process.book.close())
        self._live(number)

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.clock.advance(hours * 3600.0)

    @invariant()
    def no_day_has_admitted_more_than_its_limit(self) -> None:
        if not self.living:
            return
        admitted = dict(self.used)
        for process in self.living.values():
            for day, worst in process.under_way.values():
                admitted[day] = admitted.get(day, 0) + worst
        store = self.living[0].book._store
        for day in {*admitted, *self.begun}:
            size, runs = admitted.get(day, 0), self.begun.get(day, 0)
            assert size <= min(1.0 / USD, 2000) and runs <= 2
            drawn = self.wait(store.drawn("shop", day))
            assert drawn.nanos >= round(size * USD * NANOS) and drawn.tokens >= size and drawn.runs >= runs
            assert drawn.nanos <= NANOS and drawn.tokens <= 2000 and drawn.runs <= 2

    def teardown(self) -> None:
        for store in self.stores:
            self.wait(store.close())
        self.loop.close()
        shutil.rmtree(self.folder)


class DaysInMemory(Days):
    def open(self) -> Any:
        if not self.stores:
            self.stores.append(MemoryStore())
        return self.stores[0]


class DaysInSQLite(Days):
    def open(self) -> Any:
        store = SQLiteStore.open(self.folder / "journal.db", owner=f"life-{self.lives}")
        self.stores.append(store)
        return store


TestDaysInMemory = DaysInMemory.TestCase
TestDaysInMemory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDaysInSQLite = DaysInSQLite.TestCase
TestDaysInSQLite.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("left", [0, 1, 999])
def test_what_one_process_does_not_need_another_gets(left: int) -> None:
    async def main() -> None:
        store, clock = MemoryStore(), ManualClock()
        one, two = (DayBook(LIMITS, account="a", owner=name, store=store, clock=clock) for name in ("1", "2"))
        tab = one.tab()
        assert await tab.hold("a", usage(1000 - left)) is None
        assert (await two.tab().hold("b", usage(left + 1))) is not None
        tab.settle("a", usage(0))
        await one.close()
        assert await store.drawn("a", day_of(clock.now())) == Spend()
        assert await two.tab().hold("b", usage(1000)) is None

    asyncio.run(main())
