"""Pydantic AI's messages as JSON: for the journal, and as digests that a replay can be held against."""

import hashlib
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ModelResponseStreamEvent,
    SystemPromptPart,
    UserContent,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.usage import RequestUsage

from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import Misuse
from plimsoll.runtime.models import estimate_tokens

__all__ = [
    "MessageDigests",
    "decode_events",
    "decode_input",
    "decode_response",
    "encode_events",
    "encode_input",
    "encode_response",
    "had_own_deps",
    "to_the_letter",
]

_request_adapter: TypeAdapter[ModelRequest] = TypeAdapter(ModelRequest)
_response_adapter: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)
_events_adapter: TypeAdapter[list[ModelResponseStreamEvent]] = TypeAdapter(list[ModelResponseStreamEvent])
_usage_adapter: TypeAdapter[RequestUsage] = TypeAdapter(RequestUsage)
_content_adapter: TypeAdapter[list[UserContent]] = TypeAdapter(list[UserContent])

_OWN_DEPS = "own_deps"
_INPUT = frozenset({"prompt", "message_history", _OWN_DEPS})

# What differs between a run and its replay, or says nothing of what the model was asked.
_VOLATILE_IN_REQUEST: Any = {
    "timestamp": True,
    "run_id": True,
    "conversation_id": True,
    "metadata": True,
    "instructions": True,  # the static ones are digested from the request's parameters
    "parts": {"__all__": {"timestamp"}},
}
_SAYS_NOTHING: Any = {name: _VOLATILE_IN_REQUEST[name] for name in _VOLATILE_IN_REQUEST if name != "instructions"}
_VOLATILE_IN_RESPONSE: Any = {
    "timestamp": True,
    "run_id": True,
    "conversation_id": True,
    "metadata": True,
    "usage": True,
    "workspace_ref": True,
    "history_digest": True,
    "failed_attempts": True,
    "parts": {"__all__": {"timestamp"}},
}


def encode_response(response: ModelResponse) -> dict[str, Any]:
    """The response as JSON. Fields that are absent or zero are left out."""
    value: dict[str, Any] = _response_adapter.dump_python(
        response, mode="json", exclude_none=True, exclude={"usage", "run_id", "conversation_id"}
    )
    value["usage"] = _usage_adapter.dump_python(response.usage, mode="json", exclude_defaults=True)
    return value


def decode_response(value: Any) -> ModelResponse:
    """The response that `encode_response` wrote."""
    return _response_adapter.validate_python(value)


def encode_events(events: Sequence[ModelResponseStreamEvent]) -> list[dict[str, Any]]:
    """The events of a streamed response as JSON."""
    written: list[dict[str, Any]] = _events_adapter.dump_python(list(events), mode="json")
    return written


def decode_events(value: Any) -> list[ModelResponseStreamEvent]:
    """The events that `encode_events` wrote."""
    return _events_adapter.validate_python(value)


def encode_input(
    prompt: str | Sequence[UserContent] | None,
    message_history: Sequence[ModelMessage] | None,
    *,
    own_deps: bool = False,
) -> dict[str, Any]:
    """What a run is asked, as JSON: enough to ask it again after a crash, but for `own_deps`, which it says it had."""
    content = (
        prompt if prompt is None or isinstance(prompt, str) else _content_adapter.dump_python(list(prompt), mode="json")
    )
    value: dict[str, Any] = {"prompt": content}
    if message_history:
        value["message_history"] = ModelMessagesTypeAdapter.dump_python(list(message_history), mode="json")
    if own_deps:
        value[_OWN_DEPS] = True
    return value


def decode_input(value: Any) -> tuple[str | list[UserContent] | None, list[ModelMessage] | None]:
    """Prompt and history of a run's input. A bare string is a prompt."""
    if value is None or isinstance(value, str):
        return value, None
    if not isinstance(value, dict) or not value.keys() <= _INPUT:
        raise Misuse('the input of a Pydantic AI run is a prompt, or {"prompt": …, "message_history": […]}')
    prompt = value.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        prompt = _content_adapter.validate_python(prompt)
    history = value.get("message_history")
    return prompt, None if history is None else ModelMessagesTypeAdapter.validate_python(history)


