"""Tool calls through the pipeline: one `Exchange` for each."""

from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.tools import ToolDenied
from pydantic_ai.toolsets import ToolsetTool, WrapperToolset
from pydantic_ai.toolsets.function import FunctionToolsetTool
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.adapters.common import toolcalls
from plimsoll.adapters.pydantic_ai.binding import Binding
from plimsoll.adapters.pydantic_ai.remote import ServerUnreachable
from plimsoll.adapters.pydantic_ai.results import Deferral, decode_result, encode_result
from plimsoll.core.calls import Effect, Fault, Outcome, Status
from plimsoll.core.errors import Misuse, Unwind
from plimsoll.runtime.children import taken_over
from plimsoll.runtime.exchange import Exchange, Inspection
from plimsoll.runtime.pipeline import Settled

__all__ = ["JournaledToolset", "ToolExchange"]

_REFUSALS = {"ModelRetry": ModelRetry, "ToolFailed": ToolFailed}
"""By these a tool itself tells the model that it did nothing, and what to do instead."""

_NOT_EVEN_ASKED = (ServerUnreachable.__name__,)
"""What proves of a write elsewhere that nothing happened. A server that says that it failed may have done it before,
and Pydantic AI tells of a lost connection as it does of a refusal."""

_NEVER_S = 1e9
"""In place of Pydantic AI's own timeout for what is no read: it gives a thread up unseen. The contract's holds."""
_ATOMS = frozenset({str, int, float, bool, type(None)})


class ToolExchange(toolcalls.ToolExchange):
    """One call of a Pydantic AI tool."""

    __slots__ = ()

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any],
        execute: Callable[[], Awaitable[Any]],
        *,
        refusals: tuple[str, ...] = tuple(_REFUSALS),
        **options: Any,
    ) -> None:
        super().__init__(name, _json_args(name, args), execute, refusals=refusals, **options)

    async def executed(self) -> Any:
        try:
            return await self._execute()
        except (ApprovalRequired, CallDeferred) as signal:
            return Deferral(signal)
        except (ModelRetry, ToolFailed) as signal:
            plain = ModelRetry if isinstance(signal, ModelRetry) else ToolFailed
            if type(signal) is plain:
                raise
            raise plain(signal.message) from signal

    def as_json(self, native: Any) -> Any:
        return encode_result(native)

    def inspect(self, native: Any) -> Inspection:
        inspected = super().inspect(native)
        return Inspection() if isinstance(native, Deferral) else inspected


@dataclass
class JournaledToolset(WrapperToolset[Any]):
    """The tools of a hardened run: every call goes through the pipeline.

    It lies beneath Pydantic AI's own hooks, so that the arguments that are approved are those that are executed.
    """

    binding: Binding

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        binding = self.binding
        in_turn = tool.tool_def.sequential
        if binding.bars(in_turn=in_turn):
            raise ApprovalRequired()
        if name in binding.delegates:
            return await self._delegated(name, tool_args["request"], ctx.tool_call_id or name, in_turn=in_turn)
        section = binding.contract.tool(name)
        if section.approval is not None:
            ctx = replace(ctx, tool_call_approved=True)  # who must approve is the contract's to say
        if section.effect is not Effect.READ:
            tool = replace(tool, tool_def=replace(tool.tool_def, timeout=_NEVER_S))
        arguments = _Arguments(tool_args)
        exchange = ToolExchange(
            name,
            arguments.frozen,
            lambda: self.wrapped.call_tool(name, arguments.fresh(), ctx, tool),
            rule=section.output,
            verifier=binding.verifiers.get(name),
            deps=ctx.deps,
            under_way=binding.run.state.env.under_way,
            in_thread=section.effect is not Effect.READ and _is_sync(tool),
            now=binding.run.state.env.clock.now,
            refusals=tuple(_REFUSALS) if section.effect is Effect.READ or _is_function(tool) else _NOT_EVEN_ASKED,
        )
        settled = await self._settled(exchange, binding.tool_key(ctx.tool_call_id or name), in_turn=in_turn)
        return _told(name, settled.outcome)

    async def _delegated(self, name: str, request: str, tool_call_id: str, *, in_turn: bool) -> Any:
        """Has another agent do it, in a run of its own; where it takes over, its ending is this run's."""
        run = self.binding.run
        exchange = run.state.env.child_exchange(name, request)
        key = self.binding.tool_key(tool_call_id).replace("/", ".")  # it is a part of the child's id
        outcome = (await self._settled(exchange, key, in_turn=in_turn)).outcome
        if self.binding.delegates[name].takes_over and outcome.value is not None:
            self.binding.may_wait(taken_over(outcome), in_turn=in_turn)
            raise ApprovalRequired()
        return exchange.decode(outcome.value) if outcome.ok else _told(name, outcome)

    async def _settled(self, exchange: Exchange, key: str, *, in_turn: bool) -> Settled:
        try:
            return await self.binding.run.exchange(exchange, key=key, defers=True)
        except Unwind as signal:
            if self.binding.may_wait(signal, in_turn=in_turn):
                raise ApprovalRequired() from None  # the calls beside it settle first; then the run leaves
            raise


class _Arguments:
    """The validated arguments of a call as they were when it began, and a copy of them for each attempt."""

    __slots__ = ("frozen",)

    def __init__(self, given: dict[str, Any]) -> None:
        self.frozen = _copied(given)

    def fresh(self) -> dict[str, Any]:
        return _copied(self.frozen)


def _copied(args: dict[str, Any]) -> dict[str, Any]:
    if _ATOMS.issuperset(map(type, args.values())):
        return dict(args)
    return {name: _copy_of(value) for name, value in args.items()}


def _copy_of(value: Any) -> Any:
    try:
        return deepcopy(value)
    except Exception:  # what cannot be copied, such as an open file, has to be shared
        return value


def _is_sync(tool: ToolsetTool[Any]) -> bool:
    """Whether the tool is a sync function, which Pydantic AI runs in a thread."""
    inner = _innermost(tool)
    return isinstance(inner, FunctionToolsetTool) and not inner.is_async


def _is_function(tool: ToolsetTool[Any]) -> bool:
    """Whether the tool is a function of this process, which knows what it did when it says no."""
    return isinstance(_innermost(tool), FunctionToolsetTool)


def _innermost(tool: Any) -> Any:
    while hasattr(tool, "source_tool"):
        tool = tool.source_tool
    return tool


def _told(name: str, outcome: Outcome) -> Any:
    """What the model is told: the result, or in words why there is none."""
    if outcome.ok:
        result = decode_result(outcome.value)
        if isinstance(result, Deferral):
            raise result.signal
        return result
    error = outcome.error
    if outcome.status is Status.REJECTED:
        return ToolDenied(toolcalls.told(name, outcome))
    if error is not None and error.fault is Fault.REFUSED:
        raise _REFUSALS.get(error.type, ToolFailed)(error.message)
    raise ToolFailed(toolcalls.told(name, outcome))


def _json_args(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value: dict[str, Any] = to_jsonable_python(args, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise Misuse(f"the arguments of {name} have no JSON form, so they cannot be journaled: {error}") from error
    return value
