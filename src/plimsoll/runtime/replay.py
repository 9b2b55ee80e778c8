"""Replay: a resumed run executes its code again, and gets the recorded outcomes in their recorded order.

Two rules keep it honest. Recorded outcomes are handed out in the order in which they settled, so that parallel branches
interleave as they did. And nothing goes live before every recorded outcome was asked for: a call that the journal does
not know waits until then, and where the code never asks for what the journal has, that is a `ReplayMismatch`.
"""

import asyncio
from collections.abc import Iterable, Mapping

from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import CallIntended, CallSettled, DoubtResolved, Event, ValueRecorded

__all__ = ["Replay"]

Recorded = CallSettled | ValueRecorded


class Replay:
    """The recorded outcomes of one run, handed out once each.

    `patience_s` is how long (event-loop seconds) a recorded outcome may go unasked while something else waits for its
    turn; after that the code is taken to have left the recorded path.
    """

    __slots__ = ("_by_key", "_intents", "_next", "_order", "_patience_s", "_position", "_resolved", "_run_id", "_turns")

    def __init__(self, run_id: str, events: Iterable[Event], *, patience_s: float = 10.0) -> None:
        self._run_id = run_id
        self._patience_s = patience_s
        self._order: list[str] = []
        self._by_key: dict[str, Recorded] = {}
        self._intents: dict[str, CallIntended] = {}
        self._resolved: dict[str, DoubtResolved] = {}
        for event in events:
            if isinstance(event, (CallSettled, ValueRecorded)):
                self._order.append(event.key)
                self._by_key[event.key] = event
            elif isinstance(event, CallIntended):
                self._intents[event.key] = event
                self._resolved.pop(event.key, None)  # sent again since: nobody knows any more
            elif isinstance(event, DoubtResolved):
                self._resolved[event.key] = event
        self._position = {key: position for position, key in enumerate(self._order)}
        self._next = 0
        self._turns: dict[int, asyncio.Future[None]] = {}

    @property
    def active(self) -> bool:
        """Whether recorded outcomes are left to hand out."""
        return self._next < len(self._order)

    def intent(self, key: str) -> CallIntended | None:
        """The durable intent of `key`, where the journal has one."""
        return self._intents.get(key)

    def resolved(self, key: str) -> DoubtResolved | None:
        """The latest recorded answer to the doubt about `key`."""
        return self._resolved.get(key)

    async def settled(self, key: str, *, what: str, args_digest: str) -> CallSettled | None:
        """The recorded outcome of the call `key`, in its turn; None when the call has to be made now.

        `what` describes the call for the error. Raises `ReplayMismatch`.
        """
        if not self.active:
            return None
        recorded = self._by_key.get(key)
        if recorded is None:
            await self._turn(len(self._order), what)
            return None
        if not isinstance(recorded, CallSettled) or recorded.args_digest != args_digest:
            raise ReplayMismatch(self._run_id, expected=_describe(recorded), actual=what)
        await self._take(key, what)
        return recorded

    async def value(self, key: str) -> ValueRecorded | None:
        """The recorded value of `key`, in its turn; None when it has to be made now. Raises `ReplayMismatch`."""
        if not self.active:
            return None
        recorded = self._by_key.get(key)
        if recorded is None:
            await self._turn(len(self._order), f"value {key}")
            return None
        if not isinstance(recorded, ValueRecorded):
            raise ReplayMismatch(self._run_id, expected=_describe(recorded), actual=f"value {key}")
        await self._take(key, f"value {key}")
        return recorded

    def resolve(self, doubts: Mapping[str, DoubtResolved]) -> None:
        """Takes note of answers to doubts that came in while the run waited."""
        self._resolved.update(doubts)

    def unasked(self) -> str | None:
        """The first recorded outcome that the code never asked for; None when it asked for all of them."""
        return _describe(self._by_key[self._order[self._next]]) if self.active else None

    async def _take(self, key: str, what: str) -> None:
        position = self._position[key]
        if position < self._next:
            raise ReplayMismatch(self._run_id, expected="each call once", actual=f"{what} a second time")
        await self._turn(position, what)
        self._next = position + 1
        waiting = self._turns.pop(self._next, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def _turn(self, position: int, what: str) -> None:
        """Waits until everything recorded before `position` was handed out."""
        if self._next >= position:
            return
        turn = self._turns.get(position)
        if turn is None:
            turn = self._turns[position] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._patience_s):
                await asyncio.shield(turn)
        except TimeoutError:
            raise ReplayMismatch(self._run_id, expected=self.unasked() or "nothing more", actual=what) from None


def _describe(recorded: Recorded) -> str:
    if isinstance(recorded, CallSettled):
        return f"call {recorded.key} to {recorded.dependency} (arguments {recorded.args_digest[:12]})"
    return f"value {recorded.key}"
