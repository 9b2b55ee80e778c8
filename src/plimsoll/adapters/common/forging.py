"""Faults as a tool's service shows them, and the HTTP errors that all clients share the shape of."""

from collections.abc import Callable, Mapping
from typing import Any

from plimsoll.core.calls import CallKind, Fault
from plimsoll.runtime.exchange import Exchange

__all__ = [
    "HTTP_FAULTS",
    "RETRY_AFTER_S",
    "TOOL_FAULTS",
    "UNKNOWING",
    "Forge",
    "HTTPStatusError",
    "TableForger",
    "answer_faults",
    "raising",
]

RETRY_AFTER_S = 2
"""What a forged 429 asks to wait."""

ERROR_DOCUMENT = '{"error": {"type": "server_error", "message": "The server had an error processing your request."}}'
"""An error that comes as a model's answer."""

UNKNOWING = "I will look into it."
"""What a model might have said that has not been asked."""

Forge = Callable[[Any, Any], Any]
"""From exchange and true answer to the forged one."""
Saying = Callable[[Any, str, str], Any]
"""From the true answer, a text, and `stop`, `length` or `content_filter` to an answer of this text that ended so."""


class Response:
    """The part of an HTTP response that errors carry."""

    def __init__(self, status_code: int, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.headers = dict(headers)


class HTTPStatusError(Exception):
    """What an HTTP client raises for a status of 4xx or 5xx, in the shape that all of them share."""

    def __init__(self, status_code: int, *, headers: Mapping[str, str] | None = None) -> None:
        self.response = Response(status_code, headers or {})
        super().__init__(f"HTTP status {status_code} for this request")


class TableForger:
    """Makes faults by a table for models and one for tools; a `plimsoll.gate.subject.Forger`."""

    def __init__(self, models: Mapping[Fault, Forge], tools: Mapping[Fault, Forge]) -> None:
        self._models = models
        self._tools = tools

    def forge(self, fault: Fault, exchange: Exchange, native: Any) -> Any:
        """The native answer that shows `fault`, or raises the exception that does.

        `native` is the true answer (None when none was fetched). Raises `LookupError` when this dependency cannot show
        this fault.
        """
        forgers = self._models if exchange.kind is CallKind.MODEL else self._tools
        forger = forgers.get(fault)
        if forger is None:
            raise LookupError(f"{exchange.dependency} cannot show {fault}")
        return forger(exchange, native)


def raising(make: Callable[[], Exception]) -> Forge:
    """A fault that is an exception."""

    def forge(exchange: Any, native: Any) -> Any:
        raise make()

    return forge


def answer_faults(saying: Saying, text_of: Callable[[Any], str]) -> dict[Fault, Forge]:
    """What a model can say that is no answer, in a framework's own answers. `text_of` is what a true one says."""

    def says(text: str, reason: str = "stop") -> Forge:
        return lambda exchange, native: saying(native, text, reason)

    def truncated(exchange: Any, native: Any) -> Any:
        text = text_of(native) or UNKNOWING
        return saying(native, text[: len(text) // 2 + 1], "length")

    return {
        Fault.EMPTY: says(""),
        Fault.WHITESPACE: says(" \n\n "),
        Fault.TRUNCATED: truncated,
        Fault.FILTERED: says("", "content_filter"),
        Fault.ERROR_IN_SUCCESS: says(ERROR_DOCUMENT),
    }


def _wrong_shape(exchange: Any, native: Any) -> Any:
    """Another kind of value than the true one: a list in place of an object, an object in place of anything else."""
    return [native] if isinstance(native, dict) else {"unexpected": native if native is not None else True}


def _nothing(exchange: Any, native: Any) -> None:
    """What is left of an answer whose body is lost."""
    if native in (None, "", [], {}):
        raise LookupError("its true answer says nothing either")


HTTP_FAULTS: Mapping[Fault, Forge] = {
    Fault.RATE_LIMITED: raising(lambda: HTTPStatusError(429, headers={"Retry-After": str(RETRY_AFTER_S)})),
    Fault.SERVER_ERROR: raising(lambda: HTTPStatusError(503)),
    Fault.CLIENT_ERROR: raising(lambda: HTTPStatusError(400)),
    Fault.CONNECTION: raising(lambda: ConnectionResetError(104, "Connection reset by peer")),
    Fault.TIMEOUT: raising(lambda: TimeoutError("timed out")),
    Fault.EXCEPTION: raising(lambda: ValueError("could not parse the response")),
}
"""What a service shows whose client has no errors of its own, or many: these have the shape that all of them share."""

TOOL_FAULTS: Mapping[Fault, Forge] = {
    **HTTP_FAULTS,
    Fault.EXCEPTION: raising(lambda: RuntimeError("the tool broke down")),
    Fault.EMPTY: _nothing,
    Fault.WHITESPACE: lambda exchange, native: " \n ",
    Fault.MALFORMED: lambda exchange, native: '{"status": "ok", "ite',
    Fault.WRONG_SHAPE: _wrong_shape,
    Fault.ERROR_IN_SUCCESS: lambda exchange, native: {"error": {"code": 500, "message": "Internal error"}},
}
"""What a tool whose result is JSON can show."""
