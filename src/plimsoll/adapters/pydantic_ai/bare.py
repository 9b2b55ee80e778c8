"""A Pydantic AI agent as people write it first, as the gate tries it."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.toolsets import ToolsetTool, WrapperToolset

from plimsoll.adapters.common import bare as common
from plimsoll.adapters.common.bare import BareFunction, Observed
from plimsoll.adapters.common.subject import AgentSubject
from plimsoll.adapters.pydantic_ai.describe import describe
from plimsoll.adapters.pydantic_ai.messages import MessageDigests
from plimsoll.adapters.pydantic_ai.models import ModelExchange
from plimsoll.adapters.pydantic_ai.subject import FRAMEWORK, InlineExecutor
from plimsoll.adapters.pydantic_ai.tools import ToolExchange
from plimsoll.contract.model import Contract

__all__ = ["bare_subject"]


def bare_subject(
    function: BareFunction,
    contract: Contract,
    *,
    agent: Agent[Any, Any] | Sequence[Agent[Any, Any]],
    name: str | None = None,
) -> AgentSubject:
    """An agent without any protection, as the gate tries it.

    `function` is what its service calls, `agent` the Pydantic AI agent or agents that it uses. Their models are
    replaced by the scenario's `primary`; every request to it, and every tool call, passes the gate's interceptor and
    nothing else. After a crash the request is made once more from the start, as a queue would. Tools handed over with
    a single run (`agent.run(toolsets=…)`) are not seen, nor run.
    """
    agents = (agent,) if isinstance(agent, Agent) else tuple(agent)

    @contextmanager
    def observing(observed: Observed, model: Model) -> Iterator[None]:
        asker = _PydanticObserved(observed)
        with ExitStack() as stack:
            stack.enter_context(Agent.using_thread_executor(InlineExecutor()))
            for one in agents:
                toolsets = [_ObservedToolset(toolset, asker) for toolset in one.toolsets]
                stack.enter_context(one.override(model=_ObservedModel(model, asker), toolsets=toolsets, tools=[]))
            yield

    return common.bare_subject(
        function,
        contract,
        framework=FRAMEWORK,
        name=name,
        shapes=[describe(one) for one in agents],
        observing=observing,
    )


class _PydanticObserved:
    """One observed run, as an exchange of this adapter asks for it."""

    def __init__(self, observed: Observed) -> None:
        self.run_id = observed.run_id
        self.contract = observed.contract
        self.now, self.model_of, self.call = observed.now, observed.model_of, observed.call
        self.responses = 0
        self.digests = MessageDigests()


class _ObservedModel(WrapperModel):
    def __init__(self, wrapped: Model, observed: _PydanticObserved) -> None:
        super().__init__(wrapped)
        self._observed = observed

    def prepare_messages(
        self, messages: list[ModelMessage], model_request_parameters: ModelRequestParameters | None = None
    ) -> list[ModelMessage]:
        return messages  # the exchange prepares them

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        observed = self._observed
        exchange = ModelExchange(observed, self.wrapped, messages, model_settings, model_request_parameters)
        response: ModelResponse = await observed.call(exchange, lambda: exchange.send(None))
        observed.responses += 1
        return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        response = await self.request(messages, model_settings, model_request_parameters)
        yield CompletedStreamedResponse(response, model_request_parameters=model_request_parameters, replay_events=True)


@dataclass
class _ObservedToolset(WrapperToolset[Any]):
    observed: _PydanticObserved

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        observed = self.observed

        async def send() -> Any:
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)

        exchange = ToolExchange(name, tool_args, send, rule=observed.contract.tool(name).output)
        return await observed.call(exchange, send, key=f"{observed.responses}/{ctx.tool_call_id or name}")
