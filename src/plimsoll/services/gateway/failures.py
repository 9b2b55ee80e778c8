"""Failures, as OpenAI's interface tells them: a status, and a JSON object `error`.

What is said of an upstream is the kind of its fault, and nothing that it wrote: that may hold a key, or a prompt.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll.core.calls import ErrorRecord, Fault

__all__ = ["Failure", "failure_of", "halted", "limited"]

_BAD_GATEWAY = (502, "upstream_failed")
_STATUS_OF: Mapping[Fault, tuple[int, str]] = {
    Fault.TIMEOUT: (504, "upstream_timeout"),
    Fault.RATE_LIMITED: (429, "rate_limit_exceeded"),
    Fault.THROTTLED: (429, "rate_limit_exceeded"),
    Fault.CIRCUIT_OPEN: (503, "circuit_open"),
    Fault.SHED: (503, "overloaded"),
}
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "invalid_request_error"}
_FINAL = {"x-should-retry": "false"}
"""What OpenAI's clients read of an answer that would be the same again."""


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


def failure_of(model: str, error: ErrorRecord, *, attempts: int) -> Failure:
    """What a client is told of a call that brought no answer."""
    status, code = _STATUS_OF.get(error.fault, _BAD_GATEWAY)
    what = f"the model {model!r} did not answer in {attempts} attempt(s), nor did any below it; the last: {error.fault}"
    return Failure(status, code, what, _later(error.retry_after_s))


def halted(limit: str, message: str, *, whole: bool) -> Failure:
    """What a client is told of a run that was stopped. `limit` is the limit's name; `whole`: it was this request."""
    if limit == "seconds" and whole:
        return Failure(504, "limit_seconds", message)
    return Failure(429, f"limit_{limit}" if limit else "run_halted", message, _FINAL)


def _later(seconds: float | None) -> dict[str, str]:
    if seconds is None or not math.isfinite(seconds):
        return {}
    return {"retry-after": str(max(1, math.ceil(seconds)))}


def limited(seconds: float) -> Failure:
    """Of a tenant that sends too much."""
    return Failure(429, "rate_limit_exceeded", "this key sends more than its tenant may; slow down", _later(seconds))
