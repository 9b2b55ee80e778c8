"""What a graph may do besides asking and calling: stop for a person, keep a cache, and go in branches."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, SummarizationMiddleware
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import CachePolicy, Send, interrupt

from plimsoll.adapters.langgraph import Hardening, describe, journaled
from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallIntended, CallSettled
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.exchange import Send as Sending
from tests.adapters.conformance.benches.langgraph import LangGraph, Scripted, refund
from tests.adapters.conformance.desk import Answer, Desk, Heard, Script, call, simulated
from tests.runtime.bench import Crash

BENCH = LangGraph()


def asking(model: Any, **compiled: Any) -> Any:
    """A graph of one node, which asks the model."""

    async def ask(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.set_entry_point("ask")
    return graph.compile(name="desk", **compiled)


def test_a_graph_that_stops_for_a_person_has_not_answered() -> None:
    async def main() -> None:
        async def ask(state: MessagesState) -> Any:
            return {"messages": [interrupt("may I?")]}

        graph = StateGraph(MessagesState)
        graph.add_node("ask", ask)
        graph.set_entry_point("ask")
        result = await Desk(BENCH, Script("never"), agent=graph.compile(name="desk")).live().run("Act", run_id="r")
        assert result.ending is Ending.FAILED and "write an approval rule into the contract" in result.reason

    simulated(main)


def test_the_middleware_for_people_does_not_pass_for_an_answer() -> None:
    async def main() -> None:
        script = Script([call("refund", order_id="W2", amount=20)], "Paid.")
        people = HumanInTheLoopMiddleware(interrupt_on={"refund": True})
        agent = create_agent(Scripted(script=script), [refund], middleware=[people, Hardening()], name="desk")
        desk = Desk(BENCH, script, agent=agent)
        result = await desk.live().run("Refund W2", run_id="r")
        assert result.ending is Ending.FAILED and "stopped to ask a person" in result.reason
        assert desk.shop.refunds == []

    simulated(main)


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_a_graph_that_always_stops_somewhere_is_refused(when: str) -> None:
    graph = asking(journaled(Scripted(script=Script("Hello."))), **{when: ["ask"]})
    with pytest.raises(Misuse, match="stops at ask for a person: only the contract can ask one"):
        Desk(BENCH, Script("Hello."), agent=graph).live()


def test_what_is_no_graph_that_runs_here_is_named() -> None:
    with pytest.raises(Misuse, match="a StateGraph is no graph that can run here: give what `compile`"):
        Desk(BENCH, Script("Hello."), agent=StateGraph(MessagesState)).live()


MODEL = Scripted(script=Script("Hello."))


async def by_a_name_of_the_module(state: MessagesState) -> Any:
    return {"messages": [await MODEL.ainvoke(state["messages"])]}


class Asker:
    """A node that is a method."""

    def __init__(self, model: Any) -> None:
        self.model = model

    async def ask(self, state: MessagesState) -> Any:
        return {"messages": [await self.model.ainvoke(state["messages"])]}


@pytest.mark.parametrize(
    "node",
    [by_a_name_of_the_module, Asker(MODEL).ask, Asker(MODEL.bind(stop=["."])).ask, RunnableLambda(str) | MODEL, MODEL],
    ids=["module", "method", "bound", "chain", "itself"],
)
def test_a_node_that_holds_a_model_as_it_is_is_refused(node: Any) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("ask", node)
    graph.set_entry_point("ask")
    with pytest.raises(Misuse, match="the node 'ask' holds a chat model that was not `journaled`"):
        Desk(BENCH, Script("Hello."), agent=graph.compile(name="desk")).live()


def test_an_agent_that_a_node_asks_is_looked_at_wherever_it_is_held() -> None:
    inner = create_agent(Scripted(script=Script("Hello.")), [refund], name="inner")

    async def ask(state: MessagesState) -> Any:
        return await inner.ainvoke(state)

    for node in (inner, ask, Asker(inner).ask):
        graph = StateGraph(MessagesState)
        graph.add_node("ask", node)
        graph.set_entry_point("ask")
        desk = Desk(BENCH, Script("Hello."), agent=graph.compile(name="desk"))
        with pytest.raises(Misuse, match=r"the agent ask\| was made without `middleware="):
            desk.live()
        assert [each.name for each in describe(desk.agent).tools] == ["refund"]


def test_a_middleware_that_asks_a_model_of_its_own_is_given_a_journaled_one() -> None:
    def made(model: Any) -> Desk:
        short = SummarizationMiddleware(model, trigger=("messages", 1), keep=("messages", 1))
        agent = create_agent(Scripted(script=script), [], middleware=[short, Hardening()], name="desk")
        return Desk(BENCH, script, agent=agent)

    async def main() -> None:
        with pytest.raises(Misuse, match=r"SummarizationMiddleware.before_model' holds a chat model that was not"):
            made(Scripted(script=Script("In short."))).live()
        desk = made(journaled(Scripted(script=Script("In short."))))
        asked = {"messages": [("user", "Hello"), ("ai", "Hello."), ("user", "And now?")]}
        result = await desk.live().run(asked, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Hello."), result.reason
        assert len(await desk.events(CallSettled)) == 2

    script = Script("Hello.")
    simulated(main)


def test_a_cache_of_nodes_is_put_aside() -> None:
    async def main() -> None:
        script = Script("Hello.")
        model = journaled(Scripted(script=script))

        async def ask(state: MessagesState) -> Any:
            return {"messages": [await model.ainvoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("ask", ask, cache_policy=CachePolicy(key_func=lambda state: b"same"))
        graph.set_entry_point("ask")
        desk = Desk(BENCH, script, agent=graph.compile(name="desk", cache=InMemoryCache()))
        hardened = desk.live()
        for name in ("first", "second"):
            assert (await hardened.run("Hello", run_id=name)).output == "Hello."
            assert len(await desk.events(CallSettled, name)) == 1
        assert script.asked == 2

    simulated(main)


@pytest.mark.parametrize("first_s", [1.0, 2.0, 3.0])
def test_branches_with_tools_of_their_own_are_gone_on_with(first_s: float) -> None:
    """What a branch calls is known by the answer that asked for it, however far the branch beside it has come."""

    def think(heard: Heard) -> Answer:
        if heard.results or heard.asked == "end":
            return Answer(f"Done with {heard.asked}.")
        return Answer(calls=[call("refund", order_id=heard.asked, amount=20)])

    async def main() -> None:
        async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Sending) -> Any:
            if site == "primary" and desk.script.asked == 4 and desk.lives == 1:
                raise Crash
            answer = await send()
            if site == "primary":
                await LoopClock().sleep(first_s if info.key.startswith("1") else 2.0)
            return answer

        script = Script(think)
        model = journaled(Scripted(script=script))
        agent = create_agent(Scripted(script=script), [refund], middleware=[Hardening()], name="branch")

        async def branch(state: Any) -> Any:
            found = await agent.ainvoke({"messages": [("user", state["order"])]}, context=desk.shop)
            return {"messages": found["messages"][-1:]}

        async def end(state: MessagesState) -> Any:
            return {"messages": [await model.ainvoke("end")]}

        graph = StateGraph(MessagesState)
        graph.add_node("split", lambda state: {})
        graph.add_node("branch", branch)
        graph.add_node("end", end)
        graph.set_entry_point("split")
        graph.add_conditional_edges("split", lambda state: [Send("branch", {"order": each}) for each in ("W1", "W2")])
        graph.add_edge("branch", "end")
        desk = Desk(BENCH, script, agent=graph.compile(name="desk"), intercept=intercept)
        with pytest.raises(Crash):
            await desk.live().run("Both", run_id="r")
        before = [event.key for event in await desk.events(CallIntended)]
        assert len(before) == 2
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done with end."), result.reason
        assert [event.key for event in await desk.events(CallIntended)] == before
        assert sorted(desk.shop.refunds) == [("W1", 20), ("W2", 20)]

    simulated(main)
