"""What an agent looks like from outside: its tools and models, for `plimsoll init` and for fingerprints."""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.agent import AbstractAgent, WrapperAgent
from pydantic_ai.models import Model
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import Tool, ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset
from pydantic_ai.usage import RunUsage

from plimsoll.adapters.pydantic_ai.remote import LISTING_S, remote_leaves
from plimsoll.contract.shapes import AgentShape, ToolShape
from plimsoll.core.errors import Misuse
from plimsoll.runtime.fingerprint import repr_of

__all__ = ["describe", "prompts", "survey", "tool_functions"]

_HOLDS_PROMPTS = (
    "_instructions",
    "_cap_instructions",
    "_system_prompts",
    "_system_prompt_functions",
    "_system_prompt_dynamic_functions",
    "_output_validators",
)
"""Where an agent keeps what it tells its model. Pydantic AI has no public name for it; what is missing is left out."""


def describe(agent: AbstractAgent[Any, Any]) -> AgentShape:
    """The agent's name, its models, and the tools that it holds itself.

    Tools that are known only once somebody asks for them, such as an MCP server's, are not among them: see `survey`.
    """
    model = getattr(agent, "model", None)
    models = () if model is None else (model.model_id if isinstance(model, Model) else str(model),)
    shapes = {tool.name: _shape(tool.tool_def) for tool in _tools(agent)}
    return AgentShape(name=agent.name or "agent", tools=tuple(shapes.values()), models=models)


def survey(agent: AbstractAgent[Any, Any]) -> AgentShape:
    """As `describe`, and asks the agent's MCP servers for their tools, which takes a connection to each.

    Raises `Misuse` where one cannot be asked.
    """
    shape = describe(agent)
    asked = [toolset for toolset in agent.toolsets if remote_leaves(toolset)]
    if not asked:
        return shape
    known = {tool.name: tool for tool in shape.tools} | {tool.name: tool for tool in asyncio.run(_listed(asked))}
    return replace(shape, tools=tuple(known.values()))


async def _listed(toolsets: list[AbstractToolset[Any]]) -> list[ToolShape]:
    ctx: RunContext[Any] = RunContext(deps=None, model=TestModel(), usage=RunUsage())
    shapes: list[ToolShape] = []
    for toolset in toolsets:
        try:
            async with asyncio.timeout(LISTING_S):
                ready = await toolset.for_run(ctx)
                async with ready:
                    tools = await ready.get_tools(ctx)
        except Exception as error:
            what = f"{toolset.label} could not be asked for its tools ({type(error).__name__}: {error})"
            raise Misuse(f"{what}. Start the MCP server, and try again") from error
        shapes.extend(_shape(tool.tool_def) for tool in tools.values())
    return shapes


def tool_functions(agent: AbstractAgent[Any, Any]) -> list[Callable[..., Any]]:
    """The functions of the tools that the agent holds itself."""
    return [tool.function for tool in _tools(agent)]


def prompts(agent: AbstractAgent[Any, Any]) -> tuple[list[Any], list[Callable[..., Any]]]:
    """What the agent is told and what it may answer, as JSON, and the functions that make or check some of it.

    Told: its instructions, system prompts and model settings. Answered: the schema of its output.
    """
    inner: Any = agent
    while isinstance(inner, WrapperAgent):
        inner = inner.wrapped
    told: list[Any] = []
    functions: list[Callable[..., Any]] = []
    for name in _HOLDS_PROMPTS:
        held = getattr(inner, name, ())
        for one in held.values() if isinstance(held, Mapping) else held:
            _note(getattr(one, "instruction", one), told, functions)
    settings = getattr(inner, "model_settings", None)
    if callable(settings):
        functions.append(settings)
    elif settings:
        told.append({name: repr_of(value) for name, value in settings.items()})
    return [told, _output(agent, functions), repr_of(getattr(inner, "end_strategy", None))], functions


def _note(one: Any, told: list[Any], functions: list[Callable[..., Any]]) -> None:
    function = one if inspect.isroutine(one) else getattr(one, "function", None)
    if function is not None:
        functions.append(function)
    elif isinstance(one, str):
        told.append(one)
    else:
        told.append(repr_of(getattr(one, "content", one)))


def _output(agent: AbstractAgent[Any, Any], functions: list[Callable[..., Any]]) -> Any:
    """The schema of the agent's output; what has none counts by its name."""
    output = agent.output_type
    several = output if isinstance(output, (list, tuple)) else [output]
    for one in several:
        made_by = getattr(one, "output", getattr(one, "output_function", one))
        if inspect.isroutine(made_by):
            functions.append(made_by)
    try:
        return agent.output_json_schema()
    except Exception:  # a type that pydantic has no schema for is no reason not to start
        return [repr_of(one) for one in several]


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
