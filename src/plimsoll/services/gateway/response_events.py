"""The events that a streamed response comes in, and a whole response as events.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["ENDS", "as_far_as_it_came", "says", "unfolded"]

ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
"""The types of the event that ends a stream. It has the whole response."""
_TYPE = re.compile(r"[a-z0-9_.]{1,100}")
_SILENT = ("message", "reasoning", None)
"""The types of items that say nothing by being begun."""
_TEXT_IN = {"output_text": "text", "refusal": "refusal"}
"""Where the parts of a message have what they say."""

Json = dict[str, Any]


def says(part: Mapping[str, Any]) -> bool:
    """Whether an event says anything yet. Raises `ValueError` for what is no event."""
    kind = part.get("type")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise ValueError("an event has no type")
    if kind in ENDS and not isinstance(part.get("response"), dict):
        raise ValueError("the event that ends a stream has no response")
    if kind == "response.output_item.added":
        return _type(part.get("item")) not in _SILENT
    return kind.endswith(".delta") and bool(part.get("delta"))


def as_far_as_it_came(parts: Iterable[Mapping[str, Any]]) -> Json:
    """The response of a stream that did not come to its end: its items, with what was said of them."""
    head: Json = {"object": "response"}
    items: dict[Any, Json] = {}
    said: dict[Any, str] = {}
    for part in parts:
        place, item, delta = part.get("output_index"), part.get("item"), part.get("delta")
        if isinstance(part.get("response"), dict):
            head = part["response"]
        elif not isinstance(place, int):
            continue
        elif isinstance(item, dict):
            items[place] = item
        elif isinstance(delta, str):
            said[place] = said.get(place, "") + delta
    output = [_with(items.get(place, {}), said.get(place, "")) for place in sorted({*items, *said})]
    return {**head, "status": "in_progress", "output": output}


def _with(item: Json, text: str) -> Json:
    """An item with the text that came for it; as it is where none did, since it came at once."""
    if not text:
        return item
    match item.get("type"):
        case "message":
            return {**item, "content": [{"type": "output_text", "text": text, "annotations": []}]}
        case "function_call":
            return {**item, "arguments": text}
        case _:
            return {**item, "text": text}


def unfolded(body: Mapping[str, Any]) -> Iterator[Json]:
    """A whole response as the events of a stream, the one that ends it included."""
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for place, item in enumerate(body.get("output") or ()):
        at = {"output_index": place, "item_id": item.get("id", "")}
        yield {"type": "response.output_item.added", "output_index": place, "item": _begun(item)}
        match item.get("type"):
            case "message":
                for index, content in enumerate(item.get("content") or ()):
                    yield from _content(content, {**at, "content_index": index})
            case "function_call":
                arguments = item.get("arguments", "")
                yield {"type": "response.function_call_arguments.delta", **at, "delta": arguments}
                done = {"name": item.get("name", ""), "arguments": arguments}
                yield {"type": "response.function_call_arguments.done", **at, **done}
        yield {"type": "response.output_item.done", "output_index": place, "item": item}
    yield {"type": f"response.{body.get('status') or 'completed'}", "response": body}


def _content(content: Json, at: Json) -> Iterator[Json]:
    """A part of a message."""
    kind = content.get("type", "")
    field = _TEXT_IN.get(kind)
    if field is not None:
        text = content.get(field, "")
        more: Json = {"logprobs": []} if field == "text" else {}
        yield {"type": "response.content_part.added", **at, "part": {**content, field: ""}}
        yield {"type": f"response.{kind}.delta", **at, "delta": text, **more}
        yield {"type": f"response.{kind}.done", **at, field: text, **more}
    else:
        yield {"type": "response.content_part.added", **at, "part": content}
    yield {"type": "response.content_part.done", **at, "part": content}


def _begun(item: Json) -> Json:
    """An item as it is when it begins. Only of those that come in parts is it known."""
    match item.get("type"):
        case "message":
            return {**item, "status": "in_progress", "content": []}
        case "function_call":
            return {**item, "status": "in_progress", "arguments": ""}
        case _:
            return item


def _type(item: Any) -> Any:
    return item.get("type") if isinstance(item, dict) else None
