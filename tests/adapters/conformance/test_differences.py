"""What each adapter cannot do that others can: every "no" in the table of docs/adapters/README.md, shown."""

import re
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled
from tests.adapters.conformance.desk import Answer, Bench, Desk, Script, call, contract, simulated

PAGE = Path(__file__).parents[3] / "docs" / "adapters" / "README.md"
COLUMNS = ("pydantic_ai", "langgraph", "openai_agents", "plain")
READ = {"act": Tool(effect=Effect.READ)}


def rows() -> dict[str, dict[str, str]]:
    """The table: what can be done, by adapter."""
    lines = [
        line.strip("|").split("|") for line in PAGE.read_text().splitlines() if re.match(r"\| .*\| (yes|no) ", line)
    ]
    return {
        cells[0].strip(): {name: cell.strip() for name, cell in zip(COLUMNS, cells[1:], strict=True)} for cells in lines
    }


def test_the_table_says_what_is_shown_here(bench: Bench) -> None:
    table = rows()
    assert len(table) >= 8
    said = {what for what, cells in table.items() if cells[bench.name] == "no"}
    assert said == bench.cannot


@pytest.mark.parametrize("name", ["session", "iter"])
def test_what_is_not_offered_is_not_there(bench: Bench, name: str) -> None:
    assert hasattr(Desk(bench, Script("Hello.")).live(), name) is (bench.name == "pydantic_ai")


def test_other_agents_as_children(bench: Bench) -> None:
    desk = Desk(bench, Script("Hello."))
    options = {"models": {"primary": bench.model(desk.script), "backup": bench.model(desk.backup)}}
    if "have other agents do a part of the work" in bench.cannot:
        with pytest.raises(TypeError, match="children"):
            bench.adapter.harden(bench.agent(), contract(), children={}, **options)
    else:
        assert bench.adapter.harden(bench.agent(), contract(), children={}, **options)


@pytest.mark.parametrize("bench", ["langgraph"], indirect=True)
class TestLangGraph:
    """Agents of `create_agent`, and graphs of one's own."""

    def test_an_agent_that_was_made_without_the_middleware_is_refused(self, bench: Bench) -> None:
        from langchain.agents import create_agent

        agent = create_agent(bench.model(Script("Hello.")), [])
        with pytest.raises(Misuse, match=r"made without `middleware=\[…, Hardening\(\)\]`"):
            Desk(bench, Script("Hello."), agent=agent).live()
        with pytest.raises(Misuse, match="would not be seen"):
            bench.adapter.bare_subject(bench.naive, contract(), agent=agent)

    def test_a_tool_node_that_was_made_without_the_wrapper_is_refused(self, bench: Bench) -> None:
        from langgraph.prebuilt import ToolNode

        from tests.adapters.conformance.benches.langgraph import find_order

        graph = self.graph(bench.model(Script("Hello.")), ToolNode([find_order]))
        with pytest.raises(Misuse, match="made without `awrap_tool_call=journaled_tool_call`"):
            Desk(bench, Script("Hello."), agent=graph).live()

    def test_a_graph_of_ones_own_is_protected_by_its_parts(self, bench: Bench) -> None:
        from langgraph.prebuilt import ToolNode

        from plimsoll.adapters.langgraph import journaled, journaled_tool_call
        from tests.adapters.conformance.benches.langgraph import find_order, refund

        async def main() -> None:
            script = Script([call("refund", order_id="W2", amount=20)], "Paid.")
            tools = ToolNode([find_order, refund], awrap_tool_call=journaled_tool_call)
            desk = Desk(bench, script, agent=self.graph(journaled(bench.model(script)), tools))
            result = await desk.live().run("Refund W2", run_id="r")
            assert (result.ending, result.output) == (Ending.COMPLETE, "Paid."), result.reason
            assert [event.dependency for event in await desk.events(CallSettled)] == ["primary", "refund", "primary"]

        simulated(main)

    def test_a_node_that_holds_a_model_as_it_is_is_refused(self, bench: Bench) -> None:
        from langgraph.prebuilt import ToolNode

        from plimsoll.adapters.langgraph import journaled_tool_call

        graph = self.graph(bench.model(Script("Hello.")), ToolNode([], awrap_tool_call=journaled_tool_call))
        with pytest.raises(Misuse, match="the node 'ask' holds a chat model that was not `journaled`"):
            Desk(bench, Script("Hello."), agent=graph).live()

    def test_what_a_node_does_by_itself_passes_by_the_journal(self, bench: Bench) -> None:
        """LangGraph has no wrapper for nodes: a model that is made there, where nobody sees it, goes unprotected."""
        from langgraph.prebuilt import ToolNode

        from plimsoll.adapters.langgraph import journaled_tool_call

        class MadeWhenAsked:
            def __init__(self, script: Script) -> None:
                self.script = script

            async def ainvoke(self, messages: Any) -> Any:
                return await bench.model(self.script).ainvoke(messages)

        async def main() -> None:
            script = Script("Hello.")
            tools = ToolNode([], awrap_tool_call=journaled_tool_call)
            desk = Desk(bench, script, agent=self.graph(MadeWhenAsked(script), tools))
            result = await desk.live().run("Hello", run_id="r")
            assert (result.ending, result.output, script.asked) == (Ending.COMPLETE, "Hello.", 1)
            assert await desk.events(CallSettled) == []

        simulated(main)

    def test_an_interrupt_in_a_tool_is_a_failure_of_it(self, bench: Bench) -> None:
        from langchain.agents import create_agent
        from langchain_core.tools import tool
        from langgraph.checkpoint.memory import InMemorySaver
        from langgraph.types import interrupt

        from plimsoll.adapters.langgraph import Hardening

        @tool
        async def act() -> str:
            """Acts."""
            return str(interrupt("may I?"))

        async def main() -> None:
            script = Script([call("act", "a")], "I could not.")
            made = create_agent(
                bench.model(script), [act], middleware=[Hardening()], checkpointer=InMemorySaver(), name="desk"
            )
            desk = Desk(bench, script, agent=made, changes={"tools": READ})
            result = await desk.live().run("Act", run_id="r")
            assert (result.ending, result.output) == (Ending.COMPLETE, "I could not.")
            assert "act failed" in desk.told("act")[0]

        simulated(main)

    def test_a_graphs_own_checkpointer_is_put_aside(self, bench: Bench) -> None:
        from langchain.agents import create_agent
        from langgraph.checkpoint.memory import InMemorySaver

        from plimsoll.adapters.langgraph import Hardening
        from tests.adapters.conformance.benches.langgraph import find_order

        async def main() -> None:
            saver, script = InMemorySaver(), Script([call("find_order", order_id="W2")], "Here.")
            agent = create_agent(
                bench.model(script), [find_order], middleware=[Hardening()], checkpointer=saver, name="desk"
            )
            result = await Desk(bench, script, agent=agent).live().run("Where?", run_id="r")
            assert result.ending is Ending.COMPLETE, result.reason
            assert list(saver.list(None)) == [] and agent.checkpointer is saver

        simulated(main)

    @staticmethod
    def graph(model: Any, tools: Any) -> Any:
        """Two nodes: one that asks the model, and the tools."""
        from langgraph.graph import MessagesState, StateGraph
        from langgraph.prebuilt import tools_condition

        async def ask(state: MessagesState) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("ask", ask)
        graph.add_node("tools", tools)
        graph.set_entry_point("ask")
        graph.add_conditional_edges("ask", tools_condition)
        graph.add_edge("tools", "ask")
        return graph.compile(name="desk")


