"""The middleware by which an agent made by `create_agent` is put under its contract."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import ModelRequest, ModelResponse, PrivateStateAttr
from langgraph.prebuilt.tool_node import ToolCallRequest

from plimsoll.adapters.common.waiting import PRIMARY
from plimsoll.adapters.langgraph.binding import bound_context, not_in_a_run
from plimsoll.adapters.langgraph.models import journaled
from plimsoll.adapters.langgraph.tools import journaled_tool_call

__all__ = ["CHANNEL", "Hardening"]

CHANNEL = "plimsoll"
"""A channel of the graph that nothing writes to: an agent that has this middleware is known by it."""


class _State(AgentState[Any]):
    plimsoll: NotRequired[Annotated[None, PrivateStateAttr]]


class Hardening(AgentMiddleware[Any, Any, Any]):
    """Puts the models and tools of a hardened run into the journal's hands. Outside one it does nothing.

    Give it as the last middleware, so that models and tools are wrapped beneath whatever the others do to them.
    `ladder` is the model that the agent is asked with, by its name in the contract: several agents in one graph may
    have one each.

    >>> agent = create_agent(model, tools, middleware=[Hardening()])
    """

    state_schema = _State

    def __init__(self, *, ladder: str = PRIMARY) -> None:
        super().__init__()
        self._ladder = ladder

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        if bound_context.get() is None:
            return await handler(request)
        return await handler(request.override(model=journaled(request.model, ladder=self._ladder)))

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        return await journaled_tool_call(request, handler)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        not_in_a_run()
        return handler(request)

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        not_in_a_run()
        return handler(request)
