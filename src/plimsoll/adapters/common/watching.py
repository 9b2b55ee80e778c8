"""Watching a run: what its model says, as it comes, for whoever asked for it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from plimsoll.core.errors import Misuse
from plimsoll.runtime.lineage import link_of
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import NOTHING_MORE, Relay, Restarted

__all__ = ["Audience", "Lines", "TextStream", "WatchedRun"]

P = TypeVar("P")
T = TypeVar("T")


class Lines(Generic[T]):
    """Who wants to be shown something, by its name. Who came first is: a run never waits for somebody who came later,
    and may be gone again."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, list[T]] = {}

    @contextmanager
    def joined(self, name: str, one: T) -> Iterator[None]:
        """While it is entered, `one` stands in line."""
        line = self._lines.setdefault(name, [])
        line.append(one)
        try:
            yield
        finally:
            line.remove(one)
            if not line:
                del self._lines[name]

    def first(self, name: str) -> T | None:
        """Whose turn it is; None where nobody is there."""
        line = self._lines.get(name)
        return line[0] if line else None


class Audience:
    """Who, in this process, is shown which run. It is no part of the run."""

    __slots__ = ("_relays",)

    def __init__(self) -> None:
        self._relays: Lines[Relay[str]] = Lines()

    def shown(self, run_id: str, relay: Relay[str]) -> AbstractContextManager[None]:
        """While a run of this id is advanced here, its texts go to `relay`, if nobody else is shown them."""
        return self._relays.joined(run_id, relay)

    def of(self, run: Run) -> Relay[str] | None:
        """Where the run's texts go; None where nobody is shown them. What continued as new goes where its first did."""
        return self._relays.first(link_of(run.id)[0])


class WatchedRun(Generic[P]):
    """A run that is begun by `async with`, and shown to whoever iterates. Left early, it is given up, as by cancelling
    it: it is gone on with by its id, or by `wake`. `begin` runs it, and gives its parts to the relay."""

    def __init__(self, begin: Callable[[Relay[P]], Coroutine[Any, Any, RunResult]]) -> None:
        self._begin = begin
        self._relay: Relay[P] = Relay(keeps=False)
        self._run: asyncio.Task[RunResult] | None = None

    @property
    def result(self) -> RunResult:
        """How the run stands, once all of it was shown. Raises `Misuse` before, and where it was given up."""
        if self._run is None or not self._run.done() or self._run.cancelled():
            raise Misuse("the run has not come to its end: iterate over it first")
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

    def begun(self) -> None:
        """Raises `Misuse` where nobody has begun the run."""
        if self._run is None:
            raise Misuse("a stream is begun by `async with`: async with hardened.run_stream(…) as stream")

    async def ended(self) -> RunResult:
        """How the run stands, once it has ended. Raises what it raised."""
        assert self._run is not None
        await asyncio.wait([self._run])
        return self._run.result()

    async def _running(self) -> RunResult:
        try:
            return await self._begin(self._relay)
        finally:
            self._relay.end()


class TextStream(WatchedRun[str]):
    """What a run's model says, as it says it. `async with` begins the run; `async for` gives texts.

    Each text is the answer that is coming, from its beginning: it takes the place of the one before. Until the run has
    ended it is provisional. The run waits for whoever is shown it.

    >>> async with hardened.run_stream("Where is W1?", run_id="ticket-7713") as texts:
    ...     async for text in texts:
    ...         show(text)  # in place of what was shown before
    >>> result = texts.result
    """

    def __init__(self, begin: Callable[[Relay[str]], Coroutine[Any, Any, RunResult]]) -> None:
        super().__init__(begin)
        self._said = ""
        self._last: str | None = None

    async def __anext__(self) -> str:
        self.begun()
        while (part := await self._relay.take()) is not NOTHING_MORE:
            if isinstance(part, Restarted):
                self._said = ""
            else:
                self._said += part
                self._last = self._said
                return self._said
        output = (await self.ended()).output
        if isinstance(output, str) and output != self._last:
            self._last = output  # of a run that had ended before, or whose answer no model gave
            return output
        raise StopAsyncIteration
