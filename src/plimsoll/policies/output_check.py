"""The output check: is what came back an answer at all?"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from plimsoll.contract.model import Fresh, OutputRule
from plimsoll.core.calls import Fault
from plimsoll.policies.error_documents import looks_like_error_object, looks_like_error_text

__all__ = ["OutputProblem", "check_text", "check_value"]

_BLANK = " \t\n\r\f\v\x00\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\u200b\u200c\u200d\u2060\ufeff"
_BLANK += "".join(map(chr, range(0x2000, 0x200B)))

# What providers call it. Compared in lower case.
_TRUNCATED = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
_FILTERED = frozenset(
    {"content_filter", "content_filtered", "safety", "refusal", "recitation", "blocklist", "prohibited_content"}
    | {"spii", "guardrail_intervened"}
)

_LEAST_MILLISECONDS = 1e11
"""Read as seconds, this would be in the year 5138; read as milliseconds, in 1973."""

_encode = msgspec.json.Encoder().encode

_IS_TYPE: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, (list, tuple)),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
    "boolean": lambda value: isinstance(value, bool),
}


@dataclass(frozen=True, slots=True)
class OutputProblem:
    """Why an answer is none. `detail` says what is wrong and quotes nothing of the answer."""

    fault: Fault
    detail: str


_NO_TEXT = OutputProblem(Fault.EMPTY, "there is no text")
_BLANK_TEXT = OutputProblem(Fault.WHITESPACE, "there is nothing but white space")
_ERROR_TEXT = OutputProblem(Fault.ERROR_IN_SUCCESS, "the text is an error report, delivered as a success")
_ERROR_VALUE = OutputProblem(Fault.ERROR_IN_SUCCESS, "the value is an error, delivered as a success")
_NO_VALUE = OutputProblem(Fault.EMPTY, "the value is empty")
_NOT_UNICODE = OutputProblem(Fault.MALFORMED, "the text holds half of a surrogate pair, which no encoding can carry")
_NOT_FINITE = OutputProblem(Fault.MALFORMED, "the value holds NaN or an infinity, which JSON cannot carry")
_NOT_JSON = OutputProblem(Fault.MALFORMED, "the value is not JSON")


def check_text(text: str | None, *, finish_reason: str | None, has_tool_calls: bool) -> OutputProblem | None:
    """What is wrong with a model's answer, or None.

    `finish_reason` is the provider's, None when it gave none. An answer that calls tools needs no text. An answer
    that was cut or filtered is none, whatever it says; a text is refused as an error only when all of it is one.
    """
    if finish_reason is not None and finish_reason != "stop":
        problem = _check_finish(finish_reason.lower())
        if problem is not None:
            return problem
    if has_tool_calls:
        return None
    if not text:
        return _NO_TEXT
    return _check_string(text)


def check_value(
    value: Any, rule: OutputRule, *, parsed: bool = False, now: Callable[[], float] | None = None
) -> OutputProblem | None:
    """What is wrong with a tool's result, or None. `value` is JSON, as Python's own types; `parsed` says that it was
    read from JSON, so that there is no need to look whether it is. `now` gives the wall-clock time (None: nobody looks
    how old the answer is).

    Looked at in this order: NaN and infinities, emptiness, an error in disguise, the type, the required keys, the age.
    With `may_be_empty`, null is right for every type and an empty object needs no keys. Where the rule says nothing of
    it, null, [] and {} are answers as far as nothing that it declares speaks against them; a blank text is none.
    """
    problem = None if parsed else _check_json(value)
    if problem is not None:
        return problem
    if value is None or (isinstance(value, (str, list, tuple, dict)) and not value):
        if not _may_be_empty(value, rule):
            return _NO_VALUE
        return None if value is None else _check_type(value, rule)
    if isinstance(value, str):
        problem = _check_string(value)
        if problem is not None and not _is_allowed(problem, rule):
            return problem
        if rule.pattern is not None and re.fullmatch(rule.pattern, value) is None:
            return OutputProblem(Fault.WRONG_SHAPE, f"the text does not match {rule.pattern}")
    elif isinstance(value, dict) and not rule.may_look_like_error and looks_like_error_object(value):
        return _ERROR_VALUE
    problem = _check_type(value, rule) or _check_required(value, rule)
    if problem is None and rule.fresh is not None and now is not None:
        return _check_age(value, rule.fresh, now())
    return problem


def _check_finish(reason: str) -> OutputProblem | None:
    if reason in _TRUNCATED:
        return OutputProblem(Fault.TRUNCATED, f"the answer was cut off (finish_reason {reason})")
    if reason in _FILTERED:
        return OutputProblem(Fault.FILTERED, f"the provider withheld the answer (finish_reason {reason})")
    if reason == "error":
        return OutputProblem(Fault.ERROR_IN_SUCCESS, "the provider broke off with an error (finish_reason error)")
    return None


def _check_string(text: str) -> OutputProblem | None:
    if not text.strip(_BLANK):
        return _BLANK_TEXT
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return _NOT_UNICODE
    return _ERROR_TEXT if looks_like_error_text(text) else None


def _is_allowed(problem: OutputProblem, rule: OutputRule) -> bool:
    if problem.fault is Fault.WHITESPACE:
        return rule.may_be_empty is True
    return problem.fault is Fault.ERROR_IN_SUCCESS and rule.may_look_like_error


def _may_be_empty(value: Any, rule: OutputRule) -> bool:
    """Whether this empty value is an answer. A blank text is what a lost body looks like, so it has to be allowed."""
    if rule.may_be_empty is not None:
        return rule.may_be_empty
    if value == "" or rule.required or rule.pattern is not None or rule.fresh is not None:
        return False
    return rule.type is None or _check_type(value, rule) is None


def _check_json(value: Any) -> OutputProblem | None:
    if value is None or isinstance(value, (str, bool, int)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else _NOT_FINITE
    try:
        encoded = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _NOT_JSON
    # The encoder writes NaN and infinities as null: only where there is one is the value walked through.
    return _NOT_FINITE if b"null" in encoded and _has_non_finite(value) else None


def _has_non_finite(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return True
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
    return False


def _check_type(value: Any, rule: OutputRule) -> OutputProblem | None:
    if rule.type is None:
        return None
    if _IS_TYPE[rule.type](value):
        return None
    return OutputProblem(Fault.WRONG_SHAPE, f"expected {rule.type}, got {_json_type(value)}")


def _check_required(value: Any, rule: OutputRule) -> OutputProblem | None:
    if not rule.required:
        return None
    if not isinstance(value, dict):
        return OutputProblem(Fault.WRONG_SHAPE, f"expected object, got {_json_type(value)}")
    missing = [key for key in rule.required if key not in value]
    return OutputProblem(Fault.WRONG_SHAPE, f"missing: {', '.join(missing)}") if missing else None


def _check_age(value: Any, fresh: Fresh, now: float) -> OutputProblem | None:
    for key in fresh.field.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    at = _unix_s(value)
    if at is None:
        return OutputProblem(Fault.WRONG_SHAPE, f"{fresh.field} is missing, or no date with a time zone")
    if now - at > fresh.max_age_s:
        return OutputProblem(Fault.STALE, f"{fresh.field} is {now - at:.0f} s old, {fresh.max_age_s:g} s are allowed")
    return None


def _unix_s(date: Any) -> float | None:
    """The date as Unix seconds; None where it is none."""
    if isinstance(date, (int, float)) and not isinstance(date, bool):
        return date / 1000.0 if abs(date) >= _LEAST_MILLISECONDS else float(date)
    if not isinstance(date, str):
        return None
    try:
        at = datetime.fromisoformat(date.strip())
        return None if at.tzinfo is None else at.timestamp()
    except (ValueError, OverflowError):
        return None


def _json_type(value: Any) -> str:
    return next((name for name, is_type in _IS_TYPE.items() if is_type(value)), type(value).__name__)
