"""What code that is not ours may raise: none of it wedges a run, or is taken for the runtime's own."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import Tool
from plimsoll.core.calls import Effect, Ending, Status
from plimsoll.core.events import CallSettled, DoubtResolved
from plimsoll.journal.store import RunState
from plimsoll.runtime.databases.sqlite import SQLiteDatabase
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import tool
from tests.runtime import banks
from tests.runtime.bench import Desk, pass_time, simulated


def nothing_there(*_: Any) -> Any:
    """The commonest slip: nothing is found, and `next` is not told what then."""
    return next(row for row in [] if row)


def a_desk(pay: Any, verify: Any = None, *, effect: Effect = Effect.WRITE) -> Desk:
    """One that only pays."""

    async def pays(run: Run, request: Any) -> Any:
        return await run.call("refund", {"order": "W1", "amount": 20.0})

    desk = Desk(tools={"refund": Tool(effect=effect, timeout_s=5.0)})
    desk.agent = pays
    desk.shop.refund = pay  # type: ignore[method-assign]
    desk.shop.verify = verify or desk.shop.verify  # type: ignore[method-assign]
    desk.tools = [tool(pay)]
    return desk


async def settled(desk: Any) -> CallSettled:
    (found,) = [record.event for record in await desk.store.read("r") if isinstance(record.event, CallSettled)]
    return found


def refund_nothing(order: str, amount: float) -> Any:
    return nothing_there()


refund_nothing.__name__ = "refund"


@pytest.mark.parametrize("effect", [Effect.READ, Effect.IDEMPOTENT, Effect.WRITE])
def test_a_sync_tool_that_raises_stop_iteration_has_failed_and_wedges_nothing(effect: Effect) -> None:
    async def main() -> None:
        async with a_desk(refund_nothing, effect=effect).live() as harness:
            result = await harness.run({}, run_id="r")
        assert result.ending is Ending.FAILED
        assert "StopIteration" in result.reason

    simulated(main)


def test_a_sync_verify_that_raises_stop_iteration_has_verified_nothing() -> None:
    async def main() -> None:
        async def refund(order: str, amount: float) -> Any:
            raise ConnectionResetError("lost")

        desk = a_desk(refund, nothing_there)
        async with desk.live() as harness:
            result = await harness.run({}, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "doubt: 1:refund")
        answers = [record.event for record in await desk.store.read("r") if isinstance(record.event, DoubtResolved)]
        assert "StopIteration" in str(answers[-1].value)

    simulated(main)


@pytest.mark.parametrize("where", ["tool", "prepare"])
def test_a_transaction_that_raises_stop_iteration_is_rolled_back_and_lets_go_of_its_database(
    tmp_path: Path, where: str
) -> None:
    async def main() -> None:
        desk = banks.Desk(tmp_path)

        def pay(to: str, amount: float) -> Any:
            done = desk.bank.paying(to, amount)
            return nothing_there() if to == "ann" else done

        desk.tools = {"pay": pay}
        async with desk.live() as harness:
            if where == "prepare":
                broken = SQLiteDatabase(desk.bank.path, prepare=nothing_there)
                harness.env.transactions.databases = {"bank": broken}
            await harness.run({"to": "ann", "amount": 20.0}, run_id="r")
            assert (await settled(desk)).outcome.status is Status.FAILED
            harness.env.transactions.databases = {"bank": desk.database}
            assert (await harness.run({"to": "bo", "amount": 7.0}, run_id="r2")).output == {"paid": 7.0}
        assert desk.bank.payments == [("bo", 7.0)]

    simulated(main)


def test_outside_a_run_stop_iteration_of_a_sync_tool_reaches_its_caller_as_an_error() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await tool(refund_nothing)("W1", 20.0)

    simulated(main)


class Panic(BaseException):
    """As of a library in Rust: no `Exception`, so that Python code does not go on as if nothing were."""


def raising(error: BaseException, *, in_thread: bool) -> Any:
    """A tool that raises."""

    def refund(order: str, amount: float) -> Any:
        raise error

    async def refund_here(order: str, amount: float) -> Any:
        raise error

    refund_here.__name__ = "refund"
    return refund if in_thread else refund_here


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("effect", [Effect.READ, Effect.WRITE])
def test_a_tool_that_panics_has_failed_and_does_not_take_the_service_down(effect: Effect, in_thread: bool) -> None:
    async def main() -> None:
        desk = a_desk(raising(Panic("index out of bounds"), in_thread=in_thread), effect=effect)
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.FAILED
        assert "Panic: index out of bounds" in result.reason

    simulated(main)


@pytest.mark.parametrize("streams", [False, True])
def test_a_model_that_panics_has_failed_and_the_next_rung_answers(streams: bool) -> None:
    async def main() -> None:
        async def panics(prompt: Any) -> ModelReply:
            raise Panic("the tokenizer")

        async def panics_midway(prompt: Any) -> Any:
            yield "half "
            raise Panic("the tokenizer")

        desk = Desk()
        desk.models["primary"] = panics_midway if streams else panics
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "Sure: 20 back")

    simulated(main)


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("error", [asyncio.CancelledError("the connection pool's"), Panic("odd")], ids=["own", "panic"])
def test_a_verify_that_raises_no_exception_has_verified_nothing_and_wake_goes_on(
    error: BaseException, in_thread: bool
) -> None:
    def fails(args: Any, key: str) -> Any:
        raise error

    async def fails_here(args: Any, key: str) -> Any:
        raise error

    async def main() -> None:
        lost = raising(ConnectionResetError("lost"), in_thread=False)
        desk = a_desk(lost, fails if in_thread else fails_here)
        harness = desk.live()
        result = await harness.run({}, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "doubt: 1:refund")
        assert await harness.wake() == []

    simulated(main)


def test_a_run_that_is_cancelled_while_it_verifies_is_left_as_it_is() -> None:
    async def main() -> None:
        asked: list[str] = []

        async def takes_long(args: Any, key: str) -> Any:
            asked.append(key)
            await pass_time(2.0)

        desk = a_desk(raising(ConnectionResetError("lost"), in_thread=False), takes_long)
        harness = desk.live()
        running = asyncio.create_task(harness.run({}, run_id="r"))
        await pass_time(1.0)
        assert asked
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        head = await desk.store.head("r")
        assert head is not None and head.state is RunState.RUNNING

    simulated(main)


def test_an_agent_that_awaits_what_was_cancelled_has_failed_though_nobody_cancelled_the_run() -> None:
    async def main() -> None:
        desk = Desk()

        async def awaits(run: Run, request: Any) -> Any:
            task = asyncio.create_task(pass_time(60.0))
            task.cancel("no longer needed")
            await task

        desk.agent = awaits
        harness = desk.live()
        result = await harness.run({}, run_id="r")
        assert (result.ending, result.reason) == (Ending.FAILED, "CancelledError: no longer needed")
        assert await harness.wake() == []

    simulated(main)
