"""What is LangGraph's and LangChain's alone: structured answers, commands, nodes of one's own, threads, ids."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command
from pydantic import BaseModel, Field

from plimsoll.adapters.langgraph import Hardening, journaled, journaled_tool_call
from plimsoll.contract.model import Approval, Model, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled
from tests.adapters.conformance.benches.langgraph import LangGraph, Scripted, find_order, refund
from tests.adapters.conformance.desk import Answer, Call, Desk, Script, call, contract, simulated
from tests.adapters.conformance.test_runs import dies_before
from tests.runtime.bench import Crash

BENCH = LangGraph()


class Verdict(BaseModel):
    """What the agent answers with."""

    order: str
    paid: int


def made(script: Script, tools: Any, **options: Any) -> Any:
    return create_agent(Scripted(script=script), tools, middleware=[Hardening()], name="desk", **options)


def reads(*names: str) -> dict[str, Any]:
    return {"tools": {name: Tool(effect=Effect.READ) for name in names}}


def graph_of(model: Any, node: Any, *, ask: Any = None) -> Any:
    async def asked(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask or asked)
    graph.add_node("tools", node)
    graph.set_entry_point("ask")
    graph.add_conditional_edges("ask", tools_condition)
    graph.add_edge("tools", "ask")
    return graph.compile(name="desk")


def test_a_structured_answer_is_the_output_and_is_replayed() -> None:
    async def main() -> None:
        script = Script(
            [call("refund", order_id="W2", amount=20)],
            [Call("Verdict", {"order": "W2", "paid": 20}, "v1")],
        )
        agent = made(script, [refund], response_format=ToolStrategy(Verdict))
        desk = Desk(BENCH, script, agent=agent, intercept=dies_before("primary", 2))
        with pytest.raises(Crash):
            await desk.live().run("Refund W2", run_id="r")
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, {"order": "W2", "paid": 20}), result.reason
        assert isinstance(result.native["structured_response"], Verdict) and desk.shop.refunds == [("W2", 20)]

    simulated(main)


def test_a_canned_text_is_no_structured_answer() -> None:
    async def main() -> None:
        async def down(n: int) -> None:
            raise ConnectionResetError("down")

        script = Script("never", before=down)
        agent = made(script, [], response_format=ToolStrategy(Verdict))
        result = await Desk(BENCH, script, Script("never", before=down), agent=agent).live().run("Hello", run_id="r")
        assert result.ending is Ending.FAILED

    simulated(main)


def test_a_command_and_an_artifact_of_a_tool_are_replayed() -> None:
    @tool(response_format="content_and_artifact")
    async def fetch(order: str) -> Any:
        """Fetches."""
        return "a picture", {"pixels": [1, 2]}

    @tool
    async def note(order: str) -> Any:
        """Notes something in the graph's state."""
        said = ToolMessage("noted", tool_call_id="n1", name="note")
        return Command(update={"messages": [said]})

    async def main() -> None:
        script = Script(
            [call("fetch", "f1", order="W2"), call("note", "n1", order="W2")],
            [call("refund", order_id="W2", amount=20)],
            "Done.",
        )
        desk = Desk(
            BENCH, script, agent=made(script, [fetch, note, refund]), changes=reads("fetch", "note"),
            intercept=dies_before("refund", 1),
        )  # fmt: skip
        with pytest.raises(Crash):
            await desk.live().run("Look", run_id="r")
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        results = {message.name: message for message in result.native["messages"] if isinstance(message, ToolMessage)}
        assert results["fetch"].artifact == {"pixels": [1, 2]} and results["note"].text == "noted"

    simulated(main)


