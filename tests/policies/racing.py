"""Contenders of a race, well-behaved and not, and what came of it: what the tests of races share."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio

from plimsoll.policies.race import Race
from tests.policies.playing import Boom, later, now_s, pause, played

AFTER_S = 1.0


class Raced:
    """A race that writes down what became of its contenders."""

    def __init__(self, spare: Callable[["Raced"], Coroutine[Any, Any, Any]] | None, **options: Any) -> None:
        self.spares = 0
        self.ended: list[str] = []
        self._spare = spare
        self.race: Race[Any] = Race(self._make, **options)

    def _make(self, race: Race[Any]) -> Coroutine[Any, Any, Any] | None:
        assert race is self.race
        return None if self._spare is None else self._joins(self._spare)

    async def _joins(self, spare: Callable[["Raced"], Coroutine[Any, Any, Any]]) -> Any:
        self.spares += 1
        return await self.noted("spare", spare(self))

    async def noted(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            result = await work
        except asyncio.CancelledError:
            self.ended.append(f"{name} cancelled")
            raise
        except Exception:
            self.ended.append(f"{name} failed")
            raise
        self.ended.append(f"{name} answered")
        return result

    async def run(self, first: Coroutine[Any, Any, Any], *, after_s: float = AFTER_S) -> Any:
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        try:
            return await self.race.run(self.noted("first", first), after_s=after_s)
        finally:
            assert len(self.ended) == 1 + self.spares, "whoever loses is awaited"
            self.balance = task.cancelling() - before


async def came(raced: Raced, first: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """What came of a race that nobody cancels, and when."""
    try:
        result = await raced.run(first)
    except Boom as error:
        result = error.args[0]
    assert raced.balance == 0, "nobody has cancelled the call"
    return result, now_s()


def raced(first: Any, spare: Any, **options: Any) -> Any:
    """What comes of two contenders: each is what it does, for how long, and what it answers."""

    async def main() -> Any:
        race = Raced(lambda _: spare[0](*spare[1:]), **options)
        return *await came(race, first[0](*first[1:])), race.ended

    return played(main)


async def stubborn(seconds: float, result: Any) -> Any:
    """Takes no notice of being cancelled."""
    end_s = now_s() + seconds
    while now_s() < end_s:
        with suppress(asyncio.CancelledError):
            await pause(end_s - now_s())
    return await later(0, result)


async def slow_to_end(seconds: float, result: Any) -> Any:
    """Needs 3 s to clean up."""
    try:
        return await later(seconds, result)
    except asyncio.CancelledError:
        await pause(3.0)
        raise


async def breaks(seconds: float, result: Any) -> Any:
    """Fails when it is cancelled."""
    try:
        return await later(seconds, result)
    except asyncio.CancelledError:
        raise Boom("broke when it was cancelled") from None


async def answers_all_the_same(seconds: float, result: Any) -> Any:
    """Answers when it is cancelled."""
    try:
        return await later(seconds, result)
    except asyncio.CancelledError:
        return "all the same"


async def timed(seconds: float, result: Any) -> Any:
    """Has a timeout of its own."""
    try:
        async with asyncio.timeout(2.0):
            return await later(seconds, result)
    except TimeoutError:
        raise Boom("timed out") from None


async def scoped(seconds: float, result: Any) -> Any:
    """The same, by anyio."""
    with anyio.move_on_after(2.0):
        return await later(seconds, result)
    raise Boom("timed out")


async def grouped(seconds: float, result: Any) -> Any:
    """Works in a task of its own."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pause(seconds))
    assert task.done()
    return await later(0, result)


KINDS = (later, stubborn, slow_to_end, breaks, answers_all_the_same, timed, scoped, grouped)
