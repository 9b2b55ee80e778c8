"""An attempt's timeout: what comes in time, what does not, and who may say so."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from plimsoll.core.clock import LoopClock
from plimsoll.gate.simulator import simulate
from plimsoll.policies.timeout import Expired, Stopwatch, within

pause = LoopClock().sleep


def played(main: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await main()

    return simulate(run)


async def answers() -> str:
    return "at once"


async def later(seconds: float, result: str = "later") -> str:
    await pause(seconds)
    return result


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_work_that_never_waits_is_given_no_timer() -> None:
    async def main() -> tuple[str, int]:
        loop: Any = asyncio.get_running_loop()
        result = await within(5.0, answers())
        return result, len(loop._timers)

    assert played(main) == ("at once", 0)


def test_what_comes_in_time_is_returned() -> None:
    assert played(lambda: within(5.0, later(4.9))) == "later"


def test_none_is_for_ever() -> None:
    assert played(lambda: within(None, later(3000.0))) == "later"


def test_what_does_not_come_is_cancelled_awaited_and_expired() -> None:
    ended: list[str] = []

    async def stubborn() -> None:
        try:
            await pause(100)
        finally:
            await pause(1)
            ended.append("cleaned up")

    async def main() -> float:
        with pytest.raises(Expired):
            await within(5.0, stubborn())
        return now_s()

    assert played(main) == 6.0
    assert ended == ["cleaned up"]


def test_the_time_counts_from_the_call_though_the_timer_is_set_later() -> None:
    async def main() -> float:
        loop: Any = asyncio.get_running_loop()

        async def busy_first() -> None:
            loop._now += 3.0  # as synchronous code before the first wait would
            await pause(100)

        with pytest.raises(Expired):
            await within(5.0, busy_first())
        return now_s()

    assert played(main) == 5.0


def test_no_time_at_all_still_begins_and_then_expires_at_its_first_wait() -> None:
    async def main() -> float:
        assert await within(0.0, answers()) == "at once"
        with pytest.raises(Expired):
            await within(0.0, later(1.0))
        return now_s()

    assert played(main) == 0.0


def test_a_timeout_of_the_work_itself_is_not_ours() -> None:
    async def reports() -> None:
        await pause(1)
        raise TimeoutError("the dependency says so")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="the dependency says so") as caught:
            await within(5.0, reports())
        assert not isinstance(caught.value, Expired)

    played(main)


def test_an_error_on_the_way_out_is_the_works_own() -> None:
    async def breaks() -> None:
        try:
            await pause(100)
        except asyncio.CancelledError:
            raise ConnectionError("broken while it was cancelled") from None

    async def main() -> None:
        with pytest.raises(ConnectionError):
            await within(5.0, breaks())

    played(main)


def test_work_that_answers_though_cancelled_has_answered() -> None:
    async def swallows() -> str:
        with suppress(asyncio.CancelledError):
            await pause(100)
        return "all the same"

    async def main() -> str:
        return await within(5.0, swallows())

    assert played(main) == "all the same"


def test_a_cancellation_from_outside_is_none_of_ours() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(within(5.0, later(100.0)))
        await pause(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now_s() == 1.0

    played(main)


def test_work_that_waits_again_when_it_is_cancelled_goes_on_to_its_end() -> None:
    async def twice() -> str:
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                await pause(10)
        return "in the end"

    async def main() -> tuple[str, float]:
        task = asyncio.ensure_future(within(None, twice()))
        await pause(1)
        task.cancel()
        return await task, now_s()

    assert played(main) == ("in the end", 11.0)


def test_closing_it_closes_the_work() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await pause(100)
        finally:
            ended.append("closed")

    async def main() -> None:
        timed = within(None, waits())
        timed.send(None)
        timed.close()

    played(main)
    assert ended == ["closed"]


async def shown(stopwatch: Stopwatch, *steps: tuple[str, float]) -> str:
    """Waits as the steps say, `works` for the dependency and `stands` for somebody else."""
    for kind, seconds in steps:
        if kind == "stands":
            with stopwatch.standing_still():
                await pause(seconds)
        else:
            await pause(seconds)
    return "whole"


@pytest.mark.parametrize(
    ("steps", "ended_s"),
    [
        ([("works", 2.0), ("stands", 100.0), ("works", 2.9)], 104.9),
        ([("stands", 100.0), ("works", 4.9)], 104.9),
        ([("stands", 3.0), ("stands", 3.0), ("works", 4.9)], 10.9),
    ],
)
def test_the_time_that_somebody_else_takes_is_not_the_attempts(steps: Any, ended_s: float) -> None:
    async def main() -> tuple[str, float, float]:
        stopwatch = Stopwatch()
        result = await within(5.0, shown(stopwatch, *steps), stopwatch=stopwatch)
        return result, stopwatch.stood_s, now_s()

    result, stood_s, now = played(main)
    assert (result, now) == ("whole", pytest.approx(ended_s))
    assert stood_s == pytest.approx(sum(seconds for kind, seconds in steps if kind == "stands"))


@pytest.mark.parametrize(
    ("steps", "expired_s"),
    [
        ([("works", 2.0), ("stands", 100.0), ("works", 50.0)], 105.0),
        ([("stands", 100.0), ("works", 50.0)], 105.0),
        ([("works", 50.0)], 5.0),
    ],
)
def test_a_stopwatch_takes_back_no_more_than_it_stood_still(steps: Any, expired_s: float) -> None:
    async def main() -> float:
        stopwatch = Stopwatch()
        with pytest.raises(Expired):
            await within(5.0, shown(stopwatch, *steps), stopwatch=stopwatch)
        return now_s()

    assert played(main) == pytest.approx(expired_s)


def test_a_stopwatch_without_a_timeout_only_counts() -> None:
    async def main() -> float:
        stopwatch = Stopwatch()
        await within(None, shown(stopwatch, ("stands", 7.0), ("works", 1.0)), stopwatch=stopwatch)
        return stopwatch.stood_s

    assert played(main) == pytest.approx(7.0)


def test_an_attempt_given_up_while_it_stands_still_is_cancelled_by_whoever_gives_it_up() -> None:
    async def main() -> bool:
        stopwatch = Stopwatch()
        task = asyncio.ensure_future(within(5.0, shown(stopwatch, ("stands", 100.0)), stopwatch=stopwatch))
        await pause(50.0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert played(main)
