"""The watch over all runs, in virtual time: what it tells, when, and that a replay tells nothing again."""

import asyncio
from collections.abc import Callable
from typing import Any

from plimsoll.contract.model import ServiceLevel, ServiceLevels
from plimsoll.core.calls import Ending
from plimsoll.core.clock import LoopClock
from plimsoll.runtime.dispatch import Dispatcher
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated

KINDS = ("silent_run", "queue_too_old", "rubber_stamp", "burn_rate")


def told(desk: Desk) -> list[tuple[str, str | None, str]]:
    """What the monitors told: kind, fault, run."""
    return [(each.kind, each.fault, run_id) for _, run_id, each in desk.sink.entries if each.kind in KINDS]


async def in_time(seconds: float, happens: Callable[[], bool]) -> float:
    """Lets virtual time pass until it happens, so many seconds at most. How many passed."""
    clock = LoopClock()
    began = clock.monotonic()
    while not happens() and clock.monotonic() - began < seconds:
        await pass_time(1.0)
    return clock.monotonic() - began


def test_a_run_that_hangs_outside_of_any_call_is_told_of() -> None:
    async def hangs(run: Run, request: Any) -> str:
        await run.call("look", {"order": "W1"})
        await asyncio.Event().wait()
        return "never"

    async def main() -> None:
        desk = Desk()
        desk.agent = hangs
        harness = desk.live()
        async with Dispatcher(harness, patience_s=0.0):
            task = asyncio.create_task(harness.run({"order": "W1"}, run_id="r"))
            took_s = await in_time(600.0, lambda: bool(told(desk)))
            assert told(desk) == [("silent_run", "silence", "r")]
            assert 60.0 < took_s <= 91.0  # limits.seconds, and half a minute between two looks
            await pass_time(600.0)
            assert len(told(desk)) == 1
            task.cancel()
            await asyncio.wait([task])

    simulated(main)


def test_a_healthy_run_as_long_as_it_may_be_is_no_silent_one() -> None:
    async def works(run: Run, request: Any) -> str:
        for _ in range(8):
            await run.call("wait_a_while", {})
        return "done"

    async def wait_a_while() -> str:
        await LoopClock().sleep(4.5)
        return f"it is {LoopClock().now()}"

    async def main() -> None:
        desk = Desk(service_levels=ServiceLevels(silent_s=10.0))
        desk.agent, desk.tools = works, [wait_a_while, *desk.tools]
        harness = desk.live()
        async with Dispatcher(harness):
            result = await harness.run({}, run_id="r")
            assert result.ending is Ending.COMPLETE
            await pass_time(100.0)
        assert told(desk) == []

    simulated(main)


def test_an_approval_that_waits_too_long_is_told_of_until_somebody_answers() -> None:
    async def main() -> None:
        desk = Desk(service_levels=ServiceLevels(waiting_s=120.0))
        harness = desk.live()
        async with Dispatcher(harness):
            result = await harness.run({"order": "W1", "amount": 80.0}, run_id="r")
            assert result.ending is Ending.PARKED
            await pass_time(110.0)
            assert told(desk) == []
            took_s = await in_time(300.0, lambda: bool(told(desk)))
            assert told(desk) == [("queue_too_old", "waiting", "r")] and took_s <= 41.0
            await pass_time(170.0)
            assert len(told(desk)) == 2
            (request,) = await harness.operations.requests()
            await harness.operations.decide(request.asked.request_id, approve=True, by="ana")
            await pass_time(400.0)
            assert len(told(desk)) == 2

    simulated(main)


def test_who_approves_faster_than_anybody_can_read_is_told_of() -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        async with Dispatcher(harness):
            for number in range(12):
                await harness.run({"order": "W1", "amount": 80.0}, run_id=f"r{number}")
                (request,) = await harness.operations.requests()
                await harness.operations.decide(request.asked.request_id, approve=True, by="ana")
                await pass_time(5.0)
            await pass_time(40.0)
        assert told(desk) == [("rubber_stamp", "too_fast", "r9")]

    simulated(main)


def test_who_takes_their_time_is_not_although_the_runs_act_on_it_all_at_once() -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        for number in range(12):
            await harness.run({"order": "W1", "amount": 80.0}, run_id=f"r{number}")
        for request in await harness.operations.requests():
            await pass_time(20.0)
            await harness.operations.decide(request.asked.request_id, approve=True, by="ana")
        async with Dispatcher(harness):
            await pass_time(100.0)
            assert len(desk.shop.ledger) == 12
        assert told(desk) == []

    simulated(main)


async def down(prompt: Any) -> ModelReply:
    raise ConnectionError("no route")


def burning() -> Desk:
    levels = ServiceLevels(
        runs=ServiceLevel(objective=0.99), models={"primary": ServiceLevel(objective=0.99, within_s=5.0)}
    )
    desk = Desk(service_levels=levels)
    desk.models = {"primary": down, "backup": down}
    return desk


async def only_asks(run: Run, request: Any) -> str:
    return (await run.model({"ask": request})).text


def test_a_budget_that_burns_is_told_of_once_its_records_are_durable() -> None:
    async def main() -> None:
        desk = burning()
        desk.agent = only_asks
        harness = desk.live()
        for number in range(3):
            assert not told(desk)
            await harness.run("hello", run_id=f"r{number}")
        fast_and_slow = [("burn_rate", "errors", "r2")] * 2  # answered by the canned rung, so the runs are well
        assert told(desk) == fast_and_slow
        assert {each.dependency for _, _, each in desk.sink.entries if each.kind == "burn_rate"} == {"primary"}
        for number in range(3):
            await harness.run("hello", run_id=f"r{number}")
        assert told(desk) == fast_and_slow
        await harness.close()

        again = desk.live()  # what is replayed, or answered from the journal, is nothing new
        for number in range(3):
            await again.run("hello", run_id=f"r{number}")
        assert told(desk) == fast_and_slow
        await again.close()

    simulated(main)


def test_without_levels_and_approvals_nobody_reads_what_becomes_durable() -> None:
    async def main() -> None:
        assert burning().live().watch.reads_records
        assert Desk().live().watch.reads_records  # it has approvals
        desk = Desk(tools={"refund": Desk().contract.tools["look"]})
        assert not desk.live().watch.reads_records

    simulated(main)
