"""What is the OpenAI Agents SDK's alone: handoffs, agents as tools, its own settings, and what its tools return."""

from typing import Any

import pytest
from agents import Agent, RunConfig, Runner, function_tool, handoff
from agents.tool import ToolOutputText
from agents.tool_context import ToolContext
from pydantic import BaseModel

from plimsoll.adapters.openai_agents.messages import decode_response, encode_response
from plimsoll.adapters.openai_agents.tools import decode_result, encode_result
from plimsoll.contract.model import Approval, Model, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallIntended, CallSettled
from tests.adapters.conformance.benches.openai_agents import OpenAIAgents, Scripted, find_order, refund
from tests.adapters.conformance.desk import Answer, Call, Desk, Heard, Script, call, contract, simulated
from tests.adapters.conformance.test_runs import dies_before
from tests.runtime.bench import Crash

BENCH = OpenAIAgents()


class Order(BaseModel):
    """What a tool returns, or an agent answers with."""

    id: str
    paid: int = 0


def reads(*names: str) -> dict[str, Any]:
    return {"tools": {name: Tool(effect=Effect.READ) for name in names}}


@pytest.mark.parametrize("by", ["agent", "handoff"])
def test_an_agent_that_is_handed_over_to_is_under_the_same_contract(by: str) -> None:
    async def main() -> None:
        billing: Agent[Any] = Agent(name="billing", instructions="Pay.", tools=[refund])
        front: Agent[Any] = Agent(name="desk", handoffs=[billing if by == "agent" else handoff(billing)])
        billing.handoffs = [front]  # in a circle
        steps = [[Call("transfer_to_billing", {}, "h1")], [call("refund", order_id="W2", amount=20)], "Paid."]
        desk = Desk(BENCH, Script(*steps), agent=front, intercept=dies_before("primary", 3))
        with pytest.raises(Crash):
            await desk.live().run("Refund W2", run_id="r")
        (result,) = await desk.live().wake()
        assert (result.ending, result.output, desk.shop.refunds) == (Ending.COMPLETE, "Paid.", [("W2", 20)])
        assert [event.dependency for event in await desk.events(CallSettled)] == [
            "primary", "primary", "refund", "primary",
        ]  # fmt: skip
        assert billing.tools == [refund] and billing.model is None

    simulated(main)


def test_an_agent_as_a_tool_is_a_part_of_that_tools_call() -> None:
    async def main() -> None:
        inner = Script([call("find_order", order_id="W2")], "W2 costs 20.")
        expert = Agent(name="expert", model=Scripted(inner), tools=[find_order])
        tool = expert.as_tool("ask_expert", "Asks the expert.", run_config=RunConfig(tracing_disabled=True))
        script = Script([Call("ask_expert", {"input": "What does W2 cost?"}, "e1")], "It costs 20.")
        desk = Desk(BENCH, script, agent=Agent(name="desk", tools=[tool]), changes=reads("ask_expert"))
        result = await desk.live().run("What does W2 cost?", run_id="r")
        assert (result.ending, desk.told("ask_expert")) == (Ending.COMPLETE, ["W2 costs 20."]), result.reason
        assert [event.dependency for event in await desk.events(CallSettled)] == ["primary", "ask_expert", "primary"]
        assert inner.asked == 2

    simulated(main)


def test_a_tool_that_runs_its_own_agent_asks_its_model_directly() -> None:
    @function_tool
    async def rethink(ctx: ToolContext[Any], question: str) -> str:
        """Thinks again."""
        again = ctx.agent.clone(tools=[])
        return str((await Runner.run(again, question, run_config=RunConfig(tracing_disabled=True))).final_output)

    async def main() -> None:
        def think(heard: Heard) -> Answer:
            if heard.asked == "inner":
                return Answer("Thought.")
            return Answer("Done.") if heard.results else Answer(calls=[call("rethink", "t", question="inner")])

        desk = Desk(BENCH, Script(think), agent=Agent(name="desk", tools=[rethink]), changes=reads("rethink"))
        result = await desk.live().run("outer", run_id="r")
        assert (result.ending, desk.told("rethink")) == (Ending.COMPLETE, ["Thought."]), result.reason
        assert [event.dependency for event in await desk.events(CallSettled)] == ["primary", "rethink", "primary"]

    simulated(main)


