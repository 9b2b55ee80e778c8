"""What the shop's agent must still achieve while faults are injected."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from plimsoll import Happened, NotHappenedAndCannot, current_call
from plimsoll.gate import EffectRow, Scenario
from shop.agent import agent, think


class World:
    """The shop of one trial. It stands in for the ledger's file, too."""

    def __init__(self) -> None:
        self.rows: list[EffectRow] = []
        self.ledger = self

    def effects(self) -> Sequence[EffectRow]:
        return self.rows

    def open(self, mode: str) -> "World":
        return self

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def write(self, row: str) -> None:
        call = current_call()
        self.rows.append(EffectRow("issue_refund", json.loads(row), call.idempotency_key if call else None))


def paid_once(world: Any, output: Any) -> str | None:
    return None if len(world.rows) == 1 else f"{len(world.rows)} refunds instead of one"


def models(world: Any) -> Mapping[str, Any]:
    return {"primary": FunctionModel(think)}


def verify_refund(args: Mapping[str, Any], key: str, deps: Any) -> Any:
    if any(row.idempotency_key == key for row in deps.rows):
        return Happened({"refunded": args["amount"]})
    return NotHappenedAndCannot()


SCENARIOS = [Scenario(name="refund", input="refund 30", world=World, models=models, goal=paid_once)]
EMPTY: list[Scenario] = []


async def handle(request: Any, deps: Any) -> Any:
    """The agent without any protection."""
    return (await agent.run(request, deps=deps)).output


def looping(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Looks the same order up for ever."""
    return ModelResponse(parts=[ToolCallPart("find_order", {"order": "W1"})])


def flooding(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Looks up order after order, and never stops talking."""
    words = f"order {len(messages)} " * 1000
    usage = RequestUsage(input_tokens=1000, output_tokens=20_000)
    return ModelResponse(parts=[ToolCallPart("find_order", {"order": words})], usage=usage)


def misled(model: Any) -> Any:
    return lambda world: {"primary": FunctionModel(model)}


FULL = [
    Scenario(
        name="small",
        input="refund 30",
        world=World,
        models=models,
        goal=paid_once,
        adversaries={"loop": misled(looping), "token_flood": misled(flooding)},
    ),
    Scenario(name="large", input="refund 120", world=World, models=models, goal=paid_once),
]
