"""Durable timers and signals: what a run waits for in memory, parked, across crashes, and on replay."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plimsoll.contract.model import Approval, Limits, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import Misuse, SignalTimeout, UnknownRun
from plimsoll.core.events import RunParkedEvent, SignalReceived, TimerFired, TimerSet
from plimsoll.journal.store import RunState
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.waiting import IN_MEMORY_S
from tests.runtime.bench import CrashingStore, Desk, pass_time, simulated

Agent = Callable[[Run, Any], Awaitable[Any]]


def desk_of(agent: Agent, **changes: Any) -> Desk:
    desk = Desk(**changes)
    desk.agent = agent
    return desk


def now() -> float:
    return asyncio.get_running_loop().time()


async def sleeps(run: Run, seconds: float) -> str:
    await run.call("look", {"order": "W1"})
    await run.sleep(seconds)
    await run.call("refund", {"order": "W1", "amount": 20.0})
    return "done"


def test_a_short_sleep_stays_in_memory_and_is_no_active_time() -> None:
    async def main() -> None:
        desk = desk_of(sleeps, limits=Limits(seconds=0.5))
        result = await desk.live().run(IN_MEMORY_S, run_id="r")
        assert (result.ending, now()) == (Ending.COMPLETE, IN_MEMORY_S)
        assert "RunParkedEvent" not in await desk.events()
        head = await desk.store.head("r")
        assert head is not None
        assert (await desk.store.read("r"))[-1].event.active_s == pytest.approx(0.0)  # type: ignore[union-attr]

    simulated(main)


def test_a_long_sleep_parks_and_costs_neither_memory_nor_active_time() -> None:
    async def main() -> None:
        desk = desk_of(sleeps, limits=Limits(seconds=5.0))
        harness = desk.live()
        result = await harness.run(3600.0, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "timer: 2:sleep")
        assert now() == pytest.approx(IN_MEMORY_S)
        assert len(asyncio.all_tasks()) == 1
        head = await desk.store.head("r")
        assert head is not None and head.wake_at is not None
        assert head.wake_at == pytest.approx(harness.env.clock.now() + 3600.0 - IN_MEMORY_S)
        assert await harness.wake() == []
        await pass_time(3598.0)
        assert await harness.wake() == []
        await pass_time(1.0)
        (result,) = await harness.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "done")
        assert desk.shop.reads == 1
        ended = (await desk.store.read("r"))[-1].event
        assert ended.active_s == pytest.approx(0.0)  # type: ignore[union-attr]

    simulated(main)


def test_after_a_crash_the_rest_is_waited_never_the_whole_again() -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        harness = desk.live()
        task = asyncio.create_task(harness.run(100.0, run_id="r"))
        await pass_time(0.5)
        harness.journal.abandon()
        task.cancel()
        await asyncio.wait([task])
        await pass_time(60.0)
        second = desk.live()
        (result,) = await second.wake()
        assert result.reason.startswith("timer")
        await pass_time(100.0 - now())
        (result,) = await second.wake()
        assert result.ending is Ending.COMPLETE
        assert now() == pytest.approx(100.0)
        timers = [r.event for r in await desk.store.read("r") if isinstance(r.event, TimerSet)]
        assert len(timers) == 1

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_crash_at_any_append_of_a_sleeping_run_loses_no_time_and_doubles_nothing(at: int, keep: int) -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        harness = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        try:
            await harness.run(50.0, run_id="r")
        except BaseException as error:  # the process dies
            assert type(error).__name__ == "Crash"
        harness.journal.abandon()
        result = await lived_on(desk, 50.0)
        assert (result.ending, result.output) == (Ending.COMPLETE, "done")
        assert 50.0 <= now() < 50.0 + 2 * IN_MEMORY_S
        assert len(desk.shop.ledger) == 1

    simulated(main)


async def lived_on(desk: Desk, input: Any) -> RunResult:
    """Lives on, a life a second, as a process with a supervisor does."""
    harness = desk.live()
    result = await harness.run(input, run_id="r")
    while result.ending is Ending.PARKED:
        await pass_time(1.0)
        results = await harness.wake()
        result = results[0] if results else result
    return result


def test_a_time_that_is_past_is_no_wait() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            await run.sleep_until(request)
            await run.sleep(0.0)
            return "on"

        desk = desk_of(agent)
        harness = desk.live()
        result = await harness.run(harness.env.clock.now() - 5.0, run_id="r")
        assert (result.output, now()) == ("on", 0.0)
        assert await desk.events() == ["RunStarted", *["TimerSet", "TimerFired"] * 2, "RunEnded"]

    simulated(main)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> None:
            with pytest.raises(Misuse, match="number of seconds"):
                await run.sleep(seconds)
            with pytest.raises(Misuse, match="number of seconds"):
                await run.wait_for_signal("paid", timeout_s=seconds)

        assert (await desk_of(agent).live().run(None)).ending is Ending.COMPLETE

    simulated(main)


def test_a_wall_clock_that_is_set_makes_no_difference_in_memory() -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        harness = desk.live()
        task = asyncio.create_task(harness.run(0.9, run_id="r"))
        await pass_time(0.5)
        harness.env.clock.skew_s = -7200.0  # type: ignore[attr-defined]
        assert (await task).ending is Ending.COMPLETE
        assert now() == pytest.approx(0.9)

    simulated(main)


@pytest.mark.parametrize("skew_s", [-300.0, 300.0])
def test_a_parked_timer_is_off_by_the_difference_of_the_clocks_and_no_more(skew_s: float) -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        await desk.live().run(1000.0, run_id="r")
        second = desk.live()
        second.env.clock.skew_s = skew_s  # type: ignore[attr-defined]
        await pass_time(1000.0 - skew_s - 0.5 - now())
        assert await second.wake() == []
        await pass_time(0.5)
        (result,) = await second.wake()
        assert result.ending is Ending.COMPLETE

    simulated(main)


# -------------------------------------------------------------------------------------------------- waits beside work


def test_a_run_does_not_park_while_calls_beside_the_wait_are_under_way() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            await asyncio.gather(run.sleep(30.0), work(run))
            return "done"

        async def work(run: Run) -> None:
            for number in range(5):
                await run.call("slow", {"number": number})

        async def slow(number: int) -> str:
            await pass_time(4.0)
            return f"ok {number}"

        desk = desk_of(agent, tools={"slow": Tool(effect=Effect.READ, timeout_s=9.0)})
        desk.tools.append(slow)
        harness = desk.live()
        result = await harness.run(None, run_id="r")
        assert (result.ending, now()) == (Ending.PARKED, pytest.approx(20.0 + IN_MEMORY_S))
        await pass_time(30.0 - now())
        (result,) = await harness.wake()
        assert result.output == "done"
        ended = (await desk.store.read("r"))[-1].event
        assert ended.active_s == pytest.approx(20.0)  # type: ignore[union-attr]

    simulated(main)


def test_a_run_that_parks_for_a_person_still_wakes_for_its_timer() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> list[Any]:
            return list(await asyncio.gather(later(run), run.call("refund", {"order": "W1", "amount": 80.0})))

        async def later(run: Run) -> Any:
            await run.sleep(60.0)
            return await run.call("look", {"order": "W2"})

        refund = Tool(approval=Approval(approvers=("ana",), when="amount > 50", expires_s=1000.0))
        desk = desk_of(agent, tools={"refund": refund})
        harness = desk.live()
        result = await harness.run(None, run_id="r")
        assert result.reason.startswith("approval")
        await pass_time(60.0 - now())
        (result,) = await harness.wake()
        assert result.reason.startswith("approval")
        assert desk.shop.reads == 1
        assert await harness.wake() == []  # the timer has fired: it wakes nobody any more
        await harness.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await harness.wake()
        assert result.ending is Ending.COMPLETE
        assert (desk.shop.reads, len(desk.shop.ledger)) == (1, 1)

    simulated(main)


def test_a_wait_that_the_code_gives_up_wakes_the_run_at_most_once() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            waiting = asyncio.create_task(run.sleep(60.0))
            await run.call("look", {"order": "W1"})
            waiting.cancel()
            return await run.wait_for_signal("go")

        desk = desk_of(agent)
        harness = desk.live()
        assert (await harness.run(None, run_id="r")).reason == "signal: go"
        woken = 0
        for _ in range(10):
            await pass_time(60.0)
            woken += len(await harness.wake())
        assert woken <= 1
        await harness.operations.signal("r", "go", 7, by="ana")
        (result,) = await harness.wake()
        assert result.output == 7

    simulated(main)


# ------------------------------------------------------------------------------------------------------------ signals


async def waits(run: Run, request: Any) -> Any:
    """Takes as many signals as it is asked to, and refunds once for each."""
    got = []
    for _ in range(request.get("times", 1)):
        try:
            payload = await run.wait_for_signal(request.get("name", "paid"), timeout_s=request.get("timeout_s"))
        except SignalTimeout as late:
            got.append(str(late))
        else:
            got.append(payload)
            await run.call("refund", {"order": "W1", "amount": float(payload)})
    return got


def test_a_run_parks_until_its_signal_comes() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        result = await harness.run({}, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "signal: paid")
        assert await harness.operations.signal("r", "paid", 5, by="ana")
        (result,) = await harness.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, [5])
        received = next(r.event for r in await desk.store.read("r") if isinstance(r.event, SignalReceived))
        assert (received.name, received.payload, received.by) == ("paid", 5, "ana")

    simulated(main)


def test_a_signal_may_come_before_it_is_waited_for_and_those_of_a_name_come_in_order() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        await harness.run({"times": 3}, run_id="r")
        for payload, name in ((1, "paid"), (9, "other"), (2, "paid"), (3, "paid")):
            await harness.operations.signal("r", name, payload, by="ana")
        (result,) = await harness.wake()
        assert result.output == [1, 2, 3]

    simulated(main)


def test_a_signal_for_nobody_wakes_the_run_once_and_is_there_when_it_is_waited_for() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> list[Any]:
            return [await run.wait_for_signal("first"), await run.wait_for_signal("second")]

        desk = desk_of(agent)
        harness = desk.live()
        await harness.run(None, run_id="r")
        await harness.operations.signal("r", "second", 2, by="ana")
        (result,) = await harness.wake()
        assert result.reason == "signal: first"
        assert await harness.wake() == []
        await harness.operations.signal("r", "first", 1, by="ana")
        (result,) = await harness.wake()
        assert result.output == [1, 2]

    simulated(main)


def test_a_signal_that_comes_while_the_run_is_in_memory_ends_the_wait_at_once() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        task = asyncio.create_task(harness.run({}, run_id="r"))
        await pass_time(0.35)
        await harness.operations.signal("r", "paid", 5, by="ana")
        assert (await task).ending is Ending.COMPLETE
        assert now() == pytest.approx(0.4)
        assert "RunParkedEvent" not in await desk.events()

    simulated(main)


def test_a_signal_in_time_goes_before_the_timeout_and_a_timeout_is_a_durable_timer() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        result = await harness.run({"times": 2, "timeout_s": 50.0}, run_id="r")
        assert result.reason == "signal: paid"
        await pass_time(55.0 - now())
        (result,) = await harness.wake()
        assert result.reason == "signal: paid"
        await pass_time(30.0)
        await harness.operations.signal("r", "paid", 5, by="ana")
        await pass_time(500.0)
        (result,) = await harness.wake()
        assert result.output == ["no signal 'paid' came within 50 s", 5]

    simulated(main)


def test_the_same_signal_sent_twice_is_one_and_an_id_names_one_signal_only() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        send = harness.operations.signal
        await harness.run({"times": 2}, run_id="r")
        assert await send("r", "paid", 5, by="ana", signal_id="stripe-1")
        assert not await send("r", "paid", 5, by="ana", signal_id="stripe-1")
        with pytest.raises(Misuse, match="stripe-1"):
            await send("r", "paid", 6, by="ana", signal_id="stripe-1")
        (result,) = await harness.wake()
        assert (result.ending, len(desk.shop.ledger)) == (Ending.PARKED, 1)

    simulated(main)


def test_what_no_run_can_receive_is_refused() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        send = harness.operations.signal
        with pytest.raises(UnknownRun):
            await send("r", "paid", 5, by="ana")
        await harness.run({"times": 0}, run_id="r")
        with pytest.raises(Misuse, match="has ended"):
            await send("r", "paid", 5, by="ana")
        await harness.run({}, run_id="s")
        with pytest.raises(Misuse, match="needs a name"):
            await send("s", "", 5, by="ana")
        with pytest.raises(Misuse):
            await send("s", "paid", object(), by="ana")
        assert await harness.wake() == []

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_crash_at_any_append_of_a_waiting_run_takes_each_signal_once_and_in_order(at: int, keep: int) -> None:
    async def main() -> None:
        desk = desk_of(waits)
        request = {"times": 2, "timeout_s": 50.0}
        await desk.live().run(request, run_id="r")
        await Operations(desk.store).signal("r", "paid", 1, by="ana", signal_id="s1")
        harness = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        await Operations(desk.store).signal("r", "paid", 2, by="ana", signal_id="s2")
        try:
            await harness.wake()
        except BaseException as error:
            assert type(error).__name__ == "Crash"
        harness.journal.abandon()
        result = await lived_on(desk, request)
        assert result.output == [1, 2]
        assert [row[1] for row in desk.shop.ledger] == [1.0, 2.0]

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_crash_at_any_append_around_a_timeout_decides_it_once(at: int, keep: int) -> None:
    async def main() -> None:
        desk = desk_of(waits)
        request = {"times": 1, "timeout_s": 50.0}
        await desk.live().run(request, run_id="r")
        await pass_time(60.0)
        harness = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        try:
            await harness.wake()
        except BaseException as error:
            assert type(error).__name__ == "Crash"
        harness.journal.abandon()
        fired = [r for r in await desk.store.read("r") if isinstance(r.event, TimerFired)]
        second = desk.live()
        head = await desk.store.head("r")
        assert head is not None
        if head.state is not RunState.ENDED:
            await second.operations.signal("r", "paid", 2, by="ana")
        result = await lived_on(desk, request)
        late = ["no signal 'paid' came within 50 s"]
        assert result.output == (late if fired else [2])

    simulated(main)


def test_parallel_waits_for_one_name_get_a_signal_each() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> list[Any]:
            return list(await asyncio.gather(run.wait_for_signal("paid"), run.wait_for_signal("paid")))

        desk = desk_of(agent)
        harness = desk.live()
        await harness.run(None, run_id="r")
        await harness.operations.signal("r", "paid", 1, by="ana")
        (result,) = await harness.wake()
        assert result.ending is Ending.PARKED
        await harness.operations.signal("r", "paid", 2, by="ana")
        (result,) = await desk.live().wake()
        assert result.output == [1, 2]

    simulated(main)


def test_parking_says_how_far_the_inbox_was_looked_at() -> None:
    async def main() -> None:
        desk = desk_of(waits)
        harness = desk.live()
        await harness.run({"times": 2}, run_id="r")
        await harness.operations.signal("r", "paid", 1, by="ana")
        await harness.wake()
        (entry,) = await desk.store.inbox("r")
        parked = [r.event for r in await desk.store.read("r") if isinstance(r.event, RunParkedEvent)]
        assert [event.seen for event in parked] == [0, entry.position]

    simulated(main)
