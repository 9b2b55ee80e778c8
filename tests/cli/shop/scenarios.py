"""What the shop's agent must still achieve while faults are injected."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_ai.models.function import FunctionModel

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
