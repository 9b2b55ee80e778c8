"""Chat completions: whether an answer is one, the parts of a streamed one, and how they make a whole.

https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from plimsoll.core.calls import Fault, Usage
from plimsoll.core.canonical import is_json
from plimsoll.policies.output_check import OutputProblem, check_text
from plimsoll.services.gateway.endpoint import (
    Json,
    Streamed,
    cap_refusal,
    check_function,
    invalid,
    is_count,
    named,
    usage_of,
)
from plimsoll.services.http import Failure

__all__ = ["CHAT"]

MAX_CHOICES = 128
_CAPS = ("max_completion_tokens", "max_tokens")
_CUT = "length"
_SAID_ONCE = frozenset({"id", "type", "role", "name", "index"})
"""What of a streamed message is repeated, and not continued, by a later part of it."""
_NOTHING = OutputProblem(Fault.EMPTY, "there is no text")
_BESIDES_TEXT = ("tool_calls", "function_call", "audio", "refusal")
_encode = msgspec.json.Encoder().encode


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[Any] | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Part(msgspec.Struct):
    """What is looked at of a part of a stream."""

    choices: list[_Choice] | None = None


class _Chat(Streamed):
    path = "/chat/completions"

    def refusal(self, body: Json) -> Failure | None:
        if not isinstance(body.get("messages"), list):
            return invalid("`messages` is missing, or is no list")
        choices = body.get("n")
        if choices is not None and not (is_count(choices) and 0 < choices <= MAX_CHOICES):
            return invalid(f"`n` is a whole number from 1 to {MAX_CHOICES}")
        return cap_refusal(body, *_CAPS)

    def sent(self, body: Json, most: int, *, cap: str) -> dict[str, Any]:
        """With no more output tokens for all of its choices together, and with its usage where it is streamed."""
        each = max(1, most // _choices(body))
        own = {name: min(body[name], each) for name in _CAPS if is_count(body.get(name))}
        sent = {**body, **(own or {cap: each})}
        if body.get("stream") is True:
            options = body.get("stream_options")
            sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return sent

    def check(self, asked: Json, body: Json, most: int) -> OutputProblem | None:
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices:
            return OutputProblem(Fault.MALFORMED, "there are no choices")
        each = max(1, most // _choices(asked))
        cuts = any(is_count(asked.get(name)) and asked[name] <= each for name in _CAPS)
        return next((problem for choice in choices if (problem := _check(asked, choice, cuts=cuts))), None)

    def usage(self, body: Json) -> Usage | None:
        return usage_of(body, asked="prompt_tokens", answered="completion_tokens")

    def wants_data(self, asked: Json) -> bool:
        wanted = asked.get("response_format")
        return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")

    def said(self, asked: Json, text: str, *, id: str, model: str) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        head = {"id": f"chatcmpl-{id}", "object": "chat.completion", "created": 0, "model": model}
        return {**head, "choices": [choice], "usage": usage}

    def says(self, part: Json) -> bool:
        msgspec.convert(part, _Part)
        deltas = [choice.get("delta") or {} for choice in part.get("choices") or ()]
        return any(value for delta in deltas for name, value in delta.items() if name != "role")

    def is_shown(self, part: Json, asked: Json) -> bool:
        """The tokens are shown to whoever wants them: they were asked for by us."""
        return bool(part.get("choices")) or "usage" not in part or _wants_usage(asked)

    def assembled(self, parts: Iterable[Json]) -> dict[str, Any]:
        whole: dict[str, Any] = {}
        choices: dict[int, dict[str, Any]] = {}
        for part in parts:
            whole |= {name: value for name, value in part.items() if name != "choices" and value is not None}
            for choice in part.get("choices") or ():
                index = choice.get("index", 0)
                into = choices.setdefault(index, {"index": index, "message": {}, "finish_reason": None})
                _merge(into["message"], choice.get("delta") or {})
                rest = {
                    name: value
                    for name, value in choice.items()
                    if name not in ("delta", "index", "message") and value is not None
                }
                _merge(into, rest)
        for choice in choices.values():
            for call in choice["message"].get("tool_calls") or ():
                call.pop("index", None)
        return {**whole, "object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]}

    def is_ended(self, body: Json) -> bool:
        choices = body["choices"]
        return bool(choices) and all(choice["finish_reason"] is not None for choice in choices)

    def unfolded(self, body: Json) -> Iterator[dict[str, Any]]:
        """The last part has the usage, where there is any."""
        frame = {name: value for name, value in body.items() if name not in ("choices", "usage")}
        frame["object"] = "chat.completion.chunk"
        for choice in body.get("choices") or ():
            message = dict(choice.get("message") or {})
            if message.get("tool_calls"):
                message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(message["tool_calls"])]
            index = choice.get("index", 0)
            said = {**choice, "index": index, "delta": message, "finish_reason": None}
            said.pop("message", None)
            yield {**frame, "choices": [said]}
            yield {**frame, "choices": [{"index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}]}
        if body.get("usage") is not None:
            yield {**frame, "choices": [], "usage": body["usage"]}

    def event(self, part: Json, *, model: str, number: int) -> bytes:
        return b"data: " + _encode(named(part, model)) + b"\n\n"

    def last(self, body: Json, *, model: str, number: int) -> bytes:
        return b"data: [DONE]\n\n"

    def broken(self, failure: Failure, *, number: int) -> bytes:
        return b"data: " + _encode(failure.body) + b"\n\n"


CHAT = _Chat()


def _check(asked: Json, choice: Json, *, cuts: bool) -> OutputProblem | None:
    message, finish = choice["message"], choice.get("finish_reason")
    besides = any(message.get(name) for name in _BESIDES_TEXT)
    text = _text(message.get("content"))
    if cuts and finish == _CUT:
        return None if text or besides or message.get("reasoning_content") else _NOTHING
    problem = check_text(text, finish_reason=finish, has_tool_calls=besides)
    if problem is not None:
        return problem
    for call in message.get("tool_calls") or ():
        function = call.get("function")  # None: a tool of another kind, whose input is a text
        problem = None if function is None else check_function(function.get("name"), function.get("arguments"))
        if problem is not None:
            return problem
    if CHAT.wants_data(asked) and not besides and not is_json(text):
        return OutputProblem(Fault.MALFORMED, "the answer should be JSON and is not")
    return None


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        had = into.get(name)
        if had is None or name in _SAID_ONCE:
            if name not in into or value not in (None, ""):  # some repeat it as an empty text
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


def _choices(body: Json) -> int:
    count = body.get("n")
    return count if is_count(count) and isinstance(count, int) and count > 0 else 1


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _wants_usage(asked: Json) -> bool:
    options = asked.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
