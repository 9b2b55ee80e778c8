"""Faults as a chat model's provider and a tool's service really show them."""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

from plimsoll.adapters.common.forging import (
    ERROR_DOCUMENT,
    RETRY_AFTER_S,
    TOOL_FAULTS,
    Forge,
    HTTPStatusError,
    TableForger,
    raising,
)
from plimsoll.adapters.langgraph.models import ModelExchange
from plimsoll.core.calls import Fault

__all__ = ["LangGraphForger"]

_UNKNOWING = "I will look into it."


class LangGraphForger(TableForger):
    """Makes faults for exchanges of this adapter; a `plimsoll.gate.subject.Forger`.

    Each provider's package has exceptions of its own: these have the shape that all of them share.
    """

    def __init__(self) -> None:
        super().__init__(_MODEL, TOOL_FAULTS)


def _answer(native: Any) -> AIMessage:
    """The true answer, or one that a model might have given."""
    return native if isinstance(native, AIMessage) else AIMessage(_UNKNOWING)


def _saying(text: str, reason: str = "stop") -> Forge:
    return lambda exchange, native: _ending(native, text, reason)


def _ending(native: Any, text: str, reason: str, **changes: Any) -> AIMessage:
    answer = _answer(native)
    metadata = {**answer.response_metadata, "finish_reason": reason}
    empty = {"content": text, "tool_calls": [], "invalid_tool_calls": [], "response_metadata": metadata}
    return answer.model_copy(update={**empty, **changes})


def _truncated(exchange: Any, native: Any) -> AIMessage:
    text = str(_answer(native).text) or _UNKNOWING
    return _ending(native, text[: len(text) // 2 + 1], "length")


def _malformed(exchange: Any, native: Any) -> AIMessage:
    """A tool call whose arguments break off, as LangChain hands on what it could not read."""
    names = [call["name"] for call in _answer(native).tool_calls]
    if not names and isinstance(exchange, ModelExchange):
        names = exchange.tool_names
    if not names:
        raise LookupError("an agent without tools takes any text, so none is malformed")
    broken = {"name": names[0], "args": '{"order_id": "W1", "it', "id": "call_broken", "error": "Unterminated string"}
    return _ending(native, "", "tool_calls", invalid_tool_calls=[{**broken, "type": "invalid_tool_call"}])


_MODEL: Mapping[Fault, Forge] = {
    Fault.RATE_LIMITED: raising(lambda: HTTPStatusError(429, headers={"Retry-After": str(RETRY_AFTER_S)})),
    Fault.SERVER_ERROR: raising(lambda: HTTPStatusError(503)),
    Fault.CLIENT_ERROR: raising(lambda: HTTPStatusError(400)),
    Fault.CONNECTION: raising(lambda: ConnectionResetError(104, "Connection reset by peer")),
    Fault.TIMEOUT: raising(lambda: TimeoutError("Request timed out.")),
    Fault.EXCEPTION: raising(lambda: ValueError("could not parse the response")),
    Fault.EMPTY: _saying(""),
    Fault.WHITESPACE: _saying(" \n\n "),
    Fault.TRUNCATED: _truncated,
    Fault.FILTERED: _saying("", "content_filter"),
    Fault.MALFORMED: _malformed,
    Fault.ERROR_IN_SUCCESS: _saying(ERROR_DOCUMENT),
}
