"""Showing an answer as it comes: its parts on their way from an attempt to whoever is shown them.

Until its call is settled a part is provisional: the attempt may break off, and another begin. The receiver is told
then, by a `Restarted` among the parts.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import msgspec

from plimsoll.core.errors import CallTimeout
from plimsoll.policies.timeout import Stopwatch

__all__ = ["NOTHING_MORE", "Relay", "Restarted", "Showing", "cut_context", "followed", "showing_context"]

P = TypeVar("P")
Lead = Callable[[], bool]
"""Told when an answer begins to come, where two attempts race: whether it is the first that does."""
NOTHING_MORE: Any = object()
"""What `Relay.take` returns when there will be no further part."""


class Restarted(msgspec.Struct, frozen=True):
    """Whatever was shown of this answer until now is void: it begins anew, and its next part is its first.

    `why` is `retry` (the attempt before failed), `fallback` (another model answers), `replaced` (the answer was another
    than what was shown of it) or `resumed` (the run goes on in another process, or after it waited: what was shown of
    this answer before, if anything, was shown there).
    """

    why: str


class Relay(Generic[P]):
    """Hands parts from one task to another, which may be slower: never is more than one part on its way.

    `shown` are the parts since the answer last began, where it `keeps` them, and `rung` the place on the ladder that
    they came from.
    """

    __slots__ = ("_ended", "_filled", "_free", "_keeps", "_part", "rung", "shown")

    def __init__(self, *, keeps: bool = True) -> None:
        self.shown: list[P] = []
        self.rung = 0
        self._keeps = keeps
        self._part: Any = NOTHING_MORE
        self._ended = False
        self._filled = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()

    @property
    def taken(self) -> list[P]:
        """The parts that have reached the receiver since the answer last began."""
        on_its_way = self._part is not NOTHING_MORE and not isinstance(self._part, Restarted)
        return self.shown[:-1] if on_its_way else list(self.shown)

    async def give(self, part: P) -> None:
        """Shows a part, once the one before was taken."""
        await self._put(part)
        if self._keeps:
            self.shown.append(part)

    async def restart(self, why: str) -> None:
        """Tells that what was shown is void."""
        await self._put(Restarted(why))
        self.shown = []

    async def take(self) -> P | Restarted:
        """The next part; `NOTHING_MORE` at the end."""
        while self._part is NOTHING_MORE and not self._ended:
            self._filled.clear()
            await self._filled.wait()
        part: P | Restarted = self._part
        self._part = NOTHING_MORE
        self._free.set()
        return part

    def end(self) -> None:
        """There is no further part."""
        self._ended = True
        self._filled.set()

    async def _put(self, part: Any) -> None:
        while self._part is not NOTHING_MORE:
            self._free.clear()
            await self._free.wait()
        self._part = part
        self._filled.set()


class Showing:
    """What one attempt shows of its answer, and how long it may be silent in between.

    `relay` leads to the receiver (None: nobody is shown anything); `idle_s` is how many seconds the dependency may say
    nothing, from the beginning or its last part (None: as many as it likes). `silent_s` is the longest that it was,
    and `first_s` after how many seconds its first part came. `lead` is told of that, where attempts race: only the
    first is shown.
    """

    __slots__ = ("_began_s", "_dependency", "_idle_s", "_lead", "_relay", "first_s", "silent_s", "stopwatch")

    def __init__(
        self, dependency: str, *, relay: Relay[Any] | None, idle_s: float | None, lead: Lead | None = None
    ) -> None:
        self._dependency = dependency
        self._relay = relay
        self._idle_s = idle_s
        self._lead = lead
        self._began_s = asyncio.get_running_loop().time()
        self.first_s: float | None = None
        self.silent_s = 0.0
        self.stopwatch = Stopwatch()

    @property
    def is_watched(self) -> bool:
        """Whether anybody is shown the answer."""
        return self._relay is not None

    async def begin(self, *, rung: int) -> None:
        """An attempt at `rung` begins: where one before it was shown, the receiver is told."""
        relay = self._relay
        if relay is None:
            return
        if relay.shown:
            await relay.restart("retry" if relay.rung == rung else "fallback")
        relay.rung = rung

    async def next(self, parts: AsyncIterator[P]) -> P:
        """The next of `parts`; `NOTHING_MORE` at the end. Raises `CallTimeout` after a silence."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        part = await self._next(parts)
        self.silent_s = max(self.silent_s, loop.time() - asked_s)
        return part

    async def show(self, part: Any) -> None:
        """Shows a part. The time that the receiver takes is not the attempt's."""
        if self.first_s is None:
            self.first_s = asyncio.get_running_loop().time() - self._began_s
            if self._lead is not None and not self._lead():
                await asyncio.get_running_loop().create_future()  # the other was faster: this one is being cancelled
        if self._relay is not None:
            with self.stopwatch.standing_still():
                await self._relay.give(part)

    async def _next(self, parts: AsyncIterator[P]) -> P:
        if self._idle_s is None:
            return await anext(parts, NOTHING_MORE)
        try:
            async with asyncio.timeout(self._idle_s) as silence:
                return await anext(parts, NOTHING_MORE)
        except TimeoutError as error:
            if silence.expired():
                raise CallTimeout(self._dependency, timeout_s=self._idle_s, silent=True) from error
            raise


showing_context: ContextVar[Showing | None] = ContextVar("plimsoll_showing", default=None)
"""How the attempt that is being made shows its answer; None outside a run."""
cut_context: ContextVar[Callable[[int], None] | None] = ContextVar("plimsoll_cut", default=None)
"""The gate's: called with how many parts there were so far after each, and may raise what breaks the stream off."""


async def followed(parts: AsyncGenerator[P]) -> AsyncGenerator[P]:
    """The parts of an answer as they come, each shown before it is handed on here. Close it, and `parts` is closed."""
    showing, cut = showing_context.get() or Showing("", relay=None, idle_s=None), cut_context.get()
    count = 0
    async with aclosing(parts):
        while (part := await showing.next(parts)) is not NOTHING_MORE:
            await showing.show(part)
            yield part
            count += 1
            if cut is not None:
                cut(count)