def had_own_deps(value: Any) -> bool:
    """Whether whoever began the run gave it dependencies of its own."""
    return isinstance(value, dict) and bool(value.get(_OWN_DEPS))


class MessageDigests:
    """Digests what a run's model is asked. Each message is read once: a run adds messages and never changes old ones.

    A message is known by its identity, and kept so that no other can take its place.
    """

    __slots__ = ("_known", "_parameters")

    def __init__(self) -> None:
        self._known: dict[int, tuple[ModelMessage, int, bytes, int]] = {}
        self._parameters: dict[tuple[Any, ...], tuple[bytes, int]] = {}

    def request(self, messages: Sequence[ModelMessage], parameters: ModelRequestParameters) -> tuple[str, int]:
        """The digest of a model request, and a cautious estimate of its tokens."""
        shape, tokens = self._shape(parameters)
        hasher = hashlib.sha256(shape)
        for message in messages:
            part, size = self._message(message)
            hasher.update(part)
            tokens += size
        last = messages[-1] if messages else None
        if isinstance(last, ModelRequest) and last.instructions:  # only the latest are sent
            tokens += estimate_tokens(last.instructions.encode())
        return hasher.hexdigest(), tokens

    def _message(self, message: ModelMessage) -> tuple[bytes, int]:
        known = self._known.get(id(message))
        if known is not None and known[0] is message and known[1] == len(message.parts):
            return known[2], known[3]
        body = canonical_json(_normal(message))
        tokens = estimate_tokens(body)
        digest = hashlib.sha256(body).digest()
        self._known[id(message)] = (message, len(message.parts), digest, tokens)
        return digest, tokens

    def _shape(self, parameters: ModelRequestParameters) -> tuple[bytes, int]:
        """Tools by name, the kind of output, and the instructions that are fixed."""
        fixed = tuple(part.content for part in parameters.instruction_parts or () if not part.dynamic)
        names = tuple(tool.name for tool in parameters.function_tools)
        outputs = tuple(tool.name for tool in parameters.output_tools)
        key = (fixed, names, outputs, parameters.output_mode)
        known = self._parameters.get(key)
        if known is None:
            tools = (*parameters.function_tools, *parameters.output_tools)
            schemas = [(tool.name, tool.description, tool.parameters_json_schema) for tool in tools]
            body = canonical_json([fixed, sorted(names), sorted(outputs), parameters.output_mode])
            known = (hashlib.sha256(body).digest(), estimate_tokens(canonical_json(schemas)))
            self._parameters[key] = known
        return known


def to_the_letter(messages: Sequence[ModelMessage]) -> list[Any]:
    """All that the messages say, as JSON: instructions and system prompts that are written anew for every request, too,
    since they may say who is served."""
    return [
        _response_adapter.dump_python(message, mode="json", exclude=_VOLATILE_IN_RESPONSE)
        if isinstance(message, ModelResponse)
        else _request_adapter.dump_python(message, mode="json", exclude=_SAYS_NOTHING)
        for message in messages
    ]


def _normal(message: ModelMessage) -> Any:
    if isinstance(message, ModelResponse):
        return _response_adapter.dump_python(message, mode="json", exclude_none=True, exclude=_VOLATILE_IN_RESPONSE)
    value = _request_adapter.dump_python(message, mode="json", exclude_none=True, exclude=_VOLATILE_IN_REQUEST)
    for part, written in zip(message.parts, value["parts"], strict=True):
        if isinstance(part, SystemPromptPart) and part.dynamic_ref is not None:
            written["content"] = ""  # written anew for every request, often with the time in it
    return value
