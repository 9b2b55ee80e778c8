"""A model of one's own as an agent without a framework has models: a function of a prompt."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from plimsoll.adapters.common.local import answered
from plimsoll.core.canonical import canonical_json
from plimsoll.learning.local import LocalCall, LocalModel
from plimsoll.runtime.models import ModelFunction, ModelReply

__all__ = ["own_function"]


def own_function(own: LocalModel, rung: str = "local") -> ModelFunction:
    """The model `own` as the function of the rung `rung`.

    A prompt is written as OpenAI's chat completions are asked, `{"messages": […], "tools": […]}`, or as the list of
    messages alone; any other text or JSON is what a user says. Calls come back in the same form.
    """

    async def ask(prompt: Any) -> ModelReply:
        messages, tools = _asked(prompt)
        reply = await answered(own, messages, tools, rung=rung)
        seed = canonical_json(prompt)
        calls = [_call(call, sha256(b"%d" % index + seed).hexdigest()) for index, call in enumerate(reply.calls)]
        return ModelReply(text=reply.text, tool_calls=tuple(calls))

    return ask


def _call(call: LocalCall, name: str) -> dict[str, Any]:
    arguments = canonical_json(call.arguments).decode()
    return {"id": f"call_{name[:24]}", "type": "function", "function": {"name": call.tool, "arguments": arguments}}


def _asked(prompt: Any) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
    """Messages and tools of a prompt."""
    if isinstance(prompt, Mapping) and _is_conversation(prompt.get("messages")):
        return prompt["messages"], prompt.get("tools") or ()
    if _is_conversation(prompt):
        return prompt, ()
    text = prompt if isinstance(prompt, str) else canonical_json(prompt).decode()
    return [{"role": "user", "content": text}], ()


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and "role" in one for one in value)
