"""Subjects of the gate: a hardened Pydantic AI agent as the gate tries it."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.run import AgentRunResult
from pydantic_core import to_jsonable_python

from plimsoll.adapters.common.subject import AgentSubject, Framework
from plimsoll.adapters.pydantic_ai.forge import PydanticForger
from plimsoll.adapters.pydantic_ai.local import OwnModel
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult

__all__ = ["FRAMEWORK", "AgentSubject", "InlineExecutor", "hardened_subject"]

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


def _output_of(native: Any) -> Any:
    output = native.output if isinstance(native, AgentRunResult) else native
    return to_jsonable_python(output, fallback=str)


FRAMEWORK = Framework(
    model=Model, own=OwnModel, called="Pydantic AI model", forger=PydanticForger(), output_of=_output_of, lived=_Inline
)
hardened_subject = FRAMEWORK.hardened_subject
