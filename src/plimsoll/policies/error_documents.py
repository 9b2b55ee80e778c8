"""Telling an error document from an answer: does this body *be* an error, or does it talk about one?

Everything here looks at the whole of a body. A sentence with "error" or "failed" in it is no error document, nor is an
answer that quotes one; what counts is that nothing else is there. When in doubt it is an answer: a false alarm makes
people ignore the true ones.
"""

import ast
import re
from typing import Any

import msgspec

__all__ = ["looks_like_error_object", "looks_like_error_text"]

_MAX_LINE_CHARS = 1000
_MAX_DOCUMENT_CHARS = 20_000
_HEAD_CHARS = 4000

# What an error travels in. An object with any other key that holds something is an answer, whatever its status says.
_ENVELOPE = frozenset(
    {"__type", "body", "code", "detail", "details", "documentation_url", "error", "error_code"}
    | {"error_description", "error_message", "error_type", "errors", "errorcode", "errormessage"}
    | {"exception", "fault", "headers", "help", "instance", "isbase64encoded", "message", "msg", "object"}
    | {"ok", "param", "path", "provider", "reason", "request_id", "requestid", "retryable", "retry_after"}
    | {"stack", "status", "status_code", "statuscode", "statustext", "success", "timestamp", "title"}
    | {"trace", "trace_id", "traceback", "traceid", "type", "user_id"}
)
_EXPLAINS = ("error", "errors", "message", "msg", "reason", "detail", "title", "error_message", "body")
_DENIES = ("ok", "success")
_SAYS = ("message", "msg", "detail", "error_message", "errormessage")

_STATUS_PHRASE = (
    r"internal server error|bad gateway|service (?:temporarily )?unavailable|gateway time-?out|too many requests"
    r"|http version not supported|insufficient storage|network authentication required"
)
_CLIENT_PHRASE = (
    r"bad request|unauthorized|payment required|forbidden|not found|method not allowed|not acceptable"
    r"|request time-?out|conflict|gone|payload too large|unsupported media type|unprocessable (?:entity|content)"
)
_PHRASE = re.compile(
    rf"(?:{_STATUS_PHRASE}|{_CLIENT_PHRASE}|endpoint request timed out|missing authentication token"
    r"|rate limit (?:exceeded|reached)|quota exceeded|overloaded|an? (?:internal|unexpected) error (?:has )?occurred)"
    r"[.!]?\Z",
    re.IGNORECASE,
)

