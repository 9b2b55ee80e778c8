"""A stand-in for a language model: deterministic, free, and honest about being one.

It plays the part of a competent customer-service model, so that everything around a model can be run, tested and broken
without one. What it decides depends on the conversation alone: the request, and the results of the tools so far.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.usage import RequestUsage

from examples.assistant.dialogue import Call, Result, converse
from examples.assistant.tools import TOOLS

__all__ = ["Conversation", "Decide", "function_model", "respond", "stand_in"]

_CHARS_PER_TOKEN = 4
_TOOL_CHARS = sum(len(spec.description) + len(json.dumps(spec.parameters)) for spec in TOOLS.values())

# What a result must look like to be one: a type, and the keys that it cannot lack. None: anything will do.
_ORDER = (dict, ("order_id", "user_id", "status", "items", "payment_history"))
_SHAPES: dict[str, tuple[Any, tuple[str, ...]] | None] = {
    "find_user_id_by_email": (str, ()),
    "find_user_id_by_name_zip": (str, ()),
    "get_user_details": (dict, ("name", "payment_methods")),
    "get_product_details": (dict, ("name", "variants")),
    "list_all_product_types": (dict, ()),
    "calculate": (int | float, ()),
    "think": None,
    "transfer_to_human_agents": (dict, ("transferred",)),
    "modify_user_address": (dict, ("address",)),
}
_REFUSAL = re.compile(r"The shop refused: (?P<why>.{1,200})", re.DOTALL)
_DENIAL = re.compile(r"not approved|approval|denied|rejected|refused by|may not", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model is shown: what the customer wrote, and each call that was made with what came of it."""

    text: str
    calls: list[tuple[Call, Result]]


Decide = Callable[[Conversation], "list[Call] | str"]
"""A model's mind: the next tool calls, or what to say."""


def stand_in(name: str = "stand-in") -> FunctionModel:
    """The stand-in, under a name that says what it is."""
    return function_model(respond, name=name)


def respond(conversation: Conversation) -> list[Call] | str:
    """Plays the dialogue's script from its beginning, handing it the results that are there, up to where one lacks."""
    known = list(conversation.calls)
    script = converse(conversation.text)
    try:
        wanted = next(script)
        while True:
            found = [_take(known, call) for call in wanted]
            missing = [call for call, result in zip(wanted, found, strict=True) if result is None]
            if missing:
                return missing
            wanted = script.send([result for result in found if result is not None])
    except StopIteration as end:
        return str(end.value)


def _take(known: list[tuple[Call, Result]], wanted: Call) -> Result | None:
    """The result of such a call, if it was made; each is taken once."""
    for index, (call, result) in enumerate(known):
        if call == wanted:
            del known[index]
            return result
    return None


# ---------------------------------------------------------------------------------------- as a Pydantic AI model


def function_model(
    decide: Decide, *, name: str, usage: Callable[[RequestUsage], RequestUsage] | None = None
) -> FunctionModel:
    """A Pydantic AI model that decides by `decide`. Tokens are counted as a real one's would be; `usage` may alter
    them."""

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        conversation = _read(messages)
        decision = decide(conversation)
        if isinstance(decision, str):
            parts: list[Any] = [TextPart(decision)]
        else:
            # Ids count on through the conversation, so they are the same whenever it is played.
            number = len(conversation.calls)
            parts = [
                ToolCallPart(call.tool, call.args, tool_call_id=f"call_{number + index}")
                for index, call in enumerate(decision, start=1)
            ]
        tokens = _usage(messages, info, decision)
        return ModelResponse(
            parts=parts,
            usage=usage(tokens) if usage is not None else tokens,
            finish_reason="stop" if isinstance(decision, str) else "tool_call",
        )

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        for index, part in enumerate((await answer(messages, info)).parts):
            if isinstance(part, TextPart):
                for word in re.findall(r"\S+\s*", part.content):
                    yield word
            elif isinstance(part, ToolCallPart):
                yield {index: DeltaToolCall(part.tool_name, part.args_as_json_str(), tool_call_id=part.tool_call_id)}

    return FunctionModel(answer, stream_function=stream, model_name=name)


def _read(messages: list[ModelMessage]) -> Conversation:
    texts: list[str] = []
    calls: dict[str, tuple[Call, Result]] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(message, ModelRequest) and isinstance(part, UserPromptPart):
                texts.append(part.content if isinstance(part.content, str) else "")
            elif isinstance(part, ToolCallPart):
                call = Call(part.tool_name, part.args_as_dict())
                calls[part.tool_call_id] = (call, Result(trouble="there was no answer"))
            elif isinstance(part, ToolReturnPart) and part.tool_call_id in calls:
                calls[part.tool_call_id] = (calls[part.tool_call_id][0], _result(part))
    return Conversation("\n".join(texts), list(calls.values()))


def _result(part: ToolReturnPart) -> Result:
    """What a tool's answer is worth. Only one that says so, and looks like it, is taken for a success."""
    shape = _SHAPES.get(part.tool_name, _ORDER)
    text = part.model_response_str(wrap_if_error=False)
    if part.outcome == "success" and shape is None:
        return Result(part.content)
    if part.outcome == "success" and shape is not None:
        kind, keys = shape
        value = part.content
        if kind is not str and isinstance(value, kind) and all(key in value for key in keys):
            return Result(value)
        if kind is str and isinstance(value, str) and re.fullmatch(r"\w+", value):
            return Result(value)
    if refusal := _REFUSAL.search(text):
        return Result(trouble=refusal["why"].strip().rstrip("."))
    if part.outcome == "denied" or _DENIAL.search(text):
        return Result(trouble="it was not approved, and nothing was changed")
    return Result(trouble="I got no clear answer, so please do not count on it until you hear from us")


def _usage(messages: list[ModelMessage], info: AgentInfo, decision: list[Call] | str) -> RequestUsage:
    chars = len(info.instructions or "") + _TOOL_CHARS
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                chars += len(part.tool_name) + len(part.args_as_json_str())
            elif isinstance(part, ToolReturnPart):
                chars += len(part.model_response_str())
            elif isinstance(part, TextPart | UserPromptPart):
                chars += len(str(part.content))
    written = decision if isinstance(decision, str) else "".join(f"{call.tool} {call.args}" for call in decision)
    return RequestUsage(input_tokens=chars // _CHARS_PER_TOKEN + 1, output_tokens=len(written) // _CHARS_PER_TOKEN + 1)
