"""What an agent looks like from outside: its tools and models, for `plimsoll init` and for fingerprints."""

from collections.abc import Callable, Iterator
from typing import Any

from agents import Agent, FunctionTool, Handoff
from agents.sandbox import SandboxAgent
from agents.tool import ApplyPatchTool, ComputerTool, CustomTool, LocalShellTool, ShellTool

from plimsoll.adapters.common.seams import secret_arguments
from plimsoll.adapters.openai_agents.tools import function_of
from plimsoll.contract.model import Contract
from plimsoll.contract.shapes import AgentShape, ToolShape
from plimsoll.runtime.fingerprint import repr_of

__all__ = ["check_seams", "describe", "functions_of", "prompts", "survey"]

_RUN_HERE = (ApplyPatchTool, ComputerTool, CustomTool, LocalShellTool, ShellTool)
"""Tools that the SDK carries out on this machine, and gives nobody a way to step in between."""


def describe(agent: Agent[Any]) -> AgentShape:
    """The agent's name, its model, and its function tools, with those of the agents that it may hand over to."""
    shapes: dict[str, ToolShape] = {}
    for one in family(agent):
        shapes |= {tool.name: _shape(tool) for tool in one.tools if isinstance(tool, FunctionTool)}
    model = agent.model if isinstance(agent.model, str) else getattr(agent.model, "model", None)
    models = (model,) if isinstance(model, str) else ()
    return AgentShape(name=agent.name, tools=tuple(shapes.values()), models=models)


survey = describe
"""MCP servers are not among its tools: see `check_seams`."""


def check_seams(agent: Agent[Any], contract: Contract) -> list[str]:
    """What of the agent's calls would not go through the pipeline, in words."""
    missing = secret_arguments(describe(agent))
    for one in family(agent):
        if isinstance(one, SandboxAgent):
            missing.append(f"what {one.name!r} does in its sandbox is carried out by the SDK itself")
        if one.mcp_servers:
            missing.append(
                f"the MCP servers of {one.name!r} are asked by the SDK itself: wrap their tools as functions"
            )
        for tool in one.tools:
            if isinstance(tool, _RUN_HERE):
                missing.append(f"the {type(tool).__name__} of {one.name!r} is carried out by the SDK itself")
            asks = isinstance(tool, FunctionTool) and tool.needs_approval is not False
            if asks and contract.tool(tool.name).approval is None:
                rule = f"[tools.{tool.name}.approval]"
                missing.append(f"{tool.name} has `needs_approval`, and the contract has no {rule} to decide by")
    return missing


def family(agent: Agent[Any]) -> Iterator[Agent[Any]]:
    """The agent, and those that it may hand over to, each once. One that a `Handoff` makes is known when it does."""
    known: dict[int, Agent[Any]] = {}
    waiting: list[Any] = [agent]
    while waiting:
        one = _behind(waiting.pop(0))
        if isinstance(one, Agent) and id(one) not in known:
            known[id(one)] = one
            waiting += one.handoffs
    yield from known.values()


def _behind(one: Any) -> Any:
    """The agent that `handoff(agent)` was made of, for which the SDK has no public name; None for one made later."""
    if not isinstance(one, Handoff):
        return one
    found = getattr(one, "_agent_ref", None)
    return None if found is None else found()


def functions_of(agent: Agent[Any]) -> list[Callable[..., Any]]:
    """The functions of the tools, of instructions that are made by one, and of handoffs."""
    found: list[Callable[..., Any]] = []
    for one in family(agent):
        found += [function_of(tool) for tool in one.tools if isinstance(tool, FunctionTool)]
        found += [one.instructions] if callable(one.instructions) else []
        found += [each.on_invoke_handoff for each in one.handoffs if isinstance(each, Handoff)]
        guardrails: list[Any] = [*one.input_guardrails, *one.output_guardrails]
        found += [guardrail.guardrail_function for guardrail in guardrails]
    return found


def prompts(agent: Agent[Any]) -> list[Any]:
    """What the agents are told and how their models are asked, as JSON."""
    return [
        [
            one.name,
            one.instructions if isinstance(one.instructions, str) else None,
            repr_of(one.output_type),
            one.model if isinstance(one.model, str) else repr_of(type(one.model)),
            repr_of(one.model_settings),
            repr_of(one.tool_use_behavior) if isinstance(one.tool_use_behavior, (str, dict)) else None,
            sorted(getattr(each, "tool_name", getattr(each, "name", "")) for each in one.handoffs),
        ]
        for one in family(agent)
    ]


def _shape(tool: FunctionTool) -> ToolShape:
    annotations = tool.mcp_annotations
    return ToolShape(
        name=tool.name,
        parameters=tool.params_json_schema,
        read_only_hint=getattr(annotations, "readOnlyHint", None),
        idempotent_hint=getattr(annotations, "idempotentHint", None),
        description=tool.description,
    )
