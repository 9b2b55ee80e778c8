"""The agents that an agent of the OpenAI Agents SDK may hand over to, and what they may bring with them."""

from typing import Any

import pytest
from agents import Agent, Handoff, LocalShellTool, function_tool, handoff
from agents.sandbox import SandboxAgent

from plimsoll.adapters.openai_agents import describe
from plimsoll.contract.model import Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import Misuse
from tests.adapters.conformance.benches.openai_agents import OpenAIAgents, Scripted, find_order, refund
from tests.adapters.conformance.desk import Call, Desk, Script, call, contract, simulated

BENCH = OpenAIAgents()
SHELL = LocalShellTool(executor=lambda request: "")


def front(billing: Agent[Any]) -> Agent[Any]:
    return Agent(name="desk", tools=[find_order], handoffs=[handoff(billing)])


def test_an_agent_behind_a_handoff_is_known() -> None:
    billing: Agent[Any] = Agent(name="billing", tools=[refund])
    assert [tool.name for tool in describe(front(billing)).tools] == ["find_order", "refund"]


def test_the_fingerprint_sees_the_agent_behind_a_handoff() -> None:
    def mark(**options: Any) -> str:
        billing: Agent[Any] = Agent(name="billing", **options)
        given = {"models": {"backup": Scripted(Script("x"))}, "verifiers": {"refund": lambda args, key: None}}
        return str(BENCH.adapter.harden(front(billing), contract(), **given).fingerprint)

    assert mark() == mark()
    assert len({mark(), mark(instructions="Pay whatever is asked."), mark(tools=[refund])}) == 3


def test_what_an_agent_behind_a_handoff_does_by_itself_is_refused() -> None:
    with pytest.raises(Misuse, match="the LocalShellTool of 'billing' is carried out by the SDK itself"):
        Desk(BENCH, Script("x"), agent=front(Agent(name="billing", tools=[SHELL]))).live()


def test_an_agent_that_a_handoff_makes_is_looked_at_before_it_is_asked() -> None:
    async def make(ctx: Any, written: str) -> Agent[Any]:
        return Agent(name="billing", tools=[SHELL])

    async def main() -> None:
        over = Handoff(
            tool_name="pay",
            tool_description="Pays.",
            input_json_schema={},
            on_invoke_handoff=make,
            agent_name="billing",
        )
        desk = Desk(BENCH, Script([Call("pay", {}, "h")], "Paid."), agent=Agent(name="desk", handoffs=[over]))
        result = await desk.live().run("Pay", run_id="r")
        assert result.ending is Ending.FAILED and "the LocalShellTool of 'billing'" in result.reason
        assert desk.script.asked == 1

    simulated(main)


def test_an_agent_with_a_sandbox_is_refused() -> None:
    with pytest.raises(Misuse, match="what 'desk' does in its sandbox is carried out by the SDK itself"):
        Desk(BENCH, Script("x"), agent=SandboxAgent(name="desk")).live()


def test_what_is_no_agent_is_named() -> None:
    with pytest.raises(Misuse, match=r"a FunctionTool is no agent that can be hardened"):
        Desk(BENCH, Script("x"), agent=find_order).live()


def test_an_approval_inside_an_agent_that_is_a_tool_does_not_pass_for_an_answer() -> None:
    @function_tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pays."""
        raise AssertionError("nobody has approved it")

    async def main() -> None:
        expert = Agent(name="expert", model=Scripted(Script([call("pay", amount=5)], "Paid.")), tools=[pay])
        tool = expert.as_tool("ask_expert", "Asks the expert.")
        script = Script([Call("ask_expert", {"input": "Pay"}, "e1")], "It is paid.")
        desk = Desk(
            BENCH,
            script,
            agent=Agent(name="desk", tools=[tool]),
            changes={"tools": {"ask_expert": Tool(effect=Effect.READ)}},
        )
        result = await desk.live().run("Pay", run_id="r")
        assert result.ending is Ending.FAILED and "write an approval rule into the contract" in result.reason

    simulated(main)