def test_what_a_tool_node_makes_a_message_of_is_still_a_failure() -> None:
    """`handle_tool_errors=True` tells the model of any error as of a result: a write would pass for refused."""

    async def main() -> None:
        async def lose(args: Any) -> None:
            raise ConnectionResetError("the answer was lost")

        script = Script([call("refund", order_id="W2", amount=20)], "Paid.")
        node = ToolNode([refund], handle_tool_errors=True, awrap_tool_call=journaled_tool_call)
        desk = Desk(BENCH, script, agent=graph_of(journaled(Scripted(script=script)), node))
        desk.shop.after["refund"] = lose
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [("W2", 20)])
        assert desk.told("refund") == ['{"order": "W2", "refunded": 20}'], "verified, and not made again"

    simulated(main)


def test_the_error_of_a_tool_is_known_by_its_own_class() -> None:
    async def main() -> None:
        script = Script([call("refund", order_id="W2", amount=0)], "I cannot.")
        node = ToolNode([refund], handle_tool_errors=True, awrap_tool_call=journaled_tool_call)
        desk = Desk(BENCH, script, agent=graph_of(journaled(Scripted(script=script)), node))
        assert (await desk.live().run("Refund W2", run_id="r")).ending is Ending.COMPLETE
        (settled,) = [event for event in await desk.events(CallSettled) if event.dependency == "refund"]
        assert settled.outcome.error.type == "Refusal", "which the contract knows to prove that nothing happened"

    simulated(main)


def test_a_run_that_ends_with_the_very_call_that_waits_does_not_end() -> None:
    @tool(return_direct=True)
    async def act(amount: int) -> str:
        """Acts."""
        return "done"

    async def main() -> None:
        tools = {"act": Tool(effect=Effect.WRITE, approval=Approval(approvers=("ana",)))}
        script = Script([call("act", "a", amount=1)], "never")
        desk = Desk(BENCH, script, agent=made(script, [act]), changes={"tools": tools})
        hardened = desk.live()
        result = await hardened.run("Act", run_id="r")
        assert result.ending is Ending.PARKED
        await hardened.approvals.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await hardened.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "done")

    simulated(main)


def test_an_agent_inside_a_tool_is_a_part_of_that_tools_call() -> None:
    async def main() -> None:
        inner = Script([call("find_order", order_id="W2")], "W2 costs 20.")
        expert, desk = made(inner, [find_order]), Desk(BENCH, Script("unused"))

        @tool
        async def consult(question: str) -> str:
            """Asks the expert."""
            state = await expert.ainvoke({"messages": [HumanMessage(question)]}, context=desk.shop)
            return str(state["messages"][-1].text)

        desk.script = Script([call("consult", "c", question="What does W2 cost?")], "It costs 20.")
        desk.agent, desk.changes = made(desk.script, [consult]), reads("consult")
        result = await desk.live().run("What does W2 cost?", run_id="r")
        assert (result.ending, desk.told("consult")) == (Ending.COMPLETE, ["W2 costs 20."]), result.reason
        assert [event.dependency for event in await desk.events(CallSettled)] == ["primary", "consult", "primary"]

    simulated(main)


def test_a_result_that_says_that_it_is_an_error_is_a_failure() -> None:
    @tool
    async def act() -> Any:
        """Acts."""
        return ToolMessage("out of stock", tool_call_id="a", status="error")

    async def main() -> None:
        script = Script([call("act", "a")], "It is out of stock.")
        desk = Desk(BENCH, script, agent=made(script, [act]), changes=reads("act"))
        result = await desk.live().run("Act", run_id="r")
        assert result.ending is Ending.COMPLETE and "out of stock" in desk.told("act")[0]
        (settled,) = [event for event in await desk.events(CallSettled) if event.dependency == "act"]
        assert settled.outcome.error.type == "ToolException"

    simulated(main)


def test_a_tool_that_there_is_not_is_told_by_langgraph() -> None:
    async def main() -> None:
        desk = Desk(BENCH, Script([call("fly", "f")], "I cannot fly."))
        result = await desk.live().run("Fly", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "I cannot fly.")
        assert "fly is not a valid tool" in desk.told("fly")[0]

    simulated(main)


