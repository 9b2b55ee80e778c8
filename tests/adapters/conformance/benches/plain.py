"""The shop assistant without a framework."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from plimsoll.adapters import plain as adapter
from plimsoll.adapters.plain import PlainAgent
from plimsoll.core.calls import Usage
from plimsoll.core.errors import CallFailed, Rejected
from plimsoll.runtime.models import ModelReply
from tests.adapters.conformance.desk import Answer, Heard, Script, Shop


def reply_of(answer: Answer) -> Any:
    if answer.broken:
        return 502
    calls = tuple(
        {"id": call.id, "type": "function", "function": {"name": call.tool, "arguments": json.dumps(dict(call.args))}}
        for call in answer.calls
    )
    usage = None if answer.tokens is None else Usage(input_tokens=answer.tokens[0], output_tokens=answer.tokens[1])
    return ModelReply(text=answer.text, tool_calls=calls, finish_reason=answer.finish, usage=usage)


def heard(prompt: Any) -> Heard:
    messages = prompt["messages"]
    names = {call["id"]: call["function"]["name"] for message in messages for call in message.get("tool_calls", ())}
    return Heard(
        asked=next(str(message["content"]) for message in messages if message["role"] == "user"),
        results=[
            (names[message["tool_call_id"]], message["content"]) for message in messages if message["role"] == "tool"
        ],
        turn=sum(message["role"] == "assistant" for message in messages),
    )


async def find_order(order_id: str, deps: Shop) -> dict[str, Any]:
    """Looks an order up."""
    return await deps.find_order(order_id)


async def refund(order_id: str, amount: int, *, deps: Shop) -> dict[str, Any]:
    """Pays money back."""
    if not isinstance(amount, int):
        raise ValueError("amount is no number")
    return await deps.refund(order_id, amount)


async def desk(request: Any, *, model: Any, find_order: Any, refund: Any) -> str:
    """Does what the model says, and hands the results back to it."""
    tools = {"find_order": find_order, "refund": refund}
    messages: list[Any] = [{"role": "system", "content": "Help the customer."}, {"role": "user", "content": request}]
    while True:
        reply = await model({"messages": messages, "tools": TOOLS})
        if not reply.tool_calls:
            return str(reply.text)
        messages.append({"role": "assistant", "content": reply.text, "tool_calls": list(reply.tool_calls)})
        results = await asyncio.gather(
            *(told(tools[call["function"]["name"]], call["function"]) for call in reply.tool_calls)
        )
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": result}
            for call, result in zip(reply.tool_calls, results, strict=True)
        ]


async def told(tool: Any, call: Any) -> str:
    try:
        return json.dumps(await tool(**json.loads(call["arguments"])))
    except CallFailed as error:
        return f"{call['name']} failed ({error.fault}) after {error.attempts} attempt(s): {error}"
    except Rejected as error:
        return f"{call['name']} was not carried out: {error}. Nothing was done."


TOOLS = [
    {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }
    for tool in adapter.describe(PlainAgent(desk, tools=[find_order, refund])).tools
]


class Plain:
    name = "plain"
    adapter = adapter
    cannot = frozenset(
        {
            "check arguments before people are asked",
            "hold conversations",
            "have other agents do a part of the work",
        }
    )

    def __init__(self) -> None:
        self._agent = PlainAgent(desk, tools=[find_order, refund])

    def model(self, script: Script) -> Any:
        async def ask(conversation: Any) -> AsyncIterator[Any]:
            answer = await script.answer(heard(conversation))
            *words, last = answer.text.split(" ")
            for piece in [*(f"{word} " for word in words), last]:
                if piece:
                    yield piece
            yield reply_of(answer)

        return ask

    def agent(self, script: Script | None = None) -> Any:
        if script is None:
            return self._agent
        return PlainAgent(
            desk, tools=[find_order, refund], models=dict.fromkeys(("primary", "backup"), self.model(script))
        )

    async def naive(self, request: Any, *, deps: Any) -> Any:
        for _ in range(2):
            try:
                return await self._agent(request, deps=deps)
            except Exception:
                continue
        return "Sorry."
