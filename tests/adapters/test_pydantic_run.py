"""A hardened agent does what it did before, and its journal has it all."""

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, FunctionToolset, ModelRetry, RunContext, ToolFailed, ToolReturn
from pydantic_ai.capabilities import ProcessEventStream
from pydantic_ai.messages import (
    AgentStreamEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartStartEvent,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

import plimsoll
from plimsoll.adapters.common.dependencies import Dependencies
from plimsoll.adapters.pydantic_ai import HardenedAgent, describe, harden
from plimsoll.contract.model import AgentSection, Contract, JournalSection, Limits, Model, Tool
from plimsoll.core.calls import Effect, Ending, Status
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled, RunStarted
from tests.adapters.bench import Desk, Shop, call, scripted, shop_agent, simulated, tool_results


def test_a_run_completes_and_its_journal_has_every_call() -> None:
    async def main() -> None:
        desk = Desk([call("look", "c1", order="W1")], [call("refund", "c2", order="W1", amount=20.0)], "Done.")
        async with desk.live() as hardened:
            result = await hardened.run("Refund W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done.")
        assert result.native.output == "Done."
        assert desk.shop.refunds == [("W1", 20.0)]
        settled = await desk.events(CallSettled)
        assert [event.key for event in settled] == ["1:primary", "1/c1", "2:primary", "2/c2", "3:primary"]
        (started,) = await desk.events(RunStarted)
        assert started.input == {"prompt": "Refund W1"}
        assert desk.kinds() == []

    simulated(main)


def test_the_same_id_again_is_answered_from_the_journal() -> None:
    async def main() -> None:
        desk = Desk([call("refund", "c2", order="W1", amount=20.0)], "Done.")
        first = await desk.live().run("Refund W1", run_id="r")
        again = await desk.live().run("Refund W1", run_id="r")
        assert (again.ending, again.output) == (first.ending, first.output)
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_the_agent_itself_stays_as_it_was() -> None:
    async def main() -> None:
        desk = Desk([call("refund", "c1", order="W1", amount=5.0)], "Done.")
        await desk.live().run("Refund W1", run_id="r")
        result = await desk.agent.run("Refund W1", model=desk.models["primary"], deps=desk.shop)
        assert result.output == "Done."
        assert [key == "" for _, _, key in desk.shop.ledger] == [False, True]

    simulated(main)


class Answer(BaseModel):
    order: str
    amount: float


def test_structured_output_is_checked_and_becomes_json() -> None:
    async def main() -> None:
        desk = Desk([call("final_result", "o1", order="W1", amount=20.0)], agent=shop_agent(output_type=Answer))
        result = await desk.live().run("How much?", run_id="r")
        assert result.output == {"order": "W1", "amount": 20.0}
        assert result.native.output == Answer(order="W1", amount=20.0)

    simulated(main)


def test_an_output_that_does_not_fit_is_asked_for_again() -> None:
    async def main() -> None:
        desk = Desk(
            [call("final_result", "o1", order="W1", amount="much")],
            [call("final_result", "o2", order="W1", amount=20.0)],
            agent=shop_agent(output_type=Answer),
        )
        result = await desk.live().run("How much?", run_id="r")
        assert result.output == {"order": "W1", "amount": 20.0}
        assert len(await desk.events(CallSettled)) == 2

    simulated(main)


def test_a_canned_text_is_no_structured_output_so_the_run_fails_honestly() -> None:
    async def main() -> None:
        def down(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            raise ConnectionResetError("down")

        desk = Desk(agent=shop_agent(output_type=Answer), model=FunctionModel(down), backup=FunctionModel(down))
        result = await desk.live().run("How much?", run_id="r")
        assert result.ending is Ending.FAILED
        assert "a canned text is not" in result.reason

    simulated(main)


def test_a_failing_model_is_answered_for_by_the_backup_and_the_result_says_so() -> None:
    async def main() -> None:
        asked: list[int] = []

        def down(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            asked.append(len(messages))
            raise ConnectionResetError("down")

        desk = Desk(model=FunctionModel(down))
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "The backup says so.")
        assert "backup" in result.reason
        assert asked == [1, 1]

    simulated(main)


def test_when_all_models_fail_the_canned_answer_is_given_and_named() -> None:
    async def main() -> None:
        def down(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            raise ConnectionResetError("down")

        desk = Desk(model=FunctionModel(down), backup=FunctionModel(down))
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "I cannot say now.")
        assert "canned" in result.reason

    simulated(main)


def test_without_a_ladder_a_failing_model_fails_the_run() -> None:
    async def main() -> None:
        def down(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            raise ConnectionResetError("down")

        desk = Desk(model=FunctionModel(down), models={"primary": Model()})
        desk.models.pop("backup")
        result = await desk.live().run("Hello", run_id="r")
        assert result.ending is Ending.FAILED
        assert result.reason.startswith("CallFailed: primary failed (connection)")

    simulated(main)


def test_a_hung_model_is_given_up_in_time_for_its_backup() -> None:
    async def main() -> None:
        async def hang(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            await LoopClock().sleep(10_000.0)
            raise AssertionError

        desk = Desk(model=FunctionModel(hang))
        result = await desk.live().run("Hello", run_id="r")
        assert result.output == "The backup says so."
        assert LoopClock().monotonic() < 60.0

    simulated(main)


def test_history_and_instructions_reach_the_model() -> None:
    async def main() -> None:
        seen: list[list[ModelMessage]] = []

        def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            seen.append(messages)
            assert info.instructions == "Help the customer."
            return ModelResponse(parts=[TextPart("Yes.")])

        desk = Desk(model=FunctionModel(answer))
        history: list[ModelMessage] = [
            ModelRequest(parts=[UserPromptPart("My order is W7.")]),
            ModelResponse(parts=[TextPart("Noted.")]),
        ]
        result = await desk.live().run("Which is it?", run_id="r", message_history=history)
        assert result.output == "Yes."
        assert [type(message).__name__ for message in seen[0]] == ["ModelRequest", "ModelResponse", "ModelRequest"]
        (started,) = await desk.events(RunStarted)
        assert len(started.input["message_history"]) == 2
        assert len(result.native.new_messages()) == 2

    simulated(main)


def test_a_prompt_may_hold_files() -> None:
    async def main() -> None:
        seen: list[Any] = []

        def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            seen.extend(part.content for part in messages[0].parts if isinstance(part, UserPromptPart))
            return ModelResponse(parts=[TextPart("A picture.")])

        desk = Desk(model=FunctionModel(answer))
        picture = BinaryContent(b"\x89PNG\xff", media_type="image/png")
        await desk.live().run(["What is this?", picture], run_id="r")
        assert seen[0][0] == "What is this?"
        assert seen[0][1].data == b"\x89PNG\xff"

    simulated(main)


def test_dependencies_for_one_run_go_before_those_for_all() -> None:
    async def main() -> None:
        desk, other = Desk([call("refund", "c1", order="W1", amount=5.0)], "Done."), Shop()
        await desk.live().run("Refund W1", run_id="r", deps=other)
        assert (desk.shop.refunds, other.refunds) == ([], [("W1", 5.0)])

    simulated(main)


def test_dependencies_may_be_an_object_or_come_from_an_async_factory() -> None:
    async def main() -> None:
        desk = Desk([call("refund", "c1", order="W1", amount=5.0)], "Done.")

        async def make() -> Shop:
            return desk.shop

        for run_id, deps in (("a", make), ("b", desk.shop)):
            hardened = desk.live()
            hardened._deps = Dependencies(deps)
            assert (await hardened.run("Refund W1", run_id=run_id)).ending is Ending.COMPLETE
        assert len(desk.shop.ledger) == 2

    simulated(main)


def test_tools_of_toolsets_go_through_the_journal() -> None:
    async def main() -> None:
        toolset: FunctionToolset[Any] = FunctionToolset()

        @toolset.tool_plain
        def weather(city: str) -> str:
            return f"rain in {city}"

        tools = {"shop_weather": Tool(effect=Effect.READ)}
        desk = Desk(
            [call("shop_weather", "c1", city="Oslo")],
            "Rain.",
            agent=shop_agent(toolsets=[toolset.prefixed("shop")]),
            tools=tools,
        )
        result = await desk.live().run("Weather?", run_id="r")
        assert result.output == "Rain."
        settled = [event for event in await desk.events(CallSettled) if event.dependency == "shop_weather"]
        assert settled[0].outcome.value == "rain in Oslo"
        assert settled[0].args == {"city": "Oslo"}

    simulated(main)


def test_a_tool_returns_the_same_when_live_as_when_replayed() -> None:
    async def main() -> None:
        class Parcel(BaseModel):
            order: str
            weight: tuple[int, str]

        agent = shop_agent()

        @agent.tool_plain
        def weigh(order: str) -> Parcel:
            return Parcel(order=order, weight=(3, "kg"))

        desk = Desk([call("weigh", "c1", order="W1")], "3 kg", agent=agent, tools={"weigh": Tool(effect=Effect.READ)})
        result = await desk.live().run("Weigh it", run_id="r")
        (told,) = tool_results(result.native.all_messages())
        assert told.content == {"order": "W1", "weight": [3, "kg"]}

    simulated(main)


def test_a_tool_may_return_files_and_words_beside_its_value() -> None:
    async def main() -> None:
        agent = shop_agent()
        picture = BinaryContent(b"\xff\x00", media_type="image/png")

        @agent.tool_plain
        def photo(order: str) -> ToolReturn[dict[str, Any]]:
            return ToolReturn({"order": order}, content=["Look:", picture], metadata={"shelf": 3})

        @agent.tool_plain
        def scan(order: str) -> list[Any]:
            return [order, picture]

        tools = {"photo": Tool(effect=Effect.READ), "scan": Tool(effect=Effect.READ)}
        desk = Desk(
            [call("photo", "c1", order="W1"), call("scan", "c2", order="W1")], "Seen.", agent=agent, tools=tools
        )
        result = await desk.live().run("Show it", run_id="r")
        photographed, scanned = tool_results(result.native.all_messages())
        assert (photographed.content, photographed.metadata) == ({"order": "W1"}, {"shelf": 3})
        content: Any = scanned.content
        assert content[1].data == b"\xff\x00"

    simulated(main)


@pytest.mark.parametrize(("signal", "outcome"), [(ModelRetry, "retried"), (ToolFailed, "failed")])
def test_a_tool_that_says_no_is_a_refusal_and_not_a_doubt(signal: Any, outcome: str) -> None:
    async def main() -> None:
        agent = shop_agent()

        @agent.tool_plain
        def cancel(order: str) -> str:
            raise signal("the order is on its way")

        desk = Desk([call("cancel", "c1", order="W1")], "Too late.", agent=agent)  # undeclared, so a write
        result = await desk.live().run("Cancel W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Too late.")
        (told,) = tool_results(result.native.all_messages())
        assert told.outcome == outcome
        assert "on its way" in str(told.content)
        (settled,) = [event for event in await desk.events(CallSettled) if event.dependency == "cancel"]
        assert (settled.outcome.status, settled.outcome.error.fault) == (Status.FAILED, "refused")

    simulated(main)


def test_a_tool_that_fails_is_told_to_the_model_and_never_thrown() -> None:
    async def main() -> None:
        async def intercept(site: str, info: Any, exchange: Any, send: Any) -> Any:
            if site == "look":
                raise ConnectionResetError("reset by peer")
            return await send()

        desk = Desk([call("look", "c1", order="W1")], "I cannot see it.", intercept=intercept)
        result = await desk.live().run("Where is W1?", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "I cannot see it.")
        (told,) = tool_results(result.native.all_messages())
        assert told.outcome == "failed"
        assert "look failed (connection) after 3 attempt(s)" in str(told.content)

    simulated(main)


def test_a_refusal_that_the_contract_names_is_told_in_its_own_words() -> None:
    async def main() -> None:
        desk = Desk([call("refund", "c1", order="W1", amount=-1.0)], "Not possible.")
        result = await desk.live().run("Refund W1", run_id="r")
        (told,) = tool_results(result.native.all_messages())
        assert (told.outcome, told.content) == ("failed", "an amount is above 0")
        assert result.ending is Ending.COMPLETE

    simulated(main)


def test_an_agent_that_streams_goes_on_streaming() -> None:
    async def main() -> None:
        events: list[AgentStreamEvent] = []

        async def watch(ctx: RunContext[Any], stream: AsyncIterable[AgentStreamEvent]) -> None:
            events.extend([event async for event in stream])

        desk = Desk(agent=shop_agent(capabilities=[ProcessEventStream(watch)]), model=TestModel(call_tools=["look"]))
        result = await desk.live().run("Look", run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason
        assert [type(event) for event in events if isinstance(event, (PartStartEvent, FunctionToolResultEvent))] == [
            PartStartEvent,
            FunctionToolResultEvent,
            PartStartEvent,
        ]
        assert len(await desk.events(CallSettled)) == 3

    simulated(main)


def test_more_requests_than_pydantic_ai_allows_by_itself_are_the_contracts_to_limit() -> None:
    async def main() -> None:
        steps: list[Any] = [[call("look", f"c{number}", order=f"W{number}")] for number in range(60)]
        desk = Desk(*steps, "Done.", limits=Limits(steps=200, seconds=600.0))
        result = await desk.live().run("Look at all", run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason
        short = Desk(*steps, "Done.", limits=Limits(steps=7))
        result = await short.live().run("Look at all", run_id="r")
        assert result.ending is Ending.HALTED
        assert len(short.shop.reads) == 3

    simulated(main)


def test_a_halted_run_leaves_no_task_behind() -> None:
    async def main() -> None:
        steps = [[call("look", f"c{n}-{m}", order=f"W{n}{m}") for m in range(3)] for n in range(5)]
        desk = Desk(*steps, "Done.", limits=Limits(steps=6))
        before = asyncio.all_tasks()
        result = await desk.live().run("Look at all", run_id="r")
        assert result.ending is Ending.HALTED
        assert asyncio.all_tasks() == before

    simulated(main)


def test_hardening_by_the_contracts_path_keeps_its_journal_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "plimsoll.toml"
    path.write_text('[agent]\nname = "desk"\n[models.primary]\n[tools.look]\neffect = "read"\n')

    async def main() -> None:
        model = scripted([call("look", "c1", order="W1")], "Found.")
        agent = shop_agent(model=model)
        async with plimsoll.harden(agent, path, deps=Shop()) as hardened:
            assert isinstance(hardened, HardenedAgent)
            result = await hardened.run("Look", run_id="r")
        assert result.output == "Found."
        assert (tmp_path / ".plimsoll" / "journal.db").exists()
        async with plimsoll.harden(agent, path, deps=Shop()) as hardened:
            assert (await hardened.run("Look", run_id="r")).output == "Found."

    asyncio.run(main())


def test_a_contract_that_does_not_fit_is_refused_at_once() -> None:
    agent = shop_agent()
    section = AgentSection(name="desk")
    with pytest.raises(Misuse, match=r"no models\.primary"):
        harden(agent, Contract(agent=section, models={"main": Model()}))
    with pytest.raises(Misuse, match="neither an id nor a canned answer"):
        harden(agent, Contract(agent=section, models={"primary": Model(fallback=("b",)), "b": Model()}))
    with pytest.raises(Misuse, match="does not know: other"):
        harden(agent, Contract(agent=section), models={"other": TestModel()})


def test_another_tool_makes_another_agent() -> None:
    contract = Contract(agent=AgentSection(name="desk"), journal=JournalSection(path="unused.db"))
    one = harden(shop_agent(), contract)
    assert one.fingerprint == harden(shop_agent(), contract).fingerprint
    changed: Agent[Shop, Any] = shop_agent()

    @changed.tool_plain
    def cancel(order: str) -> str:
        return order

    assert one.fingerprint != harden(changed, contract).fingerprint


def test_an_agent_is_described_by_its_tools() -> None:
    shape = describe(shop_agent(model=TestModel()))
    assert (shape.name, [tool.name for tool in shape.tools]) == ("desk", ["look", "refund"])
    assert shape.models == ("test:test",)
    assert shape.tools[0].description == "Looks an order up."
    assert list(shape.tools[1].parameters["properties"]) == ["order", "amount"]
    assert shape.tools[0].read_only_hint is None


def test_models_below_the_first_are_opened_and_closed_with_the_agent() -> None:
    async def main() -> None:
        entered: list[str] = []

        class Client(TestModel):
            async def __aenter__(self) -> Any:
                entered.append("in")
                return self

            async def __aexit__(self, *exc: object) -> None:
                entered.append("out")

        desk = Desk("Done.", backup=Client())
        async with desk.live() as hardened:
            assert (await hardened.run("Hello", run_id="r")).output == "Done."
            assert entered == ["in"]
        assert entered == ["in", "out"]

    simulated(main)


def test_a_model_named_in_the_contract_is_made_once() -> None:
    hardened = harden(shop_agent(), Desk().contract)
    assert hardened._models.of("backup") is hardened._models.of("backup")
    assert isinstance(hardened._models.of("backup"), TestModel)
