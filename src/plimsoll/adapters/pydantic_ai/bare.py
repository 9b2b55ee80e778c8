"""An agent as people write it first, as the gate tries it: nothing protects it, but everything it does is seen."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import CompletedStreamedResponse, Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.run import AgentRunResult
from pydantic_ai.settings import ModelSettings
from pydantic_ai.toolsets import ToolsetTool, WrapperToolset
from pydantic_core import to_jsonable_python

from plimsoll.adapters.pydantic_ai.binding import PRIMARY
from plimsoll.adapters.pydantic_ai.describe import describe
from plimsoll.adapters.pydantic_ai.messages import MessageDigests
from plimsoll.adapters.pydantic_ai.models import ModelExchange
from plimsoll.adapters.pydantic_ai.subject import AgentSubject, InlineExecutor, Process, stand_ins
from plimsoll.adapters.pydantic_ai.tools import ToolExchange
from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallInfo, CallKind, Effect, Ending
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["bare_subject"]

BareFunction = Callable[..., Awaitable[Any]]
"""What a service would call: `await function(input, deps=world)`."""


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
    queues: dict[int, _Queue] = {}

    def live(surroundings: Surroundings, models: Mapping[str, Any], world: Any) -> Process:
        model = stand_ins(contract, models)[PRIMARY]
        queue = queues.get(id(world))
        if queue is None or queue.world is not world:
            queue = queues[id(world)] = _Queue(world, {}, lambda: queues.pop(id(world), None))
        return _BareProcess(
            function=function,
            agents=agents,
            contract=contract,
            surroundings=surroundings,
            model=model,
            queue=queue,
        )

    shapes = [(shape.name, [(tool.name, tool.parameters) for tool in shape.tools]) for shape in map(describe, agents)]
    return AgentSubject(
        name=name or f"{contract.agent.name} (not hardened)",
        fingerprint=digest(["bare", contract_digest(contract), shapes]),
        contract=contract,
        hardened=False,
        live=live,
    )


@dataclass(frozen=True, slots=True)
class _Queue:
    """The requests of one world that nobody has answered yet, by run id. It outlives the process."""

    world: Any
    requests: dict[str, Any]
    forget: Callable[[], Any]

    def done(self, run_id: str) -> None:
        self.requests.pop(run_id, None)
        if not self.requests:
            self.forget()


class _BareProcess:
    """One life of a service that calls the naive function."""

    def __init__(
        self,
        *,
        function: BareFunction,
        agents: tuple[Agent[Any, Any], ...],
        contract: Contract,
        surroundings: Surroundings,
        model: Model,
        queue: _Queue,
    ) -> None:
        self._function = function
        self._agents = agents
        self._contract = contract
        self._surroundings = surroundings
        self._model = model
        self._queue = queue
        self._active: set[str] = set()
        self._executor = InlineExecutor()

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult:
        run_id = run_id or self._surroundings.ids.new("run")
        self._queue.requests[run_id] = input
        return await self._serve(run_id, input)

    async def wake(self) -> Sequence[RunResult]:
        waiting = [(run_id, asked) for run_id, asked in self._queue.requests.items() if run_id not in self._active]
        return [await self._serve(run_id, asked) for run_id, asked in waiting]

    async def close(self) -> None:
        pass

    async def _serve(self, run_id: str, asked: Any) -> RunResult:
        self._active.add(run_id)
        try:
            with ExitStack() as stack:
                self._observe(stack, _Observed(run_id, self._contract, self._surroundings))
                native = await self._function(asked, deps=self._queue.world)
        except Exception as error:
            self._queue.done(run_id)
            return RunResult(run_id=run_id, ending=Ending.FAILED, reason=f"{type(error).__name__}: {error}")
        finally:
            self._active.discard(run_id)
        self._queue.done(run_id)
        output = native.output if isinstance(native, AgentRunResult) else native
        return RunResult(
            run_id=run_id, ending=Ending.COMPLETE, output=to_jsonable_python(output, fallback=str), native=native
        )

    def _observe(self, stack: ExitStack, observed: "_Observed") -> None:
        stack.enter_context(Agent.using_thread_executor(self._executor))
        model = _ObservedModel(self._model, observed)
        for agent in self._agents:
            toolsets = [_ObservedToolset(toolset, observed) for toolset in agent.toolsets]
            stack.enter_context(agent.override(model=model, toolsets=toolsets, tools=[]))


class _Observed:
    """One run of the naive function: every call of it, put before the interceptor."""

    def __init__(self, run_id: str, contract: Contract, surroundings: Surroundings) -> None:
        self.run_id = run_id
        self.contract = contract
        self.responses = 0
        self.digests = MessageDigests()
        self._surroundings = surroundings
        self._ordinal = 0

    def now(self) -> float:
        return self._surroundings.clock.now()

    def model_of(self, name: str) -> Model:
        raise Misuse(f"an agent that is not hardened has no ladder, so no {name!r}")

    async def call(self, exchange: Exchange, send: Send, *, key: str | None = None) -> Any:
        """The call as the agent makes it, seen by the interceptor."""
        self._ordinal += 1
        name = exchange.dependency
        key = key or f"{self._ordinal}:{name}"
        is_model = exchange.kind is CallKind.MODEL
        info = CallInfo(
            run_id=self.run_id,
            key=key,
            dependency=name,
            kind=exchange.kind,
            effect=Effect.READ if is_model else self.contract.tool(name).effect,
            attempt=1,
            rung=0,
            deadline_s=float("inf"),
        )
        return await self._surroundings.interceptor(name, info, exchange, send)


class _ObservedModel(WrapperModel):
    def __init__(self, wrapped: Model, observed: _Observed) -> None:
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
    observed: _Observed

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        observed = self.observed

        async def send() -> Any:
            return await self.wrapped.call_tool(name, tool_args, ctx, tool)

        exchange = ToolExchange(name, tool_args, send, rule=observed.contract.tool(name).output)
        return await observed.call(exchange, send, key=f"{observed.responses}/{ctx.tool_call_id or name}")
