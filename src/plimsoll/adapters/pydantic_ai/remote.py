"""MCP servers: their tools are listed once for a run and journaled, and they are connected to when they are needed."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import RunContext
from pydantic_ai.messages import InstructionPart
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from plimsoll.adapters.common.dependencies import parked_without
from plimsoll.adapters.pydantic_ai.binding import Binding

__all__ = ["RemoteToolset", "ServerUnreachable", "remote_leaves", "with_listings"]

LISTING_S = 30.0
"""How long a server may take to say what tools it has."""
_CLOSED, _TIMED_OUT = -32000, (-32001, 408)
"""The MCP SDK's codes for a connection that is gone, and for an answer that did not come."""

_tools_adapter: TypeAdapter[list[ToolDefinition]] = TypeAdapter(list[ToolDefinition])
_instructions_adapter: TypeAdapter[Any] = TypeAdapter(str | InstructionPart | list[str | InstructionPart] | None)


class ServerUnreachable(ConnectionError):
    """No connection to the server could be made, so nothing was asked of it."""


def _is_remote(toolset: AbstractToolset[Any]) -> bool:
    """Whether these are an MCP server's tools. By name, so that nobody needs the library who has none."""
    return any(base.__module__ == "pydantic_ai.mcp" for base in type(toolset).__mro__)


def remote_leaves(toolset: AbstractToolset[Any]) -> list[AbstractToolset[Any]]:
    """The MCP servers among the toolsets that this one is made of."""
    found: list[AbstractToolset[Any]] = []
    toolset.apply(lambda leaf: found.append(leaf) if _is_remote(leaf) else None)
    return found


def _lost(name: str, error: Exception) -> Exception | None:
    """What really happened, where no answer came: Pydantic AI tells of that as of a tool that says no."""
    for each in (error, error.__cause__):
        code = getattr(getattr(each, "error", None), "code", None)
        if code == _CLOSED:
            return ConnectionError(f"the connection to the MCP server of {name} was lost: {error}")
        if code in _TIMED_OUT:
            return TimeoutError(f"the MCP server of {name} gave no answer: {error}")
    return None


def with_listings(toolset: AbstractToolset[Any], binding: Binding) -> AbstractToolset[Any]:
    """The toolset, with every MCP server in it journaled. One without any is returned as it is."""
    if not remote_leaves(toolset):
        return toolset
    number = 0

    def journaled(leaf: AbstractToolset[Any]) -> AbstractToolset[Any]:
        nonlocal number
        if not _is_remote(leaf):
            return leaf
        number += 1
        return RemoteToolset(leaf, binding=binding, key=f"tools/{leaf.id or number}")

    return toolset.visit_and_replace(journaled)


class _Listing:
    """What a server has said of itself in this run."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.known = False
        self.tools: list[ToolDefinition] = []
        self.instructions: Any = None

    def learn(self, value: Any) -> None:
        """Takes note of what was recorded."""
        self.tools = _tools_adapter.validate_python(value["tools"])
        self.instructions = _instructions_adapter.validate_python(value["instructions"])
        self.known = True


class _Connection:
    """A run's hold on the connection to a server."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._held = AsyncExitStack()
        self._open = False

    async def open(self, toolset: AbstractToolset[Any]) -> None:
        """Connects, if it is not. Raises `ServerUnreachable`."""
        async with self._lock:
            if self._open:
                return
            await self._held.aclose()
            try:
                await self._held.enter_async_context(toolset)
            except Exception as error:
                raise ServerUnreachable(f"{type(error).__name__}: {error}") from error
            self._open = True

    def lost(self) -> None:
        """The connection is gone: the next call makes another."""
        self._open = False

    async def close(self) -> None:
        """Lets go of it."""
        async with self._lock:
            self._open = False
            await self._held.aclose()


@dataclass
class RemoteToolset(WrapperToolset[Any]):
    """The tools of one MCP server in one run.

    What it lists is recorded under `key`, so that a run has the same tools all its life, and a replay needs no server.
    It is connected to by the first call that goes out, and again after its connection was lost.
    """

    binding: Binding = field(kw_only=True)
    key: str = field(kw_only=True)
    _listing: _Listing = field(init=False, repr=False, default_factory=_Listing)
    _connection: _Connection = field(init=False, repr=False, default_factory=_Connection)

    @property
    def id(self) -> str | None:
        return self.wrapped.id

    async def for_run(self, ctx: RunContext[Any]) -> AbstractToolset[Any]:
        return RemoteToolset(await self.wrapped.for_run(ctx), binding=self.binding, key=self.key)

    async def for_run_step(self, ctx: RunContext[Any]) -> AbstractToolset[Any]:
        return self

    async def __aenter__(self) -> "RemoteToolset":
        return self  # connected to when it is needed

    async def __aexit__(self, *args: Any) -> bool | None:
        await self._connection.close()
        return None

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        listing = await self._listed(ctx)
        make: Callable[..., ToolsetTool[Any]] = self.wrapped.tool_for_tool_def  # type: ignore[attr-defined]
        return {tool.name: make(tool, ctx=ctx) for tool in listing.tools}

    async def get_instructions(
        self, ctx: RunContext[Any]
    ) -> str | InstructionPart | Sequence[str | InstructionPart] | None:
        said: str | InstructionPart | Sequence[str | InstructionPart] | None = (await self._listed(ctx)).instructions
        return said

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        await self._connection.open(self.wrapped)
        try:
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)
        except Exception as error:
            lost = _lost(name, error)
            if lost is None:
                raise
            self._connection.lost()
            raise lost from error

    async def _listed(self, ctx: RunContext[Any]) -> _Listing:
        async with self._listing.lock:
            if not self._listing.known:
                self._listing.learn(await self.binding.run.value("tools", lambda: self._ask(ctx), key=self.key))
        return self._listing

    async def _ask(self, ctx: RunContext[Any]) -> Any:
        try:
            async with asyncio.timeout(LISTING_S):
                await self._connection.open(self.wrapped)
                tools = [tool.tool_def for tool in (await self.wrapped.get_tools(ctx)).values()]
                said = await self.wrapped.get_instructions(ctx)
        except Exception as error:
            what = f"the MCP server {self.key} could not be asked for its tools"
            raise parked_without(what, self.binding.run, error, dependency=self.key) from error
        return {
            "tools": _tools_adapter.dump_python(tools, mode="json"),
            "instructions": _instructions_adapter.dump_python(said, mode="json"),
        }
