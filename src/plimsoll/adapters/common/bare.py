"""An agent as people write it first, as the gate tries it: nothing protects it, but everything it does is seen."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from plimsoll.adapters.common.subject import AgentSubject, Framework, Process
from plimsoll.adapters.common.waiting import PRIMARY
from plimsoll.contract.loading import contract_digest
from plimsoll.contract.model import Contract
from plimsoll.contract.shapes import AgentShape
from plimsoll.core.calls import CallInfo, CallKind, Effect, Ending
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["BareFunction", "Observed", "Observing", "bare_subject"]

BareFunction = Callable[..., Awaitable[Any]]
"""What a service would call: `await function(input, deps=world)`."""


class Observed:
    """One run of the naive function: every call of it, put before the interceptor."""

    def __init__(self, run_id: str, contract: Contract, surroundings: Surroundings) -> None:
        self.run_id = run_id
        self.contract = contract
        self.responses = 0
        self._surroundings = surroundings
        self._ordinal = 0

    def now(self) -> float:
        """Wall-clock seconds since the epoch."""
        return self._surroundings.clock.now()

    def model_of(self, name: str) -> Any:
        """Raises `Misuse`."""
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


Observing = Callable[[Observed, Any], AbstractContextManager[Any]]
"""While it is entered, the agent asks the given model, and its calls are put before `Observed.call`."""


def bare_subject(
    function: BareFunction,
    contract: Contract,
    *,
    framework: Framework,
    name: str | None,
    shapes: Sequence[AgentShape],
    observing: Observing,
) -> AgentSubject:
    """An agent without any protection, as the gate tries it.

    `function` is what its service calls; the agents that it uses look like `shapes`. Their models are replaced by the
    scenario's `primary`; every request to it, and every tool call, passes the gate's interceptor and nothing else.
    After a crash the request is made once more from the start, as a queue would.
    """
    queues: dict[int, _Queue] = {}

    def live(surroundings: Surroundings, models: Mapping[str, Any], world: Any) -> Process:
        model = framework.stand_ins(contract, models)[PRIMARY]
        queue = queues.get(id(world))
        if queue is None or queue.world is not world:
            queue = queues[id(world)] = _Queue(world, {}, lambda: queues.pop(id(world), None))
        return _BareProcess(
            lambda asked, observed: _served(function, asked, world=world, around=observing(observed, model)),
            contract=contract,
            surroundings=surroundings,
            queue=queue,
            output_of=framework.output_of,
        )

    known = [(shape.name, [(tool.name, tool.parameters) for tool in shape.tools]) for shape in shapes]
    return AgentSubject(
        name=name or f"{contract.agent.name} (not hardened)",
        fingerprint=digest(["bare", contract_digest(contract), known]),
        contract=contract,
        hardened=False,
        live=live,
        forger=framework.forger,
    )


async def _served(function: BareFunction, asked: Any, *, world: Any, around: AbstractContextManager[Any]) -> Any:
    with around:
        return await function(asked, deps=world)


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
        serve: Callable[[Any, Observed], Awaitable[Any]],
        *,
        contract: Contract,
        surroundings: Surroundings,
        queue: _Queue,
        output_of: Callable[[Any], Any],
    ) -> None:
        self._function = serve
        self._contract = contract
        self._surroundings = surroundings
        self._queue = queue
        self._output_of = output_of
        self._active: set[str] = set()

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
            native = await self._function(asked, Observed(run_id, self._contract, self._surroundings))
        except Exception as error:
            self._queue.done(run_id)
            return RunResult(run_id=run_id, ending=Ending.FAILED, reason=f"{type(error).__name__}: {error}")
        finally:
            self._active.discard(run_id)
        self._queue.done(run_id)
        return RunResult(run_id=run_id, ending=Ending.COMPLETE, output=self._output_of(native), native=native)
