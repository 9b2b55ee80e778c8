"""Streams: a model call whose answer is shown as it comes.

The call goes through the pipeline like any other, in a task beside the one that is shown its parts. What is shown
before the call is settled is provisional. A receiver that leaves early ends the call: it is settled as it stood, by the
next thing that the run does. A run that is given up does nothing more, so a stream in it is settled as little as any
other call under way, and begins anew when the run goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from msgspec.structs import replace

from plimsoll.core.calls import CallKind, Effect, ErrorRecord, Fault, Outcome, Status, Usage
from plimsoll.core.errors import Misuse, ReplayMismatch, RunParked, Unwind
from plimsoll.core.events import CallSettled
from plimsoll.runtime.exchange import Exchange
from plimsoll.runtime.pipeline import Settled
from plimsoll.runtime.showing import NOTHING_MORE, Relay, Restarted
from plimsoll.runtime.state import RunState

__all__ = ["ModelStream", "StreamedExchange"]

P = TypeVar("P")


class StreamedExchange(Exchange, Protocol[P]):
    """A model call whose answer can be shown in parts."""

    def is_whole(self, shown: Sequence[P], native: Any) -> bool:
        """Whether `shown`, the parts since the answer last began, are all of the answer `native`."""
        ...

    def parts(self, native: Any) -> AsyncIterator[P]:
        """The answer `native` for somebody who was shown nothing of it."""
        ...

    async def left(self, shown: Sequence[P]) -> tuple[Any, Usage]:
        """What stands of an answer whose receiver left: as JSON, and what it consumed, by a cautious estimate."""
        ...

    def again(self, left: Any) -> AsyncIterator[P]:
        """The parts that `left` wrote down."""
        ...


class ModelStream(Generic[P]):
    """A model's answer as it comes: `async with` begins and ends it, `async for` gives its parts and any `Restarted`.

    Iteration raises `CallFailed` where no attempt brought an answer. Made by `Run.stream`.
    """

    __slots__ = (
        "_began_s", "_call", "_closed", "_exchange", "_key", "_native", "_pump", "_relay", "_settled", "_state",
    )  # fmt: skip

    def __init__(
        self,
        state: RunState,
        exchange: StreamedExchange[P],
        key: str,
        call: Callable[[], Awaitable[Settled]],
    ) -> None:
        self._state = state
        self._exchange = exchange
        self._key = key
        self._call = call
        self._relay: Relay[P] = Relay()
        self._pump: asyncio.Task[None] | None = None
        self._settled: Settled | None = None
        self._native: Any = NOTHING_MORE
        self._began_s = 0.0
        self._closed = False

    @property
    def key(self) -> str:
        """The key of the call: the same for every showing of this answer, on a resume as well."""
        return self._key

    @property
    def settled(self) -> bool:
        """Whether the answer is settled, and `reply` has it."""
        return self._native is not NOTHING_MORE

    @property
    def outcome(self) -> Outcome | None:
        """What came of the call; None as long as nothing has, and where its receiver left."""
        return None if self._settled is None else self._settled.outcome

    @property
    def reply(self) -> Any:
        """The answer, once it is settled. Raises `Misuse` before, and where its receiver left."""
        if not self.settled:
            raise Misuse(f"the answer to {self._key!r} is not settled: iterate over the stream to its end first")
        return self._native

    async def __aenter__(self) -> Self:
        if self._pump is not None:
            raise Misuse(f"the stream {self._key!r} has been begun already; make another with run.stream")
        self._state.streams.check(asyncio.current_task())
        self._state.streams.relays[self._key] = self._relay
        self._began_s = self._state.env.clock.monotonic()
        self._pump = asyncio.create_task(self._pumped(), name=f"stream {self._key}")
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> P | Restarted:
        if self._pump is None:
            raise Misuse("a stream is begun by `async with`: async with run.stream(…) as parts")
        part = await self._relay.take()
        if part is not NOTHING_MORE:
            self._state.streams.received(asyncio.current_task(), self)
            return part
        await asyncio.wait([self._pump])
        self._state.streams.over(self)
        if not (self._closed and self._pump.cancelled()):
            self._pump.result()
        raise StopAsyncIteration

    async def close(self) -> None:
        """Shows nothing more: whoever iterates comes to the end, and leaves. Returns when the call is over."""
        self._closed = True
        if self._pump is not None:
            await _ended(self._pump)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pump = self._pump
        assert pump is not None
        await _ended(pump)
        streams = self._state.streams
        streams.over(self)
        streams.relays.pop(self._key, None)
        failed = None if pump.cancelled() else pump.exception()
        if failed is not None and not isinstance(failed, Exception) and (error is None or isinstance(error, Exception)):
            raise failed  # the run leaves the stack, whether or not somebody is there to be shown it
        if pump.cancelled() and self._settled is None and self._goes_on():
            streams.leave(await self._as_it_stood())

    async def _pumped(self) -> None:
        """Makes the call, and shows whatever its attempts have not shown."""
        relay, exchange = self._relay, self._exchange
        try:
            if self._state.replay.resumed:
                await relay.restart("resumed")
            self._settled = settled = await self._call()
            if settled.outcome.status is Status.ABANDONED:
                await self._left_again(settled.outcome)
            native = settled.unwrap()
            if not exchange.is_whole(relay.shown, native):
                if relay.shown:
                    await relay.restart("replaced")
                async for part in exchange.parts(native):
                    await relay.give(part)
            self._native = native
        finally:
            relay.end()

    async def _left_again(self, outcome: Outcome) -> None:
        """On replay: shows what was shown, and waits for the receiver to leave as it did."""
        async for part in self._exchange.again(outcome.value):
            await self._relay.give(part)
        try:
            await self._state.replay.left(self._key)
        except ReplayMismatch as mismatch:
            signal = RunParked("mismatch", detail=str(mismatch))
            self._state.unwind(signal)
            raise signal from mismatch

    def _goes_on(self) -> bool:
        """Whether the run may do anything further: what was shown is no reason to leave the stack."""
        try:
            self._state.guard()
        except Unwind:
            return False
        return True

    async def _as_it_stood(self) -> CallSettled:
        state, exchange, rung = self._state, self._exchange, self._relay.rung
        value, usage = await exchange.left(self._relay.taken)
        model = state.env.ladders[exchange.dependency].rungs[rung].model
        usage = replace(usage, usd=state.limits.cost(model, usage.input_tokens, usage.output_tokens))
        error = ErrorRecord(type="Abandoned", message="its receiver left before the end", fault=Fault.REFUSED)
        state.answered_by(exchange, rung)
        return CallSettled(
            key=self._key,
            kind=CallKind.MODEL,
            dependency=exchange.dependency,
            effect=Effect.READ,
            args_digest=exchange.args_digest,
            outcome=Outcome(status=Status.ABANDONED, value=value, error=error, rung=rung, usage=usage),
            duration_s=round(state.env.clock.monotonic() - self._began_s, 6),
        )


async def _ended(pump: asyncio.Task[None]) -> None:
    """Returns when `pump` is over, which is asked to be. Whoever is cancelled meanwhile waits for it all the same."""
    pump.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not pump.done():
        try:
            await asyncio.wait([pump])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
