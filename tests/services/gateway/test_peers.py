"""Peer frameworks as clients: their OpenAI models have another base URL, and nothing else."""

import asyncio
from typing import Any

import agents
import pytest
from agents.models.openai_responses import OpenAIResponsesModel
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from starlette.responses import JSONResponse, Response

from tests.services.gateway.serving import Gateway, Upstream, completion, evented, fails, response, spoken
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


@pytest.mark.parametrize("streams", [False, True])
def test_an_agent_that_asks_for_responses_is_protected_as_well(
    served_gateway: Gateway, upstream: Upstream, streams: bool
) -> None:
    def acts(body: dict[str, Any]) -> Response:
        last = body["input"][-1]
        if last.get("type") == "function_call_output":
            said = response(f"It is {last['output']}.")
            return evented(spoken(said)) if streams else JSONResponse(said)
        call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "price", "arguments": '{"item": "tea"}'}
        return JSONResponse(response(items=[{**call, "status": "completed"}]))

    upstream.does = {"first": fails(500), "second": acts}
    run = f"responses-{streams}"

    @agents.function_tool
    def price(item: str) -> str:
        """What an item costs."""
        return f"{item}: 3 EUR"

    async def talk() -> str:
        async with AsyncOpenAI(
            base_url=f"{served_gateway.url}/v1", api_key=served_gateway.key(), max_retries=0
        ) as client:
            agent = agents.Agent(
                name="seller",
                model=OpenAIResponsesModel("primary", openai_client=client),
                model_settings=agents.ModelSettings(extra_headers={"x-plimsoll-run": run}),
                tools=[price],
            )
            config = agents.RunConfig(tracing_disabled=True)
            if not streams:
                return str((await agents.Runner.run(agent, "What does tea cost?", run_config=config)).final_output)
            streaming = agents.Runner.run_streamed(agent, "What does tea cost?", run_config=config)
            async for _ in streaming.stream_events():
                pass
            return str(streaming.final_output)

    assert asyncio.run(talk()) == "It is tea: 3 EUR."
    assert [call.outcome.rung for call in calls(served_gateway, f"team-a/{run}")] == [1, 1]
