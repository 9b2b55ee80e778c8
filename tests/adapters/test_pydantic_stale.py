"""A framework's tool whose answer is too old: the adapter knows what time it is, too."""

from typing import Any

from pydantic_ai import RunContext

from plimsoll.contract.model import Fresh, OutputRule, Retry, Tool
from plimsoll.core.calls import Effect, Ending, Fault
from plimsoll.core.clock import LoopClock
from tests.adapters.bench import Desk, Shop, call, shop_agent, simulated

QUOTE = Tool(
    effect=Effect.READ,
    output=OutputRule(fresh=Fresh(field="as_of", max_age_s=600.0)),
    retry=Retry(on=(Fault.STALE,), max_attempts=2),
)


def test_a_stale_answer_is_asked_for_again_and_a_fresh_one_is_taken() -> None:
    ages_s = [601.0, 599.0]
    agent = shop_agent()

    @agent.tool
    async def quote(ctx: RunContext[Shop]) -> dict[str, Any]:
        """What it costs."""
        return {"price": 3, "as_of": LoopClock().now() - ages_s.pop(0)}

    async def main() -> None:
        desk = Desk([call("quote", "c1")], "It costs 3.", agent=agent, tools={"quote": QUOTE})
        result = await desk.live().run("What does it cost?", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "It costs 3.")
        assert desk.kinds() == [("silent_failure", "quote", "stale")]
        assert ages_s == []

    simulated(main)
