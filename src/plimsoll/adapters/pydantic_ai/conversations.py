"""Conversations: a session's turns, and what the model of a turn is told of those before it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic_ai.agent import EventStreamHandler
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.run import AgentRunResult

from plimsoll.adapters.pydantic_ai.audience import Audience, of_session
from plimsoll.adapters.pydantic_ai.messages import decode_input, encode_input
from plimsoll.adapters.pydantic_ai.watching import HardenedStream
from plimsoll.core.canonical import canonical_json
from plimsoll.core.events import CallIntended, CallSettled
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.screening import input_was_stopped
from plimsoll.runtime.sessions import Session, Turn
from plimsoll.runtime.undoable import links, taken_back

__all__ = ["Conversation", "carried_of", "messages_before"]

_TAKEN = ", which somebody has taken back"
_STOPPED = "[A guard has stopped what was asked here.]"
_PERHAPS_TAKEN = ", which somebody has perhaps taken back"


class Conversation:
    """A session of a hardened agent: each turn's model gets the messages of those before it, out of the journal.

    >>> conversation = hardened.session("ticket-7713")
    >>> result = await conversation.run("And when will it arrive?", turn="message-2")
    """

    __slots__ = ("_audience", "_session")

    def __init__(self, session: Session, *, audience: Audience) -> None:
        self._session = session
        self._audience = audience

    @property
    def id(self) -> str:
        """The session's name."""
        return self._session.id

    async def run(
        self,
        prompt: str | Sequence[UserContent] | None = None,
        *,
        turn: int | str | None = None,
        event_stream_handler: EventStreamHandler[Any] | None = None,
    ) -> RunResult:
        """Runs the next turn until it ends or parks. `turn` makes it idempotent: see `plimsoll.Session.run`.

        `event_stream_handler` is shown the turn's events, as in `HardenedAgent.run`.
        """
        running = partial(self._session.run, encode_input(prompt, None), turn=turn)
        return await self._audience.shown(of_session(self.id), event_stream_handler, running)

    def run_stream(
        self, prompt: str | Sequence[UserContent] | None = None, *, turn: int | str | None = None
    ) -> HardenedStream:
        """As `run`, and shows what the turn does, as it does it: see `HardenedAgent.run_stream`."""

        async def begin(handler: EventStreamHandler[Any]) -> RunResult:
            return await self.run(prompt, turn=turn, event_stream_handler=handler)

        return HardenedStream(begin)

    async def history(self) -> tuple[Turn, ...]:
        """The turns that have ended, the oldest first."""
        return await self._session.history()


def carried_of(result: AgentRunResult[Any]) -> Any:
    """What the next turn is handed: the messages of this one, as JSON."""
    return ModelMessagesTypeAdapter.dump_python(result.new_messages(), mode="json")


async def messages_before(run: Run) -> list[ModelMessage]:
    """The messages of the session's earlier turns, and what somebody had taken back of them when this run began."""
    store = run.state.env.store
    head = await store.head(run.id)
    messages: list[ModelMessage] = []
    for turn in await run.history():
        taken = await taken_back(store, turn.run_id, before=head.started_at if head is not None else 0.0)
        if isinstance(turn.carried, list):
            messages += ModelMessagesTypeAdapter.validate_python(turn.carried)
        else:
            messages += await _retold(run, turn, taken)
        if turn.answered and taken:
            gone = "; ".join([call async for key, call in _effects(run, turn, taken) if key in taken])
            messages[-1] = _with(messages[-1], f"[Of this: {gone}.]", at=datetime.fromtimestamp(turn.ended_at, UTC))
    return messages


def _with(message: ModelMessage, text: str, *, at: datetime) -> ModelMessage:
    """The message with something more in it: one more message could be taken for the beginning of the next turn."""
    if isinstance(message, ModelResponse):
        return replace(message, parts=[*message.parts, TextPart(text)])
    return replace(message, parts=[*message.parts, UserPromptPart(text, timestamp=at)])


async def _retold(run: Run, turn: Turn, taken: Mapping[str, bool]) -> list[ModelMessage]:
    """A turn that left no messages, as it did not end well or another agent took over: what was asked, what came of it,
    and whatever was done, so that no model does it again for want of knowing."""
    prompt, _ = decode_input(turn.input)
    if await input_was_stopped(run.state.env.store, turn.run_id):
        prompt = _STOPPED
    if turn.answered:
        said = turn.output if isinstance(turn.output, str) else canonical_json(turn.output).decode()
    else:
        done = "; ".join([call async for _, call in _effects(run, turn, taken)]) or "nothing"
        said = f"[This was not completed ({turn.ending}: {turn.reason}). What was done: {done}.]"
    at = datetime.fromtimestamp(turn.started_at, UTC)
    asked = ModelRequest(parts=[UserPromptPart("" if prompt is None else prompt, timestamp=at)], timestamp=at)
    return [asked, ModelResponse(parts=[TextPart(said)], timestamp=at)]


async def _effects(run: Run, turn: Turn, taken: Mapping[str, bool]) -> AsyncIterator[tuple[str, str]]:
    """What a turn changed in the world, by call key and in words, with what may have been, and what was taken back."""
    async for link in links(run.state.env.store, turn.run_id):
        settled = {event.key: event.outcome for event in link.events if isinstance(event, CallSettled)}
        for event in link.events:
            if isinstance(event, CallIntended):
                outcome = settled.pop(event.key, None)
                if outcome is None or outcome.ok:
                    key = link.key(event.key)
                    call = f"{event.dependency} {canonical_json(event.args).decode()}"
                    since = "" if key not in taken else _TAKEN if taken[key] else _PERHAPS_TAKEN
                    yield key, (call if outcome is not None else f"perhaps {call}") + since
