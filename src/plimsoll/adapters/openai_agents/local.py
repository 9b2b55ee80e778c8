"""A model of one's own as the Agents SDK has models."""

import json
from collections.abc import AsyncIterator
from typing import Any

from agents import FunctionTool, ModelResponse, Usage
from agents.models.chatcmpl_converter import Converter
from agents.models.interface import Model
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseTextDeltaEvent,
)

from plimsoll.adapters.common.local import answered, marked
from plimsoll.adapters.openai_agents.models import message, text_of
from plimsoll.learning.local import LocalModel

__all__ = ["OwnModel"]


class OwnModel(Model):
    """The model `own` at the rung `rung`. Where its answer is shown, it comes at once.

    It may call the agent's functions and hand over; tools that a provider runs are not for it.
    """

    def __init__(self, own: LocalModel, rung: str) -> None:
        self._own = own
        self._rung = rung

    async def get_response(  # noqa: PLR0917 -- as the SDK calls it
        self,
        system_instructions: str | None,
        input: Any,
        model_settings: Any,
        tools: list[Any],
        output_schema: Any,
        handoffs: list[Any],
        *args: Any,
        **rest: Any,
    ) -> ModelResponse:
        told: list[Any] = [{"role": "system", "content": system_instructions}] if system_instructions else []
        told += Converter.items_to_messages(input)
        known: list[Any] = [Converter.tool_to_openai(tool) for tool in tools if isinstance(tool, FunctionTool)]
        known += [Converter.convert_handoff_tool(each) for each in handoffs]
        reply = await answered(self._own, told, known, rung=self._rung)
        calls = [
            ResponseFunctionToolCall(  # its id is the run's to give
                type="function_call", call_id="", name=call.tool, arguments=json.dumps(call.arguments)
            )
            for call in reply.calls
        ]
        texts = [message(reply.text)] if reply.text or not calls else []
        return ModelResponse(output=[*texts, *calls], usage=Usage(), response_id=marked(self._own, self._rung))

    async def stream_response(self, *args: Any, **rest: Any) -> AsyncIterator[Any]:
        whole = await self.get_response(*args, **rest)
        text = text_of(whole)
        if text:
            yield ResponseTextDeltaEvent(
                type="response.output_text.delta",
                item_id="message",
                output_index=0,
                content_index=0,
                sequence_number=0,
                logprobs=[],
                delta=text,
            )
        response = Response.model_construct(id=whole.response_id, output=whole.output, usage=None)
        yield ResponseCompletedEvent.model_construct(type="response.completed", response=response, sequence_number=1)
