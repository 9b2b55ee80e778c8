"""The approval step: once is once, for decisions and for `max_per_run`."""

import asyncio
from typing import Any

import pytest

from plimsoll.contract.model import Approval, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.errors import ApprovalRefused, Rejected
from plimsoll.runtime.approving import approve
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, Desk, pass_time, simulated

ONCE = Tool(effect=Effect.WRITE, max_per_run=1)


async def many(run: Run, request: Any) -> list[str]:
    """Pays five times at once, each another amount."""

    async def pay(amount: int) -> str:
        try:
            await run.call("pay", {"amount": amount})
        except Rejected as refused:
            return str(refused)
        return "paid"

    return list(await asyncio.gather(*[pay(amount) for amount in range(5)]))


def desk_that_pays(paid: list[int], **settings: Any) -> Desk:
    async def pay(amount: int) -> str:
        await pass_time(0.1)
        paid.append(amount)
        return "paid"

    desk = Desk(**settings)
    desk.agent, desk.tools = many, [pay]
    return desk


def test_parallel_calls_do_not_pass_max_per_run_together() -> None:
    async def main() -> None:
        paid: list[int] = []
        desk = desk_that_pays(paid, tools={"pay": ONCE})
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, paid) == (Ending.COMPLETE, [0])
        assert [said for said in result.output if "max_per_run" in said] == result.output[1:]

    simulated(main)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_of_a_former_life_counts_against_max_per_run(when: str) -> None:
    async def main() -> None:
        paid: list[int] = []
        crashed: list[bool] = []

        async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if crashed or site != "pay":
                return await send()
            if when == "after":
                await send()
            crashed.append(True)
            raise Crash

        section = Tool(effect=Effect.IDEMPOTENT, max_per_run=1)
        desk = desk_that_pays(paid, tools={"pay": section}, intercept=intercept)
        with pytest.raises(Crash):
            await desk.live().run({}, run_id="r")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert result.output[0] == "paid"
        assert set(paid) == {0}

    simulated(main)


def test_a_refused_call_does_not_count_against_max_per_run() -> None:
    async def main() -> None:
        paid: list[int] = []
        section = Tool(effect=Effect.WRITE, max_per_run=1, refuse_when="amount < 3")
        desk = desk_that_pays(paid, tools={"pay": section})
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, paid) == (Ending.COMPLETE, [3])

    simulated(main)


def test_a_decision_is_good_for_one_call() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            args = {"order": "W1", "amount": 500.0}
            await run.call("refund", args, key="refund-W1")
            with pytest.raises(ApprovalRefused, match="has been used"):
                await approve(run.state, run.state.env.tool_exchange("refund", args), "refund-W1")
            return "once"

        desk = Desk(tools={"refund": Tool(effect=Effect.WRITE, approval=Approval(approvers=("ana",)))})
        desk.agent = agent
        first = desk.live()
        (asked,) = (await first.run({}, run_id="r")).waiting_for
        await first.operations.decide(asked.request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert (result.output, len(desk.shop.ledger)) == ("once", 1)

    simulated(main)
