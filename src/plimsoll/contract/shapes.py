"""What an agent and its tools look like from outside. Adapters make these from a framework's own objects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll.core.calls import Effect

__all__ = ["AgentShape", "ToolShape", "guess_effect"]

_READS = re.compile(
    "calculate|check|compare|count|describe|fetch|find|get|has|is|list|look|lookup|preview|query|read|search|show"
    "|summarize|validate|view"
)
_WRITES = re.compile(
    "add|approve|assign|book|buy|cancel|change|charge|close|create|delete|disable|drop|edit|enable|exchange|execute"
    "|grant|insert|issue|merge|modify|move|pay|post|publish|purchase|put|refund|register|remove|reset|return|revoke"
    "|save|schedule|sell|send|set|submit|subscribe|transfer|trigger|unsubscribe|update|upload|void|write"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolShape:
    """One tool, as its agent sees it.

    `parameters` is the JSON Schema of its arguments, an object's; `{}` when it is not known. The hints are MCP's
    `readOnlyHint` and `idempotentHint`; None where the tool says nothing.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    read_only_hint: bool | None = None
    idempotent_hint: bool | None = None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentShape:
    """An agent: what it is called, its tools, and its models by the framework's names, the one it asks first."""

    name: str
    tools: tuple[ToolShape, ...] = ()
    models: tuple[str, ...] = ()


def guess_effect(name: str) -> Effect | None:
    """What the first word of a tool's name suggests: read, write, or None. A guess, never a decision."""
    match = _WORD.search(name)
    word = match.group().lower() if match else ""
    if _READS.fullmatch(word):
        return Effect.READ
    return Effect.WRITE if _WRITES.fullmatch(word) else None
