"""What an exception means: every error of a dependency becomes one fault class, whatever library raised it.

Works by what an error *carries* (a status code, a Retry-After) and what it is *called*, so that no framework needs to
be imported to understand its errors.
"""

import errno
import json
import math
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from plimsoll.core.calls import ErrorRecord, Fault
from plimsoll.core.canonical import as_text
from plimsoll.core.errors import CallFailed, CallTimeout, CircuitOpen, OutputRejected, RateLimited, Shed

__all__ = ["classify", "fault_of_status"]

_FAULT_OF_OURS = (
    (CallTimeout, Fault.TIMEOUT),
    (CircuitOpen, Fault.CIRCUIT_OPEN),
    (RateLimited, Fault.THROTTLED),
    (Shed, Fault.SHED),
)
_MESSAGE_CHARS = 500
_MAX_DEPTH = 5

# An OSError is taken for a lost connection, except these, which are about files, rights and this machine.
_LOCAL_OS_ERRORS = (
    BlockingIOError,
    ChildProcessError,
    FileExistsError,
    FileNotFoundError,
    InterruptedError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ProcessLookupError,
)
_LOCAL_ERRNOS = frozenset(
    {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG}
    | {errno.ENFILE, errno.ENOSPC, errno.EROFS}
)

# The most specific class of an error whose name stands here decides. Names as in httpx, aiohttp, requests, urllib3,
# the openai, anthropic and google SDKs, botocore, grpc, websockets, and Pydantic AI.
_FAULT_OF_NAME: dict[str, Fault] = {
    name: fault
    for fault, names in {
        Fault.TIMEOUT: """
            APITimeoutError ConnectTimeout ConnectTimeoutError ConnectionTimeoutError DeadlineExceeded
            ModelRequestTimeout ModelTimeoutError PoolTimeout ReadTimeout ReadTimeoutError RequestTimeout
            ServerTimeoutError Timeout TimeoutException TimeoutExpired WriteTimeout""",
        Fault.CONNECTION: """
            APIConnectionError ClientConnectionError ClientOSError ClientPayloadError CloseError ConnectError
            ConnectionClosed ConnectionClosedError EndpointConnectionError IncompleteRead LocalProtocolError
            MaxRetryError ModelConnectionError NetworkError NewConnectionError ProtocolError ProxyError ReadError
            RemoteDisconnected RemoteProtocolError ServerDisconnectedError TransportError WriteError""",
        Fault.RATE_LIMITED: """
            ModelRateLimitError RateLimitError RateLimitExceeded ResourceExhausted ThrottlingException
            TooManyRequests TooManyRequestsError""",
        Fault.SERVER_ERROR: """
            BadGateway InternalServerError ModelOverloadedError ModelServerError ModelUnavailableError
            OverloadedError ServerError ServiceUnavailable ServiceUnavailableError""",
        Fault.CLIENT_ERROR: """
            AuthenticationError BadRequest BadRequestError ConflictError Forbidden InvalidArgument InvalidURL
            ModelQuotaExceededError ModelRequestRejectedError NotFoundError PermissionDenied PermissionDeniedError
            TooManyRedirects Unauthenticated UnprocessableEntityError UnsupportedProtocol""",
        Fault.MALFORMED: """
            ContentDecodingError ContentTypeError DecodeError DecodingError InvalidJSONError JSONDecodeError
            ResponseValidationError UnexpectedModelBehavior ValidationError""",
        Fault.FILTERED: "ContentFilterError ContentFilterFinishReasonError ContentPolicyViolationError",
        Fault.TRUNCATED: "IncompleteToolCall LengthFinishReasonError",
    }.items()
    for name in names.split()
}

# These say little by themselves and are raised `from` what happened. Only an explicit cause is followed, never the
# context: what was being handled when something else broke is not why it broke.
_WRAPPERS = frozenset(
    {"APIError", "AgentRunError", "ModelAPIError", "RequestError", "TransportError", "UnexpectedModelBehavior"}
)


def classify(error: BaseException, *, now: float | None = None) -> ErrorRecord:
    """What went wrong, as the journal keeps it.

    `now` is wall-clock seconds since the epoch; it is needed only to understand a Retry-After that is a date (without
    it, the response's own Date header is taken). The message is cut at 500 characters. Never raises.
    """
    return ErrorRecord(
        type=type(error).__name__,
        message=as_text(error)[:_MESSAGE_CHARS] or type(error).__name__,
        fault=_fault(error, 0),
        retry_after_s=_retry_after_s(error, now),
    )


