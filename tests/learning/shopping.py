"""Conversations of a small shop, by the words that the tiny encoder knows: for tests of policies."""

from typing import Any

from plimsoll.core.rng import seeded_rng
from plimsoll.learning.conversations import Conversation, Made

OPENINGS = ("please", "now please", "can you", "today")


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """A tool as an agent offers it."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}


TEXT = {"type": "string"}
TOOLS = [
    tool("get_order", order_id=TEXT),
    tool("cancel_order", order_id=TEXT, reason={"type": "string", "enum": ["unwanted"]}),
    tool("refund", order_id=TEXT, card=TEXT),
]


def order(order_id: str, card: str) -> dict[str, Any]:
    return {"order_id": order_id, "status": "pending", "cards": {"main": {"id": card}}}


def conversation(kind: str, order_id: str, card: str, opening: str = "please") -> Conversation:
    """Somebody wants an order cancelled, refunded, or tracked; each is looked up first."""
    looked = Made(tool="get_order", arguments={"order_id": order_id}, result=order(order_id, card), reads=True)
    request, done = {
        "cancel": (
            f"{opening} cancel my order {order_id}",
            [
                Made(
                    tool="cancel_order",
                    arguments={"order_id": order_id, "reason": "unwanted"},
                    result={"status": "cancelled", "order_id": order_id},
                )
            ],
        ),
        "refund": (
            f"{opening} my money back refund {order_id}",
            [
                Made(
                    tool="refund",
                    arguments={"order_id": order_id, "card": card},
                    result={"refund": "the money", "order_id": order_id},
                )
            ],
        ),
        "track": (f"{opening} where track my order {order_id}", []),
    }[kind]
    return Conversation(request=request, calls=(looked, *done), answer="done")


def conversations(each: int, *, seed: int = 0) -> list[Conversation]:
    """So many of each kind, no two of the same order."""
    rng = seeded_rng(seed)
    kinds = [kind for kind in ("cancel", "refund", "track") for _ in range(each)]
    return [
        conversation(kind, f"W{1000 + number}", f"card_{5000 + number}", OPENINGS[int(rng.random() * len(OPENINGS))])
        for number, kind in enumerate(kinds)
    ]


def messages(request: str, *calls: Made) -> list[dict[str, Any]]:
    """The conversation as an agent hands it to a model."""
    from msgspec.json import encode

    told: list[dict[str, Any]] = [{"role": "system", "content": "be kind"}, {"role": "user", "content": request}]
    for number, call in enumerate(calls):
        function = {"name": call.tool, "arguments": encode(call.arguments).decode()}
        called = {"id": f"call_{number}", "type": "function", "function": function}
        told.append({"role": "assistant", "content": None, "tool_calls": [called]})
        result = call.result if isinstance(call.result, str) else encode(call.result).decode()
        told.append({"role": "tool", "tool_call_id": f"call_{number}", "content": result})
    return told
