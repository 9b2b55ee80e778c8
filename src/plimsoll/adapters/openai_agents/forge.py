"""Faults as OpenAI's API and a tool's service really show them: their own exceptions, their own payloads."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import openai
from agents import ModelResponse, Usage
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputRefusal

from plimsoll.adapters.common.forging import (
    RETRY_AFTER_S,
    TOOL_FAULTS,
    UNKNOWING,
    Forge,
    TableForger,
    answer_faults,
    raising,
)
from plimsoll.adapters.openai_agents.models import ModelExchange, message, text_of
from plimsoll.core.calls import Fault

__all__ = ["OpenAIForger"]

_URL = "https://api.openai.com/v1/responses"


class OpenAIForger(TableForger):
    """Makes faults for exchanges of this adapter; a `plimsoll.gate.subject.Forger`."""

    def __init__(self) -> None:
        super().__init__(_MODEL, TOOL_FAULTS)


def _status(kind: Any, status: int, text: str, headers: Mapping[str, str] | None = None) -> Exception:
    http = _http()
    response = http.Response(status, headers=dict(headers or {}), request=http.Request("POST", _URL))
    error: Exception = kind(text, response=response, body={"error": {"message": text}})
    return error


def _http() -> Any:
    """The HTTP client's package that this version of `openai` is built on."""
    module = openai.APIConnectionError.__init__.__annotations__["request"]
    name = module if isinstance(module, str) else module.__module__
    return importlib.import_module(name.partition(".")[0])


def _answer(native: Any) -> ModelResponse:
    """The true answer, or one that a model might have given."""
    if isinstance(native, ModelResponse):
        return native
    return ModelResponse(output=[message(UNKNOWING)], usage=Usage(), response_id=None)


def _output(native: Any, *items: Any) -> ModelResponse:
    return replace(_answer(native), output=list(items))


def _saying(native: Any, text: str, reason: str) -> ModelResponse:
    if reason == "content_filter":
        refusal = ResponseOutputRefusal(refusal="The response was filtered.", type="refusal")
        return _output(native, message("").model_copy(update={"content": [refusal]}))
    return _output(native, message(text, status="incomplete" if reason == "length" else "completed"))


def _malformed(exchange: Any, native: Any) -> ModelResponse:
    """A tool call whose arguments break off."""
    calls = [item.name for item in _answer(native).output if isinstance(item, ResponseFunctionToolCall)]
    if not calls and isinstance(exchange, ModelExchange):
        calls = [tool.name for tool in exchange.request.tools]
    if not calls:
        raise LookupError("an agent without tools takes any text, so none is malformed")
    broken = ResponseFunctionToolCall(
        type="function_call", call_id="call_broken", name=calls[0], arguments='{"order_id": "W1", "it'
    )
    return _output(native, broken)


def _connection() -> Exception:
    error = openai.APIConnectionError(request=_http().Request("POST", _URL))
    error.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    return error


_MODEL: Mapping[Fault, Forge] = {
    **answer_faults(_saying, lambda native: text_of(_answer(native))),
    Fault.RATE_LIMITED: raising(
        lambda: _status(openai.RateLimitError, 429, "Rate limit reached", {"Retry-After": str(RETRY_AFTER_S)})
    ),
    Fault.SERVER_ERROR: raising(lambda: _status(openai.InternalServerError, 503, "Service unavailable")),
    Fault.CLIENT_ERROR: raising(lambda: _status(openai.BadRequestError, 400, "Bad request")),
    Fault.CONNECTION: raising(_connection),
    Fault.TIMEOUT: raising(lambda: openai.APITimeoutError(request=_http().Request("POST", _URL))),
    Fault.EXCEPTION: raising(lambda: ValueError("could not parse the response")),
    Fault.MALFORMED: _malformed,
}
