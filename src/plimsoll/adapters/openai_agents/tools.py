"""Function tools through the pipeline: one `Exchange` for each call."""

import copy
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from agents import FunctionTool
from agents.function_schema import function_schema
from agents.tool import ToolOutputFileContent, ToolOutputImage, ToolOutputText, set_function_tool_failure_error_function
from agents.tool_context import ToolContext
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.adapters.common import toolcalls
from plimsoll.adapters.common.binding import Bound
from plimsoll.core.calls import Effect
from plimsoll.core.canonical import canonical_json, parse_json
from plimsoll.core.errors import Misuse
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.exchange import Inspection

__all__ = ["ToolExchange", "function_of", "inside_tool", "journaled_tool"]

inside_tool: ContextVar[bool] = ContextVar("plimsoll_openai_agents_tool", default=False)
"""Whether a tool is being carried out: what it does inside, such as asking another agent, is part of its call."""

_MARK = "$openai_agents"
_OWN = (ToolOutputText, ToolOutputImage, ToolOutputFileContent)
_own: TypeAdapter[Any] = TypeAdapter(ToolOutputText | ToolOutputImage | ToolOutputFileContent)
_PLAIN = (str, int, float, bool, type(None))


def journaled_tool(tool: FunctionTool, bound: Bound) -> FunctionTool:
    """The tool for one run: every call of it goes through the pipeline. The tool that was given is not changed."""
    real = set_function_tool_failure_error_function(copy.copy(tool), None)  # what it raises is seen, not made a text
    real.timeout_seconds = None
    schema = _schema_of(tool)

    async def invoke(ctx: ToolContext[Any], written: str) -> Any:
        if inside_tool.get():
            return await tool.on_invoke_tool(ctx, written)
        try:
            args = _validated(tool.name, written, schema)
        except ValidationError as error:
            return f"{tool.name} was not called: {error.error_count()} of its arguments are wrong. {error}"
        except Misuse as error:
            return f"{tool.name} was not called: its arguments are no JSON object. {error}"
        outcome = await bound.use(_exchange(bound, real, ctx, args), ctx.tool_call_id)
        if outcome is None:
            return "waits"  # read by nobody: the run leaves
        return decode_result(outcome.value) if outcome.ok else toolcalls.told(tool.name, outcome)

    journaled = copy.copy(tool)
    journaled.on_invoke_tool = invoke
    journaled.timeout_seconds = None  # the contract's holds
    if bound.contract.tool(tool.name).approval is not None:
        journaled.needs_approval = False  # who must approve is the contract's to say
    return journaled


class ToolExchange(toolcalls.ToolExchange):
    """One call of a function tool."""

    __slots__ = ()

    async def executed(self) -> Any:
        token = inside_tool.set(True)
        try:
            return await self._execute()
        finally:
            inside_tool.reset(token)

    def as_json(self, native: Any) -> Any:
        return encode_result(native)

    def inspect(self, native: Any) -> Inspection:
        value = self.encode(native)
        if isinstance(value, dict) and _MARK in value:
            value = value["value"]
        return Inspection(problem=check_value(value, self._rule, now=self._now))


def encode_result(native: Any) -> Any:
    """What a tool returned, as JSON. The Agents SDK writes whatever is no text by `str`, so what is not plain data is
    kept with that text."""
    if _is_plain(native):
        return native
    if isinstance(native, _OWN) or (isinstance(native, list) and native and isinstance(native[0], _OWN)):
        value = to_jsonable_python(native, bytes_mode="base64")
        return {_MARK: "output", "value": value}
    try:
        value = to_jsonable_python(native, bytes_mode="base64")
    except PydanticSerializationError:
        value = str(native)
    return {_MARK: "text", "text": str(native), "value": value}


def decode_result(value: Any) -> Any:
    """What `encode_result` wrote, as the Agents SDK takes it."""
    if not isinstance(value, dict) or _MARK not in value:
        return value
    if value[_MARK] == "text":
        return value["text"]
    written = value["value"]
    return (
        [_own.validate_python(each) for each in written] if isinstance(written, list) else _own.validate_python(written)
    )


def function_of(tool: FunctionTool) -> Callable[..., Any]:
    """The function behind a tool."""
    try:
        found: Callable[..., Any] = tool.__wrapped__
    except AttributeError:
        return tool.on_invoke_tool
    return found


def _exchange(bound: Bound, tool: FunctionTool, ctx: ToolContext[Any], args: Any) -> ToolExchange:
    written = canonical_json(args).decode()
    section = bound.contract.tool(tool.name)
    return ToolExchange(
        tool.name,
        args,
        lambda: tool.on_invoke_tool(ctx, written),
        rule=section.output,
        verifier=bound.verifiers.get(tool.name),
        deps=bound.deps,
        under_way=bound.under_way,
        now=bound.now,
        in_thread=section.effect is not Effect.READ and not inspect.iscoroutinefunction(function_of(tool)),
    )


def _schema_of(tool: FunctionTool) -> type[BaseModel] | None:
    """The model of a tool's arguments, where it was made of a function."""
    try:
        function = tool.__wrapped__
    except AttributeError:
        return None
    return function_schema(function, strict_json_schema=tool.strict_json_schema).params_pydantic_model


def _validated(name: str, written: str, schema: type[BaseModel] | None) -> dict[str, Any]:
    """The arguments as the tool will see them, defaults among them: what is judged and recorded is what is executed.

    Raises `ValidationError` or `Misuse` for wrong ones: nothing was called then.
    """
    if schema is not None:
        return schema.model_validate_json(written or "{}").model_dump(mode="json", by_alias=True)
    args = parse_json(written or "{}")
    if not isinstance(args, dict):
        raise Misuse(f"{name} was given a {type(args).__name__}")
    return args


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(name) is str and _is_plain(each) for name, each in value.items())
    return all(map(_is_plain, value)) if type(value) is list else type(value) in _PLAIN