def test_an_error_is_a_failure_and_no_text() -> None:
    @function_tool
    async def act() -> str:
        """Acts."""
        raise RuntimeError("it broke")

    async def main() -> None:
        script = Script([call("act", "a")], "It broke.")
        desk = Desk(BENCH, script, agent=Agent(name="desk", tools=[act]), changes=reads("act"))
        assert (await desk.live().run("Act", run_id="r")).ending is Ending.COMPLETE
        assert desk.told("act") == ["act failed (exception) after 1 attempt(s): it broke"]

    simulated(main)


def test_a_run_that_ends_with_the_very_call_that_waits_does_not_end() -> None:
    @function_tool
    async def act(amount: int) -> str:
        """Acts."""
        return "done"

    async def main() -> None:
        tools = {"act": Tool(effect=Effect.WRITE, approval=Approval(approvers=("ana",)))}
        agent = Agent(name="desk", tools=[act], tool_use_behavior="stop_on_first_tool")
        desk = Desk(BENCH, Script([call("act", "a", amount=1)], "never"), agent=agent, changes={"tools": tools})
        hardened = desk.live()
        result = await hardened.run("Act", run_id="r")
        assert result.ending is Ending.PARKED
        await hardened.approvals.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await hardened.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "done")

    simulated(main)


def test_a_tools_own_words_for_an_error_do_not_hide_it() -> None:
    async def main() -> None:
        async def lose(args: Any) -> None:
            raise ConnectionResetError("the answer was lost")

        desk = Desk(BENCH, Script([call("refund", order_id="W2", amount=20)], "Paid."))
        desk.shop.after["refund"] = lose
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [("W2", 20)])
        assert "An error occurred" not in desk.told("refund")[0]

    simulated(main)


def test_a_synchronous_tool_is_a_call_like_others() -> None:
    paid: list[str] = []

    @function_tool(strict_mode=False)
    def pay(order: str, amount: int = 5) -> str:
        """Pays."""
        paid.append(order)
        return f"{amount} paid"

    async def main() -> None:
        script = Script([call("pay", "p", order="W2")], "Done.")
        changes = {"tools": {"pay": Tool(effect=Effect.WRITE)}}
        desk = Desk(BENCH, script, agent=Agent(name="desk", tools=[pay]), changes=changes)
        assert (await desk.live().run("Pay", run_id="r")).ending is Ending.COMPLETE
        assert (paid, desk.told("pay")) == (["W2"], ["5 paid"])
        (intended,) = await desk.events(CallIntended)
        assert intended.args == {"order": "W2", "amount": 5}, "with the default that the tool sees"

    simulated(main)


def test_the_contracts_rule_decides_in_place_of_the_sdks_own_flag() -> None:
    @function_tool(needs_approval=True, timeout=1.0)
    async def act(amount: int) -> str:
        """Acts."""
        return "done"

    async def main() -> None:
        tools = {"act": Tool(effect=Effect.WRITE, approval=Approval(when="amount > 50", approvers=("ana",)))}
        script = Script([call("act", "a", amount=20)], [call("act", "b", amount=80)], "Done.")
        desk = Desk(BENCH, script, agent=Agent(name="desk", tools=[act]), changes={"tools": tools})
        result = await desk.live().run("Act", run_id="r")
        assert result.ending is Ending.PARKED and [each.args for each in result.waiting_for] == [{"amount": 80}]
        assert desk.told("act") == ["done"]

    simulated(main)


def test_a_structured_answer_is_the_output() -> None:
    async def main() -> None:
        script = Script('{"id": "W2", "paid": 20}')
        desk = Desk(BENCH, script, agent=Agent(name="desk", output_type=Order))
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, {"id": "W2", "paid": 20})
        assert result.native.final_output == Order(id="W2", paid=20)
        wrong = Desk(BENCH, Script("Paid."), Script("Paid."), agent=Agent(name="desk", output_type=Order))
        assert (await wrong.live().run("Refund W2", run_id="r")).ending is Ending.FAILED

    simulated(main)


