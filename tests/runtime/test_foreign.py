"""What code that is not ours may raise: none of it wedges a run, or is taken for the runtime's own."""

from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import Tool
from plimsoll.core.calls import Effect, Ending, Status
from plimsoll.core.events import CallSettled, DoubtResolved
from plimsoll.runtime.databases.sqlite import SQLiteDatabase
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import tool
from tests.runtime import banks
from tests.runtime.bench import Desk, simulated


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
