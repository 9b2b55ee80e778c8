"""A small agent of the tests' own: it looks up an order, refunds it after a person's word, and tells the customer."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from plimsoll.contract.holes import RETRIED_OF_MODELS
from plimsoll.contract.model import (
    AgentSection,
    Approval,
    Contract,
    GateSection,
    JournalSection,
    Limits,
    Model,
    OutputRule,
    Retry,
    Tool,
)
from plimsoll.core.calls import Effect, Fault, Happened, NotHappenedAndCannot, Usage
from plimsoll.core.errors import CallFailed, Rejected
from plimsoll.gate.plain import plain_subject
from plimsoll.gate.scenario import EffectRow, Scenario, World
from plimsoll.gate.subject import Subject
from plimsoll.runtime.current import current_call
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run

TRANSIENT = (Fault.TIMEOUT, Fault.CONNECTION, Fault.SERVER_ERROR, Fault.RATE_LIMITED, Fault.SLOW)
PAYLOADS = (Fault.EMPTY, Fault.TRUNCATED, Fault.MALFORMED, Fault.WRONG_SHAPE, Fault.ERROR_IN_SUCCESS, Fault.EXCEPTION)
RETRY = Retry(on=(*TRANSIENT, *PAYLOADS), max_attempts=3)
AGAIN = Retry(on=RETRIED_OF_MODELS, max_attempts=2)
PRICES: dict[str, Any] = {"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 5.0}
DONE = OutputRule(type="object", required=("done",))
USAGE = Usage(input_tokens=100, output_tokens=50)


class Shop:
    """The world: two orders, and a ledger of what was done."""

    def __init__(self) -> None:
        self.orders = {"W1": {"id": "W1", "amount": 80}, "W2": {"id": "W2", "amount": 20}}
        self.ledger: list[EffectRow] = []

    def effects(self) -> Sequence[EffectRow]:
        return self.ledger

    def add(self, tool: str, args: Mapping[str, Any]) -> dict[str, Any]:
        info = current_call()
        self.ledger.append(EffectRow(tool, dict(args), info.idempotency_key if info else None))
        return {"done": tool, "number": len(self.ledger)}

    def verify(self, args: Mapping[str, Any], idempotency_key: str) -> Happened | NotHappenedAndCannot:
        for number, row in enumerate(self.ledger, 1):
            if row.idempotency_key == idempotency_key:
                return Happened({"done": row.tool, "number": number})
        return NotHappenedAndCannot()


def shop_tools(world: Shop) -> list[Any]:
    async def find_order(order_id: str) -> dict[str, Any]:
        return dict(world.orders[order_id])

    async def refund(order_id: str, amount: int) -> dict[str, Any]:
        return world.add("refund", {"order_id": order_id, "amount": amount})

    async def tell_customer(text: str) -> dict[str, Any]:
        return world.add("tell_customer", {"text": text})

    return [find_order, refund, tell_customer]


def shop_verifiers(world: Shop) -> dict[str, Any]:
    return {"refund": world.verify, "tell_customer": world.verify}


async def agent(run: Run, order_id: Any) -> str:
    """Does what the model says, step by step, and hands the results back to it."""
    conversation: list[Any] = [{"user": f"refund {order_id}"}]
    while True:
        async with run.stream(conversation) as parts:
            async for _ in parts:
                pass
        reply: ModelReply = parts.reply
        if not reply.tool_calls:
            return reply.text
        for wanted in reply.tool_calls:
            try:
                result = await run.call(wanted["name"], wanted["args"])
            except (Rejected, CallFailed) as error:
                result = {"failed": type(error).__name__}
            conversation.append({"tool": wanted["name"], "result": result})


def call(tool: str, **args: Any) -> ModelReply:
    return ModelReply(tool_calls=({"name": tool, "args": args},), usage=USAGE)


async def speaking_model(conversation: list[Any]) -> AsyncGenerator[str | ModelReply]:
    """Says what the good model says, in two parts."""
    reply = await good_model(conversation)
    first, space, rest = reply.text.partition(" ")
    yield first
    yield space + rest
    yield reply


async def good_model(conversation: list[Any]) -> ModelReply:
    """Looks up, refunds, tells the customer, and says what was done; or admits what was not."""
    order_id = conversation[0]["user"].split()[1]
    results = {turn["tool"]: turn["result"] for turn in conversation[1:]}
    if any("failed" in result for result in results.values()):
        return ModelReply(text="I am sorry, I could not do this. A colleague will call you.", usage=USAGE)
    if "find_order" not in results:
        return call("find_order", order_id=order_id)
    if "refund" not in results:
        return call("refund", order_id=order_id, amount=results["find_order"]["amount"])
    if "tell_customer" not in results:
        return call("tell_customer", text=f"{order_id} is refunded")
    return ModelReply(text=f"{order_id} has been refunded.", usage=USAGE)


async def looping_model(conversation: list[Any]) -> ModelReply:
    return call("find_order", order_id="W1")


async def flooding_model(conversation: list[Any]) -> ModelReply:
    usage = Usage(input_tokens=len(str(conversation)) // 4, output_tokens=4096)
    args = {"text": f"chapter {len(conversation)} " + "and so on " * 1600}
    return ModelReply(tool_calls=({"name": "tell_customer", "args": args},), usage=usage)


def everywhere(model: Any) -> Any:
    return lambda world: {"primary": model, "backup": model}


async def lying_model(conversation: list[Any]) -> ModelReply:
    return ModelReply(text="The order has been refunded.", usage=USAGE)


def goal(world: World, output: Any) -> str | None:
    tools = [row.tool for row in world.effects()]
    if tools.count("refund") != 1:
        return f"there are {tools.count('refund')} refunds"
    return None if tools.count("tell_customer") == 1 else "the customer was not told"


def scenario(order_id: str = "W1", **changes: Any) -> Scenario:
    settings: dict[str, Any] = {
        "name": f"refund-{order_id}",
        "input": order_id,
        "world": Shop,
        "models": everywhere(speaking_model),
        "goal": goal,
        "adversaries": {
            "loop": everywhere(looping_model),
            "token_flood": everywhere(flooding_model),
            "false_claim": everywhere(lying_model),
        },
    }
    return Scenario(**{**settings, **changes})


def contract(**changes: Any) -> Contract:
    settings: dict[str, Any] = {
        "agent": AgentSection(name="refunds"),
        "limits": Limits(steps=20, seconds=300.0, tokens=100_000, repeats=3),
        "models": {
            "primary": Model(timeout_s=10.0, retry=AGAIN, fallback=("backup", "sorry"), **PRICES),
            "backup": Model(timeout_s=10.0, retry=AGAIN, **PRICES),
            "sorry": Model(canned="I cannot help at the moment. A colleague will call you."),
        },
        "tools": {
            "find_order": Tool(effect=Effect.READ, retry=RETRY, output=OutputRule(type="object", required=("amount",))),
            "refund": Tool(
                verify="shop:verify",
                output=DONE,
                approval=Approval(approvers=("ann",), when="amount > 50"),
                claims=("has been refunded",),
            ),
            "tell_customer": Tool(verify="shop:verify", output=DONE, claims=("I have told you",)),
        },
        "journal": JournalSection(patience_s=5.0),
        "gate": GateSection(storms=100, storm_target=0.9),
    }
    return Contract(**{**settings, **changes})


def hardened(promised: Contract | None = None, *, run: Any = agent) -> Subject:
    return plain_subject(run, promised or contract(), tools=shop_tools, verifiers=shop_verifiers)


def with_tool(promised: Contract, name: str, **changes: Any) -> Contract:
    tool = msgspec.structs.replace(promised.tools[name], **changes)
    return msgspec.structs.replace(promised, tools={**promised.tools, name: tool})


def accepting(promised: Contract, *names: str) -> Contract:
    return msgspec.structs.replace(promised, gate=msgspec.structs.replace(promised.gate, accepts=names))
