"""Where an argument's value can be: in the words of the request, in the results so far, or among those that recur.

A *span* is a run of whole words of the request. A *leaf* is a value inside an earlier result, with the path to it: list
places, and keys that are ids or names, are `*` there, so that the path is the same for every customer.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plimsoll.core.canonical import as_text, canonical_json
from plimsoll.learning.conversations import Made

__all__ = [
    "Leaf",
    "Span",
    "Words",
    "cased",
    "fitted",
    "key_of",
    "kind_of",
    "leaves",
    "outline",
    "shape",
    "spans",
    "words",
]

MOST_WORDS = 8
"""The longest span, in words."""
MOST_LEAVES = 1000
_MAP_LIKE = 12
_LONGEST = 200
_WORD = re.compile(r"[^\W\d_]{3,}")
_ID = re.compile(r"_\d|\d{3}")
_RUN = re.compile(r"(.)\1+")
_ALIKE = re.compile(r"(\S+)(?: \1)+(?!\S)")
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Words:
    """A text's words as a tokenizer tells them: `first` and `last` are the tokens, `begin` and `end` the characters."""

    text: str
    first: tuple[int, ...]
    last: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """A run of words: its text, its first and its last token, and what the functions below tell of it."""

    value: str
    first: int
    last: int
    key: bytes
    shape: str
    outline: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value in the result of the call number `call`, at `path`, beside what the words `context` say."""

    value: Any
    path: str
    call: int
    context: frozenset[str]
    key: bytes
    shape: str


def spans(found: Words) -> list[Span]:
    """Every run of up to eight words."""
    made = []
    for at in range(len(found.first)):
        for to in range(at, len(found.first)):
            text = found.text[found.begin[at] : found.end[to]]
            if len(text.split()) > MOST_WORDS or len(text) > _LONGEST:
                break
            made.append(Span(text, found.first[at], found.last[to], key_of(text), shape(text), outline(text)))
    return made


def leaves(calls: Sequence[Made]) -> list[Leaf]:
    """The values inside all results, the earliest first; of more than a thousand, the latest."""
    found = [leaf for number, call in enumerate(calls) for leaf in _of(call.result, call.tool, number, frozenset())]
    return found[-MOST_LEAVES:]


def _of(value: Any, path: str, call: int, context: frozenset[str]) -> Iterator[Leaf]:
    if isinstance(value, Mapping):
        alike = len(value) > _MAP_LIKE or not all(map(_is_field, value))
        beside = frozenset() if alike else _beside(value)
        for key, item in value.items():
            yield from _of(item, f"{path}.{'*' if alike else key}", call, beside | (words(key) if alike else context))
    elif isinstance(value, list):
        for item in value:
            yield from _of(item, f"{path}.*", call, context)
    elif value is not None and len(str(value)) <= _LONGEST:
        yield Leaf(value, path, call, context, key_of(value), shape(value))


def _is_field(key: str) -> bool:
    """Whether a key names a field (`address2`), and is no datum, as `card_1` is, or `Trail Lantern`."""
    return key.isidentifier() and _ID.search(key) is None


def _beside(document: Mapping[str, Any]) -> frozenset[str]:
    """The words of an object's own fields, and of objects right in it: what an item is called, and its options."""
    values = [item for item in document.values() if isinstance(item, str)]
    inner = (item for item in document.values() if isinstance(item, Mapping) and len(item) <= _MAP_LIKE)
    values += [item for each in inner for item in each.values() if isinstance(item, str)]
    return words(" ".join(values))


def words(text: str) -> frozenset[str]:
    """The words of three letters and more, in small letters, without the plural's s."""
    return frozenset(word.removesuffix("s") for word in _WORD.findall(text.lower()))


def shape(value: Any) -> str:
    """What a value looks like: `#W2378156` is `#A9`, `2.5` is `9.9`, `it came late` is `a+`. Runs count once."""
    kinds = "".join("9" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in str(value))
    return _ALIKE.sub(r"\1+", _RUN.sub(r"\1", kinds))[:40]


def cased(text: str, seen: frozenset[str]) -> str:
    """`text`, or where it has none of these shapes, as it is written with capitals or without where that has one."""
    return next((each for each in (text, text.title(), text.upper(), text.lower()) if shape(each) in seen), text)


def outline(value: Any) -> str:
    """What a value is held together by: `kim.lee7@example.com` is `.@`, a text of several words has a blank in it."""
    return "".join(sorted({" " if c.isspace() else c for c in str(value) if not c.isalnum()}))


def kind_of(value: Any) -> str:
    """The JSON type of a value: `string`, `number`, `boolean`, `null`, `array` or `object`."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "object"


def fitted(value: Any, kinds: Sequence[str]) -> Any:
    """`value` as one of these JSON types, where it says such a one: the text `$12` says the number 12. Else None."""
    if kind_of(value) in kinds:
        return value
    if isinstance(value, str) and "number" in kinds:
        text = value.strip("$€£% ")
        if _NUMBER.fullmatch(text):
            number = float(text.replace(",", ""))
            return int(number) if number.is_integer() and "." not in text else number
    if kind_of(value) == "number" and "string" in kinds:
        return as_text(value)
    return None


def key_of(value: Any) -> bytes:
    """What two equal JSON values have in common: 12 and 12.0 are equal."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return canonical_json(value)
