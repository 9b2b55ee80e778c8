"""Functions that answer as they are told, and pipelines around them: what the tests of `ResiliencePipeline` share."""

import asyncio
from typing import Any

from plimsoll.core.calls import Fault
from plimsoll.core.clock import LoopClock
from plimsoll.policies.hedge import Hedge
from plimsoll.policies.resilience import ResiliencePipeline
from plimsoll.policies.retry import RetryPolicy
from tests.policies.playing import later, now_s

AGAIN = RetryPolicy(on=(Fault.CONNECTION, Fault.TIMEOUT), max_attempts=3, base_s=1.0, cap_s=1.0)
EAGER = Hedge(min_observations=1, max_extra=1.0)


class Always:
    """Chance without surprises: every delay is as long as it may be."""

    def random(self) -> float:
        return 1.0

    def uniform(self, a: float, b: float) -> float:
        return b

    def getrandbits(self, k: int, /) -> int:
        return (1 << k) - 1


def pipeline(**policies: Any) -> ResiliencePipeline:
    return ResiliencePipeline("search", clock=LoopClock(), rng=Always(), **policies)


class Script:
    """A dependency that does one thing after the other, each a time and an answer; an exception is raised."""

    def __init__(self, *steps: tuple[float, Any]) -> None:
        self.steps = list(steps)
        self.asked_at: list[float] = []
        self.cancelled = 0

    async def __call__(self, *args: Any) -> Any:
        self.asked_at.append(now_s())
        seconds, result = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        try:
            return await later(seconds, result) if seconds else await turned(result)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def typed(prompt: str, *, more: str) -> str:
    return prompt + more


async def turned(result: Any) -> Any:
    if isinstance(result, BaseException):
        raise result
    return result


async def outcomes(ask: ResiliencePipeline, script: Script, count: int) -> list[Any]:
    """What comes of so many calls, one after the other."""
    got: list[Any] = []
    for _ in range(count):
        try:
            got.append(await ask.call(script))
        except Exception as error:
            got.append(type(error).__name__)
    return got
