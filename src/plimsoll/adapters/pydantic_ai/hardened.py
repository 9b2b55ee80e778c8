"""`harden`: a Pydantic AI agent under its contract."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from pydantic_ai import UsageLimits
from pydantic_ai.agent import AbstractAgent, EventStreamHandler
from pydantic_ai.messages import ModelMessage, UserContent
from pydantic_ai.models import Model, infer_model
from pydantic_ai.run import AgentRunResult
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.adapters.pydantic_ai.audience import Audience
from plimsoll.adapters.pydantic_ai.binding import PRIMARY, Binding
from plimsoll.adapters.pydantic_ai.capability import capabilities_of
from plimsoll.adapters.pydantic_ai.conversations import Conversation, carried_of, messages_before
from plimsoll.adapters.pydantic_ai.delegation import Delegate
from plimsoll.adapters.pydantic_ai.dependencies import Dependencies
from plimsoll.adapters.pydantic_ai.describe import describe, prompts, tool_functions
from plimsoll.adapters.pydantic_ai.iterating import Handover, HardenedIteration, iterated
from plimsoll.adapters.pydantic_ai.messages import decode_input, encode_input, had_own_deps
from plimsoll.adapters.pydantic_ai.tools import takes_deps
from plimsoll.adapters.pydantic_ai.watching import HardenedStream
from plimsoll.contract.loading import contract_digest, load_contract
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.runtime.compensation import Undoing, UndoingOf
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.databases.opening import stand_ins
from plimsoll.runtime.fingerprint import fingerprint_of
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.imports import functions_of
from plimsoll.runtime.local import local
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["HardenedAgent", "harden"]

_NOT_GIVEN: Any = object()
_BROKEN_OFF = "its last response was left before its end"


def harden(
    agent: AbstractAgent[Any, Any],
    contract: Contract | str | Path,
    *,
    deps: Any = None,
    models: Mapping[str, Model | str] | None = None,
    verifiers: Mapping[str, Callable[..., Any]] | None = None,
    compensators: Mapping[str, Callable[..., Any]] | None = None,
    children: Mapping[str, "HardenedAgent"] | None = None,
    handoffs: Mapping[str, "HardenedAgent"] | None = None,
    connections: Mapping[str, Database | str] | None = None,
    surroundings: Surroundings | None = None,
    fingerprint: str | None = None,
    eager: bool = True,
) -> "HardenedAgent":
    """The agent under its contract. The agent itself is not changed, and goes on working by itself.

    `contract` is a contract or the path of a `plimsoll.toml`. `deps` are the agent's dependencies, or a function
    without parameters that makes them, for each run and again when a run is resumed; a run whose dependencies cannot be
    made waits, and is tried again by `wake`. `models` are Pydantic AI models, or their ids, by their names in the
    contract; without it, `primary` is the agent's own model and every other is inferred from its `id`. `verifiers`
    answer, by tool, whether a write happened, and `compensators` take back what was done; those left out are the
    contract's `verify` and `compensate`. Both are given the run's dependencies where they have a parameter `deps`.
    `connections` are the databases of transaction tools, by the names of their connections, as URLs or opened (see
    `plimsoll.runtime.databases`); those left out are the contract's. `children` are hardened agents that the model may
    have do a part of the work, each in a run of its own: it gets a tool of that name for each; to `handoffs` it may
    hand the whole run over. `surroundings` are where it runs; None opens the contract's journal on this machine when it
    is first needed. `fingerprint` identifies the agent's version: None makes one of the contract and the agent's
    instructions, output, settings, tools and models.
    `eager` makes every model at the start, so that a service without a provider's package or key does not start; False
    makes those below the first when they are first asked, and one that cannot be made is then a failed attempt.

    Raises `ContractError` for a contract that is wrong, and `Misuse` for one that does not fit this agent.
    """
    directory = Path()
    if not isinstance(contract, Contract):
        directory = Path(contract).parent
        contract = load_contract(contract)
    return HardenedAgent(
        agent,
        contract,
        deps=deps,
        models=models or {},
        verifiers=verifiers or {},
        compensators=compensators or {},
        children=children or {},
        handoffs=handoffs or {},
        connections=connections or {},
        surroundings=surroundings,
        fingerprint=fingerprint,
        directory=directory,
        eager=eager,
    )


class HardenedAgent:
    """An agent whose every model request and tool call goes through the pipeline. Made by `harden`.

    >>> async with harden(agent, "plimsoll.toml", deps=open_shop) as hardened:
    ...     result = await hardened.run("Please refund order W1", run_id="ticket-7713")
    """

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        contract: Contract,
        *,
        deps: Any,
        models: Mapping[str, Model | str],
        verifiers: Mapping[str, Callable[..., Any]],
        compensators: Mapping[str, Callable[..., Any]],
        children: Mapping[str, "HardenedAgent"],
        handoffs: Mapping[str, "HardenedAgent"],
        connections: Mapping[str, Database | str],
        surroundings: Surroundings | None,
        fingerprint: str | None,
        directory: Path,
        eager: bool,
    ) -> None:
        _check(contract, models)
        self.agent = agent
        self.contract = contract
        self._kin = _kin(children, handoffs)
        self.delegates = {
            name: Delegate(kin.agent.description or "", takes_over=name in handoffs) for name, kin in self._kin.items()
        }
        self.fingerprint = fingerprint or _fingerprint(agent, contract, self._kin)
        self._deps = Dependencies(deps)
        self._models = dict(models)
        self._verifiers = verifiers
        self._audience = Audience()
        self._compensators = compensators
        self._connections = connections
        self._surroundings = surroundings
        self._opened: Surroundings | None = None
        self._directory = directory
        self._eager = eager
        self._harness: Harness | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for model in self._fallbacks.values():
            await self._stack.enter_async_context(model)
        for kin in self._kin.values():
            await self._stack.enter_async_context(kin)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Writes what is queued, and closes the journal if it was opened here."""
        if self._harness is not None:
            await self._harness.close()
            self._harness = None
        if self._opened is not None:
            await self._opened.store.close()
            self._opened = None
        await self._stack.aclose()

    async def run(
        self,
        prompt: str | Sequence[UserContent] | None = None,
        *,
        run_id: str | None = None,
        message_history: Sequence[ModelMessage] | None = None,
        deps: Any = None,
        event_stream_handler: EventStreamHandler[Any] | None = None,
    ) -> RunResult:
        """Runs the agent on `prompt` until it ends or parks. `native` of the result is Pydantic AI's own result.

        `run_id` makes it idempotent: asked again with the same id, a run that ended is answered from the journal, and
        one that did not is resumed. `deps` are for this run only, and not kept once this returns; None takes those that
        `harden` was given, and so does whoever goes on with the run later. `event_stream_handler` is shown its events
        now, and is no part of it: what it does is not journaled, and what it raises gives the run up, as cancelling
        does, and is raised here. Raises `JournalUnavailable` when the run cannot be recorded: nothing was done then.
        """
        name = self.harness.env.ids.new("run") if run_id is None else run_id
        running = partial(self._run, prompt, name, message_history, deps)
        return await self._audience.shown(name, event_stream_handler, running)

    def run_stream(
        self,
        prompt: str | Sequence[UserContent] | None = None,
        *,
        run_id: str | None = None,
        message_history: Sequence[ModelMessage] | None = None,
        deps: Any = None,
    ) -> HardenedStream:
        """As `run`, and shows what the run does, as it does it: its events, or the text alone.

        >>> async with hardened.run_stream("Where is W1?", run_id="ticket-7713") as stream:
        ...     async for text in stream.stream_text():
        ...         show(text)  # in place of what was shown before
        >>> result = stream.result
        """

        async def begin(handler: EventStreamHandler[Any]) -> RunResult:
            return await self.run(
                prompt, run_id=run_id, message_history=message_history, deps=deps, event_stream_handler=handler
            )

        return HardenedStream(begin)

    run_stream_events = run_stream
    """Pydantic AI's name for it where the events are wanted."""

    def iter(
        self,
        prompt: str | Sequence[UserContent] | None = None,
        *,
        run_id: str | None = None,
        message_history: Sequence[ModelMessage] | None = None,
        deps: Any = None,
    ) -> AbstractAsyncContextManager[HardenedIteration]:
        """As `run`, node by node: the caller's code takes the run from one to the next, as with `Agent.iter`.

        >>> async with hardened.iter("Where is W1?", run_id="ticket-7713") as nodes:
        ...     async for node in nodes:
        ...         print(type(node).__name__)
        >>> result = nodes.result
        """
        name = self.harness.env.ids.new("run") if run_id is None else run_id

        async def running(handover: Handover) -> RunResult:
            with self._audience.of(name, handover=handover):
                return await self._run(prompt, name, message_history, deps)

        return iterated(running)

    async def _run(
        self,
        prompt: str | Sequence[UserContent] | None,
        run_id: str,
        message_history: Sequence[ModelMessage] | None,
        deps: Any,
    ) -> RunResult:
        asked = encode_input(prompt, message_history, own_deps=deps is not None)
        with self._deps.during(run_id, deps):
            return await self.harness.run(asked, run_id=run_id)

    def session(self, session_id: str) -> Conversation:
        """The conversation of this name: turns that follow one another, each told what was said before."""
        return Conversation(self.harness.session(session_id), audience=self._audience)

    async def resume(
        self,
        run_id: str,
        *,
        take_over: bool = False,
        forced_by: str = "",
        deps: Any = None,
        event_stream_handler: EventStreamHandler[Any] | None = None,
    ) -> RunResult:
        """Goes on with a run that parked, or whose process died. Raises `UnknownRun`, `ReplayMismatch`, `RunBusy`.

        `take_over` takes it from an owner that still lives but is known to be stuck; `forced_by` lets it go on although
        its process has died too often; see `Harness.resume`. `deps` are for this run, as in `run`: where that was given
        some, and `harden` none, the run waits until it is given some here. `event_stream_handler` is shown the run's
        events, from its beginning.
        """

        async def running() -> RunResult:
            with self._deps.during(run_id, deps):
                return await self.harness.resume(run_id, take_over=take_over, forced_by=forced_by)

        return await self._audience.shown(run_id, event_stream_handler, running)

    async def wake(self) -> list[RunResult]:
        """Goes on with every run that can: decided, expired, or left behind by a process that died."""
        return await self.harness.wake()

    async def compensate(self, run_id: str, *, by: str, keys: Sequence[str] | None = None) -> RunResult:
        """Takes back what a run that has ended has done; see `Harness.compensate`. `by` is who wants it."""
        return await self.harness.compensate(run_id, by=by, keys=keys)

    async def compensate_family(self, run_id: str, *, by: str) -> list[RunResult]:
        """As `compensate`, with what its children did, and theirs; see `Harness.compensate_family`."""
        return await self.harness.compensate_family(run_id, by=by)

    @property
    def operations(self) -> Operations:
        """What people may do to runs: decide approvals, settle doubts, throw the kill switch."""
        return self.harness.operations

    @property
    def approvals(self) -> Operations:
        """The same: `approvals.requests()` lists what waits for a person, `approvals.decide(...)` decides it."""
        return self.harness.operations

    @property
    def harness(self) -> Harness:
        """The harness that runs it, made when it is first needed."""
        if self._harness is None:
            surroundings = self._surroundings
            if surroundings is None:
                surroundings = self._opened = local(self.contract, directory=self._directory)
            self._harness = self.process(surroundings)
        return self._harness

    def process(
        self,
        surroundings: Surroundings,
        *,
        models: Mapping[str, Model] | None = None,
        deps: Any = _NOT_GIVEN,
        connections: Mapping[str, Database] | None = None,
    ) -> Harness:
        """One life of a process that runs this agent, in any surroundings: what the gate tries.

        `models` replace all models, by their names in the contract, and those of its children, by the child's name, a
        dot and theirs (`billing.primary`); `deps` replace the dependencies, its children's among them. `connections`
        replace the databases of transaction tools, theirs too: the contracts' own are not touched then.
        """
        life = _Life(self, models=models, deps=self._deps if deps is _NOT_GIVEN else Dependencies(deps, made=True))
        return Harness(
            self.contract,
            agent=life.advance,
            surroundings=surroundings,
            verifiers=life.verifiers,
            compensators=UndoingOf(tools=frozenset(self._compensators), make=life.undoing),
            children={
                name: partial(kin.process, models=_models_of(name, models), deps=deps, connections=connections)
                for name, kin in self._kin.items()
            },
            connections=self._connections if connections is None else stand_ins(self.contract, connections),
            directory=self._directory,
            fingerprint=self.fingerprint,
            output_of=_output_of,
            carried_of=carried_of,
        )

    @property
    def family(self) -> tuple[Contract, ...]:
        """The contracts of its children, and of theirs."""
        return tuple(found for kin in self._kin.values() for found in (kin.contract, *kin.family))

    @cached_property
    def _fallbacks(self) -> dict[str, Model]:
        """The models below the first, made once and not before they are needed: some ask for a key when made."""
        names = [name for name in _rungs(self.contract) if self._eager or isinstance(self._models.get(name), Model)]
        return {name: self._made(name) for name in names}

    def fallback(self, name: str) -> Model | None:
        """The model of a rung below the first, made now if it was not; None when the contract has no such rung."""
        if name not in self._fallbacks and name in _rungs(self.contract):
            self._fallbacks[name] = self._made(name)
        return self._fallbacks.get(name)

    def _made(self, name: str) -> Model:
        return infer_model(self._models.get(name) or self.contract.models[name].id or "")


