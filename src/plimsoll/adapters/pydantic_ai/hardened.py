"""`harden`: a Pydantic AI agent under its contract."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic_ai import UsageLimits
from pydantic_ai.agent import AbstractAgent, EventStreamHandler
from pydantic_ai.messages import ModelMessage, UserContent
from pydantic_ai.models import Model, infer_model
from pydantic_ai.run import AgentRunResult
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.adapters.common.hardened import Hardened, Life, loaded
from plimsoll.adapters.common.models import Models, check_models
from plimsoll.adapters.pydantic_ai.audience import Audience
from plimsoll.adapters.pydantic_ai.binding import Binding
from plimsoll.adapters.pydantic_ai.capability import capabilities_of
from plimsoll.adapters.pydantic_ai.conversations import Conversation, carried_of, messages_before
from plimsoll.adapters.pydantic_ai.delegation import Delegate
from plimsoll.adapters.pydantic_ai.describe import describe, prompts, tool_functions
from plimsoll.adapters.pydantic_ai.iterating import Handover, HardenedIteration, iterated
from plimsoll.adapters.pydantic_ai.local import OwnModel
from plimsoll.adapters.pydantic_ai.messages import decode_input, encode_input, had_own_deps
from plimsoll.adapters.pydantic_ai.watching import HardenedStream
from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.core.guards import Guard
from plimsoll.learning.local import LocalModel
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.fingerprint import fingerprint_of
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["HardenedAgent", "harden"]

_BROKEN_OFF = "its last response was left before its end"


def harden(
    agent: AbstractAgent[Any, Any],
    contract: Contract | str | Path,
    *,
    deps: Any = None,
    models: Mapping[str, Model | LocalModel | str] | None = None,
    verifiers: Mapping[str, Callable[..., Any]] | None = None,
    compensators: Mapping[str, Callable[..., Any]] | None = None,
    children: Mapping[str, "HardenedAgent"] | None = None,
    handoffs: Mapping[str, "HardenedAgent"] | None = None,
    connections: Mapping[str, Database | str] | None = None,
    guards: Mapping[str, Guard] | None = None,
    surroundings: Surroundings | None = None,
    fingerprint: str | None = None,
    eager: bool = True,
) -> "HardenedAgent":
    """The agent under its contract. The agent itself is not changed, and goes on working by itself.

    `contract` is a contract or the path of a `plimsoll.toml`. `deps` are the agent's dependencies, or a function
    without parameters that makes them, for each run and again when a run is resumed; a run whose dependencies cannot be
    made waits, and is tried again by `wake`. `models` are Pydantic AI models, or their ids, by their names in the
    contract; without it, `primary` is the agent's own model, every other is inferred from its `id`, and a `local` one
    is loaded now; a `LocalModel` may be given in its place. `verifiers` answer, by tool, whether a write happened, and
    `compensators` take back what was done; those left out are the contract's `verify` and `compensate`. Both are given
    the run's dependencies where they have a parameter `deps`. `connections` are the databases of transaction tools, by
    the names of their connections, as URLs or opened (see `plimsoll.runtime.databases`); those left out are the
    contract's. `guards` judge for the contract's guards, by name; those left out are the models that it names.
    `children` are hardened agents that the model may have do a part of the work, each in a run of its own: it gets a
    tool of that name for each; to `handoffs` it may hand the whole run over. `surroundings` are where it runs; None
    opens the contract's journal on this machine when it is first needed. `fingerprint` identifies the agent's version:
    None makes one of the contract and the agent's instructions, output, settings, tools and models. `eager` makes every
    model at the start, so that a service without a provider's package or key does not start; False makes those below
    the first when they are first asked, and one that cannot be made is then a failed attempt.

    Raises `ContractError` for a contract that is wrong, and `Misuse` for one that does not fit this agent.
    """
    contract, directory = loaded(contract)
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
        guards=guards or {},
        surroundings=surroundings,
        fingerprint=fingerprint,
        directory=directory,
        eager=eager,
    )


class HardenedAgent(Hardened):
    """An agent whose every model request and tool call goes through the pipeline. Made by `harden`.

    >>> async with harden(agent, "plimsoll.toml", deps=open_shop) as hardened:
    ...     result = await hardened.run("Please refund order W1", run_id="ticket-7713")
    """

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        contract: Contract,
        *,
        models: Mapping[str, Model | LocalModel | str],
        children: Mapping[str, "HardenedAgent"],
        handoffs: Mapping[str, "HardenedAgent"],
        fingerprint: str | None,
        directory: Path,
        eager: bool,
        **options: Any,
    ) -> None:
        check_models(contract, models)
        self.agent = agent
        self._kin = _kin(children, handoffs)
        self.delegates = {
            name: Delegate(kin.agent.description or "", takes_over=name in handoffs) for name, kin in self._kin.items()
        }
        self._audience = Audience()
        kind: Any = Model
        found: Models[Model] = Models(
            contract, models, kind=kind, make=infer_model, own=OwnModel, directory=directory, eager=eager
        )
        found.local.check(describe(agent))
        super().__init__(
            contract,
            models=found,
            fingerprint=fingerprint or found.fingerprinted(_fingerprint(agent, contract, self._kin)),
            directory=directory,
            **options,
        )

    async def __aenter__(self) -> Self:
        for model in self._models.made().values():
            await self._stack.enter_async_context(model)
        for kin in self._kin.values():
            await self._stack.enter_async_context(kin)
        return self

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

    async def compensate_family(self, run_id: str, *, by: str) -> list[RunResult]:
        """As `compensate`, with what its children did, and theirs; see `Harness.compensate_family`."""
        return await self.harness.compensate_family(run_id, by=by)

    @property
    def local_models(self) -> Mapping[str, str]:
        return {**super().local_models, **self._of_kin(lambda kin: kin.local_models)}

    @property
    def guard_models(self) -> Mapping[str, str]:
        return {**super().guard_models, **self._of_kin(lambda kin: kin.guard_models)}

    def _of_kin(self, digests: Callable[[Hardened], Mapping[str, str]]) -> dict[str, str]:
        return {f"{child}.{name}": digest for child, kin in self._kin.items() for name, digest in digests(kin).items()}

    @property
    def family(self) -> tuple[Contract, ...]:
        """The contracts of its children, and of theirs."""
        return tuple(found for kin in self._kin.values() for found in (kin.contract, *kin.family))

    def _children(
        self, *, models: Mapping[str, Any] | None, deps: Any, connections: Mapping[str, Database] | None
    ) -> dict[str, Callable[..., Harness]]:
        return {
            name: partial(kin.process, models=_models_of(name, models), deps=deps, connections=connections)
            for name, kin in self._kin.items()
        }

    async def _advance(self, life: Life, run: Run, asked: Any) -> AgentRunResult[Any]:
        prompt, history = decode_input(asked)
        if run.session:
            history = [*await messages_before(run), *(history or ())]
        binding = Binding(
            run,
            contract=self.contract,
            model_of=life.models.of,
            verifiers=life.verifiers,
            delegates=self.delegates,
        )
        options: dict[str, Any] = {
            "message_history": history,
            "model": life.models.primary,
            "deps": await life.deps.of(run, had_own=had_own_deps(asked)),
            "run_id": run.id,
            "usage_limits": UsageLimits(request_limit=None),  # the contract's limits rule
            "infer_name": False,
            "capabilities": capabilities_of(binding),
        }
        result: AgentRunResult[Any]
        handover = self._audience.handover(run)
        if handover is not None:
            result = await handover.over(run, lambda: self.agent.iter(prompt, **options), binding.leave)
            if result.response.state in ("interrupted", "incomplete"):
                run.state.degraded = run.state.degraded or _BROKEN_OFF
            return result
        try:
            result = await self.agent.run(prompt, event_stream_handler=self._audience.handler(run), **options)
        except Exception:
            binding.leave()  # a call that waits for a person goes before whatever went wrong beside it
            raise
        binding.leave()  # as where a final answer came in the same response as the call that waits
        return result

    def _carried_of(self, native: Any) -> Any:
        return carried_of(native)

    def _output_of(self, native: Any) -> Any:
        output = native.output
        try:
            return to_jsonable_python(output, bytes_mode="base64")
        except PydanticSerializationError as error:
            raise Misuse(f"the agent's output, a {type(output).__name__}, has no JSON form: {error}") from error


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
