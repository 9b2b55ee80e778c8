"""A signal counts once in a life that goes on as new, however often it is sent and whichever run is the latest then."""

from typing import Any

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse
from plimsoll.core.events import SignalReceived
from plimsoll.core.ids import SequentialIds
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.memory import MemoryStore
from plimsoll.journal.store import InboxEntry
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, Desk, simulated


async def collects(run: Run, request: dict[str, Any]) -> Any:
    """Takes one payment a round."""
    paid = await run.wait_for_signal("paid")
    taken = [*request["taken"], paid]
    if len(taken) == request["rounds"]:
        return taken
    await run.continue_as_new({**request, "taken": taken})


def collecting(*, encrypted: bool = False) -> Desk:
    desk = Desk()
    desk.agent = collects
    if encrypted:
        desk.store = MemoryStore(keys=MasterKeys([bytes(32)]))
    return desk


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("rounds", [2, 4])
def test_a_signal_sent_twice_counts_once_although_the_run_has_gone_on_as_another(rounds: int, encrypted: bool) -> None:
    async def main() -> None:
        desk = collecting(encrypted=encrypted)
        harness = desk.live()
        send = harness.operations.signal
        await harness.run({"rounds": rounds, "taken": []}, run_id="r")
        for number in range(rounds - 1):
            assert await send("r", "paid", number, by="bank", signal_id=f"evt-{number}")
            await harness.wake()
            for earlier in range(number + 1):
                for name in ("r", f"r~{number + 2}"):
                    assert not await send(name, "paid", earlier, by="bank", signal_id=f"evt-{earlier}")
                with pytest.raises(Misuse, match=f"'evt-{earlier}' was given to another signal already"):
                    await send("r", "paid", "more", by="bank", signal_id=f"evt-{earlier}")
            assert [result.ending for result in await harness.wake()] in ([], [Ending.PARKED])
        assert (await harness.result("r")).reason == "signal"
        await send("r", "paid", "last", by="bank")
        await harness.wake()
        assert (await harness.result("r")).output == [*range(rounds - 1), "last"]

    simulated(main)


def test_a_signal_that_was_not_taken_goes_with_the_run_and_may_be_sent_again() -> None:
    async def main() -> None:
        desk = collecting()
        harness = desk.live()
        for number in range(3):
            if number == 0:
                await harness.run({"rounds": 3, "taken": []}, run_id="r")
            await harness.operations.signal("r", "paid", number, by="bank", signal_id=f"evt-{number}")
        await harness.wake()
        assert (await harness.result("r")).output == [0, 1, 2]

    simulated(main)


class Slow(MemoryStore):
    """A store whose `meanwhile` happens between a signal's choice of a run and its arrival there."""

    __slots__ = ("dies", "meanwhile")

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Any = None
        self.dies = False

    async def post(self, entry: InboxEntry, *, among: str | None = None) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile("before")
        new = await super().post(entry, among=among)
        if meanwhile is not None:
            await meanwhile("after")
            if self.dies:
                raise Crash
        return new


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_on_its_way_while_the_run_goes_on_is_neither_lost_nor_doubled(when: str, dies: bool) -> None:
    async def main() -> None:
        desk = collecting()
        store = Slow()
        desk.store = store
        harness = desk.live()
        operations = Operations(store, clock=harness.env.clock, ids=SequentialIds())
        await harness.run({"rounds": 3, "taken": []}, run_id="r")
        if when == "before":
            await operations.signal("r", "paid", "first", by="bank", signal_id="evt-1")

        async def goes_on(point: str) -> None:
            if point == when:
                await harness.wake()  # the run takes the signal that is there, and goes on as another

        async def send() -> bool:
            return await operations.signal("r", "paid", "second", by="bank", signal_id="evt-2")

        store.meanwhile, store.dies = goes_on, dies
        if dies:
            with pytest.raises(Crash):
                await send()
            assert not await send(), "whoever died before it was told sends it again"
        else:
            assert await send()
        await harness.wake()
        received = [
            record.event.signal_id
            for head in await store.heads()
            for record in await store.read(head.run_id)
            if isinstance(record.event, SignalReceived)
        ]
        assert sorted(received) == (["evt-1", "evt-2"] if when == "before" else ["evt-2"])
        await harness.wake()
        assert (await harness.result("r")).reason == "signal"

    simulated(main)


def test_what_an_erased_run_took_is_not_sent_on() -> None:
    async def main() -> None:
        desk = collecting(encrypted=True)
        harness = desk.live()
        send = harness.operations.signal
        await harness.run({"rounds": 2, "taken": []}, run_id="r")
        await send("r", "paid", 1, by="bank", signal_id="evt-1")
        await harness.wake()
        await desk.store.erase("r", by="ana", reason="asked", at=1.0)
        assert await send("r", "paid", 2, by="bank", signal_id="evt-2"), "the life that goes on can still be reached"
        await harness.wake()
        assert (await harness.result("r")).output[-1] == 2

    simulated(main)
