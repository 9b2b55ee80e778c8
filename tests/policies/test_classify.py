"""Every error becomes one fault class."""

import asyncio
import errno
import json
import socket
import urllib.error
from collections.abc import Mapping
from email.message import Message
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from pydantic_ai import exceptions

from plimsoll.core.calls import ErrorRecord, Fault
from plimsoll.core.errors import CallFailed, CallTimeout, OutputRejected, RunBusy
from plimsoll.policies.classify import classify, fault_of_status

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class StatusError(Exception):
    def __init__(self, status_code: Any, message: str = "boom") -> None:
        self.status_code = status_code
        super().__init__(message)


class Response:
    def __init__(self, status_code: int, headers: Mapping[str, str] | None = None) -> None:
        self.status_code = status_code
        self.headers = headers or {}


class ResponseError(Exception):
    def __init__(self, status_code: int, headers: Mapping[str, str] | None = None) -> None:
        self.response = Response(status_code, headers)
        super().__init__("boom")


class Rude(Exception):
    """Everything that one may ask of it raises."""

    @property
    def response(self) -> object:
        raise RuntimeError("no response was set")

    @property
    def status_code(self) -> int:
        raise RuntimeError("no status was set")

    def __str__(self) -> str:
        raise RuntimeError("no words")


def named(name: str, *bases: type[Exception]) -> Exception:
    error: Exception = type(name, bases or (Exception,), {})("boom")
    return error


def caused(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error


def http_error(code: int) -> Exception:
    return urllib.error.HTTPError("https://example.org", code, "boom", Message(), None)


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (429, Fault.RATE_LIMITED),
        (408, Fault.TIMEOUT),
        (500, Fault.SERVER_ERROR),
        (503, Fault.SERVER_ERROR),
        (529, Fault.SERVER_ERROR),
        (599, Fault.SERVER_ERROR),
        (400, Fault.CLIENT_ERROR),
        (401, Fault.CLIENT_ERROR),
        (499, Fault.CLIENT_ERROR),
        (200, None),
        (302, None),
        (399, None),
        (600, None),
        (0, None),
    ],
)
def test_http_statuses(status: int, fault: Fault | None) -> None:
    assert fault_of_status(status) is fault
    assert classify(StatusError(status)).fault is (fault or Fault.EXCEPTION)
    assert classify(ResponseError(status)).fault is (fault or Fault.EXCEPTION)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (TimeoutError(), Fault.TIMEOUT),
        (CallTimeout("gpt", timeout_s=3.0), Fault.TIMEOUT),
        (named("APITimeoutError", type("APIConnectionError", (Exception,), {})), Fault.TIMEOUT),
        (named("ReadTimeout", type("TransportError", (Exception,), {})), Fault.TIMEOUT),
        (named("ModelTimeoutError", type("ModelConnectionError", (Exception,), {})), Fault.TIMEOUT),
        (OSError(errno.ETIMEDOUT, "timed out"), Fault.TIMEOUT),
        (ConnectionResetError(), Fault.CONNECTION),
        (BrokenPipeError(), Fault.CONNECTION),
        (socket.gaierror(-2, "Name or service not known"), Fault.CONNECTION),
        (OSError("Multiple exceptions: [Errno 111]"), Fault.CONNECTION),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Fault.CONNECTION),
        (asyncio.IncompleteReadError(b"", 3), Fault.EXCEPTION),
        (named("ConnectError"), Fault.CONNECTION),
        (named("ReadError"), Fault.CONNECTION),
        (named("RemoteProtocolError"), Fault.CONNECTION),
        (named("ModelConnectionError"), Fault.CONNECTION),
        (named("APIConnectionError"), Fault.CONNECTION),
        (named("MyOwn", type("ConnectError", (Exception,), {})), Fault.CONNECTION),
        (FileNotFoundError(errno.ENOENT, "no such file"), Fault.EXCEPTION),
        (PermissionError(errno.EACCES, "no"), Fault.EXCEPTION),
        (OSError(errno.ENOSPC, "disk full"), Fault.EXCEPTION),
        (named("RateLimitError"), Fault.RATE_LIMITED),
        (named("ModelOverloadedError"), Fault.SERVER_ERROR),
        (named("InternalServerError"), Fault.SERVER_ERROR),
        (named("ModelQuotaExceededError"), Fault.CLIENT_ERROR),
        (named("AuthenticationError"), Fault.CLIENT_ERROR),
        (named("ValidationError", ValueError), Fault.MALFORMED),
        (named("UnexpectedModelBehavior"), Fault.MALFORMED),
        (named("ContentFilterError", type("UnexpectedModelBehavior", (Exception,), {})), Fault.FILTERED),
        (named("IncompleteToolCall"), Fault.TRUNCATED),
        (json.JSONDecodeError("boom", "x", 0), Fault.MALFORMED),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "boom"), Fault.MALFORMED),
        (msgspec.DecodeError("boom"), Fault.MALFORMED),
        (msgspec.ValidationError("boom"), Fault.MALFORMED),
        (http_error(503), Fault.SERVER_ERROR),
        (http_error(429), Fault.RATE_LIMITED),
        (http_error(302), Fault.CONNECTION),
        (StatusError(HTTPStatus.BAD_GATEWAY), Fault.SERVER_ERROR),
        (StatusError("503"), Fault.EXCEPTION),
        (StatusError(True), Fault.EXCEPTION),
        (OutputRejected("gpt", fault="truncated", detail="cut"), Fault.TRUNCATED),
        (OutputRejected("gpt", fault="unheard_of", detail="?"), Fault.EXCEPTION),
        (CallFailed("gpt", fault="rate_limited", attempts=3, message="slow down"), Fault.RATE_LIMITED),
        (RunBusy("r", owner="o"), Fault.EXCEPTION),
        (ValueError("boom"), Fault.EXCEPTION),
        (KeyError("x"), Fault.EXCEPTION),
        (asyncio.CancelledError(), Fault.EXCEPTION),
        (Rude(), Fault.EXCEPTION),
    ],
)
def test_errors(error: BaseException, fault: Fault) -> None:
    assert classify(error).fault is fault