def fault_of_status(status: int) -> Fault | None:
    """The fault class of an HTTP status, or None when the status is no error's."""
    if status == 429:
        return Fault.RATE_LIMITED
    if status == 408:
        return Fault.TIMEOUT
    if 500 <= status <= 599:
        return Fault.SERVER_ERROR
    return Fault.CLIENT_ERROR if 400 <= status <= 499 else None


def _fault(error: BaseException, depth: int) -> Fault:
    if isinstance(error, (OutputRejected, CallFailed)):
        return _own_fault(error.fault)
    for kind, fault in _FAULT_OF_OURS:
        if isinstance(error, kind):
            return fault
    return (
        _fault_of_http(error)
        or _fault_of_group(error, depth)
        or _fault_of_cause(error, depth)
        or _fault_of_type(error)
        or Fault.EXCEPTION
    )


def _own_fault(fault: str) -> Fault:
    try:
        return Fault(fault)
    except ValueError:
        return Fault.EXCEPTION


def _fault_of_http(error: BaseException) -> Fault | None:
    for status in (
        _get(error, "status_code"),
        _get(_get(error, "response"), "status_code"),
        _get(error, "status"),
        _get(error, "code") if type(error).__name__ == "HTTPError" else None,  # urllib's
    ):
        if isinstance(status, int) and not isinstance(status, bool):
            fault = fault_of_status(status)
            if fault is not None:
                return fault
    return None


def _fault_of_group(error: BaseException, depth: int) -> Fault | None:
    """A group means something only where all of its errors mean the same."""
    if not isinstance(error, BaseExceptionGroup) or depth >= _MAX_DEPTH:
        return None
    faults = {_fault(inner, depth + 1) for inner in error.exceptions}
    return faults.pop() if len(faults) == 1 else None


def _fault_of_cause(error: BaseException, depth: int) -> Fault | None:
    if type(error).__name__ not in _WRAPPERS or error.__cause__ is None or depth >= _MAX_DEPTH:
        return None
    fault = _fault(error.__cause__, depth + 1)
    return None if fault is Fault.EXCEPTION else fault


def _fault_of_type(error: BaseException) -> Fault | None:
    if isinstance(error, TimeoutError):
        return Fault.TIMEOUT
    for cls in type(error).__mro__:
        fault = _FAULT_OF_NAME.get(cls.__name__)
        if fault is not None:
            return fault
    if isinstance(error, OSError):
        local = isinstance(error, _LOCAL_OS_ERRORS) or error.errno in _LOCAL_ERRNOS
        return None if local else Fault.CONNECTION
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, msgspec.DecodeError)):
        return Fault.MALFORMED
    return None


def _retry_after_s(error: BaseException, now: float | None) -> float | None:
    for name in ("retry_after_s", "retry_after"):
        seconds = _seconds(_get(error, name), None, now)
        if seconds is not None:
            return seconds
    for headers in (_get(_get(error, "response"), "headers"), _get(error, "headers")):
        milliseconds = _seconds(_header(headers, "retry-after-ms"), None, None)
        if milliseconds is not None:
            return milliseconds / 1000.0
        seconds = _seconds(_header(headers, "retry-after"), _header(headers, "date"), now)
        if seconds is not None:
            return seconds
    return None


def _seconds(value: Any, date: Any, now: float | None) -> float | None:
    """`value` as seconds from now, where it is a number, a string of one, or an HTTP date."""
    if value is None or isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        reference = now if now is not None else _timestamp(date)
        then = _timestamp(value)
        if then is None or reference is None:
            return None
        return max(0.0, then - reference)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _timestamp(date: Any) -> float | None:
    if not isinstance(date, str):
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def _header(headers: Any, name: str) -> Any:
    """A header's value, whatever the mapping's attitude to capitals."""
    if headers is None:
        return None
    try:
        value = headers.get(name)
        return value if value is not None else headers.get(name.title())
    except Exception:
        return None


def _get(thing: Any, name: str) -> Any:
    """An attribute that may be a property that raises: an error must not be lost to another one."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None
