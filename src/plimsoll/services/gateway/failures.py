"""Failures of a gateway, as OpenAI's interface tells them.

What is said of an upstream is the kind of its fault, and nothing that it wrote: that may hold a key, or a prompt.
"""

from collections.abc import Mapping

from plimsoll.core.calls import ErrorRecord, Fault
from plimsoll.services.http import Failure, retry_after

__all__ = ["failure_of", "halted", "limited"]

_BAD_GATEWAY = (502, "upstream_failed")
_STATUS_OF: Mapping[Fault, tuple[int, str]] = {
    Fault.TIMEOUT: (504, "upstream_timeout"),
    Fault.RATE_LIMITED: (429, "rate_limit_exceeded"),
    Fault.THROTTLED: (429, "rate_limit_exceeded"),
    Fault.CIRCUIT_OPEN: (503, "circuit_open"),
    Fault.SHED: (503, "overloaded"),
}
_FINAL = {"x-should-retry": "false"}
"""What OpenAI's clients read of an answer that would be the same again."""


def failure_of(model: str, error: ErrorRecord, *, attempts: int) -> Failure:
    """What a client is told of a call that brought no answer."""
    status, code = _STATUS_OF.get(error.fault, _BAD_GATEWAY)
    what = f"the model {model!r} did not answer in {attempts} attempt(s), nor did any below it; the last: {error.fault}"
    return Failure(status, code, what, retry_after(error.retry_after_s))


def halted(limit: str, message: str, *, whole: bool) -> Failure:
    """What a client is told of a run that was stopped. `limit` is the limit's name; `whole`: it was this request."""
    if limit == "seconds" and whole:
        return Failure(504, "limit_seconds", message)
    return Failure(429, f"limit_{limit}" if limit else "run_halted", message, _FINAL)


def limited(seconds: float) -> Failure:
    """Of a tenant that sends too much."""
    return Failure(
        429, "rate_limit_exceeded", "this key sends more than its tenant may; slow down", retry_after(seconds)
    )