class _Life:
    """What one process needs to advance runs: the models and verifiers, found once."""

    def __init__(self, hardened: HardenedAgent, *, models: Mapping[str, Model] | None, deps: Dependencies) -> None:
        contract = hardened.contract
        given = hardened._models if models is None else models
        self._hardened = hardened
        self._primary = given.get(PRIMARY) or (contract.models[PRIMARY].id if models is None else None)
        self._fallbacks = None if models is None else dict(models)
        if models is None:
            hardened._fallbacks  # noqa: B018 -- those that are made at the start
        self._deps = deps
        self.verifiers = functions_of(contract, "verify", given=hardened._verifiers, directory=hardened._directory)

    async def advance(self, run: Run, asked: Any) -> AgentRunResult[Any]:
        """The agent, as a harness wants it."""
        prompt, history = decode_input(asked)
        if run.session:
            history = [*await messages_before(run), *(history or ())]
        binding = Binding(
            run,
            contract=self._hardened.contract,
            model_of=self._model_of,
            verifiers=self.verifiers,
            delegates=self._hardened.delegates,
        )
        agent, audience = self._hardened.agent, self._hardened._audience
        options: dict[str, Any] = {
            "message_history": history,
            "model": self._primary,
            "deps": await self._deps.of(run, had_own=had_own_deps(asked)),
            "run_id": run.id,
            "usage_limits": UsageLimits(request_limit=None),  # the contract's limits rule
            "infer_name": False,
            "capabilities": capabilities_of(binding),
        }
        result: AgentRunResult[Any]
        handover = audience.handover(run)
        if handover is not None:
            result = await handover.over(run, lambda: agent.iter(prompt, **options), binding.leave)
            if result.response.state in ("interrupted", "incomplete"):
                run.state.degraded = run.state.degraded or _BROKEN_OFF
            return result
        try:
            result = await agent.run(prompt, event_stream_handler=audience.handler(run), **options)
        except Exception:
            binding.leave()  # a call that waits for a person goes before whatever went wrong beside it
            raise
        binding.leave()  # as where a final answer came in the same response as the call that waits
        return result

    async def undoing(self, run: Run) -> Undoing:
        """What takes calls back in `run`, and what finds out whether it did, with its dependencies."""
        deps = await self._deps.of(run)
        hardened = self._hardened
        compensators = functions_of(
            hardened.contract, "compensate", given=hardened._compensators, directory=hardened._directory
        )
        return Undoing(compensators=_with_deps(compensators, deps), verifiers=_with_deps(self.verifiers, deps))

    def _model_of(self, name: str) -> Model:
        if self._fallbacks is None:
            model, known = self._hardened.fallback(name), _rungs(self._hardened.contract)
        else:
            model, known = self._fallbacks.get(name), sorted(self._fallbacks)
        if model is None:
            raise Misuse(f"no model was given for {name!r}; given: {', '.join(known) or 'none'}")
        return model


