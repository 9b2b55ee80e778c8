"""A hardened Pydantic AI agent tells what it does as any other: its tools and models are spans, and hold no content."""

import asyncio
from typing import Any

from opentelemetry.trace import get_current_span
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from plimsoll import harden
from plimsoll.contract.loading import parse_contract
from plimsoll.core.calls import Ending
from plimsoll.core.clock import SystemClock
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.surroundings import Surroundings
from tests.observability.telemetry.heard import Heard

CONTRACT = parse_contract(
    '[agent]\nname = "desk"\n[models.primary]\nid = "openai:gpt-9"\n[tools.look]\neffect = "read"', file="p.toml"
)


def answers(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    if len(messages) == 1:
        return ModelResponse(parts=[ToolCallPart("look", {"order": "s3cr3t-args"})])
    return ModelResponse(parts=[TextPart("It is s3cr3t-paid.")])


def test_its_calls_are_spans_and_a_tool_runs_within_its_own() -> None:
    asyncio.run(main())


async def main() -> None:
    seen: list[int] = []
    agent = Agent(FunctionModel(answers), deps_type=str)

    @agent.tool
    async def look(ctx: RunContext[str], order: str) -> dict[str, Any]:
        seen.append(get_current_span().get_span_context().span_id)
        return {"order": order}

    heard = Heard()
    surroundings = Surroundings(
        store=MemoryStore(), owner="p", clock=SystemClock(), sinks=(), telemetry=heard.telemetry
    )
    models = {"primary": FunctionModel(answers)}
    async with harden(agent, CONTRACT, deps="", models=models, surroundings=surroundings) as hardened:
        assert (await hardened.run("s3cr3t-prompt", run_id="r")).ending is Ending.COMPLETE
    assert heard.tree() == [
        "invoke_agent desk",
        "invoke_agent desk > chat gpt-9",
        "invoke_agent desk > execute_tool look",
        "invoke_agent desk > chat gpt-9",
    ]
    context = heard.one("execute_tool look").context
    assert context is not None and seen == [context.span_id]
    assert "s3cr3t" not in heard.everything()
    heard.close()
