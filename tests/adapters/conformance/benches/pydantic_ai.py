"""The shop assistant by Pydantic AI."""

from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.usage import RequestUsage

from plimsoll.adapters import pydantic_ai as adapter
from tests.adapters.conformance.desk import Answer, Heard, Script, Shop, as_text


def heard(messages: list[ModelMessage]) -> Heard:
    parts = [part for message in messages for part in message.parts]
    return Heard(
        asked=next(str(part.content) for part in parts if isinstance(part, UserPromptPart)),
        results=[(part.tool_name, as_text(part.content)) for part in parts if isinstance(part, ToolReturnPart)],
        turn=sum(isinstance(message, ModelResponse) for message in messages),
    )


def response_of(answer: Answer) -> ModelResponse:
    calls = [ToolCallPart(call.tool, dict(call.args), call.id) for call in answer.calls]
    if answer.broken:
        calls = [ToolCallPart(calls[0].tool_name, '{"order', calls[0].tool_call_id)]
    texts = [TextPart(answer.text)] if answer.text else []
    into, out = answer.tokens or (0, 0)
    usage = RequestUsage(input_tokens=into, output_tokens=out)
    reason: Any = answer.finish if answer.finish in ("stop", "length", "content_filter") else "stop"
    return ModelResponse(parts=[*texts, *calls], usage=usage, finish_reason=reason)


class PydanticAI:
    name = "pydantic_ai"
    adapter = adapter
    cannot = frozenset()

    def __init__(self) -> None:
        self._agent = self._made(None)

    def _made(self, script: Script | None) -> Any:
        model = None if script is None else self.model(script)
        agent: Agent[Shop, str] = Agent(model, deps_type=Shop, instructions="Help the customer.", name="desk")

        @agent.tool
        async def find_order(ctx: RunContext[Shop], order_id: str) -> dict[str, Any]:
            """Looks an order up."""
            return await ctx.deps.find_order(order_id)

        @agent.tool
        async def refund(ctx: RunContext[Shop], order_id: str, amount: int) -> dict[str, Any]:
            """Pays money back."""
            return await ctx.deps.refund(order_id, amount)

        return agent

    def model(self, script: Script) -> Any:
        async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            return response_of(await script.answer(heard(messages)))

        async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
            said = await script.answer(heard(messages))
            for word in said.text.split(" ")[:-1]:
                yield f"{word} "
            if said.text:
                yield said.text.rpartition(" ")[2]
            for index, call in enumerate(response_of(said).parts[bool(said.text) :]):
                assert isinstance(call, ToolCallPart)
                yield {index: DeltaToolCall(call.tool_name, call.args_as_json_str(), tool_call_id=call.tool_call_id)}

        return FunctionModel(answer, stream_function=stream, model_name="scripted")

    def agent(self, script: Script | None = None) -> Any:
        return self._agent if script is None else self._made(script)

    async def naive(self, request: Any, *, deps: Any) -> Any:
        for _ in range(2):
            try:
                return (await self._agent.run(request, deps=deps)).output
            except Exception:
                continue
        return "Sorry."
