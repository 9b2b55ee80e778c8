"""Iterating over a run's nodes: the caller's own code takes it from one to the next."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

from pydantic_ai.run import AgentRun, AgentRunResult

from plimsoll.core.errors import Misuse, Unwind
from plimsoll.runtime.current import run_context
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run

__all__ = ["Handover", "HardenedIteration", "iterated"]

Iterate = Callable[[], AbstractAsyncContextManager[AgentRun[Any, Any]]]
Leave = Callable[[], None]
"""Raises what a call of the run is waiting to raise, if any."""


class Handover:
    """Lets another task do what an agent's code does, while the harness waits for what comes of it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[tuple[Run, Iterate, Leave]] = loop.create_future()
        self.ended: asyncio.Future[AgentRunResult[Any]] = loop.create_future()

    async def over(self, run: Run, iterate: Iterate, leave: Leave) -> AgentRunResult[Any]:
        """As the agent: hands the run over, and returns or raises what came of it."""
        self.begun.set_result((run, iterate, leave))
        return await self.ended


class HardenedIteration:
    """A run's nodes, one after the other, as of `Agent.iter`. What is done between them is the agent's code.

    A run that parks or is halted ends the `async with` there and then: nothing after it inside is executed. `result`
    says how it stands.
    """

    def __init__(self) -> None:
        self._agent_run: AgentRun[Any, Any] | None = None
        self._result: RunResult | None = None

    @property
    def agent_run(self) -> AgentRun[Any, Any]:
        """Pydantic AI's own handle: `ctx`, `next_node`, `next`. Raises `Misuse` where the run had ended before."""
        if self._agent_run is None:
            raise Misuse("this run has ended before: there is no node to come, and `result` has what came of it")
        return self._agent_run

    @property
    def result(self) -> RunResult:
        """How the run stands, after the `async with`. Raises `Misuse` inside it, and where the run was given up."""
        if self._result is None:
            raise Misuse("the run has not come to its end: iterate over its nodes, and leave the `async with`")
        return self._result

    @result.setter
    def result(self, result: RunResult) -> None:
        self._result = result

    def of(self, agent_run: AgentRun[Any, Any]) -> None:
        """These are the nodes of `agent_run`."""
        self._agent_run = agent_run

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if self._agent_run is None:
            raise StopAsyncIteration
        return await anext(self._agent_run)


@asynccontextmanager
async def iterated(
    running: Callable[[Handover], Coroutine[Any, Any, RunResult]],
) -> AsyncGenerator[HardenedIteration]:
    """The nodes of the run that `running` advances, whose agent's code is whatever is done inside."""
    handover = Handover()
    harness = asyncio.create_task(running(handover), name="iterated run")
    try:
        either: list[asyncio.Future[Any]] = [harness, handover.begun]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        iteration = HardenedIteration()
        failed: Exception | None = None
        if handover.begun.done():
            async with _handed_over(handover, iteration):
                yield iteration
            if not handover.ended.done():
                return  # left before the end: the run is given up
            failed = _error_of(handover)
        else:
            yield iteration  # it has ended before, or cannot begin
        await asyncio.wait([harness])
        iteration.result = harness.result()
        if failed is not None:
            raise failed
    finally:
        harness.cancel()
        await asyncio.wait([harness])
        if not harness.cancelled():
            harness.exception()  # seen


@asynccontextmanager
async def _handed_over(handover: Handover, iteration: HardenedIteration) -> AsyncGenerator[None]:
    """Tells the harness what came of what is done inside."""
    run, iterate, leave = handover.begun.result()
    token = run_context.set(run)
    try:
        async with iterate() as agent_run:
            iteration.of(agent_run)
            yield
        leave()
        if agent_run.result is not None:
            handover.ended.set_result(agent_run.result)
    except (Unwind, Exception) as error:
        handover.ended.set_exception(_first(leave, error))
    finally:
        run_context.reset(token)


def _first(leave: Leave, error: BaseException) -> BaseException:
    """A call that waits for a person goes before whatever went wrong beside it."""
    try:
        leave()
    except Unwind as signal:
        return signal
    return error


def _error_of(handover: Handover) -> Exception | None:
    error = handover.ended.exception()
    return error if isinstance(error, Exception) else None
