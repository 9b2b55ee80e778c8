"""Tools without a framework: any function, made a call by `@plimsoll.tool` or by registering it."""

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, get_type_hints, overload

import msgspec

from plimsoll.contract.model import OutputRule, Tool
from plimsoll.core.calls import CallKind, Effect, Unknown
from plimsoll.core.canonical import canonical_json, digest, parse_json
from plimsoll.core.errors import Misuse
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.current import call_context, run_context, watch_context
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.foreign import fail_if_foreign
from plimsoll.runtime.underway import UnderWay, Watch, in_some_thread, in_thread

__all__ = ["BoundTool", "ToolExchange", "ToolSpec", "Verifier", "ask_verifier", "run_function", "tool", "tool_spec"]

P = ParamSpec("P")
R = TypeVar("R")

_NOTHING_YET = object()
_ATOMS = frozenset({str, int, float, bool, type(None)})
_PLAIN = _ATOMS | {list, dict}

Verifier = Callable[[Mapping[str, Any], str], Any]
"""`verify(args, idempotency_key)`: `Happened`, `NotHappenedAndCannot` or `Unknown`; may be async."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function that does something to the outside world, under the name by which it is called."""

    name: str
    function: Callable[..., Any]
    is_async: bool = field(init=False)
    """Whether calling the function makes a coroutine. Asked once: it costs as much as a call from memory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.function))


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
        run = run_context.get()
        if run is None:
            return await run_function(partial(function, *args), kwargs)
        return await run.call(spec.name, _named(spec.name, signature.bind(*args, **kwargs)))

    call.__plimsoll_tool__ = spec  # type: ignore[attr-defined]
    return call


def _named(name: str, bound: inspect.BoundArguments) -> dict[str, Any]:
    """The arguments by their names. Raises `Misuse` where one has none."""
    named: dict[str, Any] = {}
    for parameter, value in bound.arguments.items():
        kind = bound.signature.parameters[parameter].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            raise Misuse(f"{name} was given arguments without a name (*{parameter}); inside a run each needs one")
        else:
            named[parameter] = value
    return named


async def run_function(function: Callable[..., Any], arguments: Mapping[str, Any], *, answers: bool = False) -> Any:
    """Calls a sync function in a thread, an async one here. `answers`: its result is that of the call it serves."""
    if inspect.iscoroutinefunction(function):
        return await function(**arguments)
    result = await in_thread(function, arguments, answers=answers)
    return await result if inspect.isawaitable(result) else result


class BoundTool:
    """A tool as a harness calls it: its function and what that takes, and what the contract says of it."""

    __slots__ = ("_defaults", "_names", "_required", "name", "now", "rule", "spec", "under_way", "verifier")

    def __init__(
        self,
        spec: ToolSpec,
        *,
        section: Tool,
        verifier: Verifier | None = None,
        under_way: UnderWay | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        self.name = spec.name
        self.spec = spec
        self.rule: OutputRule = section.output
        self.verifier = verifier
        self.now = now
        self.under_way = None if section.effect is Effect.READ else under_way
        """Where what outlives an attempt is known to go on. What a read does then is nobody's worry."""
        self._defaults: dict[str, Any] = {}
        self._required: frozenset[str] = frozenset()
        self._names: frozenset[str] | None = None  # None: any
        try:
            names, defaults, any_name = _parameters_of(spec.function)
        except (TypeError, ValueError):  # a callable written in C says nothing of its parameters
            return
        self._required = names - defaults.keys()
        self._defaults = {name: default for name, default in defaults.items() if _is_json(default)}
        if not any_name:
            self._names = names

    def filled(self, args: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a call, so that a rule sees what the tool will see. Raises `Misuse` for wrong ones.

        A default that has no JSON form is left to the tool itself.
        """
        if args.keys() == self._names:
            return args
        missing = self._required - args.keys()
        if missing:
            raise Misuse(f"{self.name} was called without {', '.join(sorted(missing))}; nothing was sent")
        if self._names is not None and not self._names >= args.keys():
            unknown = ", ".join(sorted(map(str, args.keys() - self._names)))
            takes = ", ".join(sorted(self._names)) or "no arguments"
            raise Misuse(f"{self.name} does not take {unknown}; it takes {takes}. Nothing was sent")
        return {**self._defaults, **args}


def _parameters_of(function: Callable[..., Any]) -> tuple[frozenset[str], dict[str, Any], bool]:
    """The names of what a function takes by name, the defaults, and whether it takes any name.

    A plain function is looked at directly: `inspect.signature` says the same and costs as much as a simulated call.
    """
    if inspect.isfunction(function) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        positional = code.co_varnames[: code.co_argcount]
        names = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
        given = function.__defaults__ or ()
        defaults = dict(zip(positional[len(positional) - len(given) :], given, strict=True))
        defaults |= function.__kwdefaults__ or {}
        by_name = {name: default for name, default in defaults.items() if name in names}
        return frozenset(names), by_name, bool(code.co_flags & inspect.CO_VARKEYWORDS)
    parameters = inspect.signature(function).parameters.values()
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    by_name = {one.name: one.default for one in named if one.default is not one.empty}
    return frozenset(one.name for one in named), by_name, any(one.kind is one.VAR_KEYWORD for one in parameters)


def _is_json(default: Any) -> bool:
    try:
        canonical_json(default)
    except Misuse:
        return False
    return True


class ToolExchange:
    """One call of a tool.

    The arguments are written down once, when the call begins: what is judged, recorded and digested is what every
    attempt gets, each in a copy of its own.
    """

    __slots__ = (
        "_answer", "_answer_json", "_as_given", "_atomic", "_native", "_tool", "_written",
        "args", "args_digest", "dependency",
    )  # fmt: skip

    kind = CallKind.TOOL
    input_tokens = 0
    refusals = ()

    def __init__(self, tool: BoundTool, args: dict[str, Any]) -> None:
        self._tool = tool
        self.dependency = tool.name
        try:
            self._written = canonical_json(args)
        except Misuse as error:
            raise Misuse(f"the arguments of {tool.name} have no JSON form: {error}. Nothing was sent") from error
        self._atomic = _ATOMS.issuperset(map(type, args.values()))  # then a shallow copy is a copy
        self.args: dict[str, Any] = args if self._atomic else parse_json(self._written)
        self._as_given = self._atomic or (self.args == args and _PLAIN.issuperset(map(type, args.values())))
        self.args_digest = hashlib.sha256(self._written).hexdigest()
        self._native: Any = _NOTHING_YET
        self._answer: Any = None
        self._answer_json = b""

    @property
    def in_thread(self) -> bool:
        """Whether the tool is a sync function, which runs in a thread."""
        return not self._tool.spec.is_async

    async def send(self, rung: Rung | None) -> Any:
        self._native = _NOTHING_YET  # an attempt may return the very object that the last one did, changed since
        token = run_context.set(None)  # what a tool calls inside is part of it, and no call of the run
        watch = self._watch()
        watching = None if watch is watch_context.get() else watch_context.set(watch)
        try:
            spec = self._tool.spec
            if spec.is_async:
                return await spec.function(**self._arguments())
            return await run_function(spec.function, self._arguments(), answers=True)
        except BaseException as error:
            fail_if_foreign(error)
            raise
        finally:
            if watching is not None:
                watch_context.reset(watching)
            run_context.reset(token)

    def _watch(self) -> Watch | None:
        under_way = self._tool.under_way
        if under_way is None:
            return None
        info = call_context.get()
        return None if info is None else Watch(under_way, info.idempotency_key)

    def _arguments(self) -> dict[str, Any]:
        """The arguments as they were written down; what JSON has another form for, by the function's annotations."""
        arguments: dict[str, Any] = dict(self.args) if self._atomic else parse_json(self._written)
        return arguments if self._as_given else _annotated(self._tool.spec.function, arguments)

    def inspect(self, native: Any) -> Inspection:
        return Inspection(problem=check_value(self.encode(native), self._tool.rule, parsed=True, now=self._tool.now))

    def encode(self, native: Any) -> Any:
        if native is not self._native:
            self._answer_json = canonical_json(native)
            self._answer = parse_json(self._answer_json)
            self._native = native
        return self._answer

    def decode(self, value: Any) -> Any:
        return value

    def cache_key(self) -> str:
        return self.args_digest

    def sameness(self, value: Any) -> str:
        same = value is self._answer and self._native is not _NOTHING_YET
        return hashlib.sha256(self._answer_json).hexdigest() if same else digest(value)

    async def verify(self, idempotency_key: str) -> Any:
        tool = self._tool
        if tool.under_way is not None and tool.under_way.of(idempotency_key):
            return Unknown("the call is still under way")
        if tool.verifier is None:
            return Unknown("the contract names no `verify` for this tool", final=True)
        return await ask_verifier(tool.verifier, parse_json(self._written), idempotency_key)


async def ask_verifier(verifier: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a verifier answers. One that is sync runs in a thread: it may ask the network, and the loop goes on."""
    try:
        if inspect.iscoroutinefunction(verifier):
            return await verifier(*args, **options)
        answer = await in_some_thread(verifier, *args, **options)
        return await answer if inspect.isawaitable(answer) else answer
    except BaseException as error:
        fail_if_foreign(error)
        raise


def _annotated(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the function's annotations want them, where they have another form in JSON than in Python."""
    try:
        hints = get_type_hints(function)
    except Exception:  # an annotation that cannot be resolved says nothing
        return arguments
    return {name: _converted(value, hints[name]) if name in hints else value for name, value in arguments.items()}


def _converted(value: Any, wanted: Any) -> Any:
    try:
        return msgspec.convert(value, wanted)
    except (TypeError, ValueError):  # msgspec's own errors are among these
        return value
