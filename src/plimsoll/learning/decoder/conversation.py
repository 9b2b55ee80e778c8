"""A conversation, from messages as OpenAI's chat completions have them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from plimsoll.core.errors import Misuse
from plimsoll.learning.errors import NotSure

__all__ = ["Role", "Turn", "WrittenCall", "read_messages"]

Role = Literal["system", "user", "assistant", "tool"]
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenCall:
    """A call of an earlier turn. `id` is what its result names."""

    id: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one side said. A tool's turn is the result of the call `answers`, which was one of `tool`."""

    role: Role
    text: str = ""
    calls: tuple[WrittenCall, ...] = ()
    tool: str = ""
    answers: str = ""


def read_messages(messages: Sequence[Any]) -> tuple[Turn, ...]:
    """The conversation. Raises `Misuse` for what is none, and `NotSure` for what is no text."""
    if not messages:
        raise Misuse("there is no message: nothing was asked")
    turns: list[Turn] = []
    tools: dict[str, str] = {}
    for number, message in enumerate(messages, 1):
        role = _ROLES.get(str(message.get("role"))) if isinstance(message, Mapping) else None
        if role is None:
            raise Misuse(f"message {number} has none of the roles {', '.join(_ROLES)}")
        text = "".join(_texts(message.get("content"), number))
        calls = tuple(_calls(message.get("tool_calls"), number)) if role == "assistant" else ()
        tools |= {call.id: call.tool for call in calls}
        answers = str(message.get("tool_call_id") or "") if role == "tool" else ""
        turns.append(Turn(role=role, text=text, calls=calls, tool=tools.get(answers, "a tool"), answers=answers))
    return tuple(turns)


def _texts(content: Any, number: int) -> Iterator[str]:
    parts: Any = [] if content is None else [content] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise Misuse(f"the content of message {number} is neither a text nor a list of parts")
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        if kind not in ("text", "refusal"):
            raise NotSure(f"message {number} holds a part of type {kind!r}; this model reads texts alone")
        text = part.get(kind) if isinstance(part, Mapping) else part
        if not isinstance(text, str):
            raise Misuse(f"message {number} holds a part that is no text")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise Misuse(
                f"message {number} is no Unicode text: {error.reason} at character {error.start + 1}"
            ) from error
        yield text


def _calls(calls: Any, number: int) -> Iterator[WrittenCall]:
    for call in calls or ():
        try:
            function, arguments = call["function"], call["function"].get("arguments") or {}
            if isinstance(arguments, str):
                arguments = msgspec.json.decode(arguments, type=dict[str, Any])
            yield WrittenCall(id=str(call.get("id") or ""), tool=str(function["name"]), arguments=dict(arguments))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise Misuse(f"message {number} has a tool call that cannot be read: {type(error).__name__}") from error
