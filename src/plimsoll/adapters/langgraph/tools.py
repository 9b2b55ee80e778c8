"""Tool calls through the pipeline: one `Exchange` for each."""

from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.prebuilt.tool_node import ToolCallRequest
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.adapters.common import toolcalls
from plimsoll.adapters.common.binding import Bound
from plimsoll.adapters.langgraph.binding import bound_context, bound_to
from plimsoll.adapters.langgraph.results import decode_result, encode_result, message_of, value_of
from plimsoll.core.calls import Effect
from plimsoll.core.errors import Misuse

__all__ = ["ToolExchange", "journaled_tool_call"]

Handler = Callable[[ToolCallRequest], Awaitable[Any]]


async def journaled_tool_call(request: ToolCallRequest, handler: Handler) -> Any:
    """For the `ToolNode` of a graph of your own: `ToolNode(tools, awrap_tool_call=journaled_tool_call)`.

    In a hardened run each tool call goes through the pipeline. Outside a run it is just made.
    """
    bound = bound_context.get()
    tool = request.tool
    if bound is None or tool is None:  # LangGraph itself tells the model of a tool that there is not
        return await handler(request)
    call = request.tool_call
    name, call_id = call["name"], call["id"] or call["name"]
    try:
        args = _validated(tool, call["args"])
    except ValidationError as error:
        words = f"{name} was not called: {error.error_count()} of its arguments are wrong. {error}"
        return ToolMessage(words, name=name, tool_call_id=call_id, status="error")
    outcome = await bound.use(_exchange(bound, request, tool, args, handler), call_id)
    if outcome is None:
        return ToolMessage("waits", name=name, tool_call_id=call_id)  # read by nobody: the run leaves
    if outcome.ok:
        return message_of(decode_result(outcome.value), name=name, call_id=call_id)
    return ToolMessage(toolcalls.told(name, outcome), name=name, tool_call_id=call_id, status="error")


class ToolExchange(toolcalls.ToolExchange):
    """One call of a tool of a graph."""

    __slots__ = ()

    async def executed(self) -> Any:
        with bound_to(None):
            return await self._execute()

    def as_json(self, native: Any) -> Any:
        return encode_result(native)


def _exchange(bound: Bound, request: ToolCallRequest, tool: BaseTool, args: Any, handler: Handler) -> ToolExchange:
    async def execute() -> Any:
        probe = _Probe(name=tool.name, description=tool.description, args_schema=tool.args_schema, inner=tool)
        result = await handler(request.override(tool_call={**request.tool_call, "args": deepcopy(args)}, tool=probe))
        if probe.raised:
            raise probe.raised[0]  # whatever the ToolNode makes of it: what went wrong is what counts
        if isinstance(result, ToolMessage) and result.status == "error":
            raise ToolException(str(result.text))
        return value_of(result)

    name = request.tool_call["name"]
    section = bound.contract.tool(name)
    return ToolExchange(
        name,
        args,
        execute,
        rule=section.output,
        verifier=bound.verifiers.get(name),
        deps=bound.deps,
        under_way=bound.under_way,
        now=bound.now,
        in_thread=section.effect is not Effect.READ and _is_sync(tool),
    )


class _Probe(BaseTool):
    """A tool for one attempt, which notes what the real one raises: a `ToolNode` may make a message of it."""

    inner: BaseTool
    raised: list[Exception] = []  # noqa: RUF012 -- pydantic copies it

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        try:
            return await self.inner.ainvoke(input, config, **kwargs)
        except Exception as error:
            self.raised.append(error)
            raise

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        raise Misuse(f"{self.name} is called by a run, which is async: use the graph's ainvoke or astream")


def _validated(tool: BaseTool, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the tool will see them, defaults among them, as JSON: what is judged and recorded is what is
    executed. Raises `ValidationError` for wrong ones: nothing was called then."""
    schema = tool.tool_call_schema
    try:
        if isinstance(schema, dict) or not issubclass(schema, BaseModel):
            return to_jsonable_python(args)  # type: ignore[no-any-return]
        return schema.model_validate(args).model_dump(mode="json", by_alias=True)
    except PydanticSerializationError as error:
        raise Misuse(f"the arguments of {tool.name} have no JSON form, so they cannot be journaled: {error}") from error


def _is_sync(tool: BaseTool) -> bool:
    """Whether the tool is a sync function, which LangChain runs in a thread."""
    if isinstance(tool, StructuredTool):
        return tool.coroutine is None
    return type(tool)._arun is BaseTool._arun
