"""Conversations with a Pydantic AI agent: every turn's model is told what was said, out of the journal."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from plimsoll.adapters.pydantic_ai import harden
from plimsoll.core.calls import Ending
from plimsoll.core.errors import SessionBusy
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.memory import MemoryStore
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.runtime.lineage import link_of
from plimsoll.runtime.run import current_run
from plimsoll.runtime.surroundings import Surroundings
from tests.adapters.bench import Desk, call, contract, simulated
from tests.runtime.bench import Crash, CrashingStore


def said(messages: list[ModelMessage]) -> list[str]:
    """A conversation in short."""
    lines: list[str] = []
    for message in messages:
        for part in message.parts:
            if isinstance(part, UserPromptPart):
                lines.append(f"user: {part.content}")
            elif isinstance(part, TextPart):
                lines.append(f"model: {part.content}")
            elif isinstance(part, ToolReturnPart):
                lines.append(f"tool: {part.tool_name}")
    return lines


def answers(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Refunds where it is asked to, and says how much of the conversation it knows."""
    last = messages[-1]
    assert isinstance(last, ModelRequest)
    asked = [part for part in last.parts if isinstance(part, UserPromptPart)]
    if asked and str(asked[0].content).startswith("refund"):
        order, amount = str(asked[0].content).split()[1:]
        return ModelResponse(parts=[call("refund", order=order, amount=float(amount))])
    return ModelResponse(parts=[TextPart(f"I know of {len(said(messages))} things.")])


def desk() -> Desk:
    return Desk(model=FunctionModel(answers))


def test_a_turn_gets_the_messages_of_those_before_it() -> None:
    async def main() -> None:
        one = desk()
        assert (await one.live().session("ticket").run("hello", turn="m1")).output == "I know of 1 things."
        assert (await one.live().session("ticket").run("refund W1 20", turn="m2")).output == "I know of 4 things."
        result = await one.live().session("ticket").run("thanks")
        assert (result.run_id, result.output) == ("ticket/3", "I know of 6 things.")
        assert said(result.native.all_messages()) == [
            "user: hello",
            "model: I know of 1 things.",
            "user: refund W1 20",
            "tool: refund",
            "model: I know of 4 things.",
            "user: thanks",
            "model: I know of 6 things.",
        ]
        assert [turn.input["prompt"] for turn in await one.live().session("ticket").history()] == [
            "hello",
            "refund W1 20",
            "thanks",
        ]
        assert one.live().session("ticket").id == "ticket"

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_crash_at_any_append_neither_loses_nor_doubles(at: int, keep: int) -> None:
    async def main() -> None:
        one = desk()
        await one.live().session("ticket").run("hello", turn="m1")
        session = one.live(CrashingStore(one.store, at=at, keep=keep)).session("ticket")
        with pytest.raises(Crash):
            await session.run("refund W1 20", turn="m2")
            await session.run("thanks", turn="m3")
            await session.run("bye", turn="m4")
        hardened = one.live()
        await hardened.wake()
        session = hardened.session("ticket")
        assert (await session.run("refund W1 20", turn="m2")).output == "I know of 4 things."
        assert (await session.run("thanks", turn="m3")).output == "I know of 6 things."
        assert (await session.run("bye", turn="m4")).output == "I know of 8 things."
        assert one.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_a_turn_that_parks_goes_on_with_the_same_messages() -> None:
    async def main() -> None:
        one = desk()
        await one.live().session("ticket").run("hello")
        hardened = one.live()
        parked = await hardened.session("ticket").run("refund W1 100")
        (request,) = parked.waiting_for
        with pytest.raises(SessionBusy, match="waits: approval"):
            await hardened.session("ticket").run("well?")
        await hardened.approvals.decide(request.request_id, approve=True, by="ana")
        (result,) = await one.live().wake()
        assert (result.run_id, result.output) == ("ticket/2", "I know of 4 things.")

    simulated(main)