# One line that is an error report. Each alternative is tied to both ends (\Z) or has words that only machines write.
_LINE = re.compile(
    "|".join(
        (
            # 500 Internal Server Error, HTTP/1.1 502: Bad Gateway, Error 503, 404 Not Found
            rf"(?:http(?:/\d(?:\.\d)?)?\s+)?(?:error:?\s+)?(?:status\s+)?5\d\d\s*[:–-]?\s*(?:{_STATUS_PHRASE})[.!]?\Z",
            rf"(?:http(?:/\d(?:\.\d)?)?\s+)?(?:error:?\s+)?4\d\d\s*[:–-]?\s*(?:{_STATUS_PHRASE}|{_CLIENT_PHRASE})[.!]?\Z",
            rf"(?:error:\s*)?(?:{_STATUS_PHRASE})[.!]?\Z",
            r"(?:http(?:/\d(?:\.\d)?)?|http error|error)\s+[45]\d\d[.!]?\Z",
            r"http error [45]\d\d: [\w -]{0,60}\Z",
            # what SDKs and HTTP clients print
            r"error code: [45]\d\d(?: ?[-–] ?.{0,900})?\Z",
            r"status_code: [45]\d\d, model_name: ",
            r"(?:\w*error: )?request failed with status code [45]\d\d[.!]?\Z",
            r"(?:[\w.]*http\w*error: )?[45]\d\d (?:client|server) error: .{0,300}\bfor url\b",
            r"(?:[\w.]+: )?(?:server|client) error '[45]\d\d[^']*' for url",
            r"(?:[\w.]+: )?https?connectionpool\(host=",
            r"(?:[\w.]+\.)?(?:apiconnection|apistatus|apitimeout|internalserver|ratelimit|serviceunavailable"
            r"|remoteprotocol|clientconnector|serverdisconnected|connecttimeout|readtimeout|overloaded|badgateway)"
            r"(?:error)?: .{0,900}\Z",
            r"(?:litellm|openai|anthropic|httpx|httpcore|requests|urllib3|aiohttp|botocore|google|grpc|groq|mistralai)"
            r"\.[\w.]*(?:error|exception|timeout)\b: ?.{0,900}\Z",
            # proxies and load balancers
            r"upstream (?:connect error or disconnect/reset\b|connect error\b.{0,200}\Z|request timeout[.!]?\Z)",
            r"no healthy upstream\Z",
            r"stream timeout\Z",
            # the operating system and the network
            r"(?:[\w.]*error: )?\[errno -?\d+\] .{0,300}\Z",
            r"(?:error: )?(?:(?:connect|read|write|getaddrinfo|socket|network|fetch) )?"
            r"(?:econnrefused|econnreset|etimedout|enotfound|eai_again|epipe|ehostunreach|enetunreach|econnaborted)\b"
            r".{0,120}\Z",
            r"curl: \(\d+\) ",
            r"(?:typeerror: )?(?:fetch failed|failed to fetch)\Z",
            r"(?:error: )?socket hang up\Z",
            r"(?:request timed out|connection error|connection refused|connection reset by peer)[.!]?\Z",
            # gRPC
            r"rpc error: code = \w+ desc = ",
            r"<_(?:inactive|multithreaded|aio)\w*rpc\w* of rpc that terminated with",
            r"\d{1,2} (?:unavailable|deadline_exceeded|resource_exhausted|internal): ",
            # what model providers say of themselves
            r"rate limit (?:reached for \S+ (?:in|on) |(?:reached|exceeded)"
            r"(?:[.!,:]? (?:please )?(?:try again|retry|slow down|wait)\b.{0,80}|[.!]?)\Z)",
            r"you exceeded your current quota, please check your plan",
            r"the server had an error (?:while )?processing your request(?:[.!]?\Z|[.!] sorry about that)",
            r"the server is (?:currently )?overloaded(?: or not ready yet)?(?:[.!]?\Z|[,.] please (?:try|retry))",
            r"(?:that|the) model is (?:currently )?overloaded(?:[.!]?\Z| with other requests|\. please try again)",
            r"the engine is currently overloaded(?:[.!]?\Z|[,.] please (?:try|retry))",
            r"an internal error has occurred\. please retry or report",
            r"this request would exceed (?:your|the) (?:\w+'s )?(?:account's )?rate limit",
            r"this model's maximum context length is \d+ tokens[.,] (?:however|but)\b",
        )
    ),
    re.IGNORECASE,
)

# After a report like these: it is told of, not made.
_EXPLAINED = re.compile(r"\bmeans (?:that|you|the|it|there)\b|\b(?:that|this|which) is what\b|\bis (?:what|raised)\b")

_MARKUP_5XX = re.compile(
    rf"<(?:title|h1)[^>]*>[^<]{{0,60}}?(?:\b5\d\d\b|{_STATUS_PHRASE}|application error|web server is down)",
    re.IGNORECASE,
)
_MARKUP_OF_SERVER = re.compile(
    r"<center>\s*(?:nginx|openresty|cloudflare|tengine)|<address>\s*apache|cf-error-details|<error>\s*<code>"
    r"|attention required! \| cloudflare|<title>\s*just a moment",
    re.IGNORECASE,
)
_MARKUP_START = re.compile(r"<(?:!doctype html|html|head|\?xml|error\b|title)", re.IGNORECASE)

_TRACE_END = re.compile(
    r"[A-Za-z_][\w.]*(?:Error|Exception|Exit|Failure|Interrupt|Iteration|Timeout|Warning|\.[A-Z]\w*)(?:: .*|:?\Z)"
)
_FRAME = re.compile(r"\s+at \S.*[(:]|\s*\.\.\. \d+ more|caused by: ", re.IGNORECASE)
_FRAMED_HEAD = re.compile(
    r"(?:exception in thread |uncaught |unhandled exception\. )?[\"'\w.$ -]*(?:error|exception)\b", re.IGNORECASE
)
_GO_END = re.compile(r"\s|[\w./*(){}]+\(.*\)\Z|goroutine \d+ \[|exit status ")
_GO_PANIC = re.compile(r"panic: .{0,500}?\n\s*goroutine \d+ \[", re.DOTALL)


