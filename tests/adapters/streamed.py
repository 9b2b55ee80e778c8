"""Models that stream, and somebody who is shown what they say: what the tests of streams share."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import (
    AgentStreamEvent,
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from plimsoll.adapters.pydantic_ai import StreamRestarted
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import CallSettled
from tests.adapters.bench import Desk

Chunk = str | float | BaseException | dict[int, DeltaToolCall]


def tool(name: str, *pieces: str, call_id: str | None = None, index: int = 0) -> list[dict[int, DeltaToolCall]]:
    """A tool call as it comes: its name first, then its arguments piece by piece."""
    first = {index: DeltaToolCall(name=name, json_args="", tool_call_id=call_id)}
    return [first, *({index: DeltaToolCall(json_args=piece)} for piece in pieces)]


def streamed(*steps: Any) -> FunctionModel:
    """A model that streams these answers in turn; which one is read off the conversation.

    A step that is a tuple has one answer for each time it is asked. A number is a pause, an error breaks off.
    """
    tries = [iter(step) if isinstance(step, tuple) else None for step in steps]

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        again = tries[turn]
        for chunk in steps[turn] if again is None else next(again):
            if isinstance(chunk, BaseException):
                raise chunk
            if isinstance(chunk, float):
                await LoopClock().sleep(chunk)
            else:
                yield chunk

    return FunctionModel(stream_function=stream, model_name="streamed")


class Audience:
    """Somebody who is shown a run: every event, and the text as it stands."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.text = ""
        self.came: list[str] = []

    async def __call__(self, ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
        async for event in events:
            self.show(event)

    def show(self, event: Any) -> None:
        self.events.append(event)
        match event:
            case StreamRestarted(why=why):
                self.text = ""
                self.came.append(f"<{why}>")
            case PartStartEvent(index=index, part=TextPart(content=content)):
                self.text = content if index == 0 else self.text + content
                self.came.append(content)
            case PartDeltaEvent(delta=TextPartDelta(content_delta=content)):
                self.text += content
                self.came.append(content)
            case FunctionToolCallEvent(part=part):
                self.came.append(f"{part.tool_name}(")
            case FunctionToolResultEvent():
                self.came.append(")")


BROKEN: list[Chunk] = ["Your ord", ConnectionResetError("reset by peer")]
DONE: list[Chunk] = ["All ", "done."]
LOOK = tool("look", '{"order"', ': "W1"}', call_id="c1")
REFUND = tool("refund", '{"order": "W1", ', '"amount": 20}', call_id="c2")


def desk_of(model: Any, **changes: Any) -> Desk:
    return Desk(model=model, backup=changes.pop("backup", streamed(["The backup", " says so."])), **changes)


async def calls(desk: Desk) -> list[str]:
    return [event.key for event in await desk.events(CallSettled)]
