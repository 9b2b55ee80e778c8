"""Models that stream, and screens that show it: what the tests of streams share."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from plimsoll.contract.model import Model, Retry
from plimsoll.core.calls import Fault, Usage
from plimsoll.core.events import CallSettled
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Restarted
from tests.runtime.bench import ON, Desk, pass_time

RETRY = Model(timeout_s=10.0, retry=Retry(on=(*ON, Fault.TRUNCATED, Fault.MALFORMED), max_attempts=2))
LADDER = {"primary": Model(timeout_s=10.0, fallback=("backup",)), "backup": Model(timeout_s=10.0)}

Part = str | float | Exception | ModelReply


def streaming(*tries: list[Part]) -> Callable[[Any], AsyncIterator[str | ModelReply]]:
    """A model that streams: for each request the next of `tries`. A number is a pause, an error breaks it off."""
    asked = iter(tries)

    async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
        for part in next(asked):
            if isinstance(part, Exception):
                raise part
            if isinstance(part, float):
                await pass_time(part)
            else:
                yield part

    return model


HELLO: list[Part] = ["Hel", "lo", ModelReply(usage=Usage(input_tokens=3, output_tokens=2))]
BROKEN: list[Part] = ["He", ConnectionResetError("reset by peer")]


class Screen:
    """Somebody who is shown a stream: everything that came, and the text since it last began."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.text = ""

    def show(self, part: str | Restarted) -> None:
        self.came.append(part if isinstance(part, str) else f"<{part.why}>")
        self.text = "" if isinstance(part, Restarted) else self.text + part


def chat(screen: Screen, *, slow_s: float = 0.0) -> Any:
    async def agent(run: Run, request: Any) -> Any:
        async with run.stream({"ask": request}) as parts:
            async for part in parts:
                screen.show(part)
                await pass_time(slow_s)
        reply: ModelReply = parts.reply
        return reply.text

    return agent


class StreamingDesk(Desk):
    """A desk that remembers its last life."""

    last: Harness

    def live(self, store: Any = None) -> Harness:
        self.last = super().live(store)
        return self.last


async def settled(desk: Desk, key: str = "1:primary") -> CallSettled:
    (found,) = [
        record.event
        for record in await desk.store.read("r")
        if isinstance(record.event, CallSettled) and record.event.key == key
    ]
    return found


def desk_of(model: Any, agent: Any, **changes: Any) -> StreamingDesk:
    desk = StreamingDesk(models=changes.pop("models", {"primary": RETRY}), **changes)
    desk.models = model if isinstance(model, dict) else {"primary": model}
    desk.agent = agent
    return desk