def test_ids_that_are_missing_or_doubled_become_functions_of_the_run() -> None:
    class Forgetful(Scripted):
        async def _agenerate(self, messages: Any, *args: Any, **options: Any) -> Any:
            result = await super()._agenerate(messages, *args, **options)
            for one in result.generations[0].message.tool_calls:
                one["id"] = None
            return result

    async def main() -> None:
        asked: list[list[str]] = []
        for _ in range(2):
            script = Script([call("find_order", order_id="W1"), call("find_order", order_id="W2")], "Here.")
            agent = create_agent(Forgetful(script=script), [find_order], middleware=[Hardening()], name="desk")
            desk = Desk(BENCH, script, agent=agent)
            hardened = desk.bench.adapter.harden(
                agent, contract(), deps=desk.shop, models={"backup": Scripted(script=script)},
                verifiers={"refund": desk.shop.verify}, surroundings=desk.surroundings(),
            )  # fmt: skip
            result = await hardened.run("Where are they?", run_id="r")
            assert result.ending is Ending.COMPLETE, result.reason
            (calling, *_) = [message for message in result.native["messages"] if isinstance(message, AIMessage)]
            asked.append([one["id"] for one in calling.tool_calls])
        assert asked[0] == asked[1] and len(set(asked[0])) == 2 and calling.id == "r-1"

    simulated(main)


def test_a_synchronous_tool_is_a_call_like_others() -> None:
    paid: list[str] = []

    @tool
    def pay(order: str, amount: int = 5) -> str:
        """Pays."""
        paid.append(order)
        return f"{amount} paid"

    async def main() -> None:
        script = Script([call("pay", "p", order="W2")], "Done.")
        tools = {"tools": {"pay": Tool(effect=Effect.WRITE)}}
        desk = Desk(BENCH, script, agent=made(script, [pay]), changes=tools)
        assert (await desk.live().run("Pay", run_id="r")).ending is Ending.COMPLETE
        assert (paid, desk.told("pay")) == (["W2"], ["5 paid"])
        (intended,) = [event for event in await desk.events() if type(event).__name__ == "CallIntended"]
        assert intended.args == {"order": "W2", "amount": 5}, "with the default that the tool sees"

    simulated(main)


def test_a_node_that_does_not_await_its_model_is_refused() -> None:
    async def main() -> None:
        model = journaled(Scripted(script=Script("Hello.")))

        def ask(state: MessagesState) -> Any:
            return {"messages": [model.invoke(state["messages"])]}

        desk = Desk(BENCH, Script("Hello."), agent=graph_of(model, ToolNode([]), ask=ask))
        with pytest.raises(Misuse, match="awrap_tool_call"):
            desk.live()
        node = ToolNode([], awrap_tool_call=journaled_tool_call)
        result = await Desk(BENCH, Script("Hello."), agent=graph_of(model, node, ask=ask)).live().run("x", run_id="r")
        assert result.ending is Ending.FAILED and "use `ainvoke`" in result.reason

    simulated(main)


def test_outside_a_run_the_agent_is_as_it_was() -> None:
    async def main() -> None:
        script = Script([call("find_order", order_id="W2")], "Here.")
        desk, asked = Desk(BENCH, script), {"messages": [HumanMessage("Where is W2?")]}
        state = await BENCH.agent(script).ainvoke(asked, context=desk.shop)
        assert state["messages"][-1].text == "Here." and "plimsoll" not in state
        assert (await journaled(Scripted(script=Script("Hello."))).ainvoke("x")).text == "Hello."
        chunks = [chunk.text async for chunk in journaled(Scripted(script=Script("Hello you."))).astream("x")]
        assert "".join(chunks) == "Hello you."

    simulated(main)


