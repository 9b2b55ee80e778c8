"""Tool calls through the pipeline: one `Exchange` for each."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed
from pydantic_ai.tools import ToolDenied
from pydantic_ai.toolsets import ToolsetTool, WrapperToolset
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.adapters.pydantic_ai.binding import Binding
from plimsoll.adapters.pydantic_ai.results import Deferral, decode_result, encode_result
from plimsoll.contract.model import OutputRule
from plimsoll.core.calls import CallKind, ErrorRecord, Fault, Outcome, Status, Unknown
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse, Unwind
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.current import run_context
from plimsoll.runtime.exchange import Inspection

__all__ = ["JournaledToolset", "ToolExchange"]

_REFUSALS = {"ModelRetry": ModelRetry, "ToolFailed": ToolFailed}
"""By these a tool itself tells the model that it did nothing, and what to do instead."""


class ToolExchange:
    """One call of a tool. `execute` runs it; `verifier` answers whether it happened."""

    __slots__ = ("_deps", "_encoded", "_execute", "_rule", "_verifier", "args", "args_digest", "dependency")

    kind = CallKind.TOOL
    input_tokens = 0
    refusals = tuple(_REFUSALS)

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any],
        execute: Callable[[], Awaitable[Any]],
        *,
        rule: OutputRule,
        verifier: Callable[..., Any] | None = None,
        deps: Any = None,
    ) -> None:
        self.dependency = name
        self.args = _json_args(name, args)
        self.args_digest = digest(self.args)
        self._execute = execute
        self._rule = rule
        self._verifier = verifier
        self._deps = deps
        self._encoded: tuple[Any, Any] | None = None

    async def send(self, rung: Rung | None) -> Any:
        token = run_context.set(None)  # what a tool does inside is its own affair: the call is journaled as one
        try:
            return await self._execute()
        except (ApprovalRequired, CallDeferred) as signal:
            return Deferral(signal)
        except (ModelRetry, ToolFailed) as signal:
            plain = ModelRetry if isinstance(signal, ModelRetry) else ToolFailed
            if type(signal) is plain:
                raise
            raise plain(signal.message) from signal
        finally:
            run_context.reset(token)

    def inspect(self, native: Any) -> Inspection:
        value = self.encode(native)
        if isinstance(native, Deferral):
            return Inspection()
        return Inspection(problem=check_value(value, self._rule))

    def encode(self, native: Any) -> Any:
        if self._encoded is None or self._encoded[0] is not native:
            self._encoded = (native, encode_result(native))
        return self._encoded[1]

    def decode(self, value: Any) -> Any:
        return value

    def sameness(self, value: Any) -> str:
        return digest(value)

    async def verify(self, idempotency_key: str) -> Any:
        if self._verifier is None:
            return Unknown("the contract names no `verify` for this tool")
        options = {"deps": self._deps} if _takes_deps(self._verifier) else {}
        answer = self._verifier(self.args, idempotency_key, **options)
        return await answer if inspect.isawaitable(answer) else answer


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
        section = binding.contract.tool(name)
        if section.approval is not None:
            ctx = replace(ctx, tool_call_approved=True)  # who must approve is the contract's to say
        exchange = ToolExchange(
            name,
            tool_args,
            lambda: self.wrapped.call_tool(name, tool_args, ctx, tool),
            rule=section.output,
            verifier=binding.verifiers.get(name),
            deps=ctx.deps,
        )
        key = binding.tool_key(ctx.tool_call_id or name)
        try:
            settled = await binding.run.exchange(exchange, key=key, defers=True)
        except Unwind as signal:
            if binding.may_wait(signal, in_turn=in_turn):
                raise ApprovalRequired() from None  # the calls beside it settle first; then the run leaves
            raise
        return _told(name, settled.outcome)


def _told(name: str, outcome: Outcome) -> Any:
    """What the model is told: the result, or in words why there is none."""
    if outcome.ok:
        result = decode_result(outcome.value)
        if isinstance(result, Deferral):
            raise result.signal
        return result
    error = outcome.error or ErrorRecord(type="Unknown", message="no reason was recorded")
    if outcome.status is Status.REJECTED:
        return ToolDenied(f"{name} was not carried out: {error.message}. Nothing was done.")
    if error.fault is Fault.REFUSED:
        raise _REFUSALS.get(error.type, ToolFailed)(error.message)
    raise ToolFailed(f"{name} failed ({error.fault}) after {outcome.attempts} attempt(s): {error.message}")


def _json_args(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value: dict[str, Any] = to_jsonable_python(args, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise Misuse(f"the arguments of {name} have no JSON form, so they cannot be journaled: {error}") from error
    return value


def _takes_deps(function: Callable[..., Any]) -> bool:
    try:
        return "deps" in inspect.signature(function).parameters
    except ValueError:  # a callable written in C
        return False
