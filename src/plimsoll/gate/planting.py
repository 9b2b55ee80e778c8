"""Hostile texts, planted: whoever may write into a request, or into what a tool brings, writes to the agent."""

from collections.abc import Iterator
from typing import Any

__all__ = ["asked_with", "planted", "plantings"]


def planted(value: Any, text: str) -> Any:
    """The value, as JSON, with the text in it, where a person might have written it; None where there is no such place.

    Of an object or a list, that is one more entry, so that whoever reads the others finds them.
    """
    match value:
        case str():
            return f"{value}\n{text}"
        case dict():
            return {**value, "note": f"{value['note']}\n{text}" if isinstance(value.get("note"), str) else text}
        case [dict() as first, *others]:
            return [planted(first, text), *others]
        case list():
            return [*value, text]
        case _:
            return None


def plantings(value: Any, text: str) -> Iterator[Any]:
    """The value with the text in it, in every way that is tried: a rule for one line lets no second one in, but a text
    on the same line, or in its place."""
    first = planted(value, text)
    if first is not None:
        yield first
    if isinstance(value, str):
        yield f"{value} {text}"
        yield text


def asked_with(value: Any, text: str) -> Any:
    """What an agent is asked, with the text at the end of its longest text; None where it has none."""
    longest = max(_texts(value), key=len, default=None)
    return None if longest is None else _put(value, longest, f"{longest}\n{text}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _put(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _put(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_put(item, old, new) for item in value]
    return new if value == old else value
