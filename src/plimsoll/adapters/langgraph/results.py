"""What a tool of a graph returns, as JSON and back.

Most tools return a text or data, which is journaled as it is. Whatever else LangGraph lets a tool say (a message with
an artifact or images, a `Command` that changes the graph's state) is written by LangGraph's own serializer, under one
marked key.
"""

import base64
import json
from typing import Any

from langchain_core.messages import ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from plimsoll.adapters.langgraph.messages import text_result

__all__ = ["decode_result", "encode_result", "message_of", "value_of"]

_MARK = "$langgraph"


def value_of(result: Any) -> Any:
    """What a tool said, out of the message that LangGraph made of it: plain data, where the message holds no more."""
    if not isinstance(result, ToolMessage) or result.artifact is not None or not isinstance(result.content, str):
        return result
    text = result.content
    if text[:1] in ("{", "[") or text in ("null", "true", "false"):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if text_result(value) == text else text  # so that the model reads the same text
    return text


def message_of(value: Any, *, name: str, call_id: str) -> Any:
    """What LangGraph would have made of what a tool said."""
    if isinstance(value, ToolMessage):
        return value.model_copy(update={"tool_call_id": call_id})
    return value if _is_own(value) else ToolMessage(text_result(value), name=name, tool_call_id=call_id)


def encode_result(value: Any) -> Any:
    """What a tool said, as JSON."""
    if not _is_own(value):
        return value
    kind, written = JsonPlusSerializer().dumps_typed(value)
    return {_MARK: kind, "data": base64.b64encode(written).decode()}


def decode_result(value: Any) -> Any:
    """What `encode_result` wrote."""
    if isinstance(value, dict) and value.keys() == {_MARK, "data"}:
        return JsonPlusSerializer().loads_typed((value[_MARK], base64.b64decode(value["data"])))
    return value


def _is_own(value: Any) -> bool:
    """Whether it is LangGraph's own, and no plain data."""
    if isinstance(value, list):
        return any(_is_own(each) for each in value)
    return isinstance(value, ToolMessage) or type(value).__module__.partition(".")[0] == "langgraph"
