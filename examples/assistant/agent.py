"""The assistant: a Pydantic AI agent with the shop's tools. Nothing here knows how it is kept safe, except one line:
each write takes the idempotency key of its call along, so that the shop's ledger can say whether it happened.
"""

from __future__ import annotations

from pathlib import Path

from pydantic_ai import Agent

from examples.assistant.parts import INSTRUCTIONS, default_model, refusals_are_answers, shop_tools
from examples.assistant.shop import Shop
from plimsoll.runtime.current import current_call

__all__ = ["CONTRACT", "SHOP_FILE", "agent", "open_shop"]

CONTRACT = Path(__file__).with_name("plimsoll.toml")
SHOP_FILE = Path(__file__).parent / ".plimsoll" / "shop.db"


def _key() -> str | None:
    call = current_call()
    return call.idempotency_key if call else None


agent: Agent[Shop, str] = Agent(
    default_model(),
    name="shop-assistant",
    deps_type=Shop,
    instructions=INSTRUCTIONS,
    tools=shop_tools(_key),
    capabilities=[refusals_are_answers()],
    defer_model_check=True,  # no key is asked for before a model is
)


def open_shop() -> Shop:
    """The shop that the assistant works in when run by hand. It is kept in a file, as runs are: both outlive the
    process, so that a run which waits for an approval finds its shop again."""
    if not SHOP_FILE.exists():
        SHOP_FILE.parent.mkdir(parents=True, exist_ok=True)
        with Shop.seeded() as fresh:
            fresh.copy(SHOP_FILE).close()
    return Shop.open(SHOP_FILE)