@pytest.mark.parametrize("bench", ["openai_agents"], indirect=True)
class TestOpenAIAgents:
    """The OpenAI Agents SDK."""

    def test_mcp_servers_are_refused(self, bench: Bench) -> None:
        from agents import Agent
        from agents.mcp import MCPServerStdio

        agent = Agent(name="desk", mcp_servers=[MCPServerStdio({"command": "true"})])
        with pytest.raises(Misuse, match="the MCP servers of 'desk' are asked by the SDK itself"):
            Desk(bench, Script("Hello."), agent=agent).live()

    def test_tools_that_the_sdk_carries_out_are_refused(self, bench: Bench) -> None:
        from agents import Agent, LocalShellTool

        agent = Agent(name="desk", tools=[LocalShellTool(executor=lambda request: "")])
        with pytest.raises(Misuse, match="the LocalShellTool of 'desk' is carried out by the SDK itself"):
            Desk(bench, Script("Hello."), agent=agent).live()

    def test_a_tool_with_the_sdks_own_approval_needs_a_rule_of_the_contract(self, bench: Bench) -> None:
        from agents import Agent, function_tool

        @function_tool(needs_approval=True)
        async def act() -> str:
            """Acts."""
            return "done"

        agent = Agent(name="desk", tools=[act])
        with pytest.raises(Misuse, match="act has `needs_approval`, and the contract has no"):
            Desk(bench, Script("Hello."), agent=agent, changes={"tools": READ}).live()

    def test_an_answer_that_chat_completions_cut_off_is_taken_for_whole(self, bench: Bench) -> None:
        """The SDK drops the `finish_reason` of a chat completion that has some text; only the Responses API tells."""

        async def main() -> None:
            whole, cut = Script(Answer("The order is")), Script(Answer("The order is", finish="length"))
            assert (await Desk(bench, whole).live().run("Where?", run_id="r")).ending is Ending.COMPLETE
            assert (await Desk(bench, cut).live().run("Where?", run_id="r")).ending is Ending.DEGRADED

        simulated(main)


@pytest.mark.parametrize("bench", ["plain"], indirect=True)
class TestPlain:
    """No framework."""

    def test_arguments_reach_people_before_anybody_has_checked_them(self, bench: Bench) -> None:
        async def main() -> None:
            desk = Desk(bench, Script([call("refund", order_id="W2", amount="a lot")], "I cannot."))
            result = await desk.live().run("Refund W2", run_id="r")
            assert result.ending is Ending.PARKED and result.waiting_for[0].args["amount"] == "a lot"

        simulated(main)
