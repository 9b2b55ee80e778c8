"""Faults as a model's provider and a tool's service really show them: their own exceptions, their own payloads."""

import json
from collections.abc import Mapping
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

from plimsoll.adapters.common.forging import (
    RETRY_AFTER_S,
    TOOL_FAULTS,
    UNKNOWING,
    Forge,
    HTTPStatusError,
    TableForger,
    answer_faults,
    raising,
)
from plimsoll.adapters.pydantic_ai.models import ModelExchange
from plimsoll.core.calls import Fault

__all__ = ["RETRY_AFTER_S", "HTTPStatusError", "PydanticForger", "flood"]


class PydanticForger(TableForger):
    """Makes faults for exchanges of this adapter; a `plimsoll.gate.subject.Forger`."""

    def __init__(self) -> None:
        super().__init__(_MODEL, TOOL_FAULTS)


def flood(response: ModelResponse, *, output_tokens: int = 1_000_000) -> ModelResponse:
    """The response, with the usage of one that ran on and on."""
    return replace(response, usage=RequestUsage(input_tokens=response.usage.input_tokens, output_tokens=output_tokens))


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
    return native if isinstance(native, ModelResponse) else ModelResponse(parts=[TextPart(UNKNOWING)])


def _text_of(native: Any) -> str:
    return "".join(part.content for part in _answer(native).parts if isinstance(part, TextPart))


def _saying(native: Any, text: str, reason: Any) -> ModelResponse:
    return replace(_answer(native), parts=[TextPart(text)] if text else [], finish_reason=reason)


def _malformed(exchange: Any, native: Any) -> ModelResponse:
    """Tool calls whose arguments break off; where there are none, half an answer in JSON, or a call that is none."""
    answer = _answer(native)
    calls = [part for part in answer.parts if isinstance(part, ToolCallPart)]
    if calls:
        broken = [replace(part, args=_half(part.args)) if part in calls else part for part in answer.parts]
        return replace(answer, parts=broken, finish_reason="tool_call")
    parameters = exchange.parameters if isinstance(exchange, ModelExchange) else ModelRequestParameters()
    if parameters.output_mode == "native":
        return replace(answer, parts=[TextPart(_half(_text_of(native) or UNKNOWING))])
    tools = [*parameters.output_tools, *parameters.function_tools]
    if not tools:
        raise LookupError("an agent without tools takes any text, so none is malformed")
    return replace(answer, parts=[ToolCallPart(tools[0].name, '{"order_id": "W1", "it')], finish_reason="tool_call")


def _half(args: Any) -> str:
    text = args if isinstance(args, str) else json.dumps(args or {"order_id": "W1"})
    return text[: max(1, len(text) // 2)]


_MODEL: Mapping[Fault, Forge] = {
    **answer_faults(_saying, _text_of),
    Fault.RATE_LIMITED: raising(_rate_limited),
    Fault.SERVER_ERROR: raising(_unavailable),
    Fault.CLIENT_ERROR: raising(_rejected),
    Fault.CONNECTION: raising(_reset),
    Fault.TIMEOUT: raising(lambda: ModelTimeoutError("primary", "Request timed out.", phase="read")),
    Fault.EXCEPTION: raising(lambda: ValueError("could not parse the response")),
    Fault.MALFORMED: _malformed,
}
