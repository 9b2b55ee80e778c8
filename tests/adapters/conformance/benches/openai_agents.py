"""The shop assistant by the OpenAI Agents SDK."""

import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, ModelResponse, RunConfig, RunContextWrapper, Runner, Usage, function_tool
from agents.models.interface import Model
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputRefusal,
    ResponseOutputText,
    ResponseTextDeltaEvent,
    ResponseUsage,
)

from plimsoll.adapters import openai_agents as adapter
from tests.adapters.conformance.desk import Answer, Heard, Script, Shop


def heard(asked: Any) -> Heard:
    items: list[Any] = [{"role": "user", "content": asked}] if isinstance(asked, str) else list(asked)
    names = {item["call_id"]: item["name"] for item in items if item.get("type") == "function_call"}
    turns, calling = 0, False
    for item in items:  # a response's calls follow one another
        if item.get("type") == "function_call":
            turns, calling = turns + (not calling), True
        else:
            calling = False
            turns += item.get("type") == "message"
    return Heard(
        asked=next(str(item["content"]) for item in items if item.get("role") == "user"),
        results=[
            (names[item["call_id"]], str(item["output"]))
            for item in items
            if item.get("type") == "function_call_output"
        ],
        turn=turns,
    )


def output_of(answer: Answer) -> list[Any]:
    status: Any = "incomplete" if answer.finish == "length" else "completed"
    parts: list[Any] = [ResponseOutputText(text=answer.text, type="output_text", annotations=[])] if answer.text else []
    if answer.finish == "content_filter":
        parts = [ResponseOutputRefusal(refusal="no", type="refusal")]
    message = ResponseOutputMessage(id="m", type="message", role="assistant", status=status, content=parts)
    calls = [
        ResponseFunctionToolCall(
            type="function_call",
            call_id=call.id,
            name=call.tool,
            arguments='{"order' if answer.broken else json.dumps(dict(call.args)),
            status=status,
        )
        for call in answer.calls
    ]
    return [message, *calls] if parts or not calls else list(calls)


class Scripted(Model):
    """A model that follows a script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **options: Any) -> ModelResponse:
        answer = await self._script.answer(heard(input))
        into, out = answer.tokens or (0, 0)
        usage = Usage(requests=1, input_tokens=into, output_tokens=out, total_tokens=into + out)
        return ModelResponse(output=output_of(answer), usage=usage, response_id=None)

    async def stream_response(
        self, system_instructions: Any, input: Any, *args: Any, **options: Any
    ) -> AsyncIterator[Any]:
        answer = await self._script.answer(heard(input))
        words = answer.text.split(" ")
        for number, word in enumerate(words):
            if word:
                yield ResponseTextDeltaEvent(
                    type="response.output_text.delta",
                    item_id="m",
                    output_index=0,
                    content_index=0,
                    sequence_number=number,
                    logprobs=[],
                    delta=word if number == len(words) - 1 else f"{word} ",
                )
        into, out = answer.tokens or (0, 0)
        response = Response.model_construct(
            id="r",
            output=output_of(answer),
            usage=ResponseUsage.model_construct(input_tokens=into, output_tokens=out, total_tokens=into + out),
        )
        yield ResponseCompletedEvent.model_construct(type="response.completed", response=response, sequence_number=99)


@function_tool
async def find_order(ctx: RunContextWrapper[Shop], order_id: str) -> dict[str, Any]:
    """Looks an order up."""
    return await ctx.context.find_order(order_id)


@function_tool
async def refund(ctx: RunContextWrapper[Shop], order_id: str, amount: int) -> dict[str, Any]:
    """Pays money back."""
    return await ctx.context.refund(order_id, amount)


class OpenAIAgents:
    name = "openai_agents"
    adapter = adapter
    cannot = frozenset(
        {
            "hold conversations",
            "have other agents do a part of the work",
            "show the framework's own events",
            "let the framework itself ask a person",
            "use MCP servers",
            "tell every answer that was cut off",
        }
    )

    def __init__(self) -> None:
        self._agent: Agent[Shop] = Agent(name="desk", instructions="Help the customer.", tools=[find_order, refund])

    def model(self, script: Script) -> Any:
        return Scripted(script)

    def agent(self, script: Script | None = None) -> Any:
        return self._agent if script is None else self._agent.clone(model=Scripted(script))

    async def naive(self, request: Any, *, deps: Any) -> Any:
        for _ in range(2):
            try:
                config = RunConfig(tracing_disabled=True)
                return (await Runner.run(self._agent, request, context=deps, run_config=config)).final_output
            except Exception:
                continue
        return "Sorry."