def test_a_state_of_messages_is_what_it_may_be_asked_too() -> None:
    async def main() -> None:
        desk = Desk(BENCH, Script("Hello.", "Hello again."))
        state = {"messages": [HumanMessage("Hello"), AIMessage("Hello."), HumanMessage("And now?")]}
        result = await desk.live().run(state, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Hello again.")
        with pytest.raises(Misuse, match="no JSON form"):
            await desk.live().run({"messages": [], "other": object()}, run_id="s")
        with pytest.raises(Misuse, match="no JSON form"):
            await desk.live().run(7, run_id="t")

    simulated(main)


def test_the_longest_answer_is_held_where_the_model_can_be_told() -> None:
    class Watched(Scripted):
        seen: Any = None

        async def _agenerate(self, messages: Any, *args: Any, **options: Any) -> Any:
            self.seen.append(options.get("max_tokens"))
            return await super()._agenerate(messages, *args, **options)

    class Capped(Watched):
        max_tokens: int | None = None

    class CappedByAnotherName(Watched):
        max_output_tokens: int | None = Field(default=None, alias="max_tokens")

    async def main() -> None:
        seen: list[Any] = []
        for kind, own in ((Capped, None), (Capped, 7), (CappedByAnotherName, None), (CappedByAnotherName, 7)):
            model = kind(script=Script("Hello."), max_tokens=own, seen=seen)
            desk = Desk(BENCH, Script("unused"))
            hardened = BENCH.adapter.harden(
                BENCH.agent(), contract(), models={"primary": model, "backup": model},
                verifiers={"refund": desk.shop.verify}, surroundings=desk.surroundings(),
            )  # fmt: skip
            assert (await hardened.run("Hello", run_id="r")).ending is Ending.COMPLETE
        assert seen == [contract().models["primary"].max_output_tokens, 7] * 2

    simulated(main)


def test_each_node_may_have_a_ladder_of_its_own() -> None:
    async def main() -> None:
        small = Script("Small says so.")
        models = {**contract().models, "small": Model(id="small", timeout_s=10.0)}
        for ladder, said in (("small", "Small says so."), ("large", None)):
            node = ToolNode([], awrap_tool_call=journaled_tool_call)
            graph = graph_of(journaled(Scripted(script=Script("never")), ladder=ladder), node)
            desk = Desk(BENCH, Script("never"))
            hardened = BENCH.adapter.harden(
                graph, contract(models=models), deps=desk.shop, verifiers={"refund": desk.shop.verify},
                models={"backup": Scripted(script=small), "small": Scripted(script=small)},
                surroundings=desk.surroundings(),
            )  # fmt: skip
            result = await hardened.run("Hello", run_id="r")
            assert result.output == said
            if said is None:
                assert result.ending is Ending.FAILED and "the contract has no models.large" in result.reason

    simulated(main)


def test_the_fingerprint_sees_the_prompt_and_the_tools() -> None:
    def mark(**options: Any) -> str:
        agent = made(Script("Hello."), options.pop("tools", [find_order]), **options)
        options = {"models": {"backup": Scripted(script=None)}, "verifiers": {"refund": lambda args, key: None}}
        return str(BENCH.adapter.harden(agent, contract(), **options).fingerprint)

    assert mark() == mark()
    assert len({mark(), mark(system_prompt="Be kind."), mark(tools=[find_order, refund])}) == 3


def test_an_answer_says_more_than_text() -> None:
    from plimsoll.adapters.langgraph.models import inspect_answer

    picture = AIMessage([{"type": "image", "url": "https://example.org/a.png"}])
    assert inspect_answer(picture).problem is None
    assert inspect_answer(AIMessage("")).problem is not None
    for name, reason in (("stop_reason", "max_tokens"), ("finish_reason", "MAX_TOKENS"), ("finish_reason", "length")):
        problem = inspect_answer(AIMessage("The order", response_metadata={name: reason})).problem
        assert problem is not None and problem.fault == "truncated"
    assert Answer().finish == "stop"
