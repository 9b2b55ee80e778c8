"""A model of one's own as an agent asks it: the seam between what is learned here and the rungs of a ladder.

Messages and tools are as OpenAI's chat completions have them, which every framework can write: `{"role": "user",
"content": …}`, an assistant's `tool_calls`, a tool's result with its `tool_call_id`, and `{"type": "function",
"function": {"name", "description", "parameters"}}` (https://platform.openai.com/docs/api-reference/chat).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

__all__ = ["LocalCall", "LocalModel", "LocalReply", "ToolChecking"]


class LocalCall(msgspec.Struct, frozen=True):
    """A call that the model wants made: the tool's name, and its arguments, of its JSON Schema."""

    tool: str
    arguments: dict[str, Any]


class LocalReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the model answers: `text`, `calls`, or both. `probability` (0 to 1) is how sure it is, where it can say."""

    text: str = ""
    calls: tuple[LocalCall, ...] = ()
    probability: float | None = None


@runtime_checkable
class LocalModel(Protocol):
    """A model that needs no provider. `digest` names the very weights that answer (SHA-256).

    It is made before the agent begins, and what keeps it from answering at all is an error then. The same conversation
    has the same answer each time, or the gate calls it unsteady. What takes longer than a moment is done in a thread
    (`asyncio.to_thread`), so that a timeout can give it up; in the gate's simulated time that is where it is called.
    """

    @property
    def digest(self) -> str: ...

    async def reply(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> LocalReply:
        """What is to be said or done next in this conversation.

        Raises `NotSure` where it had better not answer: the rung below is asked then, at once, and nothing has failed.
        """
        ...


@runtime_checkable
class ToolChecking(Protocol):
    """A model that can say before it is asked whether it could call an agent's tools."""

    def check(self, tools: Sequence[Mapping[str, Any]]) -> None:
        """Raises `Misuse`, naming the tool, where it could not."""
        ...
