"""Faults as a chat model's provider and a tool's service really show them."""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

from plimsoll.adapters.common.forging import HTTP_FAULTS, TOOL_FAULTS, UNKNOWING, Forge, TableForger, answer_faults
from plimsoll.adapters.langgraph.models import ModelExchange
from plimsoll.core.calls import Fault

__all__ = ["LangGraphForger"]


class LangGraphForger(TableForger):
    """Makes faults for exchanges of this adapter; a `plimsoll.gate.subject.Forger`.

    Each provider's package has exceptions of its own: these have the shape that all of them share.
    """

    def __init__(self) -> None:
        super().__init__(_MODEL, TOOL_FAULTS)


def _answer(native: Any) -> AIMessage:
    """The true answer, or one that a model might have given."""
    return native if isinstance(native, AIMessage) else AIMessage(UNKNOWING)


def _saying(native: Any, text: str, reason: str, **changes: Any) -> AIMessage:
    answer = _answer(native)
    metadata = {**answer.response_metadata, "finish_reason": reason}
    empty = {"content": text, "tool_calls": [], "invalid_tool_calls": [], "response_metadata": metadata}
    return answer.model_copy(update={**empty, **changes})


def _malformed(exchange: Any, native: Any) -> AIMessage:
    """A tool call whose arguments break off, as LangChain hands on what it could not read."""
    names = [call["name"] for call in _answer(native).tool_calls]
    if not names and isinstance(exchange, ModelExchange):
        names = exchange.tool_names
    if not names:
        raise LookupError("an agent without tools takes any text, so none is malformed")
    broken = {"name": names[0], "args": '{"order_id": "W1", "it', "id": "call_broken", "error": "Unterminated string"}
    return _saying(native, "", "tool_calls", invalid_tool_calls=[{**broken, "type": "invalid_tool_call"}])


_MODEL: Mapping[Fault, Forge] = {
    **HTTP_FAULTS,
    **answer_faults(_saying, lambda native: str(_answer(native).text)),
    Fault.MALFORMED: _malformed,
}