def test_of_a_turn_that_failed_the_model_is_told_what_was_done() -> None:
    async def main() -> None:
        one = desk()

        def breaks(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            if any("tool: refund" in line for line in said(messages)):
                raise ValueError("out of order")
            return answers(messages, info)

        one.models["primary"] = one.models["backup"] = FunctionModel(breaks)
        no_canned = replace(one.contract.models["primary"], fallback=("backup",))
        one.contract = contract(models={"primary": no_canned, "backup": one.contract.models["backup"]})
        failed = await one.live().session("ticket").run("refund W1 20")
        assert not failed.answered
        one.models["primary"] = FunctionModel(answers)
        result = await one.live().session("ticket").run("and?")
        first, note, *_ = said(result.native.all_messages())
        assert first == "user: refund W1 20"
        assert 'What was done: refund {"amount":20.0,"order":"W1"}.' in note

    simulated(main)


def test_structured_output_is_carried_too() -> None:
    async def main() -> None:
        agent: Agent[Any, dict[str, int]] = Agent(output_type=dict[str, int], name="counter")
        one = Desk(agent=agent, model=TestModel(custom_output_args={"n": 1}))
        session = one.live().session("ticket")
        assert (await session.run("one")).output == {"n": 1}
        second = await session.run("two")
        assert [line for line in said(second.native.all_messages()) if line.startswith("user")] == [
            "user: one",
            "user: two",
        ]
        assert second.ending is Ending.COMPLETE

    simulated(main)


def test_a_conversation_goes_on_in_another_process(tmp_path: Path) -> None:
    one = desk()

    async def life(owner: str, prompt: str) -> Any:
        store = SQLiteStore.open(tmp_path / "journal.db", owner=owner)
        hardened = harden(
            one.agent,
            one.contract,
            deps=one.shop,
            models=one.models,
            surroundings=Surroundings(store=store, owner=owner),
            fingerprint="v1",
        )
        async with hardened:
            result = await hardened.session("ticket").run(prompt)
        await store.close()
        return result.output

    assert asyncio.run(life("one", "hello")) == "I know of 1 things."
    assert asyncio.run(life("two", "still there?")) == "I know of 3 things."


def test_a_turn_is_shown_as_it_comes() -> None:
    async def main() -> None:
        one = Desk(model=TestModel(call_tools=[], custom_output_text="On its way."))
        session = one.live().session("ticket")
        await session.run("hello")
        async with session.run_stream("Where is it?", turn="m2") as stream:
            shown = [text async for text in stream.stream_text()]
        assert shown[-1] == "On its way."
        assert (stream.result.run_id, stream.result.ending) == ("ticket/2", Ending.COMPLETE)

    simulated(main)


def test_an_output_function_may_continue_as_new() -> None:
    async def main() -> None:
        async def report(text: str) -> str:
            """Says how it went, once it has been looked at twice."""
            run = current_run()
            if link_of(run.id)[1] < 3:
                await run.continue_as_new({"prompt": f"again, after {text}"})
            return text

        def counts(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            text = said(messages)[-1].removeprefix("user: ")
            return ModelResponse(parts=[call(info.output_tools[0].name, text=text)])

        agent: Agent[Any, str] = Agent(output_type=report, name="watcher")
        one = Desk(agent=agent, model=FunctionModel(counts))
        result = await one.live().run("look", run_id="r")
        assert (result.run_id, result.output) == ("r", "again, after again, after look")
        assert [head.run_id for head in await one.store.heads()] == ["r~3", "r~2", "r"]

    simulated(main)


def test_of_an_erased_turn_the_model_is_told_that_there_was_one() -> None:
    async def main() -> None:
        one = desk()
        one.store = MemoryStore(keys=MasterKeys([bytes(range(32))]))
        await one.live().session("ticket").run("my name is Ana")
        await one.store.erase("ticket/1", by="bo", reason="asked for it", at=1.0)
        result = await one.live().session("ticket").run("who am I?")
        assert said(result.native.all_messages())[:2] == ["user: [erased]", "model: [erased]"]

    simulated(main)
