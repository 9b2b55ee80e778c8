"""A peer framework as the client: Pydantic AI, whose OpenAI model has another base URL, and nothing else."""

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from starlette.responses import JSONResponse, Response

from tests.services.gateway.serving import Gateway, Upstream, completion, fails
from tests.services.gateway.test_runs import calls


def test_an_agent_is_protected_by_its_base_url(served_gateway: Gateway, upstream: Upstream) -> None:
    def acts(body: dict[str, Any]) -> Response:
        if body["messages"][-1]["role"] == "tool":
            return JSONResponse(completion(f"It is {body['messages'][-1]['content']}."))
        call = {"id": "c1", "type": "function", "function": {"name": "price", "arguments": '{"item": "tea"}'}}
        return JSONResponse(completion(None, finish="tool_calls", tool_calls=[call]))

    upstream.does = {"first": fails(500), "second": acts}

    async def talk() -> str:
        provider = OpenAIProvider(base_url=f"{served_gateway.url}/v1", api_key=served_gateway.key())
        async with provider.client:
            agent = Agent(OpenAIChatModel("primary", provider=provider))

            @agent.tool_plain
            def price(item: str) -> str:
                return f"{item}: 3 EUR"

            settings: Any = {"extra_headers": {"x-plimsoll-run": "peer"}}
            return (await agent.run("What does tea cost?", model_settings=settings)).output

    assert asyncio.run(talk()) == "It is tea: 3 EUR."
    assert [call.outcome.rung for call in calls(served_gateway, "team-a/peer")] == [1, 1]