def test_a_persons_words_are_no_structured_answer_and_the_rung_below_is_asked() -> None:
    async def main() -> None:
        async def down(n: int) -> None:
            raise ConnectionResetError("down")

        below = {"colleague": Model(hand_over=("ana",)), "canned": Model(canned='{"id": "none"}')}
        models = {"primary": Model(fallback=tuple(below)), **below, "backup": Model(id="backup")}
        agent = Agent(name="desk", output_type=Order)
        desk = Desk(BENCH, Script("never", before=down), agent=agent, changes={"models": models})
        hardened = desk.live()
        parked = await hardened.run("Refund W2", run_id="r")
        (asked,) = parked.waiting_for
        await hardened.approvals.decide(asked.request_id, approve=True, by="ana", note="It is paid.")
        (result,) = await hardened.wake()
        assert (result.ending, result.output) == (Ending.DEGRADED, {"id": "none", "paid": 0}), result.reason

    simulated(main)


def test_the_run_configurations_model_is_asked_and_its_answers_are_capped() -> None:
    seen: list[Any] = []

    class Watched(Scripted):
        async def get_response(self, system_instructions: Any, input: Any, *args: Any, **options: Any) -> Any:
            seen.append(args[0].max_tokens)
            return await super().get_response(system_instructions, input, *args, **options)

    async def main() -> None:
        desk = Desk(BENCH, Script("unused"))
        hardened = BENCH.adapter.harden(
            BENCH.agent(),
            contract(),
            run_config=RunConfig(model=Watched(Script("From the configuration.")), tracing_disabled=True),
            models={"backup": Scripted(Script("unused"))},
            verifiers={"refund": desk.shop.verify},
            surroundings=desk.surroundings(),
        )
        result = await hardened.run("Hello", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "From the configuration.")
        assert seen == [contract().models["primary"].max_output_tokens]

    simulated(main)


@pytest.mark.parametrize(
    ("native", "read"),
    [
        ("text", "text"),
        ({"b": 1, "a": [True, None]}, {"a": [True, None], "b": 1}),
        (Order(id="W2"), "id='W2' paid=0"),
        ((1, 2), "(1, 2)"),
        (ToolOutputText(text="x"), ToolOutputText(text="x")),
        ([ToolOutputText(text="x")], [ToolOutputText(text="x")]),
        (object, str(object)),
    ],
    ids=repr,
)
def test_what_a_tool_returns_reaches_the_model_alike_on_replay(native: Any, read: Any) -> None:
    assert decode_result(encode_result(native)) == read


@pytest.mark.parametrize(
    "asked",
    [7, {"role": "user", "content": "Hello"}, None, [object()]],
    ids=["number", "item", "none", "no JSON"],
)
def test_what_is_nothing_to_ask_is_told_before_anything_is_recorded(asked: Any) -> None:
    async def main() -> None:
        desk = Desk(BENCH, Script("never"))
        with pytest.raises(Misuse, match=r"a text or a list of input items|no JSON form"):
            await desk.live().run(asked, run_id="r")
        assert await desk.store.heads() == []

    simulated(main)


def test_a_response_is_the_same_out_of_the_journal() -> None:
    async def main() -> None:
        model = Scripted(Script(Answer("Look:", calls=[call("find_order", order_id="W2")])))
        response = await model.get_response(None, "Hello", None)
        again = decode_response(encode_response(response))
        assert (again.output, again.usage.input_tokens) == (response.output, 100)
        assert encode_response(again) == encode_response(response)

    simulated(main)


def test_the_fingerprint_sees_the_prompt_and_the_tools() -> None:
    def mark(**options: Any) -> str:
        agent = BENCH.agent().clone(**options)
        given = {"models": {"backup": Scripted(Script("x"))}, "verifiers": {"refund": lambda args, key: None}}
        return str(BENCH.adapter.harden(agent, contract(), **given).fingerprint)

    assert mark() == mark()
    assert len({mark(), mark(instructions="Be kind."), mark(tools=[find_order]), mark(output_type=Order)}) == 4
