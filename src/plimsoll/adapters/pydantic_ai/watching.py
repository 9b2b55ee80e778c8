"""Watching a run: its events as they come, for whoever asked for it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from pydantic_ai import RunContext
from pydantic_ai.agent import EventStreamHandler
from pydantic_ai.messages import AgentStreamEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

from plimsoll.adapters.pydantic_ai.streaming import StreamRestarted
from plimsoll.core.errors import Misuse
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.showing import NOTHING_MORE, Relay, Restarted

__all__ = ["HardenedStream"]

Begin = Callable[[EventStreamHandler[Any]], Coroutine[Any, Any, RunResult]]
"""Runs the agent, and shows its events to the handler."""


class HardenedStream:
    """What a run does, as it does it. `async with` begins it; `async for` gives Pydantic AI's own events.

    What is shown of a response is provisional until its events have ended; a `StreamRestarted` among them says that it
    begins anew. A run that is gone on with shows everything from its beginning. The run waits for whoever is shown it.
    Leaving the `async with` early gives the run up, as cancelling `run` does: it is gone on with by its id, or by
    `wake`. Iterated once, by events or by `stream_text`.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._relay: Relay[AgentStreamEvent] = Relay(keeps=False)
        self._run: asyncio.Task[RunResult] | None = None

    @property
    def result(self) -> RunResult:
        """How the run stands, once its events have ended. Raises `Misuse` before, and where it was given up."""
        if self._run is None or not self._run.done() or self._run.cancelled():
            raise Misuse("the run has not come to its end: iterate over its events first")
        return self._run.result()

    async def __aenter__(self) -> Self:
        if self._run is not None:
            raise Misuse("this stream has been begun already; a run is watched by one `async with`")
        self._run = asyncio.create_task(self._running(), name="watched run")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._run is not None
        self._run.cancel()
        await asyncio.wait([self._run])
        if not self._run.cancelled():
            self._run.exception()  # seen

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AgentStreamEvent:
        if self._run is None:
            raise Misuse("a stream is begun by `async with`: async with hardened.run_stream(…) as stream")
        event = await self._relay.take()
        if event is not NOTHING_MORE and not isinstance(event, Restarted):
            return event
        await asyncio.wait([self._run])
        self._run.result()
        raise StopAsyncIteration

    async def stream_text(self) -> AsyncGenerator[str]:
        """The text of the response that is coming, from its beginning each time: each takes the place of the last.

        So nothing has to be taken back by whoever shows it. The last one is the answer, where that is text; of a run
        that had ended before, it is the only one.
        """
        texts: dict[int, str] = {}
        said = ""
        async for event in self:
            if isinstance(event, StreamRestarted) or (isinstance(event, PartStartEvent) and event.index == 0):
                texts.clear()
            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                texts[event.index] = event.part.content
            elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                texts[event.index] = texts.get(event.index, "") + event.delta.content_delta
            text = "".join(texts[index] for index in sorted(texts))
            if text != said:
                said = text
                yield text
        output = self.result.output
        if isinstance(output, str) and output != said:
            yield output

    async def _running(self) -> RunResult:
        try:
            return await self._begin(self._show)
        finally:
            self._relay.end()

    async def _show(self, ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for event in events:
            await self._relay.give(event)
