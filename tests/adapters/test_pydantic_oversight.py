"""Approvals: a run parks for a person, and goes on with exactly the call that was approved."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic_ai import Agent, RunContext
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults

from plimsoll.adapters.pydantic_ai.binding import Binding
from plimsoll.contract.model import Approval, Tool
from plimsoll.core.calls import Effect, Ending, Status
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import RunHalted, RunHandedOff, RunParked
from plimsoll.core.events import ApprovalRequested, CallIntended, CallSettled
from tests.adapters.bench import Desk, Shop, call, contract, scripted, shop_agent, simulated, tool_results

BIG = [call("refund", "c1", order="W1", amount=80.0)]


def test_a_run_parks_for_approval_and_goes_on_after_it() -> None:
    async def main() -> None:
        desk = Desk(BIG, "Done.")
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        assert result.ending is Ending.PARKED
        (asked,) = result.waiting_for
        assert (asked.dependency, asked.args) == ("refund", {"order": "W1", "amount": 80.0})
        assert desk.shop.ledger == []
        await hardened.approvals.decide(asked.request_id, approve=True, by="ana", args=asked.args)
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done.")
        assert desk.shop.refunds == [("W1", 80.0)]
        (intended,) = await desk.events(CallIntended)
        assert (intended.key, intended.decision_id is not None) == ("1/c1", True)
        (told,) = tool_results(result.native.all_messages())
        assert told.content == {"refunded": 80.0}

    simulated(main)


def test_a_denial_is_told_to_the_model() -> None:
    async def main() -> None:
        desk = Desk(BIG, "It was not approved.")
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        await hardened.approvals.decide(result.waiting_for[0].request_id, approve=False, by="ana", note="too much")
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "It was not approved.")
        (told,) = tool_results(result.native.all_messages())
        assert told.outcome == "denied"
        assert "too much" in str(told.content)
        assert desk.shop.ledger == []
        (settled,) = [event for event in await desk.events(CallSettled) if event.dependency == "refund"]
        assert settled.outcome.status is Status.REJECTED

    simulated(main)


def test_nobody_answering_is_a_denial() -> None:
    async def main() -> None:
        desk = Desk(BIG, "Nobody answered.")
        hardened = desk.live()
        await hardened.run("Refund W1", run_id="r")
        await LoopClock().sleep(601.0)
        (result,) = await hardened.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Nobody answered.")
        assert "expired" in str(tool_results(result.native.all_messages())[0].content)
        assert desk.shop.ledger == []

    simulated(main)


def test_all_approvals_of_a_batch_are_asked_for_before_the_run_parks() -> None:
    async def main() -> None:
        batch = [
            call("refund", "c1", order="W1", amount=80.0),
            call("look", "c2", order="W1"),
            call("refund", "c3", order="W2", amount=90.0),
            call("refund", "c4", order="W3", amount=1.0),
        ]
        desk = Desk(batch, "Done.")
        hardened = desk.live()
        result = await hardened.run("Refund all", run_id="r")
        assert [asked.args["order"] for asked in result.waiting_for] == ["W1", "W2"]
        assert (desk.shop.refunds, desk.shop.reads) == ([("W3", 1.0)], ["W1"])
        for asked, approve in zip(result.waiting_for, (True, False), strict=True):
            await hardened.approvals.decide(asked.request_id, approve=approve, by="bo")
        (result,) = await desk.live().wake()
        assert result.output == "Done."
        assert desk.shop.refunds == [("W3", 1.0), ("W1", 80.0)]
        assert desk.shop.reads == ["W1"]
        outcomes = [part.outcome for part in tool_results(result.native.all_messages())]
        assert outcomes == ["success", "success", "denied", "success"]

    simulated(main)


def test_deciding_one_of_two_parks_again_for_the_other() -> None:
    async def main() -> None:
        batch = [call("refund", "c1", order="W1", amount=80.0), call("refund", "c3", order="W2", amount=90.0)]
        desk = Desk(batch, "Done.")
        hardened = desk.live()
        result = await hardened.run("Refund all", run_id="r")
        first, second = result.waiting_for
        await hardened.approvals.decide(first.request_id, approve=True, by="bo")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.PARKED
        assert [asked.request_id for asked in result.waiting_for] == [second.request_id]
        assert desk.shop.refunds == [("W1", 80.0)]
        hardened = desk.live()
        await hardened.approvals.decide(second.request_id, approve=True, by="bo")
        (result,) = await hardened.wake()
        assert result.ending is Ending.COMPLETE
        assert desk.shop.refunds == [("W1", 80.0), ("W2", 90.0)]
        assert len(await desk.events(ApprovalRequested)) == 2

    simulated(main)


def test_a_call_that_waits_keeps_those_behind_it_waiting_where_order_matters() -> None:
    async def main() -> None:
        agent = shop_agent()

        @agent.tool(sequential=True)
        def notify(ctx: RunContext[Shop], order: str) -> str:
            ctx.deps.reads.append(f"notified {order}")
            return "sent"

        desk = Desk([*BIG, call("notify", "c2", order="W1")], "Done.", agent=agent)
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        assert desk.shop.reads == []
        await hardened.approvals.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.output == "Done."
        assert desk.shop.reads == ["notified W1"]

    simulated(main)


def test_a_final_answer_beside_a_call_that_waits_does_not_end_the_run() -> None:
    async def main() -> None:
        desk = Desk([*BIG, call("final_result", "o1", response=7)], agent=shop_agent(output_type=int))
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        assert result.ending is Ending.PARKED
        await hardened.approvals.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, 7)
        assert desk.shop.refunds == [("W1", 80.0)]

    simulated(main)


def test_nobody_else_may_answer_for_a_call_that_waits() -> None:
    async def main() -> None:
        asked: list[Any] = []

        def wave_through(ctx: RunContext[Any], requests: DeferredToolRequests) -> DeferredToolResults:
            asked.append(requests)
            return DeferredToolResults(approvals={part.tool_call_id: True for part in requests.approvals})

        desk = Desk(BIG, "Done.", agent=shop_agent(capabilities=[HandleDeferredToolCalls(wave_through)]))
        result = await desk.live().run("Refund W1", run_id="r")
        assert (result.ending, len(result.waiting_for)) == (Ending.PARKED, 1)
        assert (desk.shop.ledger, asked) == ([], [])

    simulated(main)


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_tool_that_asks_for_approval_itself_is_governed_by_the_contract(by_flag: bool) -> None:
    async def main() -> None:
        agent: Agent[Shop, Any] = shop_agent()

        @agent.tool(requires_approval=by_flag)
        def cancel(ctx: RunContext[Shop], order: str) -> str:
            if not by_flag and not ctx.tool_call_approved:
                raise ApprovalRequired
            ctx.deps.ledger.append((order, 0.0, ""))
            return "cancelled"

        rule = Tool(effect=Effect.WRITE, approval=Approval(approvers=("ana",)))
        desk = Desk([call("cancel", "c1", order="W1")], "Done.", agent=agent, tools={"cancel": rule})
        hardened = desk.live()
        result = await hardened.run("Cancel W1", run_id="r")
        assert (result.ending, desk.shop.ledger) == (Ending.PARKED, [])
        await hardened.approvals.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.output == "Done.", result.reason
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_a_tool_that_asks_for_approval_and_gets_no_rule_is_never_waved_through() -> None:
    async def main() -> None:
        agent: Agent[Shop, Any] = shop_agent()

        @agent.tool(requires_approval=True)
        def cancel(ctx: RunContext[Shop], order: str) -> str:
            ctx.deps.ledger.append((order, 0.0, ""))
            return "cancelled"

        desk = Desk([call("cancel", "c1", order="W1")], "Done.", agent=agent)
        result = await desk.live().run("Cancel W1", run_id="r")
        assert result.ending is Ending.FAILED
        assert "DeferredToolRequests" in result.reason
        assert desk.shop.ledger == []

    simulated(main)


def test_a_rule_of_the_contract_refuses_a_call() -> None:
    async def main() -> None:
        rule = Tool(effect=Effect.WRITE, refuse_when="amount > 500")
        desk = Desk([call("refund", "c1", order="W1", amount=900.0)], "I may not.", tools={"refund": rule})
        result = await desk.live().run("Refund W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "I may not.")
        assert tool_results(result.native.all_messages())[0].outcome == "denied"
        assert desk.shop.ledger == []

    simulated(main)


def test_the_kill_switch_halts_a_run_before_its_next_call() -> None:
    async def main() -> None:
        desk = Desk([call("look", "c1", order="W1")], [call("refund", "c2", order="W1", amount=1.0)], "Done.")
        hardened = desk.live()

        async def intercept(site: str, info: Any, exchange: Any, send: Any) -> Any:
            if site == "look":
                await hardened.operations.kill(by="ana", reason="stop")
            return await send()

        desk.intercept = intercept
        hardened.harness.env.interceptor = intercept
        result = await hardened.run("Refund W1", run_id="r")
        assert result.ending is Ending.HALTED
        assert desk.shop.ledger == []

    simulated(main)


def test_of_several_reasons_to_leave_the_gravest_is_given() -> None:
    run: Any = SimpleNamespace(id="r")
    approval, doubt = RunParked("approval", detail="r.a1"), RunParked("doubt", detail="1/c1")
    halt, mismatch = RunHalted("stop"), RunParked("mismatch", detail="other")
    for order in ([approval, doubt, halt], [halt, doubt, approval], [doubt, halt, approval]):
        binding = Binding(run, contract=contract(), model_of=lambda name: scripted(), verifiers={})
        assert all([binding.may_wait(signal, in_turn=False) for signal in order])
        assert not binding.may_wait(mismatch, in_turn=False)
        with pytest.raises(RunHalted):
            binding.leave()
    handoff = RunHandedOff("complete", output="done", reason="")
    for pair in ([handoff, approval], [approval, handoff]):
        binding = Binding(run, contract=contract(), model_of=lambda name: scripted(), verifiers={})
        assert all([binding.may_wait(signal, in_turn=False) for signal in pair])
        with pytest.raises(RunParked):
            binding.leave()