def test_a_status_says_more_than_a_class_name() -> None:
    error = named("ConnectError")
    error.status_code = 503  # type: ignore[attr-defined]

    assert classify(error).fault is Fault.SERVER_ERROR


def test_a_status_attribute_counts_and_a_code_of_anything_else_does_not() -> None:
    by_status, by_code = Exception("boom"), Exception("boom")
    by_status.status = 502  # type: ignore[attr-defined]
    by_code.code = 502  # type: ignore[attr-defined]

    assert classify(by_status).fault is Fault.SERVER_ERROR
    assert classify(by_code).fault is Fault.EXCEPTION


def test_the_explicit_cause_of_a_wrapper_decides() -> None:
    assert classify(caused(named("ModelAPIError"), json.JSONDecodeError("boom", "x", 0))).fault is Fault.MALFORMED
    assert classify(caused(named("ModelAPIError"), TimeoutError())).fault is Fault.TIMEOUT
    assert classify(caused(named("TransportError"), StatusError(503))).fault is Fault.SERVER_ERROR


def test_a_wrapper_without_a_telling_cause_speaks_for_itself() -> None:
    assert classify(named("ModelAPIError")).fault is Fault.EXCEPTION
    assert classify(caused(named("ModelAPIError"), ValueError("boom"))).fault is Fault.EXCEPTION
    assert classify(caused(named("TransportError"), ValueError("boom"))).fault is Fault.CONNECTION


def test_the_cause_of_anything_else_does_not_matter() -> None:
    assert classify(caused(ValueError("bad order id"), TimeoutError())).fault is Fault.EXCEPTION


def test_what_was_being_handled_is_no_cause() -> None:
    error = named("ModelAPIError")
    error.__context__ = TimeoutError()

    assert classify(error).fault is Fault.EXCEPTION


