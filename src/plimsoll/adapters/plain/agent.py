"""An agent without a framework: an async function that is handed its models and tools as plain async callables."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Protocol

from plimsoll.adapters.common.dependencies import takes_deps
from plimsoll.adapters.common.waiting import PRIMARY
from plimsoll.contract.model import Model
from plimsoll.core.errors import Misuse
from plimsoll.runtime.current import run_context
from plimsoll.runtime.models import ModelExchange, ModelFunction
from plimsoll.runtime.tools import ToolSpec, run_function, tool_spec

__all__ = ["Calls", "PlainAgent", "calls_by", "with_deps"]

_MODEL = "model"
"""The parameter by which an agent's function is handed its first model."""


class Calls(Protocol):
    """How the calls of one run of an agent are made."""

    async def tool(self, spec: ToolSpec, args: dict[str, Any], deps: Any) -> Any: ...
    async def model(self, name: str, prompt: Any) -> Any: ...


class PlainAgent:
    """An agent that is an async function: of what it is asked, and of the models and tools that it names.

    Its first parameter is what it is asked. Each further one is handed over by its name: `model` is the model
    `primary`, a model or tool of any other name is itself, and `deps` are the run's dependencies. `tools` are
    functions, sync or async; those with a parameter `deps` are given the run's. `models` are async functions from a
    prompt to a `plimsoll.ModelReply`, by their names in the contract. `name` is by what `plimsoll init` calls it.

    Called by itself it just runs, with nothing around it; `harden` puts it under a contract.

    >>> async def answer(request, *, model, find_order):
    ...     order = await find_order(order_id=request)
    ...     return (await model({"order": order})).text
    >>> desk = PlainAgent(answer, tools=[find_order], models={"primary": ask})

    Raises `Misuse` for a function that names something that there is not, and for a tool whose arguments have no names.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[Any]],
        *,
        tools: Sequence[Callable[..., Any] | ToolSpec] = (),
        models: Mapping[str, ModelFunction] | None = None,
        name: str = "",
    ) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", "agent")
        self.tools = {spec.name: spec for spec in map(tool_spec, tools)}
        self.models = dict(models or {})
        if not callable(function):
            raise Misuse(f"an agent is an async function, and this is a {type(function).__name__}")
        for spec in self.tools.values():
            _check_named(spec)
        self._wanted = list(inspect.signature(function).parameters)[1:]
        unknown = [name for name in self._wanted if name not in {_MODEL, "deps", *self.tools, *self.models}]
        if unknown:
            known = ", ".join(sorted({_MODEL, "deps", *self.tools, *self.models}))
            raise Misuse(f"{self.name} wants {', '.join(unknown)}, and there is only {known}")

    async def __call__(self, input: Any, *, deps: Any = None) -> Any:
        """Runs the function, with nothing around its calls. Raises `Misuse` inside a hardened run, but for a tool."""
        calls = calls_context.get()
        if calls is None and run_context.get() is not None:
            raise Misuse(
                f"{self.name} was called inside a hardened run, where nothing would protect its calls: call it in a "
                "tool, or await its function with the models and tools that the run's own was handed"
            )
        return await self.run_by(calls or _Direct(self.models), input, deps=deps)

    async def run_by(self, calls: Calls, input: Any, *, deps: Any) -> Any:
        """Runs the function, whose calls `calls` makes."""
        handed = {name: self._handed(calls, name, deps) for name in self._wanted}
        answering = self.function(input, **handed)
        if not inspect.isawaitable(answering):
            raise Misuse(
                f"{self.name} is no async function: it returned a {type(answering).__name__}, and awaited nothing"
            )
        return await answering

    def _handed(self, calls: Calls, name: str, deps: Any) -> Any:
        if name == "deps":
            return deps
        spec = self.tools.get(name)
        if spec is not None:
            return _tool(calls, spec, deps)
        model = PRIMARY if name == _MODEL else name

        async def ask(prompt: Any) -> Any:
            return await calls.model(model, prompt)

        return ask


class _Direct:
    """Calls straight to the functions."""

    def __init__(self, models: Mapping[str, ModelFunction]) -> None:
        self._models = models

    async def tool(self, spec: ToolSpec, args: dict[str, Any], deps: Any) -> Any:
        return await run_function(with_deps(spec.function, deps), args)

    async def model(self, name: str, prompt: Any) -> Any:
        if name not in self._models:
            raise Misuse(f"no model {name!r} was given to this agent")
        exchange = ModelExchange(name, prompt, functions=self._models, sections={name: Model()})
        return await exchange.send(None)


calls_context: ContextVar[Calls | None] = ContextVar("plimsoll_plain", default=None)


@contextmanager
def calls_by(calls: Calls | None) -> Iterator[None]:
    """While it is entered, `calls` makes the calls of plain agents that are just called."""
    token = calls_context.set(calls)
    try:
        yield
    finally:
        calls_context.reset(token)


def with_deps(function: Callable[..., Any], deps: Any) -> Callable[..., Any]:
    """The function with its `deps`, where it has a parameter of that name; what is left takes the others alone."""
    if not takes_deps(function):
        return function
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, deps=deps, **kwargs)

    else:

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, deps=deps, **kwargs)

    signature = inspect.signature(function)
    others = [parameter for name, parameter in signature.parameters.items() if name != "deps"]
    call.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return call


def _check_named(spec: ToolSpec) -> None:
    """Raises `Misuse` for a tool whose arguments have no names: they are journaled, judged and verified by them."""
    for name, parameter in inspect.signature(spec.function).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise Misuse(f"the tool {spec.name} takes {name} by its place alone; every argument of a tool has a name")


def _named(bound: inspect.BoundArguments) -> dict[str, Any]:
    """What a tool was called with, by the names of its arguments, also of those that it takes as `**others`."""
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        is_others = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        named |= value if is_others else {name: value}
    return named


def _tool(calls: Calls, spec: ToolSpec, deps: Any) -> Callable[..., Awaitable[Any]]:
    signature = inspect.signature(with_deps(spec.function, deps))

    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise Misuse(f"{spec.name} was called wrongly: {error}. Nothing was sent") from error
        return await calls.tool(spec, _named(bound), deps)

    return call
