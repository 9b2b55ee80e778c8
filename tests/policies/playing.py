"""What tests of policies share: virtual time, and what is left when a call is over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from plimsoll.core.clock import LoopClock
from plimsoll.gate.simulator import simulate

pause = LoopClock().sleep


class Boom(ConnectionError):
    """A dependency's error."""


def played(main: Callable[[], Awaitable[Any]]) -> Any:
    """What `main` returns, in virtual time. Fails where a task was left behind, or an error that nobody looked at."""

    async def run() -> Any:
        loop = asyncio.get_running_loop()
        complaints: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        result = await main()
        left = asyncio.all_tasks(loop) - {asyncio.current_task()}
        assert not left, f"left behind: {left}"
        assert not complaints
        return result

    return simulate(run)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def answers(result: Any = "at once") -> Any:
    return result


async def later(seconds: float, result: Any = "later") -> Any:
    """Answers after a time; an exception is raised."""
    await pause(seconds)
    if isinstance(result, BaseException):
        raise result
    return result


async def turns(count: int) -> None:
    """Lets the loop turn so often."""
    for _ in range(count):
        await pause(0)
