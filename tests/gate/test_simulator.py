# ruff: noqa: TID251 (every sleep here is virtual)
import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from plimsoll.gate.simulator import (
    SimulationDeadlock,
    SimulationStuck,
    VirtualLoop,
    VirtualTimeExceeded,
    simulate,
)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_hang_of_thirty_seconds_costs_nothing() -> None:
    async def hang() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(3000)
        return now()

    started = time.perf_counter()
    assert simulate(hang) == 30.0
    assert time.perf_counter() - started < 5


def test_the_clock_starts_at_zero_and_is_exactly_where_its_timers_are() -> None:
    async def main() -> list[float]:
        times = [now()]
        for delay in (0.1, 0.2, 1e-12, 1000.0, 1e-12):
            await asyncio.sleep(delay)
            times.append(now())
        return times

    expected = [0.0]
    for delay in (0.1, 0.2, 1e-12, 1000.0, 1e-12):
        expected.append(expected[-1] + delay)
    assert simulate(main) == expected


def test_no_timer_fires_before_its_time() -> None:
    """A loop that waits out a remainder smaller than a clock's resolution must not spin."""

    async def main() -> tuple[float, int]:
        await asyncio.sleep(0.3)
        deadline, waits = 0.1 + 0.2, 0
        while now() < deadline:
            await asyncio.sleep(deadline - now())
            waits += 1
        return now(), waits

    assert simulate(main) == (0.1 + 0.2, 1)


def test_equal_timers_fire_in_the_order_in_which_they_were_set() -> None:
    async def main() -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(100):
            loop.call_at(5.0, fired.append, number)
            loop.call_at(1.0 + number % 7, lambda: None)
        await asyncio.sleep(10)
        return fired

    assert simulate(main) == list(range(100))


def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(50, lambda: None).cancel()
        await asyncio.sleep(100)
        return now()

    async def only_cancelled() -> None:
        asyncio.get_running_loop().call_later(50, lambda: None).cancel()
        await asyncio.get_running_loop().create_future()

    assert simulate(main) == 100.0
    with pytest.raises(SimulationDeadlock) as caught:
        simulate(only_cancelled)
    assert caught.value.now_s == 0.0


def test_cancelled_timers_do_not_pile_up() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for _ in range(5000):
            async with asyncio.timeout(3000):
                await asyncio.sleep(0.01)
        return len(loop._timers)

    assert simulate(main) < 1000


def test_a_timer_whose_time_is_not_a_number_is_refused() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_at(math.nan, lambda: None)

    with pytest.raises(ValueError, match="NaN"):
        simulate(main)


def test_timers_and_task_groups_interleave_by_virtual_time() -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def worker(name: str, delay: float) -> None:
            for _ in range(3):
                await asyncio.sleep(delay)
                seen.append(f"{name}@{now():g}")

        async with asyncio.TaskGroup() as group:
            group.create_task(worker("a", 2))
            group.create_task(worker("b", 3))
        return seen

    assert simulate(main) == ["a@2", "b@3", "a@4", "b@6", "a@6", "b@9"]


# Ends


def test_the_result_and_the_exception_of_main_come_through() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise LookupError("no such order")

    async def exits() -> None:
        raise SystemExit(3)

    with pytest.raises(LookupError, match="no such order"):
        simulate(fails)
    with pytest.raises(SystemExit):
        simulate(exits)


def test_a_deadlock_names_the_tasks_and_where_they_wait() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(7)
        await asyncio.create_task(waits_for_nobody(), name="orphan")

    with pytest.raises(SimulationDeadlock) as caught:
        simulate(main)
    assert caught.value.now_s == 7.0
    assert [line.split()[0] for line in caught.value.tasks] == ["main", "orphan"]
    assert "waits_for_nobody" in caught.value.tasks[1]
    assert "test_simulator.py" in caught.value.tasks[1]


def test_the_virtual_limit_cancels_and_awaits_main() -> None:
    seen: list[Any] = []

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(8)
        finally:
            await asyncio.sleep(5)
            seen.append(now())

    with pytest.raises(VirtualTimeExceeded) as caught:
        simulate(main, limit_s=100)
    assert caught.value.limit_s == 100
    assert "test_simulator.py" in caught.value.tasks[0]
    assert seen == [105.0]


def test_a_timer_at_the_limit_still_fires() -> None:
    assert simulate(lambda: asyncio.sleep(100, "done"), limit_s=100) == "done"


def test_main_that_ignores_its_cancellation_is_dropped_after_the_grace() -> None:
    closed: list[bool] = []

    async def stubborn() -> None:
        try:
            while True:
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    continue
        finally:
            closed.append(True)

    with pytest.raises(VirtualTimeExceeded) as caught:
        simulate(stubborn, limit_s=10)
    assert any("unstoppable" in note for note in caught.value.__notes__)
    assert closed == [True]


def test_a_background_task_that_ignores_its_cancellation_is_reported() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        main.task = asyncio.create_task(stubborn(), name="stubborn")  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    with pytest.raises(SimulationStuck, match="stubborn") as caught:
        simulate(main)
    assert caught.value.kind == "unstoppable"


def test_what_main_leaves_behind_is_cancelled_and_awaited() -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            seen.append(f"background ended at {now():g}")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            seen.append("generator closed")

    kept: list[Any] = []

    async def main() -> str:
        kept.append(asyncio.create_task(background()))
        kept.append(numbers())
        await anext(kept[1])
        await asyncio.sleep(3)
        return "answer"

    assert simulate(main) == "answer"
    assert seen == ["background ended at 4", "generator closed"]


def test_an_error_in_what_main_leaves_behind_reaches_the_loops_exception_handler() -> None:
    reports: list[dict[str, Any]] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise OSError("while cleaning up")

    kept: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        kept.append(asyncio.create_task(background()))
        await asyncio.sleep(1)

    simulate(main)
    assert [str(report["exception"]) for report in reports] == ["while cleaning up"]
