"""Subjects of the gate: a hardened Pydantic AI agent as the gate tries it."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from pydantic_ai import Agent
from pydantic_ai.models import Model

from plimsoll.adapters.common import models as common_models
from plimsoll.adapters.common import subject as common
from plimsoll.adapters.common.subject import AgentSubject, Connections
from plimsoll.adapters.pydantic_ai.forge import PydanticForger
from plimsoll.adapters.pydantic_ai.hardened import HardenedAgent
from plimsoll.contract.model import Contract
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult

__all__ = ["AgentSubject", "InlineExecutor", "hardened_subject", "stand_ins"]

P = ParamSpec("P")
T = TypeVar("T")


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
    hardened: HardenedAgent, *, name: str | None = None, connections: Connections = lambda world: {}
) -> AgentSubject:
    """The hardened agent as the gate tries it: stand-ins for its models, the world as its dependencies.

    `connections` makes the databases of its transaction tools in a scenario's world, by the names of their connections.
    """
    return common.hardened_subject(
        hardened, name=name, connections=connections, forger=PydanticForger(), stand_ins=stand_ins, lived=_Inline
    )


def stand_ins(contract: Contract, models: Mapping[str, Any]) -> dict[str, Model]:
    """The stand-ins for the contract's models, by their names. Raises `Misuse` where one is missing or is none."""
    return common_models.stand_ins(contract, models, kind=Model, what="Pydantic AI model")  # type: ignore[type-abstract]
