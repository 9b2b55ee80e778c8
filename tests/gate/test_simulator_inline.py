# ruff: noqa: TID251 (every sleep here is virtual)
import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.to_thread
import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from plimsoll.gate.simulator import (
    InlineExecutor,
    simulate,
)


@contextmanager
def started_threads() -> Iterator[list[str]]:
    started: list[str] = []
    original = threading.Thread.start

    def start(self: threading.Thread) -> None:
        started.append(self.name)
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    try:
        yield started
    finally:
        threading.Thread.start = original  # type: ignore[method-assign]


def test_the_inline_executor_runs_at_submit_in_the_calling_thread() -> None:
    executor = InlineExecutor()
    done = executor.submit(threading.get_ident)
    assert done.done()
    assert done.result() == threading.get_ident()
    assert list(executor.map(abs, [-1, -2])) == [1, 2]
    assert isinstance(executor.submit(int, "x").exception(), ValueError)
    assert isinstance(executor.submit(sys.exit, 1).exception(), SystemExit)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, 1)


def test_the_inline_executor_lets_a_keyboard_interrupt_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupted)


def test_the_default_executor_and_anyios_threads_run_inline() -> None:
    def fails() -> None:
        raise LookupError

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        idents = [await asyncio.to_thread(threading.get_ident)]
        idents.append(await loop.run_in_executor(None, threading.get_ident))
        idents.append(await loop.run_in_executor(InlineExecutor(), threading.get_ident))
        idents.append(await anyio.to_thread.run_sync(threading.get_ident))
        idents.append(await anyio.to_thread.run_sync(threading.get_ident, limiter=anyio.CapacityLimiter(1)))
        with pytest.raises(LookupError):
            await asyncio.to_thread(fails)
        with pytest.raises(LookupError):
            await anyio.to_thread.run_sync(fails)
        return idents

    with started_threads() as started:
        assert set(simulate(main)) == {threading.get_ident()}
    assert started == []


@pytest.mark.parametrize("own_executor", [False, True])
def test_a_pydantic_ai_agent_with_a_synchronous_tool_starts_no_thread(own_executor: bool) -> None:
    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        returned = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        if returned:
            return ModelResponse(parts=[TextPart(f"order 7 is {returned[0].content}")])
        return ModelResponse(parts=[ToolCallPart("status", {"order": 7})])

    agent = Agent(FunctionModel(model))

    @agent.tool_plain
    def status(order: int) -> str:
        return f"shipped by {threading.current_thread().name}"

    @agent.tool_plain
    async def slow() -> None:
        await asyncio.sleep(1)

    async def main() -> str:
        async with asyncio.timeout(5):
            if own_executor:
                with Agent.using_thread_executor(InlineExecutor()):
                    return (await agent.run("where is order 7?")).output
            return (await agent.run("where is order 7?")).output

    with started_threads() as started:
        assert simulate(main) == f"order 7 is shipped by {threading.current_thread().name}"
    assert started == []


# anyio


def test_anyio_timeouts_groups_and_streams_take_virtual_time() -> None:
    async def main() -> tuple[list[int], bool, float]:
        send, receive = anyio.create_memory_object_stream[int](0)
        got: list[int] = []

        async def produce() -> None:
            async with send:
                for number in range(3):
                    await anyio.sleep(10)
                    await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                got.extend([number async for number in receive])
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(3000)
        return got, scope.cancelled_caught, anyio.current_time()

    assert simulate(main) == ([0, 1, 2], True, 35.0)
