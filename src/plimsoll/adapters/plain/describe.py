"""What an agent without a framework looks like from outside: its tools, for `plimsoll init` and for fingerprints."""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec

from plimsoll.adapters.plain.agent import PlainAgent, with_deps
from plimsoll.contract.shapes import AgentShape, ToolShape

__all__ = ["describe", "survey"]


def describe(agent: PlainAgent) -> AgentShape:
    """The agent's name and its tools. Its models are functions, and have no ids."""
    return AgentShape(
        name=agent.name,
        tools=tuple(
            ToolShape(name=name, parameters=_schema(spec.function), description=inspect.getdoc(spec.function) or "")
            for name, spec in agent.tools.items()
        ),
    )


survey = describe
"""Such an agent knows all its tools by itself."""


def _schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of what the function takes, as far as its annotations tell."""
    try:
        hints = get_type_hints(function)
    except Exception:  # an annotation that cannot be resolved says nothing
        hints = {}
    parameters = inspect.signature(with_deps(function, None)).parameters
    return {
        "type": "object",
        "properties": {name: _schema_of(hints.get(name, Any)) for name in parameters},
        "required": [name for name, parameter in parameters.items() if parameter.default is parameter.empty],
    }


def _schema_of(hint: Any) -> dict[str, Any]:
    try:
        schema = msgspec.json.schema(hint)
    except (TypeError, ValueError):
        return {}
    return {} if "$ref" in schema else schema
