"""What an agent looks like from outside: its tools and models, for `plimsoll init` and for fingerprints."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic_ai.agent import AbstractAgent
from pydantic_ai.models import Model
from pydantic_ai.tools import Tool, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from plimsoll.contract.shapes import AgentShape, ToolShape

__all__ = ["describe", "tool_functions"]


def describe(agent: AbstractAgent[Any, Any]) -> AgentShape:
    """The agent's name, its models, and the tools that it holds itself.

    Tools that are known only once a run asks for them, such as an MCP server's, are not among them.
    """
    model = getattr(agent, "model", None)
    models = () if model is None else (model.model_id if isinstance(model, Model) else str(model),)
    shapes = {tool.name: _shape(tool.tool_def) for tool in _tools(agent)}
    return AgentShape(name=agent.name or "agent", tools=tuple(shapes.values()), models=models)


def tool_functions(agent: AbstractAgent[Any, Any]) -> list[Callable[..., Any]]:
    """The functions of the tools that the agent holds itself."""
    return [tool.function for tool in _tools(agent)]


def _tools(agent: AbstractAgent[Any, Any]) -> Iterator[Tool[Any]]:
    leaves: list[AbstractToolset[Any]] = []
    for toolset in agent.toolsets:
        toolset.apply(leaves.append)
    for leaf in leaves:
        if isinstance(leaf, FunctionToolset):
            yield from leaf.tools.values()


def _shape(definition: ToolDefinition) -> ToolShape:
    annotations = (definition.metadata or {}).get("annotations") or {}
    return ToolShape(
        name=definition.name,
        parameters=definition.parameters_json_schema,
        read_only_hint=annotations.get("readOnlyHint"),
        idempotent_hint=annotations.get("idempotentHint"),
        description=definition.description or "",
    )
