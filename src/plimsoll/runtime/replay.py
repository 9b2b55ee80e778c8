"""Replay: a resumed run executes its code again, and gets the recorded outcomes in their recorded order.

Three rules keep it honest. Recorded outcomes are handed out in the order in which they settled, so that parallel
branches interleave as they did. Each is handed out only when the code has asked for as much as it had when that
settled, and has gone as far as it can without it. And nothing goes live before the code has asked for everything that
the journal has: every recorded outcome, every write that was about to be sent, every timer that was set. Until then a
call that the journal does not know waits, and where the code never asks, that is a `ReplayMismatch`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NoReturn

from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import (
    CallIntended,
    CallSettled,
    DoubtResolved,
    Event,
    SignalReceived,
    TimerFired,
    TimerSet,
    ValueRecorded,
)

__all__ = ["PASSES", "Replay", "place_of"]

Recorded = CallSettled | ValueRecorded | TimerFired | SignalReceived
Begun = CallIntended | TimerSet
LIVE = -1
"""The turn of what is not recorded: after everything that is."""
PASSES = 16
"""How often the event loop turns before the next outcome is handed out, where branches run beside each other: a task
group inside a task group takes a few turns to notice that its last task is done."""


class Replay:
    """The recorded outcomes of one run, handed out once each.

    `patience_s` is how long (event-loop seconds) a recorded outcome may go unasked while something else waits for its
    turn; after that the code is taken to have left the recorded path. `resumed` is whether there is a journal at all.
    """

    __slots__ = (
        "_asked",
        "_branches",
        "_by_key",
        "_given_up",
        "_intents",
        "_next",
        "_order",
        "_passes_left",
        "_patience_s",
        "_places",
        "_position",
        "_resolved",
        "_run_id",
        "_settled",
        "_timers",
        "_turns",
        "_unasked",
        "resumed",
    )

    def __init__(self, run_id: str, events: Iterable[Event], *, patience_s: float = 300.0) -> None:
        self._run_id = run_id
        self._patience_s = patience_s
        self._order: list[str] = []
        self._by_key: dict[str, Recorded] = {}
        self._intents: dict[str, CallIntended] = {}
        self._timers: dict[str, TimerSet] = {}
        self._resolved: dict[str, DoubtResolved] = {}
        self.resumed = False
        for event in events:
            self.resumed = True
            if isinstance(event, Recorded):
                self._order.append(event.key)
                self._by_key[event.key] = event
            elif isinstance(event, CallIntended):
                self._intents[event.key] = event
                self._resolved.pop(event.key, None)  # it was sent again after that answer
            elif isinstance(event, DoubtResolved):
                self._resolved[event.key] = event
            elif isinstance(event, TimerSet):
                self._timers[event.key] = event
        self._position = {key: position for position, key in enumerate(self._order)}
        self._unasked = {key for key in (*self._intents, *self._timers) if key not in self._by_key}
        self._places = {place: key for key in (*self._unasked, *self._order) if (place := place_of(key))}
        self._next = 0
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._given_up: set[int] = set()
        self._asked = 0
        self._settled = len(self._order)
        self._branches = any(event.beside for event in self._by_key.values())
        self._passes_left = 0

    @property
    def active(self) -> bool:
        """Whether the journal has something that the code has not asked for yet."""
        return self._next < len(self._order) or bool(self._unasked)

    def nothing(self) -> CallSettled | None:
        """None: counts something that the code asks for when the journal has no more. Quicker than to look for it."""
        self._asked += 1
        return None

    def has(self, key: str) -> bool:
        """Whether the journal has an outcome under this key."""
        return key in self._by_key

    def beside(self) -> int:
        """For an outcome that is about to be recorded: how many others the code has asked for that have none yet."""
        self._settled += 1
        return self._asked - self._settled

    def intent(self, key: str) -> CallIntended | None:
        """The durable intent of `key`, where the journal has one."""
        return self._intents.get(key)

    def timer(self, key: str) -> TimerSet | None:
        """The timer that was set at the wait `key`, where the journal has one."""
        return self._timers.get(key)

    def resolved(self, key: str) -> DoubtResolved | None:
        """The latest recorded answer to the doubt about `key`."""
        return self._resolved.get(key)

    def resolve(self, doubts: Mapping[str, DoubtResolved]) -> None:
        """Takes note of answers to doubts that came in while the run waited."""
        self._resolved.update(doubts)

    async def settled(self, key: str, *, dependency: str, args_digest: str) -> CallSettled | None:
        """The recorded outcome of the call `key`, in its turn; None when the call has to be made now.

        Raises `ReplayMismatch` when the journal has something else under this key, or has something that is not asked
        for.
        """
        if not self._ask():
            return None
        what = _words(key, dependency, args_digest)
        recorded = self._find(key, what)
        if recorded is None:
            await self._turn(LIVE, what)
            return None
        if not isinstance(recorded, (CallSettled, CallIntended)) or (
            (recorded.dependency, recorded.args_digest) != (dependency, args_digest)
        ):
            raise ReplayMismatch(self._run_id, expected=_describe(recorded), actual=what + self._elsewhere(what))
        if isinstance(recorded, CallIntended):
            await self._begun(key, what)
            return None
        await self._take(key, what)
        return recorded

    async def value(self, key: str) -> ValueRecorded | None:
        """The recorded value of `key`, in its turn; None when it has to be made now. Raises `ReplayMismatch`."""
        if not self._ask():
            return None
        what = f"value {key}"
        recorded = self._find(key, what)
        if recorded is None:
            await self._turn(LIVE, what)
            return None
        if not isinstance(recorded, ValueRecorded):
            raise ReplayMismatch(self._run_id, expected=_describe(recorded), actual=what)
        await self._take(key, what, at_once=True)
        return recorded

    async def waited(self, key: str) -> TimerFired | SignalReceived | None:
        """What ended the wait `key`, in its turn; None when it begins now, or goes on. Raises `ReplayMismatch`."""
        if not self._ask():
            return None
        what = f"wait {key}"
        recorded = self._find(key, what)
        if recorded is None:
            await self._turn(LIVE, what)
            return None
        if isinstance(recorded, TimerSet):
            await self._begun(key, what)
            return None
        if not isinstance(recorded, (TimerFired, SignalReceived)):
            raise ReplayMismatch(self._run_id, expected=_describe(recorded), actual=what)
        await self._take(key, what)
        return recorded

    async def left(self, key: str) -> NoReturn:
        """Waits to be cancelled by whoever is shown the stream `key`, and left it when it was recorded.

        Raises `ReplayMismatch` when nobody leaves.
        """
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await never
        expected = f"that the stream {key} is left where it was left"
        raise ReplayMismatch(self._run_id, expected=expected, actual="more of it")

    def unasked(self, *, but_for: str = "") -> str | None:
        """The first thing in the journal that the code never asked for; None when it asked for everything.

        `but_for` is the key of what is asked for last of all, and may be left.
        """
        if self._order[self._next :] == [but_for] and not self._unasked:
            return None
        if self._next < len(self._order):
            return _describe(self._by_key[self._order[self._next]])
        return _describe(self._begins(min(self._unasked))) if self._unasked else None

    def unasked_intents(self) -> list[CallIntended]:
        """The writes that were about to be sent, or were, and that the code never asked for again."""
        return [self._intents[key] for key in sorted(self._unasked) if key in self._intents]

    def _find(self, key: str, what: str) -> Recorded | Begun | None:
        """What the journal has under `key`. Raises `ReplayMismatch` where it has another in the same place."""
        found = self._by_key.get(key) or self._intents.get(key) or self._timers.get(key)
        other = self._places.get(place_of(key)) if found is None else None
        if other is not None:
            recorded = self._by_key.get(other) or self._begins(other)
            raise ReplayMismatch(self._run_id, expected=_describe(recorded), actual=what + self._elsewhere(what))
        return found

    def _elsewhere(self, what: str) -> str:
        """A hint, where the journal has the same call in another place."""
        same = what.partition(" ")[2].partition(" ")[2]
        for recorded in (*self._by_key.values(), *self._intents.values()):
            if isinstance(recorded, (CallSettled, CallIntended)) and _describe(recorded).endswith(f" {same}"):
                return (
                    f", which it has as {recorded.key}: where branches beside each other may ask in another order than "
                    "before, each call needs a `key` of its own"
                )
        return ""

    def _ask(self) -> bool:
        """Counts what the code asks for. Whether the journal may have it."""
        self._asked += 1
        if not self.active:
            return False
        self._look()
        return True

    def _begins(self, key: str) -> Begun:
        return self._intents.get(key) or self._timers[key]

    async def _begun(self, key: str, what: str) -> None:
        """Something that had begun, and had no outcome yet, is asked for. It goes on when all else was handed out."""
        self._unasked.discard(key)
        self._look()
        await self._turn(LIVE, what)

    async def _take(self, key: str, what: str, *, at_once: bool = False) -> None:
        position = self._position[key]
        if position < self._next:
            raise ReplayMismatch(self._run_id, expected="each call once", actual=f"{what} a second time")
        if not (at_once and self._due() == position):  # a value was there before any branch could go on
            await self._turn(position, what)
        self._next = position + 1
        self._look()

    async def _turn(self, position: int, what: str) -> None:
        """Waits until everything recorded before `position` was handed out, or for `LIVE` all that there is."""
        if not self._branches and self._due() == position:
            return
        turn = self._turns.get(position)
        if turn is None:
            turn = self._turns[position] = asyncio.get_running_loop().create_future()
        self._look()
        try:
            async with asyncio.timeout(self._patience_s):
                await asyncio.shield(turn)
        except TimeoutError:
            raise ReplayMismatch(self._run_id, expected=self._missing(), actual=what) from None
        except asyncio.CancelledError:
            if position != LIVE:  # the code gave it up, so nobody waits for it any more
                self._given_up.add(position)
                self._look()
            raise

    def _due(self) -> int | None:
        """Whose turn it is; None while the code has not asked for as much as it had by then."""
        while self._next in self._given_up:
            self._next += 1
        if self._next < len(self._order):
            beside = self._by_key[self._order[self._next]].beside
            return self._next if self._asked > self._next + beside else None
        return None if self._unasked else LIVE

    def _look(self) -> None:
        """Lets go whoever's turn it is; where there are branches, after the others have gone as far as they can."""
        if not self._branches:
            self._let_go()
        else:
            if not self._passes_left:
                asyncio.get_running_loop().call_soon(self._pass)
            self._passes_left = PASSES

    def _pass(self) -> None:
        self._passes_left -= 1
        if self._passes_left:
            asyncio.get_running_loop().call_soon(self._pass)
        else:
            self._let_go()

    def _let_go(self) -> None:
        due = self._due()
        turn = None if due is None else self._turns.pop(due, None)
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _missing(self) -> str:
        """What the code would have to ask for, that things could go on."""
        if self._next in self._turns:
            return f"more beside {_describe(self._by_key[self._order[self._next]])}"
        return self.unasked() or "nothing more"


def place_of(key: str) -> str:
    """The ordinal of issue in a key that was made of it; empty for a key that the code gave. No two calls share one."""
    ordinal, colon, _ = key.partition(":")
    return ordinal if colon and ordinal.isdecimal() else ""


def _words(key: str, dependency: str, args_digest: str) -> str:
    return f"call {key} to {dependency} (arguments {args_digest[:12]})"


def _describe(recorded: Recorded | Begun) -> str:
    if isinstance(recorded, ValueRecorded):
        return f"value {recorded.key}"
    if isinstance(recorded, (TimerSet, TimerFired, SignalReceived)):
        return f"wait {recorded.key}"
    return _words(recorded.key, recorded.dependency, recorded.args_digest)
