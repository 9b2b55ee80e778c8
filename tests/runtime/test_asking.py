"""What waits for a person is found without a look at what waits for something else."""

import asyncio
from typing import Any

from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.events import RunParkedEvent
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, simulated
from tests.runtime.test_waiting import desk_of

LOST = ConnectionResetError("the answer was lost")


class Watched(MemoryStore):
    """A store that notes which journals are read."""

    __slots__ = ("was_read",)

    def __init__(self) -> None:
        super().__init__()
        self.was_read: list[str] = []

    async def read(self, run_id: str, **bounds: Any) -> Any:
        self.was_read.append(run_id)
        return await super().read(run_id, **bounds)


async def losing(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
    if site == "refund":
        raise LOST
    return await send()


async def agent(run: Run, request: dict[str, Any]) -> Any:
    """Waits for as much as it is asked to, all at once."""
    waits = [run.call("refund", {"order": "W1", "amount": amount}) for amount in request.get("amounts", ())]
    if request.get("signal"):
        waits.append(run.wait_for_signal("go"))
    return [str(each) for each in await asyncio.gather(*waits, return_exceptions=True)]


async def parked(desk: Desk, run_id: str) -> RunParkedEvent:
    event = (await desk.store.read(run_id))[-1].event
    assert isinstance(event, RunParkedEvent)
    return event


def a_desk(**settings: Any) -> tuple[Desk, Watched]:
    desk = desk_of(agent, **settings)
    store = desk.store = Watched()
    return desk, store


def test_of_many_that_wait_only_those_are_read_that_ask_somebody() -> None:
    async def main() -> None:
        desk, store = a_desk()
        harness = desk.live()
        for number in range(20):
            assert (await harness.run({"signal": True}, run_id=f"waits-{number}")).ending is Ending.PARKED
        (asked,) = (await harness.run({"amounts": [500.0]}, run_id="asks")).waiting_for
        store.was_read.clear()
        assert [request.asked.request_id for request in await harness.operations.requests()] == [asked.request_id]
        assert await harness.operations.in_doubt() == []
        assert set(store.was_read) == {"asks"}

    simulated(main)


def test_a_run_that_waits_for_several_tells_all_of_them() -> None:
    async def main() -> None:
        desk, _ = a_desk(verify=False, intercept=losing)
        harness = desk.live()
        result = await harness.run({"amounts": [500.0, 20.0, 700.0]}, run_id="r")
        assert result.ending is Ending.PARKED and (await parked(desk, "r")).asks == 3
        assert len(await harness.operations.requests()) == 2
        (doubt,) = await harness.operations.in_doubt()
        assert (doubt.run_id, doubt.over) == ("r", False)

    simulated(main)


def test_what_was_answered_is_asked_no_more_and_what_is_left_still_is() -> None:
    async def main() -> None:
        desk, _ = a_desk(verify=False, intercept=losing)
        harness = desk.live()
        asked = (await harness.run({"amounts": [500.0, 20.0]}, run_id="r")).waiting_for
        await harness.operations.decide(asked[0].request_id, approve=False, by="ana")
        assert await harness.operations.requests() == []
        await desk.live().wake()
        assert (await parked(desk, "r")).asks == 1
        (doubt,) = await harness.operations.in_doubt()
        await harness.operations.resolve("r", doubt.key, happened=True, value={"refunded": 20.0}, by="ana")
        assert await harness.operations.doubts("r") == {}
        assert [each.said is not None for each in await harness.operations.in_doubt()] == [True]
        await desk.live().wake()
        assert await desk.store.asking() == []

    simulated(main)
