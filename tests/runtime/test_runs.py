"""A run's life without trouble, and its endings."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from plimsoll.contract.model import Limits, Model
from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.errors import RunBusy, UnknownDependency, UnknownRun
from plimsoll.core.events import Record
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated


def test_a_run_completes_and_its_journal_tells_it() -> None:
    async def main() -> None:
        desk = Desk()
        async with desk.live() as harness:
            result = await harness.run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sure: 20 back")
        assert await desk.events() == [
            "RunStarted",
            "CallSettled",
            "CallSettled",
            "CallIntended",
            "CallSettled",
            "RunEnded",
        ]
        assert len(desk.shop.ledger) == 1
        assert desk.kinds() == []

    simulated(main)


def test_the_same_run_id_is_answered_from_the_journal() -> None:
    async def main() -> None:
        desk = Desk()
        async with desk.live() as harness:
            first = await harness.run({"order": "W1"}, run_id="r")
            again = await harness.run({"order": "W1"}, run_id="r")
        assert again == first
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_an_agent_that_raises_ends_as_failed() -> None:
    async def main() -> None:
        desk = Desk()

        async def broken(run: Run, request: Any) -> str:
            raise KeyError("order")

        desk.agent = broken
        async with desk.live() as harness:
            result = await harness.run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.FAILED
        assert "KeyError" in result.reason

    simulated(main)


def test_what_is_no_json_cannot_be_an_answer() -> None:
    async def main() -> None:
        desk = Desk()

        async def odd(run: Run, request: Any) -> object:
            return object()

        desk.agent = odd
        async with desk.live() as harness:
            result = await harness.run({}, run_id="r")
        assert result.ending is Ending.FAILED
        assert "no JSON form" in result.reason

    simulated(main)


def test_unknown_runs_and_dependencies_are_named() -> None:
    async def main() -> None:
        desk = Desk()

        async def lost(run: Run, request: Any) -> Any:
            return await run.call("sell")

        desk.agent = lost
        async with desk.live() as harness:
            with pytest.raises(UnknownRun):
                await harness.resume("nobody")
            result = await harness.run({}, run_id="r")
        assert UnknownDependency.__name__ in result.reason

    simulated(main)


def test_a_run_is_advanced_once_at_a_time() -> None:
    async def main() -> None:
        desk = Desk()

        async def again(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            with pytest.raises(RunBusy):
                await harness.resume("r")
            return await send()

        desk.intercept = again
        harness = desk.live()
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is Ending.COMPLETE

    simulated(main)


def test_recorded_values_are_the_same_on_replay() -> None:
    async def main() -> None:
        desk = Desk()
        seen: list[tuple[float, float, str]] = []

        async def chancy(run: Run, request: Any) -> str:
            seen.append((await run.now(), await run.random(), await run.new_id()))
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return "done"

        desk.agent = chancy
        harness = desk.live()
        parked = await harness.run({}, run_id="r")
        await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert seen[0] == seen[1]

    simulated(main)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(steps=1), "steps"),
        (Limits(tokens=4100), "tokens"),
        (Limits(seconds=0.5), "seconds"),
    ],
)
def test_limits_halt_the_run_before_the_call(limits: Limits, named: str) -> None:
    async def main() -> None:
        desk = Desk(limits=limits, models={"primary": Model(timeout_s=10.0)})

        async def slow(prompt: Any) -> ModelReply:
            await harness.env.clock.sleep(0.1)
            return ModelReply(text=f"{prompt['n']}")

        async def busy(run: Run, request: Any) -> str:
            while True:
                await run.model({"n": await run.random(), "long": "x" * 200})

        desk.models = {"primary": slow}
        desk.agent = busy
        harness = desk.live()
        result = await harness.run({}, run_id="r")
        assert result.ending is Ending.HALTED
        assert result.output is None
        assert named in result.reason
        assert ("limit", None, named) in desk.kinds()

    simulated(main)


def test_an_agent_that_swallows_everything_is_halted_all_the_same() -> None:
    async def main() -> None:
        desk = Desk(limits=Limits(steps=5))

        async def stubborn(run: Run, request: Any) -> str:
            while True:
                try:
                    await run.call("look", {"order": str(await run.random())})
                except Exception:
                    continue

        desk.agent = stubborn
        assert (await desk.live().run({}, run_id="r")).ending is Ending.HALTED

    simulated(main)


def test_the_same_read_with_the_same_result_is_a_loop() -> None:
    async def main() -> None:
        desk = Desk()

        async def looping(run: Run, request: Any) -> str:
            while True:
                await run.call("look", {"order": "W1"})

        desk.agent = looping
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.HALTED
        assert desk.shop.reads == 3
        assert "loop" in [kind for kind, _, _ in desk.kinds()]

    simulated(main)


class SlowDisk:
    """A store behind a disk that takes its time."""

    inline = False

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        await pass_time(0.1)
        return await self._inner.append(records)


def test_runs_that_do_more_than_the_disk_can_follow_wait_for_it_and_none_parks() -> None:
    async def main() -> None:
        desk = Desk(limits=Limits(steps=100, seconds=1000.0))

        async def reading(run: Run, request: Any) -> str:
            for number in range(20):
                await run.call("look", {"order": f"W{number}"})
            return "read"

        desk.agent = reading
        harness = desk.live(SlowDisk(desk.store))
        harness.journal._max_queue = 60
        harness.journal._max_batch = 20
        results = await asyncio.gather(*(harness.run({}, run_id=f"r{number}") for number in range(20)))
        assert {result.ending for result in results} == {Ending.COMPLETE}
        await harness.close()

    simulated(main)
