"""Output that does not hold is asked for again: each time is a model call of its own, journaled and replayed."""

from typing import Any

import pytest
from pydantic import BaseModel, field_validator
from pydantic_ai import Agent, ModelRetry, NativeOutput, PromptedOutput, RunContext, TextOutput
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.events import CallSettled
from plimsoll.runtime.exchange import Exchange, Send
from tests.adapters.bench import Desk, Shop, call, shop_agent, simulated
from tests.runtime.bench import Crash, CrashingStore


class Refunded(BaseModel):
    order: str
    amount: float

    @field_validator("amount")
    @classmethod
    def positive(cls, amount: float) -> float:
        if amount <= 0:
            raise ValueError("an amount is above 0")
        return amount


REFUND = [call("refund", "c1", order="W1", amount=20.0)]


def in_turn(*steps: Any) -> FunctionModel:
    """Answers in turn, by how often it has answered in this conversation."""

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        step = steps[sum(isinstance(message, ModelResponse) for message in messages)]
        return ModelResponse(parts=[TextPart(step)] if isinstance(step, str) else list(step))

    return FunctionModel(answer)


def result(order: str, amount: float, call_id: str) -> list[Any]:
    return [call("final_result", call_id, order=order, amount=amount)]


def validated(**options: Any) -> Agent[Shop, Any]:
    """An agent whose answer a validator looks at: it must name the order that was refunded."""
    agent = shop_agent(**options)

    @agent.output_validator
    def names_the_order(ctx: RunContext[Shop], output: Any) -> Any:
        text = output if isinstance(output, str) else output.order
        if "W1" not in text:
            raise ModelRetry("name the order")
        return output

    return agent


def shout(text: str) -> str:
    if "!" in text:
        raise ModelRetry("do not shout")
    return f"{text} Yours, the shop."


CASES: dict[str, tuple[Any, list[Any], Any]] = {
    "validator": (validated, [REFUND, "It is done.", "W1 is refunded."], "W1 is refunded."),
    "schema": (
        lambda: shop_agent(output_type=Refunded),
        [REFUND, result("W1", -1.0, "o1"), result("W1", 20.0, "o2")],
        {"order": "W1", "amount": 20.0},
    ),
    "both": (
        lambda: validated(output_type=Refunded, retries=3),
        [REFUND, result("W1", -1.0, "o1"), result("W9", 20.0, "o2"), result("W1", 20.0, "o3")],
        {"order": "W1", "amount": 20.0},
    ),
    "function": (
        lambda: shop_agent(output_type=TextOutput(shout)),
        [REFUND, "W1 is refunded!", "W1 is refunded."],
        "W1 is refunded. Yours, the shop.",
    ),
    "native": (
        lambda: shop_agent(output_type=NativeOutput(Refunded)),
        [REFUND, '{"order": "W1", "amount": -1}', '{"order": "W1", "amount": 20}'],
        {"order": "W1", "amount": 20.0},
    ),
    "prompted": (
        lambda: shop_agent(output_type=PromptedOutput(Refunded)),
        [REFUND, "no JSON at all", '{"order": "W1", "amount": 20}'],
        {"order": "W1", "amount": 20.0},
    ),
    "in words": (
        lambda: shop_agent(output_type=Refunded),
        [REFUND, "It is done.", result("W1", 20.0, "o2")],
        {"order": "W1", "amount": 20.0},
    ),
}


def desk_of(case: str, **options: Any) -> Desk:
    agent, steps, _ = CASES[case]
    model = in_turn(*steps)
    model._profile = {"supports_json_schema_output": True}
    return Desk(agent=agent(), model=model, **options)


@pytest.mark.parametrize("case", CASES)
def test_each_time_is_a_call_of_its_own(case: str) -> None:
    async def main() -> None:
        desk = desk_of(case)
        ended = await desk.live().run("Refund W1", run_id="r")
        _, steps, output = CASES[case]
        assert (ended.ending, ended.output) == (Ending.COMPLETE, output), ended.reason
        keys = [event.key for event in await desk.events(CallSettled)]
        assert keys == ["1:primary", "1/c1", *(f"{number}:primary" for number in range(2, len(steps) + 1))]

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 2, 99])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_a_crash_at_any_append_neither_loses_nor_doubles(case: str, at: int, keep: int) -> None:
    async def main() -> None:
        desk = desk_of(case)
        hardened = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        with pytest.raises(Crash):
            await hardened.run("Refund W1", run_id="r")
        hardened.harness.journal.abandon()
        ended = await desk.live().run("Refund W1", run_id="r")
        assert (ended.ending, ended.output) == (Ending.COMPLETE, CASES[case][2]), ended.reason
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)


@pytest.mark.parametrize("answers", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_a_crash_after_any_answer_goes_on_from_what_is_recorded(case: str, answers: int) -> None:
    async def main() -> None:
        asked: list[str] = []

        async def crash(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "primary":
                asked.append(info.key)
                if len(asked) == answers:
                    raise Crash
            return answer

        desk = desk_of(case, intercept=crash)
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Refund W1", run_id="r")
        hardened.harness.journal.abandon()
        ended = await desk.live().run("Refund W1", run_id="r")
        assert (ended.ending, ended.output) == (Ending.COMPLETE, CASES[case][2]), ended.reason
        assert desk.shop.refunds == [("W1", 20.0)]
        assert asked.count("1:primary") == (2 if answers == 1 else 1)  # the refund's barrier has made it durable

    simulated(main)


def test_output_that_never_holds_fails_the_run_and_says_so() -> None:
    async def main() -> None:
        desk = Desk(agent=validated(), model=in_turn(REFUND, "It is done.", "Really."))
        ended = await desk.live().run("Refund W1", run_id="r")
        assert ended.ending is Ending.FAILED
        assert "UnexpectedModelBehavior" in ended.reason
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)
