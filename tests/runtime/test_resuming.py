"""Resuming: how often after a crash, how much time is left then, and what a second harness knows of the first."""

import asyncio
import threading
from typing import Any

import pytest

from plimsoll.contract.model import Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import RunResumed
from plimsoll.journal.store import RunState
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, CrashingStore, Desk, pass_time, simulated
from tests.runtime.firm import Firm
from tests.runtime.test_waiting import desk_of, now


async def looking_for_long(run: Run, request: Any) -> str:
    await pass_time(100.0)  # code of the agent's own, which records nothing
    return await looking_at_once(run, request)


async def looking_at_once(run: Run, request: Any) -> str:
    await run.call("look", {"order": "W1"})
    return "looked"


async def resumes(desk: Desk) -> list[RunResumed]:
    return [record.event for record in await desk.store.read("r") if isinstance(record.event, RunResumed)]


class Poison(Desk):
    """A run that kills every process that goes on with it, once it has asked the model."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(limits=Limits(**limits))
        self.asked = 0
        self.deadly = True

        async def kills(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "primary" and self.deadly:
                self.asked += 1
                raise Crash
            return await send()

        self.intercept = kills

    async def live_and_die(self) -> Harness:
        harness = self.live()
        try:
            await harness.run({"order": "W1"}, run_id="r")
        except Crash:
            harness.journal.abandon()
        return harness


@pytest.mark.parametrize("most", [0, 1, 4])
def test_a_run_that_kills_its_processes_parks_before_its_code_runs_once_more(most: int) -> None:
    async def main() -> None:
        desk = Poison(max_resumes=most)
        for _ in range(most + 4):
            await desk.live_and_die()
        assert desk.asked == 1 + most
        head = await desk.store.head("r")
        assert head is not None
        assert (head.state, head.reason, head.wake_at) == (RunState.PARKED, "resumes", None)
        assert desk.kinds().count(("crash_loop", None, "crash")) == 1
        assert await desk.live().wake() == []

    simulated(main)


def test_a_person_lets_it_go_on_and_from_there_it_counts_anew() -> None:
    async def main() -> None:
        desk = Poison(max_resumes=1)
        for _ in range(3):
            await desk.live_and_die()
        assert desk.asked == 2
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.resume("r", forced_by="ana")
        harness.journal.abandon()
        await desk.live_and_die()
        await desk.live_and_die()
        assert desk.asked == 4
        resumed = [r.event for r in await desk.store.read("r") if isinstance(r.event, RunResumed)]
        assert [event.forced_by for event in resumed if event.forced_by] == ["ana"]
        desk.deadly = False
        result = await desk.live().resume("r", forced_by="ana")
        assert (result.ending, len(desk.shop.ledger)) == (Ending.COMPLETE, 1)

    simulated(main)


def test_what_the_agent_could_do_before_it_dies_counts_although_nothing_of_it_was_recorded() -> None:
    async def main() -> None:
        desk = Poison(max_resumes=3)

        async def dies(run: Run, request: Any) -> Any:
            desk.asked += 1
            raise Crash

        desk.agent = dies
        for _ in range(6):
            await desk.live_and_die()
        assert desk.asked == 4

    simulated(main)


def test_a_run_that_is_woken_and_dies_at_once_counts_too() -> None:
    async def main() -> None:
        desk = Poison(max_resumes=2)
        lives: list[float] = []

        async def waits(run: Run, request: Any) -> Any:
            await run.sleep(60.0)
            lives.append(now())
            raise Crash

        desk.agent = waits
        await desk.live().run(None, run_id="r")
        await pass_time(60.0)
        for _ in range(6):
            harness = desk.live()
            try:
                await harness.wake()
            except Crash:
                harness.journal.abandon()
        assert len(lives) == 3

    simulated(main)


def test_parking_and_waking_is_no_crash() -> None:
    async def main() -> None:
        async def sleeps_often(run: Run, request: Any) -> str:
            for _ in range(5):
                await run.sleep(60.0)
            return "rested"

        desk = desk_of(sleeps_often, limits=Limits(max_resumes=0))
        result = await desk.live().run(None, run_id="r")
        while result.ending is Ending.PARKED:
            await pass_time(60.0)
            results = await desk.live().wake()
            result = results[0] if results else result
        assert result.output == "rested"

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 5))
def test_a_crash_at_any_append_of_a_resume_is_one_crash_more(at: int, keep: int) -> None:
    async def main() -> None:
        desk = Poison(max_resumes=2)
        await desk.live_and_die()
        harness = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        with pytest.raises(Crash):
            await harness.resume("r")
        harness.journal.abandon()
        for _ in range(4):
            await desk.live_and_die()
        assert desk.asked <= 1 + 2 + 1  # what was not written before the code ran did not run
        head = await desk.store.head("r")
        assert head is not None and head.reason == "resumes"

    simulated(main)


# ------------------------------------------------------------------------------------------------------- active time


def slow_desk(seconds: float) -> Desk:
    async def agent(run: Run, request: Any) -> str:
        await run.call("work", {"seconds": 8.0})
        await run.sleep(1000.0)
        await run.call("work", {"seconds": 9.0})
        return "done"

    async def work(seconds: float) -> str:
        await pass_time(seconds)
        return "ok"

    desk = desk_of(agent, tools={"work": Tool(effect=Effect.READ, timeout_s=30.0)}, limits=Limits(seconds=seconds))
    desk.tools.append(work)
    return desk


@pytest.mark.parametrize(("seconds", "ending"), [(20.0, Ending.COMPLETE), (16.0, Ending.HALTED)])
def test_what_is_left_at_parking_is_what_is_left_after_waking(seconds: float, ending: Ending) -> None:
    async def main() -> None:
        desk = slow_desk(seconds)
        assert (await desk.live().run(None, run_id="r")).ending is Ending.PARKED
        await pass_time(1000.0)
        (result,) = await desk.live().wake()
        assert result.ending is ending

    simulated(main)


def test_a_run_that_parks_before_any_call_has_used_no_time() -> None:
    async def main() -> None:
        async def sleeps_first(run: Run, request: Any) -> str:
            await run.sleep(1000.0)
            return "done"

        desk = desk_of(sleeps_first, limits=Limits(seconds=0.5))
        await desk.live().run(None, run_id="r")
        await pass_time(1000.0)
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE

    simulated(main)


@pytest.mark.parametrize("skew_s", [-5000.0, 5000.0])
def test_a_clock_that_is_wrong_gives_and_takes_no_active_time(skew_s: float) -> None:
    async def main() -> None:
        desk = slow_desk(20.0)
        await desk.live().run(None, run_id="r")
        await pass_time(1000.0 - skew_s if skew_s < 0 else 1000.0)
        second = desk.live()
        second.env.clock.skew_s = skew_s  # type: ignore[attr-defined]
        (result,) = await second.wake()
        assert result.ending is Ending.COMPLETE
        ended = (await desk.store.read("r"))[-1].event
        assert ended.active_s == pytest.approx(17.0)  # type: ignore[union-attr]

    simulated(main)


def test_a_crash_loop_uses_up_its_time() -> None:
    async def main() -> None:
        lives: list[Harness] = []

        async def works_and_dies(run: Run, request: Any) -> None:
            for number in range(100):
                await run.call("work", {"seconds": 10.0 + number / 100})
                if number + 1 == len(lives):
                    await lives[-1].journal.close()  # what it did is on the disk
                    raise Crash

        desk = slow_desk(35.0)
        desk.agent = works_and_dies
        for _ in range(3):
            lives.append(desk.live())
            with pytest.raises(Crash):
                await lives[-1].run(None, run_id="r")
        lives.append(desk.live())
        result = await lives[-1].run(None, run_id="r")
        assert (result.ending, now()) == (Ending.HALTED, pytest.approx(35.0))

    simulated(main)


@pytest.mark.parametrize("effect", [Effect.READ, Effect.IDEMPOTENT])
@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_before_a_crash_gives_and_takes_no_active_time(skew_s: float, effect: Effect) -> None:
    async def main() -> None:
        async def work(seconds: float) -> str:
            await pass_time(seconds)
            return "ok"

        async def sets_the_clock_and_dies(run: Run, request: Any) -> str:
            await run.call("work", {"seconds": 5.0})
            await run.call("work", {"seconds": 4.0})
            first = desk.lives == 1
            if first:
                lives[0].env.clock.skew_s = skew_s  # type: ignore[attr-defined]
            await run.call("work", {"seconds": 3.0})
            await run.call("work", {"seconds": 2.0})
            if first:
                await lives[0].journal.close()
                raise Crash
            await run.call("work", {"seconds": seconds_left})
            return "done"

        tools = {"work": Tool(effect=effect, timeout_s=30.0)}
        desk = desk_of(sets_the_clock_and_dies, tools=tools, limits=Limits(seconds=30.0))
        desk.tools.append(work)
        lives = [desk.live()]
        with pytest.raises(Crash):
            await lives[0].run(None, run_id="r")
        seconds_left = 15.9
        result = await desk.live().run(None, run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason
        ended = (await desk.store.read("r"))[-1].event
        assert ended.active_s == pytest.approx(29.9)  # type: ignore[union-attr]

    simulated(main)


def test_the_days_before_a_parked_run_is_adopted_are_no_active_time() -> None:
    async def main() -> None:
        desk = slow_desk(20.0)
        await desk.live().run(None, run_id="r")
        await pass_time(500.0)
        desk.fingerprint = "v2"
        assert (await desk.live().adopt("r", by="ana")).adopted
        await pass_time(500.0)
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE, result.reason

    simulated(main)


# ---------------------------------------------------------------------------------------- threads that outlive a call


def test_a_run_that_its_caller_gives_up_has_not_crashed() -> None:
    async def main() -> None:
        desk = Desk(limits=Limits(max_resumes=1))
        desk.agent = looking_for_long
        harness = desk.live()
        for _ in range(4):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await harness.run({}, run_id="r")
        around = harness.env.surroundings
        again = Harness(desk.contract, agent=looking_at_once, surroundings=around, tools=desk.tools, fingerprint="v1")
        assert (await again.run({}, run_id="r")).ending is Ending.COMPLETE
        assert not [event for event in await resumes(desk) if event.crashed]
        assert desk.kinds() == []

    simulated(main)


def test_a_run_that_is_given_up_before_it_has_begun_again_has_not_crashed() -> None:
    async def main() -> None:
        desk = Desk()
        desk.agent = looking_for_long
        harness = desk.live()
        for steps in range(6):
            running = asyncio.ensure_future(harness.run({}, run_id="r"))
            for _ in range(steps):
                await pass_time(0)
            running.cancel()
            await asyncio.wait([running])
        desk.agent = looking_at_once
        assert not [event for event in await resumes(desk) if event.crashed]

    simulated(main)


def test_a_child_that_its_parents_code_gives_up_has_not_crashed_and_stands_where_it_was() -> None:
    async def main() -> None:
        async def impatient(run: Run, request: Any) -> str:
            try:
                async with asyncio.timeout(1.0):
                    await run.child("billing", {"order": "W1"})
            except TimeoutError:
                return str(await run.wait_for_signal("go"))
            return "it was in time"

        async def slow(run: Run, request: Any) -> str:
            await pass_time(100.0)
            return "done at last"

        firm = Firm(front=impatient, billing=slow)
        harness = firm.live()
        assert (await harness.run({}, run_id="r")).ending is Ending.PARKED
        (child,) = await harness.children["billing"].wake()
        assert (child.run_id, child.output) == ("r/1:billing", "done at last")
        assert firm.kinds() == []

    simulated(main)


def test_the_time_of_a_run_that_is_given_up_counts() -> None:
    async def main() -> None:
        async def slow(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            await pass_time(100.0)

        look = Tool(effect=Effect.READ, timeout_s=50.0)
        desk = Desk(limits=Limits(seconds=10.0), tools={"look": look}, intercept=slow)
        desk.agent = looking_at_once
        harness = desk.live()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3.0):
                    await harness.run({}, run_id="r")
        last = await harness.run({}, run_id="r")
        assert (last.ending, LoopClock().monotonic()) == (Ending.HALTED, pytest.approx(10.0))

    simulated(main)


def test_a_process_that_dies_after_it_gave_a_run_up_has_crashed() -> None:
    async def main() -> None:
        desk = Desk()
        desk.agent = looking_for_long
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await desk.live().run({}, run_id="r")
        desk.agent = looking_at_once
        await desk.live().run({}, run_id="r")
        assert [event.crashed for event in await resumes(desk)] == [True]

    simulated(main)


def test_a_second_harness_knows_of_the_threads_that_the_first_has_left_running() -> None:
    async def main() -> None:
        begun, go_on = threading.Event(), threading.Event()

        def slow_refund(order: str, amount: float) -> dict[str, Any]:
            begun.set()
            assert go_on.wait(10.0)
            return {"refunded": amount}

        desk = Desk(verify=False)
        desk.tools[1] = slow_refund
        slow_refund.__name__ = "refund"
        first = desk.live()
        surroundings = first.env.surroundings
        second = Harness(
            desk.contract, agent=desk.agent, surroundings=surroundings, tools=desk.tools, models=desk.models,
            fingerprint="v1",
        )  # fmt: skip
        task = asyncio.create_task(first.run({"order": "W1"}, run_id="r"))
        while not begun.is_set():
            await first.env.clock.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert second.env.under_way is first.env.under_way
        (intent,) = [r.event for r in await desk.store.read("r") if type(r.event).__name__ == "CallIntended"]
        assert second.env.under_way.of(intent.idempotency_key)  # type: ignore[union-attr]
        go_on.set()

    asyncio.run(main())
