"""The same assistant as one writes it first: it works in the demo.

Same tools, same instructions, same model. What is around them is what tutorials show: try again when something goes
wrong, and apologise when it keeps going wrong. Nothing limits it, nobody is asked, and each new try starts the whole
conversation from the beginning, with the money of the last one already paid.
"""

from __future__ import annotations

from pydantic_ai import Agent

from examples.assistant.parts import INSTRUCTIONS, default_model, refusals_are_answers, shop_tools
from examples.assistant.shop import Shop

__all__ = ["APOLOGY", "handle", "naive_agent"]

MAX_TRIES = 3
APOLOGY = "Sorry, something went wrong. Please try again later."

naive_agent: Agent[Shop, str] = Agent(
    default_model(),
    name="naive-assistant",
    deps_type=Shop,
    instructions=INSTRUCTIONS,
    tools=shop_tools(lambda: None),
    capabilities=[refusals_are_answers()],
    defer_model_check=True,
)


async def handle(request: str, deps: Shop) -> str:
    """Answers one request, one way or another."""
    for attempt in range(1, MAX_TRIES + 1):
        try:
            result = await naive_agent.run(request, deps=deps)
            return result.output
        except Exception as error:
            print(f"attempt {attempt} of {MAX_TRIES} failed: {error}")
    return APOLOGY
