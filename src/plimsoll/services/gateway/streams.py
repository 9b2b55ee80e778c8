"""Streams: an answer as server-sent events, shown as it comes.

What was shown cannot be taken back, so whatever voids it is an event of its own, and the event that ends an answer is
sent only when all of it stands.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from plimsoll.services.gateway.exchange import Part, unfolded
from plimsoll.services.gateway.runs import Answer, Request, Screen
from plimsoll.services.http import Failure

__all__ = ["EventStream", "again", "shown"]

STALLED_S = 60.0
"""How many seconds a client may take for a part of a stream before it counts as gone."""
_LOG = logging.getLogger("plimsoll.gateway")


class EventStream(StreamingResponse):
    """Server-sent events. Whatever becomes of its client, `closing` is awaited at the end."""

    def __init__(
        self, events: AsyncGenerator[bytes], headers: Mapping[str, str], closing: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(events, headers={**headers, "cache-control": "no-cache"}, media_type="text/event-stream")
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def taken(message: Message) -> None:
            async with asyncio.timeout(STALLED_S):
                await send(message)

        try:
            await super().__call__(scope, receive, taken)
        except (TimeoutError, ClientDisconnect):
            _LOG.info("- a client took no more of a stream")
        finally:
            await asyncio.shield(asyncio.ensure_future(self._closing()))


async def shown(
    first: Part,
    request: Request,
    screen: Screen,
    task: "asyncio.Task[Answer]",
    *,
    told: Callable[[Exception], Failure],
) -> AsyncGenerator[bytes]:
    """The parts of an answer as they come. `told` makes of an error what a client is told of it."""
    endpoint, model = request.asked.streamed, request.asked.model
    assert endpoint is not None
    part: Part | None = first
    number = 0
    while part is not None:
        yield endpoint.event(part.data, model=model, number=number)
        number += 1
        part = await screen.next()
    try:
        answer = await task
    except Exception as error:
        failure = told(error)
        if screen.voided:
            what = f"the answer began anew ({screen.voided}), and what was shown of it is void; ask again"
            failure = Failure(502, "stream_restarted", what)
        yield endpoint.broken(failure, number=number)
        return
    yield endpoint.last(answer.reply.body, model=model, number=number)


async def again(request: Request, answer: Answer) -> AsyncGenerator[bytes]:
    """An answer that nobody was shown as it came."""
    endpoint, model, body = request.asked.streamed, request.asked.model, answer.reply.body
    assert endpoint is not None
    parts = unfolded(request.asked, body)
    for number, part in enumerate(parts):
        yield endpoint.event(part, model=model, number=number)
    yield endpoint.last(body, model=model, number=len(parts))
