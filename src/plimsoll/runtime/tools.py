"""Tools without a framework: any function, made a call by `@plimsoll.tool` or by registering it."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

import msgspec

from plimsoll.contract.model import OutputRule, Tool
from plimsoll.core.calls import CallKind, Unknown
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.current import run_context
from plimsoll.runtime.exchange import Inspection

__all__ = ["ToolExchange", "ToolSpec", "Verifier", "run_function", "tool", "tool_spec"]

P = ParamSpec("P")
R = TypeVar("R")

Verifier = Callable[[Mapping[str, Any], str], Any]
"""`verify(args, idempotency_key)`: `Happened`, `NotHappenedAndCannot` or `Unknown`; may be async."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function that does something to the outside world, under the name by which it is called."""

    name: str
    function: Callable[..., Any]


def tool_spec(function: Callable[..., Any] | ToolSpec) -> ToolSpec:
    """The spec of a function, decorated or not. Raises `Misuse` for what cannot be named."""
    if isinstance(function, ToolSpec):
        return function
    spec = getattr(function, "__plimsoll_tool__", None)
    if isinstance(spec, ToolSpec):
        return spec
    name = getattr(function, "__name__", "")
    if not name.isidentifier():
        raise Misuse(f"{function!r} has no name to call it by; register ToolSpec(name, function)")
    return ToolSpec(name, function)


@overload
def tool(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Awaitable[R]]: ...
@overload
def tool(function: Callable[P, R]) -> Callable[P, Awaitable[R]]: ...
def tool(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Makes a function a tool: inside a run, awaiting it is a journaled call under the contract.

    The function may be sync (it runs in a thread) or async; the tool is always awaited. Outside a run it is
    just called.
    """
    spec = ToolSpec(function.__name__, function)
    signature = inspect.signature(function)

    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        run = run_context.get()
        if run is None:
            return await run_function(function, bound.arguments)
        return await run.call(spec.name, bound.arguments)

    call.__plimsoll_tool__ = spec  # type: ignore[attr-defined]
    return call


async def run_function(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Calls a sync function in a thread, an async one here."""
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    result = await asyncio.to_thread(function, **arguments)
    return await result if inspect.isawaitable(result) else result


class ToolExchange:
    """One call of a tool."""

    __slots__ = ("_rule", "_spec", "_verifier", "args", "args_digest")

    kind = CallKind.TOOL
    input_tokens = 0
    refusals = ()

    def __init__(self, spec: ToolSpec, args: dict[str, Any], *, section: Tool, verifier: Verifier | None) -> None:
        self._spec = spec
        self._rule: OutputRule = section.output
        self._verifier = verifier
        self.args = args
        self.args_digest = digest(args)

    @property
    def dependency(self) -> str:
        return self._spec.name

    async def send(self, rung: Rung | None) -> Any:
        token = run_context.set(None)  # what a tool calls inside is part of it, and no call of the run
        try:
            return await run_function(self._spec.function, self.args)
        finally:
            run_context.reset(token)

    def inspect(self, native: Any) -> Inspection:
        return Inspection(problem=check_value(self.encode(native), self._rule))

    def encode(self, native: Any) -> Any:
        return msgspec.to_builtins(native)

    def decode(self, value: Any) -> Any:
        return value

    def sameness(self, value: Any) -> str:
        return digest(value)

    async def verify(self, idempotency_key: str) -> Any:
        if self._verifier is None:
            return Unknown("the contract names no `verify` for this tool")
        answer = self._verifier(self.args, idempotency_key)
        return await answer if inspect.isawaitable(answer) else answer
