"""The embedded dispatcher: prompt, bounded, not held up by what is stuck, and gone without a trace of what it did."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import Limits, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import JournalUnavailable, Misuse
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.journal.store import RunHead, RunState
from plimsoll.runtime.dispatch import Dispatcher
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.runtime.bench import Desk, contract, pass_time, simulated
from tests.runtime.test_cancelling import Family
from tests.runtime.test_waiting import desk_of, now, sleeps, waits


async def ending(desk: Desk, run_id: str = "r") -> Ending | None:
    head = await desk.store.head(run_id)
    return None if head is None else head.ending


def test_it_goes_on_as_soon_as_a_time_has_come_or_somebody_has_posted() -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        harness = desk.live()
        await harness.run(60.0, run_id="r")
        async with Dispatcher(harness, poll_s=0.25):
            await pass_time(60.0 - now() - 0.01)
            assert await ending(desk) is None
            await pass_time(0.5)
            assert await ending(desk) is Ending.COMPLETE
        assert len(asyncio.all_tasks()) == 1

    simulated(main)


def test_a_post_of_another_process_is_seen_within_a_look() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        await harness.run({}, run_id="r")
        async with Dispatcher(harness, poll_s=0.25):
            await pass_time(10.0)
            await Operations(desk.store).signal("r", "paid", 5, by="ana", signal_id="s")
            await pass_time(0.3)
            assert await ending(desk) is Ending.COMPLETE

    simulated(main)


def test_no_more_runs_at_once_than_it_may() -> None:
    async def main() -> None:
        busy, most = 0, 0

        async def works(run: Run, request: Any) -> str:
            await run.sleep(10.0)
            await run.call("work", {})
            return "done"

        async def work() -> str:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await pass_time(2.0)
            busy -= 1
            return "ok"

        desk = desk_of(works, tools={"work": Tool(effect=Effect.READ)})
        desk.tools.append(work)
        harness = desk.live()
        await asyncio.gather(*(harness.run(None, run_id=f"r{number}") for number in range(9)))
        async with Dispatcher(harness, concurrency=3):
            await pass_time(20.0)
        assert most == 3
        assert {head.ending for head in await desk.store.heads()} == {Ending.COMPLETE}

    simulated(main)


def test_what_is_stuck_is_told_once_and_holds_up_nobody() -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        harness = desk.live()
        for run_id in ("a", "b", "c"):
            await harness.run(5.0, run_id=run_id)
        desk.store._records["a"].pop()  # a damaged journal
        async with Dispatcher(harness, concurrency=1):
            await pass_time(120.0)
        assert [await ending(desk, run_id) for run_id in ("a", "b", "c")] == [None, Ending.COMPLETE, Ending.COMPLETE]
        assert desk.kinds().count(("run_stuck", "journal", "JournalCorrupt")) == 1

    simulated(main)


class Unreadable:
    """A store that cannot say what is due until `back`."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.back = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def due(self, **asked: Any) -> list[RunHead]:
        if not self.back:
            raise JournalUnavailable("the disk is gone")
        found: list[RunHead] = await self._inner.due(**asked)
        return found


def test_it_outlives_a_journal_that_cannot_be_read_and_tells_once() -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        store = Unreadable(desk.store)
        harness = desk.live(store)
        await harness.run(5.0, run_id="r")
        async with Dispatcher(harness):
            await pass_time(30.0)
            store.back = True
            await pass_time(1.0)
        assert await ending(desk) is Ending.COMPLETE
        assert desk.kinds().count(("run_stuck", "journal", "JournalUnavailable")) == 1

    simulated(main)


@pytest.mark.parametrize(("patience_s", "left"), [(30.0, ()), (1.0, ("r",))])
def test_when_it_stops_what_runs_has_some_time_and_is_then_left_for_others(
    patience_s: float, left: tuple[str, ...]
) -> None:
    async def main() -> None:
        async def works(run: Run, request: Any) -> str:
            await run.sleep(5.0)
            await run.call("work", {})
            return "done"

        async def work() -> str:
            await pass_time(10.0)
            return "ok"

        desk = desk_of(works, tools={"work": Tool(effect=Effect.READ, timeout_s=30.0)}, limits=Limits(seconds=60.0))
        desk.tools.append(work)
        harness = desk.live()
        await harness.run(None, run_id="r")
        dispatcher = Dispatcher(harness, patience_s=patience_s)
        async with dispatcher:
            await pass_time(6.0)
            assert dispatcher.running == {"r"}
            assert await dispatcher.stop() == left
        assert (("left_behind", None, "stopped") in desk.kinds()) is bool(left)
        head = await desk.store.head("r")
        assert head is not None
        assert head.state is (RunState.RUNNING if left else RunState.ENDED)
        async with Dispatcher(desk.live()):
            await pass_time(20.0)
        assert await ending(desk) is Ending.COMPLETE

    simulated(main)


def test_children_are_woken_with_their_parents() -> None:
    async def main() -> None:
        family = Family(sleeps)
        harness = family.live()
        await harness.run(60.0, run_id="r")
        async with Dispatcher(harness):
            await pass_time(62.0)
        assert {head.ending for head in await family.store.heads()} == {Ending.COMPLETE}
        assert len(family.shop.ledger) == 1

    simulated(main)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"poll_s": 0.0}, {"patience_s": -1.0}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    async def main() -> None:
        with pytest.raises(Misuse):
            Dispatcher(Desk().live(), **wrong)

    simulated(main)


def test_on_sqlite_a_signal_from_another_process_is_enough(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "journal.db"
        store = SQLiteStore.open(path, owner="one")
        desk = desk_of(waits)
        harness = Harness(
            contract(), agent=waits, surroundings=Surroundings(store=store, owner="one"), tools=desk.tools,
            models=desk.models, fingerprint="v1",
        )  # fmt: skip
        assert (await harness.run({}, run_id="r")).reason == "signal: paid"
        other = SQLiteStore.open(path)
        async with Dispatcher(harness, poll_s=0.02):
            await Operations(other).signal("r", "paid", 5, by="ana")
            while (head := await other.head("r")) is not None and head.state is not RunState.ENDED:
                await harness.env.clock.sleep(0.01)
        assert head is not None and head.ending is Ending.COMPLETE
        await harness.close()
        await other.close()
        await store.close()

    asyncio.run(asyncio.wait_for(main(), 30.0))
