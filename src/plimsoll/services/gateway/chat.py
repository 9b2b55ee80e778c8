"""Chat completions: whether an answer is one, the parts of a streamed one, and how they make a whole.

https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from plimsoll.core.calls import Fault, Usage
from plimsoll.policies.output_check import OutputProblem, check_text

__all__ = ["assembled", "capped", "check_chat", "has_substance", "unfolded", "usage_in"]

_CAPS = ("max_completion_tokens", "max_tokens")
_CUT = "length"
_SAID_ONCE = frozenset({"id", "type", "role", "name", "index"})
"""What of a streamed message is repeated, and not continued, by a later part of it."""
_NOTHING = OutputProblem(Fault.EMPTY, "there is no text")
_BESIDES_TEXT = ("tool_calls", "function_call", "audio", "refusal")


def capped(body: Mapping[str, Any], most: int, *, field: str) -> dict[str, Any]:
    """The request with no more output tokens than the contract counts with, for all of its choices together."""
    each = max(1, most // _choices(body))
    own = {name: min(body[name], each) for name in _CAPS if _is_count(body.get(name))}
    return {**body, **(own or {field: each})}


def check_chat(asked: Mapping[str, Any], body: Mapping[str, Any], most: int) -> OutputProblem | None:
    """What is wrong with an answer, or None. One that was cut where its client wanted it cut is whole."""
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return OutputProblem(Fault.MALFORMED, "there are no choices")
    each = max(1, most // _choices(asked))
    cuts = any(_is_count(asked.get(name)) and asked[name] <= each for name in _CAPS)
    return next((problem for choice in choices if (problem := _check(asked, choice, cuts=cuts))), None)


def _check(asked: Mapping[str, Any], choice: Mapping[str, Any], *, cuts: bool) -> OutputProblem | None:
    message, finish = choice["message"], choice.get("finish_reason")
    besides = any(message.get(name) for name in _BESIDES_TEXT)
    text = _text(message.get("content"))
    if cuts and finish == _CUT:
        return None if text or besides or message.get("reasoning_content") else _NOTHING
    problem = check_text(text, finish_reason=finish, has_tool_calls=besides)
    if problem is not None:
        return problem
    for call in message.get("tool_calls") or ():
        problem = _check_call(call)
        if problem is not None:
            return problem
    if _wants_json(asked) and not besides and not _is_json(text):
        return OutputProblem(Fault.MALFORMED, "the answer should be JSON and is not")
    return None


def _check_call(call: Mapping[str, Any]) -> OutputProblem | None:
    function = call.get("function")
    if function is None:
        return None  # a tool of another kind, whose input is a text
    if not function.get("name"):
        return OutputProblem(Fault.MALFORMED, "a tool call names no tool")
    arguments = function.get("arguments")
    if arguments and not _is_json(arguments, kind=dict):
        return OutputProblem(Fault.MALFORMED, "the arguments of a tool call are no JSON object")
    return None


def usage_in(body: Mapping[str, Any]) -> Usage | None:
    """The tokens that an answer says it used; None where it does not."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    asked, answered = usage.get("prompt_tokens", -1), usage.get("completion_tokens", 0)
    return Usage(input_tokens=asked, output_tokens=answered) if _is_count(asked) and _is_count(answered) else None


def has_substance(part: Mapping[str, Any]) -> bool:
    """Whether a part of a streamed answer says anything yet: that it begins, or ends, is nothing."""
    deltas = [choice.get("delta") or {} for choice in part.get("choices") or ()]
    return any(value for delta in deltas for name, value in delta.items() if name != "role")


def assembled(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer that the parts of a stream make."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for part in parts:
        whole |= {name: value for name, value in part.items() if name != "choices" and value is not None}
        for choice in part.get("choices") or ():
            index = choice.get("index", 0)
            into = choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
            _merge(into["message"], choice.get("delta") or {})
            rest = {
                name: value for name, value in choice.items() if name not in ("delta", "index") and value is not None
            }
            _merge(into, rest)
    for choice in choices.values():
        for call in choice["message"].get("tool_calls") or ():
            call.pop("index", None)
    return {**whole, "object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        had = into.get(name)
        if had is None or name in _SAID_ONCE:
            if value is not None or name not in into:
                into[name] = _copied(value)
        elif isinstance(had, str) and isinstance(value, str):
            into[name] = value if name == "finish_reason" else had + value
        elif isinstance(had, dict) and isinstance(value, dict):
            _merge(had, value)
        elif isinstance(had, list) and isinstance(value, list):
            _merge_items(had, value)
        elif value is not None:
            into[name] = value


def _merge_items(had: list[Any], more: Sequence[Any]) -> None:
    by_index = {item["index"]: item for item in had if isinstance(item, dict) and "index" in item}
    for item in more:
        known = by_index.get(item["index"]) if isinstance(item, dict) and "index" in item else None
        if known is None:
            had.append(_copied(item))
            if isinstance(item, dict) and "index" in item:
                by_index[item["index"]] = had[-1]
        else:
            _merge(known, item)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(item) for name, item in value.items()}
    if isinstance(value, list):
        items: list[Any] = []
        _merge_items(items, value) if any(isinstance(item, dict) for item in value) else items.extend(value)
        return items
    return value


def unfolded(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A whole answer as the parts of a stream; the last has its usage, where it has any."""
    frame = {name: value for name, value in body.items() if name not in ("choices", "usage")}
    frame["object"] = "chat.completion.chunk"
    for choice in body.get("choices") or ():
        message = dict(choice.get("message") or {})
        if message.get("tool_calls"):
            message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(message["tool_calls"])]
        index = choice.get("index", 0)
        yield {**frame, "choices": [{"index": index, "delta": message, "finish_reason": None}]}
        yield {**frame, "choices": [{"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}]}
    if body.get("usage") is not None:
        yield {**frame, "choices": [], "usage": body["usage"]}


def _choices(body: Mapping[str, Any]) -> int:
    count = body.get("n")
    return count if _is_count(count) and isinstance(count, int) and count > 0 else 1


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _wants_json(asked: Mapping[str, Any]) -> bool:
    wanted = asked.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _is_json(text: str, *, kind: type[Any] = object) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), kind)
    except (msgspec.DecodeError, RecursionError):
        return False