def _with_deps(functions: Mapping[str, Callable[..., Any]], deps: Any) -> dict[str, Callable[..., Any]]:
    return {name: partial(one, deps=deps) if takes_deps(one) else one for name, one in functions.items()}


def _check(contract: Contract, models: Mapping[str, Any]) -> None:
    if PRIMARY not in contract.models:
        raise Misuse(f"the contract has no models.{PRIMARY}, which is the model that the agent is asked with")
    unknown = sorted(models.keys() - contract.models.keys())
    if unknown:
        raise Misuse(f"models were given that the contract does not know: {', '.join(unknown)}")
    for name, section in contract.models.items():
        if name != PRIMARY and section.is_model and section.id is None and name not in models:
            raise Misuse(f"models.{name} has neither an id nor a canned answer; give one, or pass it in `models`")


def _rungs(contract: Contract) -> list[str]:
    """The models that are made here: all but the first and the canned ones."""
    return [name for name, section in contract.models.items() if name != PRIMARY and section.is_model]


def _kin(children: Mapping[str, HardenedAgent], handoffs: Mapping[str, HardenedAgent]) -> dict[str, HardenedAgent]:
    """All agents that a model may ask. Raises `Misuse` for a name that is given to two."""
    both = sorted(children.keys() & handoffs.keys())
    if both:
        raise Misuse(f"given as a child and as a handoff: {', '.join(both)}; a model needs a name for each")
    return {**children, **handoffs}


def _models_of(name: str, models: Mapping[str, Model] | None) -> dict[str, Model] | None:
    """The models of a child, out of its parent's."""
    if models is None:
        return None
    prefix = f"{name}."
    return {known.removeprefix(prefix): model for known, model in models.items() if known.startswith(prefix)}


def _fingerprint(agent: AbstractAgent[Any, Any], contract: Contract, kin: Mapping[str, HardenedAgent]) -> str:
    shape = describe(agent)
    tools = [(tool.name, tool.description, tool.parameters) for tool in shape.tools]
    told, functions = prompts(agent)
    return fingerprint_of(
        contract_digest=contract_digest(contract),
        functions=[*tool_functions(agent), *functions],
        parts=[shape.name, tools, shape.models, told, {name: one.fingerprint for name, one in kin.items()}],
    )


def _output_of(native: Any) -> Any:
    output = native.output
    try:
        return to_jsonable_python(output, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise Misuse(f"the agent's output, a {type(output).__name__}, has no JSON form: {error}") from error
