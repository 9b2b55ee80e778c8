"""Faults as a model's provider and a tool's service really show them: their own exceptions, their own payloads."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pydantic_ai.exceptions import (
    ModelConnectionError,
    ModelHTTPError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.usage import RequestUsage

from plimsoll.adapters.pydantic_ai.models import ModelExchange
from plimsoll.core.calls import CallKind, Fault
from plimsoll.runtime.exchange import Exchange

__all__ = ["HTTPStatusError", "PydanticForger", "flood"]

RETRY_AFTER_S = 2
"""What a forged 429 asks to wait."""

_ERROR_DOCUMENT = '{"error": {"type": "server_error", "message": "The server had an error processing your request."}}'


class Response:
    """The part of an HTTP response that errors carry."""

    def __init__(self, status_code: int, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.headers = dict(headers)


class HTTPStatusError(Exception):
    """What an HTTP client raises for a status of 4xx or 5xx, in the shape that all of them share."""

    def __init__(self, status_code: int, *, headers: Mapping[str, str] | None = None) -> None:
        self.response = Response(status_code, headers or {})
        super().__init__(f"HTTP status {status_code} for the request of this tool")


class PydanticForger:
    """Makes faults for exchanges of this adapter; a `plimsoll.gate.subject.Forger`."""

    def forge(self, fault: Fault, exchange: Exchange, native: Any) -> Any:
        """The native answer that shows `fault`, or raises the exception that does.

        `native` is the true answer (None when none was fetched). Raises `LookupError` when this dependency cannot show
        this fault.
        """
        forgers = _MODEL if exchange.kind is CallKind.MODEL else _TOOL
        forger = forgers.get(fault)
        if forger is None:
            raise LookupError(f"{exchange.dependency} cannot show {fault}")
        return forger(exchange, native)


def flood(response: ModelResponse, *, output_tokens: int = 1_000_000) -> ModelResponse:
    """The response, with the usage of one that ran on and on."""
    return replace(response, usage=RequestUsage(input_tokens=response.usage.input_tokens, output_tokens=output_tokens))


Forge = Callable[[Any, Any], Any]
"""From exchange and true answer to the forged one."""


def _raising(make: Callable[[], Exception]) -> Forge:
    def forge(exchange: Any, native: Any) -> Any:
        raise make()

    return forge


def _rate_limited() -> ModelHTTPError:
    return ModelHTTPError.for_category(
        ModelRateLimitError,
        status_code=429,
        model_name="primary",
        body={"error": {"type": "rate_limit_error", "message": "Rate limit reached"}},
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _unavailable() -> ModelHTTPError:
    body = {"error": {"type": "overloaded", "message": "Service unavailable"}}
    return ModelHTTPError.for_category(ModelUnavailableError, status_code=503, model_name="primary", body=body)


def _rejected() -> ModelHTTPError:
    body = {"error": {"type": "invalid_request_error", "message": "Bad request"}}
    return ModelHTTPError.for_category(ModelRequestRejectedError, status_code=400, model_name="primary", body=body)


def _reset() -> ModelConnectionError:
    error = ModelConnectionError("primary", "Connection error.", phase="read")
    error.__cause__ = ConnectionResetError(104, "Connection reset by peer")
    return error


def _answer(native: Any) -> ModelResponse:
    """The true answer, or one that a model might have given."""
    return native if isinstance(native, ModelResponse) else ModelResponse(parts=[TextPart("I will look into it.")])


def _text_of(native: Any) -> str:
    texts = [part.content for part in _answer(native).parts if isinstance(part, TextPart)]
    return "".join(texts) or "I will look into it."


def _saying(text: str, reason: Any = "stop") -> Forge:
    return lambda exchange, native: replace(_answer(native), parts=[TextPart(text)], finish_reason=reason)


def _empty(exchange: Any, native: Any) -> ModelResponse:
    return replace(_answer(native), parts=[], finish_reason="stop")


def _truncated(exchange: Any, native: Any) -> ModelResponse:
    text = _text_of(native)
    return replace(_answer(native), parts=[TextPart(text[: len(text) // 2 + 1])], finish_reason="length")


def _filtered(exchange: Any, native: Any) -> ModelResponse:
    return replace(_answer(native), parts=[], finish_reason="content_filter")


def _malformed(exchange: Any, native: Any) -> ModelResponse:
    """Tool calls whose arguments break off; where there are none, half an answer in JSON, or a call that is none."""
    answer = _answer(native)
    calls = [part for part in answer.parts if isinstance(part, ToolCallPart)]
    if calls:
        broken = [replace(part, args=_half(part.args)) if part in calls else part for part in answer.parts]
        return replace(answer, parts=broken, finish_reason="tool_call")
    parameters = exchange.parameters if isinstance(exchange, ModelExchange) else ModelRequestParameters()
    if parameters.output_mode == "native":
        return replace(answer, parts=[TextPart(_half(_text_of(native)))])
    tools = [*parameters.output_tools, *parameters.function_tools]
    if not tools:
        raise LookupError("an agent without tools takes any text, so none is malformed")
    return replace(answer, parts=[ToolCallPart(tools[0].name, '{"order_id": "W1", "it')], finish_reason="tool_call")


def _half(args: Any) -> str:
    text = args if isinstance(args, str) else json.dumps(args or {"order_id": "W1"})
    return text[: max(1, len(text) // 2)]


def _wrong_shape(exchange: Any, native: Any) -> Any:
    """Another kind of value than the true one: a list in place of an object, an object in place of anything else."""
    return [native] if isinstance(native, dict) else {"unexpected": native if native is not None else True}


def _nothing(exchange: Any, native: Any) -> None:
    """What is left of an answer whose body is lost."""
    if native in (None, "", [], {}):
        raise LookupError("its true answer says nothing either")


_MODEL: Mapping[Fault, Forge] = {
    Fault.RATE_LIMITED: _raising(_rate_limited),
    Fault.SERVER_ERROR: _raising(_unavailable),
    Fault.CLIENT_ERROR: _raising(_rejected),
    Fault.CONNECTION: _raising(_reset),
    Fault.TIMEOUT: _raising(lambda: ModelTimeoutError("primary", "Request timed out.", phase="read")),
    Fault.EXCEPTION: _raising(lambda: ValueError("could not parse the response")),
    Fault.EMPTY: _empty,
    Fault.WHITESPACE: _saying(" \n\n "),
    Fault.TRUNCATED: _truncated,
    Fault.FILTERED: _filtered,
    Fault.MALFORMED: _malformed,
    Fault.ERROR_IN_SUCCESS: _saying(_ERROR_DOCUMENT),
}

_TOOL: Mapping[Fault, Forge] = {
    Fault.RATE_LIMITED: _raising(lambda: HTTPStatusError(429, headers={"Retry-After": str(RETRY_AFTER_S)})),
    Fault.SERVER_ERROR: _raising(lambda: HTTPStatusError(503)),
    Fault.CLIENT_ERROR: _raising(lambda: HTTPStatusError(400)),
    Fault.CONNECTION: _raising(lambda: ConnectionResetError(104, "Connection reset by peer")),
    Fault.TIMEOUT: _raising(lambda: TimeoutError("timed out")),
    Fault.EXCEPTION: _raising(lambda: RuntimeError("the tool broke down")),
    Fault.EMPTY: _nothing,
    Fault.WHITESPACE: lambda exchange, native: " \n ",
    Fault.MALFORMED: lambda exchange, native: '{"status": "ok", "ite',
    Fault.WRONG_SHAPE: _wrong_shape,
    Fault.ERROR_IN_SUCCESS: lambda exchange, native: {"error": {"code": 500, "message": "Internal error"}},
}
