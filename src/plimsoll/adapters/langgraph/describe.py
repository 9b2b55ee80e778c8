"""What a graph looks like from outside: its tools and prompts, for `plimsoll init` and for fingerprints."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from plimsoll.adapters.common.seams import secret_arguments
from plimsoll.adapters.langgraph.middleware import CHANNEL
from plimsoll.adapters.langgraph.models import JournaledChatModel
from plimsoll.contract.shapes import AgentShape, ToolShape

__all__ = ["check_seams", "describe", "functions_of", "prompts", "survey"]


def describe(agent: Pregel[Any, Any, Any, Any]) -> AgentShape:
    """The graph's name, the tools in its nodes and its subgraphs', and the first model that is found there."""
    shapes = {tool.name: _shape(tool) for tool in _tools(agent)}
    models = [name for held in _held(agent) if isinstance(held, BaseChatModel) and (name := _name_of(held))]
    name = agent.get_name()
    return AgentShape(
        name="agent" if name == "LangGraph" else name, tools=tuple(shapes.values()), models=tuple(models[:1])
    )


survey = describe
"""A graph knows all its tools by itself."""


def check_seams(agent: Pregel[Any, Any, Any, Any]) -> list[str]:
    """What of the graph's calls would not go through the pipeline, in words."""
    missing = secret_arguments(describe(agent))
    for path, graph in _graphs(agent):
        stops = [*graph.interrupt_before_nodes, *graph.interrupt_after_nodes]
        if stops:
            where = ", ".join(sorted(map(str, stops)))
            missing.append(f"the graph {path or 'itself'} stops at {where} for a person: only the contract can ask one")
        missing += [
            f"the node {path}{name!r} holds a chat model that was not `journaled`"
            for name, node in graph.nodes.items()
            if any(map(_is_raw, _within(node.bound))) and not _is_made_by_create_agent(node.bound)
        ]
        if CHANNEL in graph.channels:
            continue
        for name, node in graph.nodes.items():
            if isinstance(node.bound, ToolNode) and node.bound._awrap_tool_call is None:
                missing.append(f"the ToolNode {path}{name!r} was made without `awrap_tool_call=journaled_tool_call`")
            elif _is_made_by_create_agent(node.bound):
                missing.append(f"the agent {path or 'itself'} was made without `middleware=[…, Hardening()]`")
    return missing


def functions_of(agent: Pregel[Any, Any, Any, Any]) -> list[Callable[..., Any]]:
    """The functions of the graph's nodes and tools."""
    found = [function for tool in _tools(agent) for function in _functions_of_tool(tool)]
    for _, graph in _graphs(agent):
        for node in graph.nodes.values():
            found += [each for name in ("func", "afunc") if callable(each := getattr(node.bound, name, None))]
    return found


def prompts(agent: Pregel[Any, Any, Any, Any]) -> list[Any]:
    """What the graph's nodes hold that is told to a model, as JSON: LangChain has no public name for it."""
    return [[held.type, held.content] for held in _held(agent) if isinstance(held, BaseMessage)]


def _graphs(agent: Pregel[Any, Any, Any, Any]) -> Iterator[tuple[str, Any]]:
    """The graph and those in its nodes, each once, with where it is."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", agent)]
    while waiting:
        path, graph = waiting.pop(0)
        if id(graph) in seen:
            continue
        seen.add(id(graph))
        yield path, graph
        for name, node in graph.nodes.items():
            found = [each for each in (*node.subgraphs, *_within(node.bound)) if isinstance(each, Pregel)]
            waiting += [(f"{path}{name}|", each) for each in found]


def _tools(agent: Pregel[Any, Any, Any, Any]) -> Iterator[BaseTool]:
    for _, graph in _graphs(agent):
        for node in graph.nodes.values():
            if isinstance(node.bound, ToolNode):
                yield from node.bound.tools_by_name.values()


def _held(agent: Pregel[Any, Any, Any, Any]) -> Iterator[Any]:
    """The objects that the functions of the graph's nodes hold on to."""
    for _, graph in _graphs(agent):
        for node in graph.nodes.values():
            function = getattr(node.bound, "afunc", None) or getattr(node.bound, "func", None)
            if inspect.isfunction(function):
                yield from inspect.getclosurevars(function).nonlocals.values()


def _within(bound: Any) -> Iterator[Any]:
    """What a node is, or its function holds on to: by its closure, its module's names, or the object that it is of."""
    yield bound
    for name in ("func", "afunc"):
        function = getattr(bound, name, None)
        yield from getattr(getattr(function, "__self__", None), "__dict__", {}).values()
        function = getattr(function, "__func__", function)
        if inspect.isfunction(function):
            found = inspect.getclosurevars(function)
            yield from (*found.nonlocals.values(), *found.globals.values())


def _is_raw(held: Any) -> bool:
    """Whether it is a chat model that no pipeline knows of, by itself or in a chain."""
    if isinstance(held, RunnableBinding):
        return _is_raw(held.bound)
    if isinstance(held, RunnableSequence):
        return any(map(_is_raw, held.steps))
    return isinstance(held, BaseChatModel) and not isinstance(held, JournaledChatModel)


def _is_made_by_create_agent(bound: Any) -> bool:
    function: Any = getattr(bound, "afunc", None)
    return getattr(function, "__module__", "") == "langchain.agents.factory" and function.__name__ == "amodel_node"


def _functions_of_tool(tool: BaseTool) -> list[Callable[..., Any]]:
    found = [getattr(tool, "func", None), getattr(tool, "coroutine", None)]
    return [function for function in found if function is not None] or [type(tool)._run]


def _name_of(model: BaseChatModel) -> str | None:
    found = (getattr(model, name, None) for name in ("model_name", "model", "model_id"))
    return next((name for name in found if isinstance(name, str) and name), None)


def _shape(tool: BaseTool) -> ToolShape:
    schema: Any = tool.tool_call_schema
    annotations = (tool.metadata or {}).get("annotations") or tool.metadata or {}
    return ToolShape(
        name=tool.name,
        parameters=schema if isinstance(schema, dict) else schema.model_json_schema(),
        read_only_hint=annotations.get("readOnlyHint"),
        idempotent_hint=annotations.get("idempotentHint"),
        description=tool.description,
    )
