"""A user's own agent, for the tests of the command line: it is copied into a folder of its own, as `shop`."""

import asyncio
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel


@dataclass
class Shop:
    ledger: Path


def open_shop() -> Shop:
    if os.environ.get("SHOP_CLOSED"):
        raise ConnectionError("the shop's database does not answer")
    return Shop(Path("ledger.jsonl"))


def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Looks the order up, pays back what the customer asks for, and says so."""
    parts = [part for message in messages for part in message.parts]
    asked = next(part.content for part in parts if isinstance(part, UserPromptPart))
    done = [part for part in parts if isinstance(part, ToolReturnPart)]
    found = re.search(r"refund (\d+)", str(asked))
    if not done:
        return ModelResponse(parts=[ToolCallPart("find_order", {"order": "W1"})])
    if len(done) == 1 and found is not None:
        return ModelResponse(parts=[ToolCallPart("issue_refund", {"order": "W1", "amount": float(found[1])})])
    return ModelResponse(parts=[TextPart(f"{done[-1].tool_name}: {done[-1].content}")])


agent: Agent[Shop, str] = Agent(FunctionModel(think), deps_type=Shop, name="shop")


@agent.tool
async def find_order(ctx: RunContext[Shop], order: str) -> dict[str, Any]:
    """Looks an order up."""
    return {"order": order, "total": 80}


@agent.tool
def list_orders(ctx: RunContext[Shop], email: str) -> list[str]:
    """All orders of a customer."""
    return ["W1"]


@agent.tool
async def issue_refund(ctx: RunContext[Shop], order: str, amount: float) -> dict[str, float]:
    """Pays money back."""
    with ctx.deps.ledger.open("a") as ledger:
        ledger.write(json.dumps({"order": order, "amount": amount}) + "\n")
    if os.environ.get("SHOP_PIPE"):  # the money is paid, the answer never comes
        Path(os.environ["SHOP_PIPE"]).write_text("paid")
        await asyncio.Event().wait()
    if os.environ.get("SHOP_LOSES"):
        raise ConnectionResetError("the answer was lost")
    return {"refunded": amount}


def take_refund_back(args: dict[str, Any], result: dict[str, Any], *, deps: Shop) -> dict[str, float]:
    """What `compensate` names."""
    with deps.ledger.open("a") as ledger:
        ledger.write(json.dumps({"order": args["order"], "amount": -result["refunded"]}) + "\n")
    return {"taken": result["refunded"]}


@agent.tool
def send_email(ctx: RunContext[Shop], to: str, text: str) -> str:
    """Writes to a customer."""
    return "sent"
