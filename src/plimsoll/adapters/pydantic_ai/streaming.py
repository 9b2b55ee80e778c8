"""Streamed responses: what a model says reaches whoever is shown it as it comes, and the call is settled at its end."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic_ai.messages import CustomEvent, ModelResponse, ModelResponseState, ModelResponseStreamEvent
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.usage import RequestUsage

from plimsoll.runtime.showing import Restarted
from plimsoll.runtime.streaming import ModelStream

__all__ = ["JournaledStream", "StreamRestarted"]


@dataclass(kw_only=True)
class StreamRestarted(CustomEvent, name="plimsoll.stream_restarted"):
    """Whatever was shown of this response until now is void: its next event begins its first part anew.

    `why` is `retry`, `fallback`, `replaced` or `resumed`, as in `plimsoll.Restarted`.
    """

    why: str


class JournaledStream(StreamedResponse):
    """A response of a hardened run, as it comes. Until its events have ended it is provisional.

    `so_far` tells what is known of it, in the given state; its parts are those that have been shown.
    """

    def __init__(
        self,
        stream: ModelStream[ModelResponseStreamEvent],
        *,
        so_far: Callable[[ModelResponseState], ModelResponse],
        parameters: ModelRequestParameters,
        now: datetime,
    ) -> None:
        super().__init__(parameters)
        self._stream = stream
        self._so_far = so_far
        self._now = now

    def __aiter__(self) -> AsyncIterator[ModelResponseStreamEvent]:
        # Not wrapped as other streams are: these events are those of the model's own stream, which were.
        if self._event_iterator is None:
            self._event_iterator = self._get_event_iterator()
        return self._event_iterator

    async def _get_event_iterator(self) -> AsyncGenerator[ModelResponseStreamEvent]:
        async for part in self._stream:
            if isinstance(part, Restarted):
                self.__dict__.pop("_parts_manager", None)  # a cached property of every streamed response
                yield StreamRestarted(why=part.why)  # type: ignore[misc]  # the run's events have these among them
            else:
                self._parts_manager.apply_event(part)
                yield part
        self._finished = not self._cancelled

    async def close_stream(self) -> None:
        await self._stream.close()

    def get(self) -> ModelResponse:
        if self._stream.settled:
            response: ModelResponse = self._stream.reply
            return response
        response = self._so_far("interrupted" if self._cancelled else "incomplete")
        return replace(response, parts=self._parts_manager.get_parts())

    @property
    def usage(self) -> RequestUsage:
        return self.get().usage

    @property
    def model_name(self) -> str:
        return self.get().model_name or ""

    @property
    def provider_name(self) -> str | None:
        return self.get().provider_name

    @property
    def provider_url(self) -> str | None:
        return self.get().provider_url

    @property
    def timestamp(self) -> datetime:
        return self._now
