"""A model of one's own as Pydantic AI has models."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_ai.messages import (
    BaseToolReturnPart,
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    TextPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from plimsoll.adapters.common.local import answered, function_tool, marked, texts_alone
from plimsoll.core.calls import Fault
from plimsoll.core.errors import OutputRejected
from plimsoll.learning.local import LocalModel

__all__ = ["OwnModel"]


class OwnModel(Model):
    """The model `own` at the rung `rung`. It is asked for the whole answer: where that is shown, it comes at once."""

    def __init__(self, own: LocalModel, rung: str) -> None:
        super().__init__()
        self._own = own
        self._rung = rung

    @property
    def model_name(self) -> str:
        return self._rung

    @property
    def system(self) -> str:
        return "local"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        instructions = self._get_instruction_parts(messages, parameters)
        told = [{"role": "system", "content": InstructionPart.join(instructions)}] if instructions else []
        told += [each for message in messages for each in _as_chat(message)]
        tools = [
            function_tool(tool.name, tool.description, tool.parameters_json_schema)
            for tool in (*parameters.function_tools, *parameters.output_tools)
        ]
        reply = await answered(self._own, told, tools, rung=self._rung)
        if not reply.calls and not parameters.allow_text_output:
            what = "this agent answers with data, and it said something in words"
            raise OutputRejected(self._rung, fault=Fault.WRONG_SHAPE, detail=what)
        texts = [TextPart(reply.text)] if reply.text else []
        calls = [ToolCallPart(call.tool, call.arguments) for call in reply.calls]  # their ids are the run's to give
        return ModelResponse(parts=[*texts, *calls], model_name=marked(self._own, self._rung), finish_reason="stop")


def _as_chat(message: ModelMessage) -> Iterator[dict[str, Any]]:
    """A message as OpenAI's chat completions have it. What was thought, and not said, is left out."""
    if isinstance(message, ModelRequest):
        yield from map(_part, message.parts)
        return
    texts = [part.content for part in message.parts if isinstance(part, TextPart)]
    calls = [
        {
            "id": part.tool_call_id,
            "type": "function",
            "function": {"name": part.tool_name, "arguments": part.args_as_json_str()},
        }
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    if texts or calls:
        yield {"role": "assistant", "content": "".join(texts), **({"tool_calls": calls} if calls else {})}


def _part(part: Any) -> dict[str, Any]:
    """A part of a request. `prepare_messages` has written every kind but these as one of them."""
    if isinstance(part, SystemPromptPart):
        return {"role": "system", "content": part.content}
    if isinstance(part, UserPromptPart):
        return {"role": "user", "content": _words(part.content)}
    if isinstance(part, BaseToolReturnPart):
        return {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.model_response_str()}
    said = getattr(part, "model_response", None)
    if said is None:
        raise texts_alone(type(part).__name__)
    call_id = getattr(part, "tool_call_id", None) if getattr(part, "tool_name", None) else None
    return {"role": "user", "content": said()} if call_id is None else _failed(call_id, said())


def _failed(call_id: str, said: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": said}


def _words(content: str | Sequence[Any]) -> str:
    if isinstance(content, str):
        return content
    texts = [each.content if isinstance(each, TextContent) else each for each in content]
    strange = next((each for each in texts if not isinstance(each, str)), None)
    if strange is not None:
        raise texts_alone(type(strange).__name__)
    return "\n".join(texts)
