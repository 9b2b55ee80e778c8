"""Tool calls through the pipeline: one `Exchange` for each."""

import asyncio
import hashlib
import inspect
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

from plimsoll.adapters.pydantic_ai.binding import Binding
from plimsoll.adapters.pydantic_ai.remote import ServerUnreachable
from plimsoll.adapters.pydantic_ai.results import Deferral, decode_result, encode_result
from plimsoll.contract.model import OutputRule
from plimsoll.core.calls import CallKind, Effect, ErrorRecord, Fault, Outcome, Status, Unknown
from plimsoll.core.canonical import canonical_json, digest, parse_json
from plimsoll.core.errors import Misuse, Unwind
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.children import taken_over
from plimsoll.runtime.current import call_context, run_context
from plimsoll.runtime.exchange import Exchange, Inspection
from plimsoll.runtime.foreign import fail_if_foreign
from plimsoll.runtime.pipeline import Settled
from plimsoll.runtime.tools import ask_verifier
from plimsoll.runtime.underway import UnderWay

__all__ = ["JournaledToolset", "ToolExchange", "takes_deps"]

_REFUSALS = {"ModelRetry": ModelRetry, "ToolFailed": ToolFailed}
"""By these a tool itself tells the model that it did nothing, and what to do instead."""

_NOT_EVEN_ASKED = (ServerUnreachable.__name__,)
"""What proves of a write elsewhere that nothing happened. A server that says that it failed may have done it before,
and Pydantic AI tells of a lost connection as it does of a refusal."""

_NEVER_S = 1e9
"""In place of Pydantic AI's own timeout for what is no read: it gives a thread up unseen. The contract's holds."""
_ATOMS = frozenset({str, int, float, bool, type(None)})


class ToolExchange:
    """One call of a tool. `execute` runs it; `verifier` answers whether it happened."""

    __slots__ = (
        "_deps", "_encoded", "_execute", "_now", "_rule", "_under_way", "_verifier", "_written", "args",
        "args_digest", "dependency", "in_thread", "refusals",
    )  # fmt: skip

    kind = CallKind.TOOL
    input_tokens = 0

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any],
        execute: Callable[[], Awaitable[Any]],
        *,
        rule: OutputRule,
        verifier: Callable[..., Any] | None = None,
        deps: Any = None,
        under_way: UnderWay | None = None,
        in_thread: bool = False,
        refusals: tuple[str, ...] = tuple(_REFUSALS),
        now: Callable[[], float] | None = None,
    ) -> None:
        self.dependency = name
        self.refusals = refusals
        self._written = canonical_json(_json_args(name, args))
        self.args: dict[str, Any] = parse_json(self._written)
        self.args_digest = hashlib.sha256(self._written).hexdigest()
        self._under_way = under_way
        self.in_thread = in_thread
        self._execute = execute
        self._rule = rule
        self._now = now
        self._verifier = verifier
        self._deps = deps
        self._encoded: tuple[Any, Any, bytes] | None = None

    async def send(self, rung: Rung | None) -> Any:
        self._encoded = None  # an attempt may return the very object that the last one did, changed since
        info = call_context.get()
        if not self.in_thread or self._under_way is None or info is None:
            return await self._sent()
        work = asyncio.ensure_future(self._sent())  # a thread goes on when its attempt is given up, and is known to
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._under_way.add(info.idempotency_key, work, answers=True)
            raise

    async def _sent(self) -> Any:
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
        except BaseException as error:
            fail_if_foreign(error)
            raise
        finally:
            run_context.reset(token)

    def inspect(self, native: Any) -> Inspection:
        value = self.encode(native)
        if isinstance(native, Deferral):
            return Inspection()
        return Inspection(problem=check_value(value, self._rule, now=self._now))

    def encode(self, native: Any) -> Any:
        if self._encoded is None or self._encoded[0] is not native:
            written = canonical_json(encode_result(native))  # what the journal cannot carry is no answer
            self._encoded = (native, parse_json(written), written)  # as a replay will have it, to the order of its keys
        return self._encoded[1]

    def decode(self, value: Any) -> Any:
        return value

    def sameness(self, value: Any) -> str:
        known = self._encoded
        return hashlib.sha256(known[2]).hexdigest() if known is not None and known[1] is value else digest(value)

    async def verify(self, idempotency_key: str) -> Any:
        if self._under_way is not None and self._under_way.of(idempotency_key):
            return Unknown("the call is still under way")
        if self._verifier is None:
            return Unknown("the contract names no `verify` for this tool", final=True)
        options = {"deps": self._deps} if takes_deps(self._verifier) else {}
        return await ask_verifier(self._verifier, parse_json(self._written), idempotency_key, **options)


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


def takes_deps(function: Callable[..., Any]) -> bool:
    """Whether a `verify` or `compensate` wants the run's dependencies."""
    try:
        return "deps" in inspect.signature(function).parameters
    except ValueError:  # a callable written in C
        return False
