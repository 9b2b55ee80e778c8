"""The audience: who, in this process, is shown a run or takes it from node to node. It is no part of the run.

A turn is watched as its session, since its run's id is known only once it has begun; what has continued as new is
watched as the first run of its chain.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from pydantic_ai import RunContext
from pydantic_ai.agent import EventStreamHandler
from pydantic_ai.messages import AgentStreamEvent

from plimsoll.adapters.common.watching import Lines
from plimsoll.adapters.pydantic_ai.iterating import Handover
from plimsoll.runtime.lineage import link_of
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run

__all__ = ["Audience", "of_session"]


def of_session(session: str) -> str:
    """The name under which the turns of a session are watched. No run has it."""
    return f"{session}/"


class Audience:
    """Event stream handlers and handovers, by run id or session."""

    def __init__(self) -> None:
        self._handlers: Lines[EventStreamHandler[Any]] = Lines()
        self._handovers: Lines[Handover] = Lines()

    @contextmanager
    def of(
        self, name: str, *, handler: EventStreamHandler[Any] | None = None, handover: Handover | None = None
    ) -> Iterator[None]:
        """While the run of this id is advanced here, or a turn of the session that goes by this name."""
        with ExitStack() as stack:
            if handler is not None:
                stack.enter_context(self._handlers.joined(name, handler))
            if handover is not None:
                stack.enter_context(self._handovers.joined(name, handover))
            yield

    async def shown(
        self, name: str, handler: EventStreamHandler[Any] | None, running: Callable[[], Coroutine[Any, Any, RunResult]]
    ) -> RunResult:
        """What comes of the run that `running` advances, while `handler` is shown it, as by `of`.

        Where the handler raises, the run is given up as by its caller, and can be gone on with; the error is raised.
        """
        if handler is None:
            return await running()
        viewer = _Viewer(handler)
        with self.of(name, handler=viewer):
            return await viewer.through(running())

    def handler(self, run: Run) -> EventStreamHandler[Any] | None:
        """Who is shown the run's events."""
        return next(filter(None, map(self._handlers.first, _watched_as(run))), None)

    def handover(self, run: Run) -> Handover | None:
        """To whom the run is handed over."""
        return next(filter(None, map(self._handovers.first, _watched_as(run))), None)


class _Viewer:
    """Whoever is shown a run is no part of it: what goes wrong there is no error of the run's."""

    def __init__(self, handler: EventStreamHandler[Any]) -> None:
        self._handler = handler
        self._run: asyncio.Task[RunResult] | None = None
        self._error: Exception | None = None

    async def __call__(self, ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        """As the handler."""
        shown = _Shown(events)
        try:
            await self._handler(ctx, shown)
        except Exception as error:
            if shown.broken or self._run is None:
                raise
            self._error = error
            self._run.cancel()
            await asyncio.get_running_loop().create_future()  # until that has come through

    async def through(self, running: Coroutine[Any, Any, RunResult]) -> RunResult:
        """What comes of the run. Raises what the handler raised."""
        self._run = asyncio.create_task(running, name="shown run")
        try:
            result = await self._run
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._error is None or (task is not None and task.cancelling()):
                raise
            raise self._error from None
        if self._error is not None:
            raise self._error
        return result


class _Shown:
    """The events of a run on their way to a handler. `broken`: it is the run that raised, and not the handler."""

    def __init__(self, events: AsyncIterable[AgentStreamEvent]) -> None:
        self._events = events
        self._iterator: AsyncIterator[AgentStreamEvent] | None = None
        self.broken = False

    def __aiter__(self) -> Self:
        self._iterator = aiter(self._events)
        return self

    async def __anext__(self) -> AgentStreamEvent:
        assert self._iterator is not None
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            raise
        except BaseException:
            self.broken = True
            raise


def _watched_as(run: Run) -> tuple[str, ...]:
    own = link_of(run.id)[0]
    return (own, of_session(run.session)) if run.session else (own,)
