"""LangChain's messages as JSON: for the journal, and as digests that a replay can be held against."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage, message_chunk_to_message
from langchain_core.messages.utils import convert_to_messages
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import Misuse
from plimsoll.runtime.models import estimate_tokens

__all__ = [
    "decode_answer",
    "decode_input",
    "digest_of_request",
    "encode_answer",
    "encode_input",
    "output_of",
    "to_the_letter",
]

_VOLATILE = {"id", "response_metadata", "usage_metadata", "artifact", "name"}
"""What differs between a run and its replay, or is not sent to a model as it is."""
_SAYS_NOTHING = _VOLATILE - {"name"}
_MESSAGES = "messages"


def encode_answer(message: AIMessage) -> dict[str, Any]:
    """A model's answer as JSON. What is absent is left out."""
    value: dict[str, Any] = message.model_dump(
        mode="json", exclude_none=True, exclude_defaults=True, fallback=str, warnings=False
    )
    return value


def decode_answer(value: Mapping[str, Any]) -> AIMessage:
    """The answer that `encode_answer` wrote."""
    return AIMessage.model_validate(value)


def whole(message: BaseMessage) -> AIMessage:
    """The answer, out of the chunk that a stream adds up to. Raises `TypeError` for what is none."""
    if isinstance(message, AIMessageChunk):
        message = message_chunk_to_message(message)
    if not isinstance(message, AIMessage):
        raise TypeError(f"a chat model answers with an AIMessage, and this was a {type(message).__name__}")
    return message


def digest_of_request(messages: Sequence[BaseMessage], shape: Any) -> tuple[str, int]:
    """The digest of a model request, and a cautious estimate of its tokens. `shape` is JSON: tools and options.

    System messages count for the tokens alone: they are part of the agent's version, and what is not is often written
    anew for every request, with the time in it.
    """
    hasher = hashlib.sha256(canonical_json(shape))
    tokens = 0
    for message in messages:
        body = canonical_json(
            message.model_dump(
                mode="json", exclude=_VOLATILE, exclude_none=True, exclude_defaults=True, fallback=str, warnings=False
            )
            | {"type": message.type}
        )
        tokens += estimate_tokens(body)
        if not isinstance(message, SystemMessage):
            hasher.update(hashlib.sha256(body).digest())
    return hasher.hexdigest(), tokens


def to_the_letter(messages: Sequence[BaseMessage]) -> list[Any]:
    """All that the messages say, as JSON: those of the system, too, since they may say who is served."""
    return [
        message.model_dump(mode="json", exclude=_SAYS_NOTHING, fallback=repr, warnings=False) for message in messages
    ]


def encode_input(input: Any) -> Any:
    """What a graph is asked, as JSON: a text, or its state, whose messages may be LangChain's own."""
    if isinstance(input, str):
        return input
    if isinstance(input, BaseMessage):
        input = [input]
    if isinstance(input, (list, tuple)):
        input = {_MESSAGES: list(input)}
    try:
        return to_jsonable_python({name: _plain(value) for name, value in dict(input).items()})
    except (PydanticSerializationError, TypeError, ValueError) as error:
        raise Misuse(f"what the graph is asked has no JSON form, so it cannot be journaled: {error}") from error


def decode_input(asked: Any) -> Any:
    """The state that the graph begins with."""
    if isinstance(asked, str):
        return {_MESSAGES: [{"role": "user", "content": asked}]}
    if not isinstance(asked, dict):
        raise Misuse(f"a graph is asked with a text or a state, and this is a {type(asked).__name__}")
    messages = asked.get(_MESSAGES)
    if not isinstance(messages, list):
        return asked
    return {**asked, _MESSAGES: convert_to_messages([_message(each) for each in messages])}


def output_of(native: Any) -> Any:
    """What a graph ends with, as JSON: its structured response, else the text of the last answer, else its state."""
    if not isinstance(native, Mapping):
        return _jsonable(native)
    structured = native.get("structured_response")
    if structured is not None:
        return _jsonable(structured)
    messages = native.get(_MESSAGES)
    if isinstance(messages, list) and messages and isinstance(messages[-1], BaseMessage):
        return str(messages[-1].text)
    return _jsonable({name: _plain(value) for name, value in native.items()})


def text_result(value: Any) -> str:
    """A tool's plain result as LangChain writes it into a message."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    try:
        return to_jsonable_python(value, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise Misuse(f"the agent's output, a {type(value).__name__}, has no JSON form: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return value.model_dump(mode="json", exclude_none=True, fallback=str, warnings=False)
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _message(value: Any) -> Any:
    """A message as `convert_to_messages` takes it: it knows `role`, and wants nothing else beside it."""
    if isinstance(value, dict) and "type" in value and "role" not in value:
        return {"role": value["type"], **{name: each for name, each in value.items() if name != "type"}}
    return value
