"""The streams of one run: who is shown what, and what is still to be written down of those that were left."""

import asyncio
from typing import Any

from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled
from plimsoll.runtime.showing import Relay

__all__ = ["Streams"]


class Streams:
    """`relays` leads to the receiver of each stream, by the key of its call."""

    __slots__ = ("_left", "_receiving", "relays")

    def __init__(self) -> None:
        self.relays: dict[str, Relay[Any]] = {}
        self._receiving: dict[asyncio.Task[Any] | None, Any] = {}
        self._left: list[CallSettled] = []

    @property
    def busy(self) -> bool:
        """Whether any stream is being received, or has been left and not been written down. Most runs have none."""
        return bool(self._receiving or self._left)

    def received(self, task: asyncio.Task[Any] | None, stream: Any) -> None:
        """`task` has been shown a part of an answer that is not settled yet."""
        self._receiving[task] = stream

    def over(self, stream: Any) -> None:
        """Nothing of this stream is provisional any more."""
        for task in [task for task, shown in self._receiving.items() if shown is stream]:
            del self._receiving[task]

    def check(self, task: asyncio.Task[Any] | None) -> None:
        """Raises `Misuse` where `task` has been shown something provisional, and wants to act on it."""
        stream = self._receiving.get(task)
        if stream is not None:
            raise Misuse(
                f"a call was made in the middle of the stream {stream.key!r}. What was shown of it is provisional: "
                "after a crash it would be another text. Read it to its end, or leave its `async with`, and call then"
            )

    def leave(self, settled: CallSettled) -> None:
        """A receiver has left. What stands of the call is written down by the next thing that the run does."""
        self._left.append(settled)

    def written(self) -> list[CallSettled]:
        """What is to be written down now, once."""
        left, self._left = self._left, []
        return left
