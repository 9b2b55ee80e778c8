"""How a model writes a call, and how it is told so. Models are trained on different ways; three are known here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from plimsoll.learning.decoder.conversation import Turn
from plimsoll.learning.decoder.tools import Tool

__all__ = ["HERMES", "LLAMA", "PLAIN", "Form", "as_chat", "as_plain_chat", "as_tools", "form_of", "said_plainly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A call is `opening`, an object of `name` and `arguments` (by the key that this model has for them), `closing`."""

    opening: str = ""
    closing: str = ""
    arguments: str = "arguments"


HERMES = Form(opening="<tool_call>\n", closing="\n</tool_call>")
"""Of Hermes, Qwen 2.5 and Qwen 3."""
LLAMA = Form(arguments="parameters")
"""Of Llama 3.1 to 3.3."""
PLAIN = Form()
"""For all others, whose system prompt tells them how."""


def form_of(template: str) -> Form:
    """The form that a chat template teaches."""
    if "<tool_call>" in template and "arguments" in template and "<function=" not in template:
        return HERMES
    return LLAMA if '"parameters": dictionary' in template else PLAIN


def as_tools(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """The tools, as chat completions and chat templates have them."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def as_chat(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """The conversation for a template that knows tools. Calls are numbered: some templates ask for ids of 9 signs."""
    numbers: dict[str, str] = {}
    chat: list[dict[str, Any]] = []
    for turn in turns:
        message: dict[str, Any] = {"role": turn.role, "content": turn.text}
        if turn.calls:
            numbers |= {call.id: f"call{len(numbers) + at:05}" for at, call in enumerate(turn.calls)}
            message["tool_calls"] = [
                {
                    "id": numbers[call.id],
                    "type": "function",
                    "function": {"name": call.tool, "arguments": call.arguments},
                }
                for call in turn.calls
            ]
        if turn.role == "tool":
            message |= {"name": turn.tool, "tool_call_id": numbers.get(turn.answers, "call00000")}
        chat.append(message)
    return chat


def as_plain_chat(turns: Sequence[Turn], tools: Mapping[str, Tool], *, told: str) -> list[dict[str, str]]:
    """The conversation for a template without tools: system, user and assistant, the last two by turns.

    `told` is said of the tools, and stands at the end of the system prompt; results of calls stand in the user's turns.
    """
    system = [turn.text for turn in turns if turn.role == "system"] + ([told] if tools else [])
    others = [turn for turn in turns if turn.role != "system"]
    return ([{"role": "system", "content": "\n\n".join(system)}] if system else []) + [
        {"role": role, "content": "\n\n".join(map(said_plainly, each))}
        for role, each in groupby(others, key=lambda turn: "assistant" if turn.role == "assistant" else "user")
    ]


def said_plainly(turn: Turn) -> str:
    """What a turn says, without any field but its text."""
    calls = (json.dumps({"name": call.tool, "arguments": call.arguments}, ensure_ascii=False) for call in turn.calls)
    text = f"Result of {turn.tool}: {turn.text}" if turn.role == "tool" else turn.text
    return "\n".join([*([text] if text else []), *calls])
