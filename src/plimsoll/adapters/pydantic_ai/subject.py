"""Subjects of the gate: a hardened agent as the gate tries it. The gate is matched by shape, and not imported."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

from pydantic_ai import Agent
from pydantic_ai.models import Model

from plimsoll.adapters.pydantic_ai.forge import PydanticForger
from plimsoll.adapters.pydantic_ai.hardened import HardenedAgent
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.runtime.databases.database import Database
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["AgentSubject", "InlineExecutor", "Process", "hardened_subject", "stand_ins"]

P = ParamSpec("P")
T = TypeVar("T")


class Process(Protocol):
    """One life of the agent's process."""

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult: ...
    async def wake(self) -> Sequence[RunResult]: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSubject:
    """An agent on trial, in the shape of `plimsoll.gate.subject.Subject`."""

    name: str
    fingerprint: str
    contract: Contract
    hardened: bool
    live: Callable[[Surroundings, Mapping[str, Any], Any], Process]
    forger: PydanticForger = field(default_factory=PydanticForger)
    family: tuple[Contract, ...] = ()


class InlineExecutor(Executor):
    """Runs a function where it is submitted. Simulated time has no threads."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            result = fn(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future


class _Inline:
    """A harness whose agent runs synchronous tools where they are called."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._executor = InlineExecutor()

    async def run(self, input: Any, *, run_id: str | None = None) -> RunResult:
        with Agent.using_thread_executor(self._executor):
            return await self._harness.run(input, run_id=run_id)

    async def wake(self) -> Sequence[RunResult]:
        with Agent.using_thread_executor(self._executor):
            return await self._harness.wake()

    async def close(self) -> None:
        await self._harness.close()


def hardened_subject(
    hardened: HardenedAgent,
    *,
    name: str | None = None,
    connections: Callable[[Any], Mapping[str, Database]] = lambda world: {},
) -> AgentSubject:
    """The hardened agent as the gate tries it: stand-ins for its models, the world as its dependencies.

    `connections` makes the databases of its transaction tools in a scenario's world, by the names of their connections.
    """

    def live(surroundings: Surroundings, models: Mapping[str, Any], world: Any) -> Process:
        return _Inline(
            hardened.process(
                surroundings,
                models=stand_ins(hardened.contract, models),
                deps=world,
                connections=connections(world),
            )
        )

    return AgentSubject(
        name=name or hardened.contract.agent.name,
        fingerprint=hardened.fingerprint,
        contract=hardened.contract,
        hardened=True,
        live=live,
        family=hardened.family,
    )


def stand_ins(contract: Contract, models: Mapping[str, Any]) -> dict[str, Model]:
    """The stand-ins for the contract's models, by their names. Raises `Misuse` where one is missing or is none."""
    for name, section in contract.models.items():
        if section.is_model and not isinstance(models.get(name), Model):
            raise Misuse(f"the scenario gives no Pydantic AI model for models.{name}")
    return dict(models)