def looks_like_error_text(text: str) -> bool:
    """Whether `text` is nothing but an error: a document, a page, a report line or a stack trace."""
    text = text.strip()
    first = text[:1]
    if first in ("{", "["):
        return _is_error_json(text) or (first == "[" and _is_report(text[:_MAX_LINE_CHARS]))
    if first == "<":
        return _is_error_markup(text)
    if "\n" in text:
        return _is_stack_trace(text)
    return len(text) <= _MAX_LINE_CHARS and _is_report(text)


def looks_like_error_object(value: dict[Any, Any]) -> bool:
    """Whether a JSON object is nothing but an error in its envelope."""
    if not value or (_says_more(value) and not _may_deny(value)):
        return False  # most answers go no further
    lowered = {_lowered(key): item for key, item in value.items()}
    error = lowered.get("error") or lowered.get("errors")
    refused = lowered.get("ok") is False or lowered.get("success") is False
    if error and refused:
        return True
    if _says_more(value):
        return False
    if error and error is not True:
        return True
    status = lowered.get("status")
    if "path" not in lowered:  # with a path, the status may be what was asked for
        code = lowered.get("status_code", lowered.get("statuscode"))
        if _is_http_error(status) or _is_http_error(code):
            return True
    explained = any(lowered.get(key) for key in _EXPLAINS)
    if explained and (refused or status == "error" or lowered.get("__type")):  # the last is Amazon's
        return True
    if _is_http_error(lowered.get("code")) and any(lowered.get(key) for key in _SAYS):
        return True
    said = [item for item in lowered.values() if item not in (None, "", False)]
    return len(said) == 1 and isinstance(said[0], str) and explained and _PHRASE.match(said[0].strip()) is not None


def _is_report(line: str) -> bool:
    return _LINE.match(line) is not None and _EXPLAINED.search(line) is None


def _lowered(key: Any) -> Any:
    return key.lower() if isinstance(key, str) else key


def _says_more(value: dict[Any, Any]) -> bool:
    """Whether there is anything in it that no error's envelope holds."""
    return any(item not in (None, "", False) and str(key).lower() not in _ENVELOPE for key, item in value.items())


def _may_deny(value: dict[Any, Any]) -> bool:
    """Whether a key of it says how it went. All keys are looked at in one: what is found here may still be none."""
    keys = "\n".join(map(str, value)).lower()
    return any(word in keys for word in _DENIES)


def _is_http_error(status: Any) -> bool:
    return isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599


def _is_error_json(text: str) -> bool:
    if len(text) > _MAX_DOCUMENT_CHARS or text[-1] not in "}]":
        return False
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        if not text.startswith(("{'error", "{'detail", "{'message", "{'type': 'error'", "{'status")):
            return False
        try:
            value = ast.literal_eval(text)  # a Python dict that somebody printed
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return False
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return isinstance(value, dict) and looks_like_error_object(value)


def _is_error_markup(text: str) -> bool:
    if not text.endswith(">"):  # the page is followed by words about it
        return False
    head = text[:_HEAD_CHARS]
    if _MARKUP_START.match(head) is None:
        return _is_report(head[:_MAX_LINE_CHARS])  # gRPC's reports begin with <
    return _MARKUP_5XX.search(head) is not None or _MARKUP_OF_SERVER.search(head) is not None


def _is_stack_trace(text: str) -> bool:
    """A trace and nothing after it: an answer that explains a trace goes on in words."""
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0]
    if first.startswith("Traceback (most recent call last):"):
        return "\n  File " in text and _TRACE_END.match(lines[-1]) is not None
    if first.startswith(("Error code: ", "status_code: ")) and text.endswith(("}", ">")):
        return _is_report(first)
    if _FRAMED_HEAD.match(first) is not None:
        return all(_FRAME.match(line) is not None for line in lines[1:])
    if first.startswith("panic: "):
        return _GO_PANIC.match(text) is not None and _GO_END.match(lines[-1]) is not None
    return False
