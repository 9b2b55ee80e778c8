"""The course of a conversation in a few words: what was called of late, and what came of it.

Of a result, only its words are told ("status pending"): numbers and ids differ from one customer to the next.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from plimsoll.learning.conversations import Made

__all__ = ["NOTHING_YET", "course", "summary"]

NOTHING_YET = "nothing yet"
_CALLS = 3
_FIELDS = 3
_WORDS = 4
_WORDS_OF_TEXT = 8
_DIGIT = re.compile(r"\d")


def course(calls: Sequence[Made]) -> str:
    """The last three calls, the latest first."""
    told = (f"{call.tool.replace('_', ' ')}: {summary(call.result)}" for call in reversed(calls[-_CALLS:]))
    return ". ".join(told) or NOTHING_YET


def summary(result: Any) -> str:
    """A result in a few words: an object's short fields without digits, the beginning of a sentence, or `ok`."""
    if isinstance(result, Mapping):
        return ", ".join([f"{key} {value}" for key, value in result.items() if _tells(value)][:_FIELDS]) or "ok"
    if isinstance(result, str) and " " in result.strip():
        return " ".join(result.split()[:_WORDS_OF_TEXT])
    return "none" if result in (None, "", [], False) else "ok"


def _tells(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value.split()) <= _WORDS and not _DIGIT.search(value)
