"""What the services share: failures in OpenAI's own shape, and requests that are bounded before they are read."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["NO_ROUTE", "Failure", "check_headers", "json_response", "read_body", "retry_after"]

MAX_HEADERS = 100
_THROWN_AWAY_BYTES = 32 * 1024 * 1024
NO_ROUTE: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "there is nothing here"),
    405: ("method_not_allowed", "this is asked by another method"),
}
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "invalid_request_error"}
_encode = msgspec.json.Encoder().encode


@dataclass(eq=False)
class Failure(Exception):
    """An answer that is an error: its HTTP status, a code for programs, a sentence for people."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        kind = (
            "invalid_request_error" if self.status < 429 else "rate_limit_error" if self.status == 429 else "api_error"
        )
        kind = _TYPES.get(self.status, kind)
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}


def retry_after(seconds: float | None) -> dict[str, str]:
    """The header that says when to ask again, in whole seconds; none where nobody knows."""
    if seconds is None or not math.isfinite(seconds):
        return {}
    return {"retry-after": str(max(1, math.ceil(seconds)))}


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The body as JSON."""
    return Response(_encode(body), status_code=status, headers=headers, media_type="application/json")


def check_headers(http: Request) -> None:
    """Raises `Failure` for a request with too many headers."""
    if len(http.headers.raw) > MAX_HEADERS:
        raise Failure(431, "too_many_headers", f"a request has {MAX_HEADERS} headers at most")


async def read_body(http: Request, *, most_bytes: int, timeout_s: float) -> bytes:
    """The body of a request. Raises `Failure` for one that is too large, or does not come in time.

    What is too large is still taken in, to a bound, and thrown away: a client that is cut off while it sends would
    never read why.
    """
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(timeout_s):
            while more and size <= most_bytes + _THROWN_AWAY_BYTES:
                message = await http.receive()
                if message["type"] == "http.disconnect":
                    raise Failure(400, "disconnected", "the client left before its request had come")
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size <= most_bytes:
                    parts.append(part)
    except TimeoutError:
        raise Failure(408, "request_timeout", "the request did not come in time", {"connection": "close"}) from None
    if size > most_bytes:
        raise Failure(413, "request_too_large", f"a request has {most_bytes} bytes at most", {"connection": "close"})
    return b"".join(parts)
