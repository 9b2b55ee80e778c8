"""Watching a run: its events as they come, for whoever asked for it."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine
from functools import partial
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.agent import EventStreamHandler
from pydantic_ai.messages import AgentStreamEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

from plimsoll.adapters.common.watching import WatchedRun
from plimsoll.adapters.pydantic_ai.streaming import StreamRestarted
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.showing import NOTHING_MORE, Relay, Restarted

__all__ = ["HardenedStream"]

Begin = Callable[[EventStreamHandler[Any]], Coroutine[Any, Any, RunResult]]
"""Runs the agent, and shows its events to the handler."""


class HardenedStream(WatchedRun[AgentStreamEvent]):
    """What a run does, as it does it. `async with` begins it; `async for` gives Pydantic AI's own events.

    What is shown of a response is provisional until its events have ended; a `StreamRestarted` among them says that it
    begins anew. A run that is gone on with shows everything from its beginning. The run waits for whoever is shown it.
    Iterated once, by events or by `stream_text`.
    """

    def __init__(self, begin: Begin) -> None:
        super().__init__(lambda relay: begin(partial(_shown, relay)))

    async def __anext__(self) -> AgentStreamEvent:
        self.begun()
        event = await self._relay.take()
        if event is not NOTHING_MORE and not isinstance(event, Restarted):
            return event
        await self.ended()
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


async def _shown(relay: Relay[AgentStreamEvent], ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
    async for event in events:
        await relay.give(event)
