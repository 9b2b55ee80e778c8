"""What an assistant is made of: instructions, tools and a model. The hardened one and the naive one share them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_ai import RunContext, Tool, ToolFailed
from pydantic_ai.capabilities import Hooks
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition

from examples.assistant.shop import Shop, ShopRefusal
from examples.assistant.standin import stand_in
from examples.assistant.tools import TOOLS, ToolSpec, call

__all__ = ["BACKUP_VARIABLE", "INSTRUCTIONS", "MODEL_VARIABLE", "default_model", "refusals_are_answers", "shop_tools"]

MODEL_VARIABLE = "PLIMSOLL_MODEL"
BACKUP_VARIABLE = "PLIMSOLL_BACKUP_MODEL"

INSTRUCTIONS = """\
You answer the customers of a web shop. You can look up customers, orders and products, cancel or change orders that
are pending, take back or exchange items of orders that were delivered, refund money, and change addresses.

Who is writing. Find the customer's account first, by email address, or by name and zip code; nothing but that proves
who it is. Products you may talk about with anybody. Help with the customer's own orders only, and say so if asked for
another's.

Before you change anything, look at the order, and see that its status allows it: only a pending order can be cancelled
or changed, only a delivered one returned or exchanged, each once, so gather all its items into one call. A clear
request is the customer's consent. If anything is open (which order, which items, which variant, which card), ask.

Money. Take amounts from the order's payments, and let `calculate` do sums. Money goes back to the payment method that
it came from, or to another of the customer's own if they ask for it. A refund may need a colleague's approval: you will
be told.

Honesty. Say that something is done only when the tool's answer shows it. If a tool refuses, fails, or somebody does not
approve, say what was not done and why. Invent nothing: no policies, prices, dates or promises.

Hand over to a person when the customer asks for one, or when no tool can help. One change at a time; reads that do not
need one another may be made together.
"""


def default_model() -> Model | str:
    """The model that `PLIMSOLL_MODEL` names, such as `openai:gpt-5-mini`, or else the stand-in, which needs no key."""
    return os.environ.get(MODEL_VARIABLE) or stand_in()


def shop_tools(key: Callable[[], str | None]) -> list[Tool[Shop]]:
    """The shop's tools, for an agent whose `deps` are a shop. `key` gives the key that a write is recorded under."""
    return [_tool(spec, key) for spec in TOOLS.values()]


def _tool(spec: ToolSpec, key: Callable[[], str | None]) -> Tool[Shop]:
    # `async` although nothing is awaited: a plain function would be run in a thread, which goes on after a timeout has
    # given it up. This way a call is over when it is over; see `verify.py`.
    async def use(ctx: RunContext[Shop], **arguments: Any) -> Any:
        try:
            return call(ctx.deps, spec.name, arguments, key=key() if spec.effect == "write" else None)
        except ShopRefusal as refusal:
            why = f"The shop refused: {refusal}"
            if spec.effect == "read":  # "no such order" is what was asked for: an answer
                raise ToolFailed(why) from refusal
            raise ShopRefusal(why) from refusal  # stays what it is, for it proves that nothing happened

    return Tool.from_schema(use, spec.name, spec.description, spec.parameters, takes_ctx=True)


def refusals_are_answers() -> Hooks[Shop]:
    """Lets the model read why the shop refused a change, where the exception would have ended the conversation."""

    async def answer(
        ctx: RunContext[Any],
        /,
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: Callable[[dict[str, Any]], Awaitable[Any]],
    ) -> Any:
        try:
            return await handler(args)
        except ShopRefusal as refusal:
            raise ToolFailed(str(refusal)) from refusal

    return Hooks(tool_execute=answer)
