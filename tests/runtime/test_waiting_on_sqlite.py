"""Timers and signals on a SQLite file, over processes of which one dies at any of its writes to it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalUnavailable, SignalTimeout, UnknownRun
from plimsoll.core.events import SignalReceived, TimerFired, TimerSet
from plimsoll.journal import verify_chain
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.harness import AgentFunction, Harness
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.waiting import IN_MEMORY_S
from tests.runtime.bench import Crash, CrashingStore, Shop, contract

pytestmark = pytest.mark.timeout(300)  # some hundred processes' worth of synced writes: as slow as the disk is

NAP_S = 4.0
MOST_WRITES = 60
"""More than any of these runs makes."""


class Place:
    """A shop, a file, and the processes that come and go. The file is real; time is what they have slept.

    The process that makes the `dies_at`-th write of all dies of it, keeping `keep` of its events.
    """

    def __init__(self, folder: Path, agent: AgentFunction, *, dies_at: int, keep: int) -> None:
        self.file = folder / "journal.db"
        self.agent = agent
        self.shop = Shop()
        self.clock = ManualClock()
        self.lives = 0
        self._dies_at = dies_at
        self._keep = keep

    @property
    def died(self) -> bool:
        return self._dies_at <= 0

    async def life(self, input: Any) -> RunResult | None:
        """One process: goes on with what can, or is asked for the run. None where it died."""
        self.lives += 1
        owner = f"life-{self.lives}"
        store = SQLiteStore.open(self.file, owner=owner)
        seen = None if self.died else CrashingStore(store, at=self._dies_at, keep=self._keep)
        harness = Harness(
            contract(),
            agent=self.agent,
            surroundings=Surroundings(store=seen or store, owner=owner, clock=self.clock, sinks=(MemorySink(),)),
            tools=[self.shop.refund],
            verifiers={"refund": self.shop.verify},
            fingerprint="v1",
        )
        try:
            with suppress(Crash, JournalUnavailable):
                woken = await harness.wake()
                return woken[0] if woken else await harness.run(input, run_id="r")
            return None
        finally:
            harness.journal.abandon()
            self._dies_at = 0 if seen is None else seen._left
            await store.close()

    async def lived_on(self, input: Any) -> RunResult:
        """A life after the other, a second apart, until the run has ended."""
        for _ in range(200):
            result = await self.life(input)
            if result is not None and result.ending is not Ending.PARKED:
                return result
            self.clock.advance(1.0)
        raise AssertionError("it waits for ever")

    async def signal(self, payload: Any, *, signal_id: str) -> None:
        """Another process sends a signal."""
        store = SQLiteStore.open(self.file)
        send = Operations(store, clock=self.clock).signal
        try:
            await send("r", "paid", payload, by="ana", signal_id=signal_id)
        finally:
            await store.close()

    async def events(self, *kinds: type[Any]) -> list[Any]:
        """Those of the run's events. The journal verifies."""
        store = SQLiteStore.open(self.file)
        records = await store.read("r")
        verify_chain(records, head=await store.head("r"))
        await store.close()
        return [record.event for record in records if isinstance(record.event, kinds)]


Play = Callable[[Place], Awaitable[None]]


def at_every_write(folder: Path, agent: AgentFunction, play: Play, *, keep: int) -> None:
    """Plays with a process that dies at the first write, at the second, and so on, until none is left to die at."""

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the writer tells that it died
        for at in range(1, MOST_WRITES):
            own = folder / str(at)
            own.mkdir()
            place = Place(own, agent, dies_at=at, keep=keep)
            try:
                await play(place)
            except AssertionError as error:
                raise AssertionError(f"where it died at write {at}: {error}") from error
            if not place.died:
                assert at > 5, "there was next to nothing to die at"
                return
        pytest.fail("it never came to an end without dying")

    asyncio.run(main())


async def sleeps(run: Run, asked: Any) -> str:
    await run.sleep(NAP_S)
    await run.call("refund", {"order": "W1", "amount": 1.0})
    await run.sleep(NAP_S)
    return "done"


async def waits(run: Run, asked: Any) -> list[Any]:
    """Takes three signals, or is told that they are late, and pays after each."""
    got: list[Any] = []
    for number in range(1, 4):
        try:
            got.append(await run.wait_for_signal("paid", timeout_s=NAP_S))
        except SignalTimeout:
            got.append("late")
        await run.call("refund", {"order": f"W{number}", "amount": float(number)})
    return got


@pytest.mark.parametrize("keep", [0, 99])
def test_timers_are_waited_for_once_each_and_never_anew(tmp_path: Path, keep: int) -> None:
    async def play(place: Place) -> None:
        result = await place.lived_on(None)
        assert (result.ending, result.output) == (Ending.COMPLETE, "done")
        assert 2 * NAP_S <= place.clock.monotonic() < 2 * NAP_S + 10 * IN_MEMORY_S
        assert len(await place.events(TimerSet)) == len(await place.events(TimerFired)) == 2
        assert [amount for _, amount, _ in place.shop.ledger] == [1.0]

    at_every_write(tmp_path, sleeps, play, keep=keep)


@pytest.mark.parametrize("keep", [0, 99])
def test_each_signal_is_taken_once_and_in_order_and_a_timeout_is_decided_once(tmp_path: Path, keep: int) -> None:
    async def play(place: Place) -> None:
        while True:  # until the run is there to be sent something
            await place.life(None)
            with suppress(UnknownRun):
                await place.signal("a", signal_id="s1")
                break
        await place.life(None)
        await place.signal("b", signal_id="s2")
        await place.signal("a", signal_id="s1")  # delivered twice
        result = await place.lived_on(None)
        assert (result.ending, result.output) == (Ending.COMPLETE, ["a", "b", "late"])
        assert [event.payload for event in await place.events(SignalReceived)] == ["a", "b"]
        assert len(await place.events(TimerFired)) == 1
        assert [amount for _, amount, _ in place.shop.ledger] == [1.0, 2.0, 3.0]

    at_every_write(tmp_path, waits, play, keep=keep)