def test_a_chain_that_bites_its_tail_ends() -> None:
    error = named("ModelAPIError")

    assert classify(caused(error, error)).fault is Fault.EXCEPTION


def test_a_group_means_what_all_of_it_means() -> None:
    timeouts = ExceptionGroup("boom", [TimeoutError(), ExceptionGroup("boom", [StatusError(408)])])
    mixed = ExceptionGroup("boom", [TimeoutError(), StatusError(503)])

    assert classify(timeouts).fault is Fault.TIMEOUT
    assert classify(mixed).fault is Fault.EXCEPTION


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"Retry-After": "7.5"}, 7.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Thu, 99 Foo 2026 00:00:30 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_from_the_response(headers: dict[str, str], seconds: float | None) -> None:
    assert classify(ResponseError(429, headers), now=NOW).retry_after_s == seconds


def test_a_date_without_now_is_taken_against_the_responses_own() -> None:
    when = "Thu, 01 Jan 2026 00:00:30 GMT"

    assert classify(ResponseError(429, {"retry-after": when})).retry_after_s is None
    assert (
        classify(ResponseError(429, {"retry-after": when, "date": "Thu, 01 Jan 2026 00:00:10 GMT"})).retry_after_s
        == 20.0
    )


@pytest.mark.parametrize(
    ("attribute", "value", "seconds"),
    [
        ("retry_after_s", 3, 3.0),
        ("retry_after", 2.5, 2.5),
        ("retry_after", "4", 4.0),
        ("retry_after", "Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("retry_after", None, None),
        ("retry_after", True, None),
        ("retry_after", object(), None),
        ("headers", {"retry-after": "6"}, 6.0),
        ("headers", ["retry-after"], None),
    ],
)
def test_retry_after_is_read_from_the_error(attribute: str, value: object, seconds: float | None) -> None:
    error = StatusError(429)
    setattr(error, attribute, value)

    assert classify(error, now=NOW).retry_after_s == seconds


def test_what_the_error_says_itself_comes_first() -> None:
    error = ResponseError(429, {"retry-after": "9"})
    error.retry_after_s = 1.0  # type: ignore[attr-defined]

    assert classify(error).retry_after_s == 1.0


def test_the_record_is_complete() -> None:
    assert classify(StatusError(429, "slow down")) == ErrorRecord(
        type="StatusError", message="slow down", fault=Fault.RATE_LIMITED
    )


def test_a_message_is_cut_and_never_missing() -> None:
    assert len(classify(ValueError("x" * 10_000)).message) == 500
    assert classify(TimeoutError()).message == "TimeoutError"
    assert classify(Rude()).message == "Rude"


def test_a_message_can_always_be_journalled() -> None:
    record = classify(ValueError("half \ud83d, whole 🙂"))

    assert record.message == "half \\ud83d, whole 🙂"
    msgspec.json.encode(record)


def test_pydantic_ai_errors_are_understood_without_importing_it() -> None:
    limited = exceptions.ModelHTTPError(429, "gpt", headers={"Retry-After": "3"})
    assert (classify(limited).fault, classify(limited).retry_after_s) == (Fault.RATE_LIMITED, 3.0)
    for error, fault in [
        (exceptions.ModelHTTPError(503, "gpt"), Fault.SERVER_ERROR),
        (exceptions.ModelTimeoutError("gpt", "boom"), Fault.TIMEOUT),
        (exceptions.ModelConnectionError("gpt", "boom"), Fault.CONNECTION),
        (exceptions.ModelRequestTimeout("gpt", 3.0), Fault.TIMEOUT),
        (exceptions.UnexpectedModelBehavior("boom"), Fault.MALFORMED),
        (exceptions.ContentFilterError("boom"), Fault.FILTERED),
        (exceptions.ModelAPIError("gpt", "boom"), Fault.EXCEPTION),
    ]:
        assert classify(error).fault is fault
