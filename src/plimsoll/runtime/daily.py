"""Limits of a day: what all runs of an agent together may use up, in every process over one store.

A `DayBook` is a process's share of it: drawn from the store, durable, before it is spent, and spent in memory. Each run
has a `DayTab` on it, where a call's worst case is held until what it really used takes its place.
"""

import asyncio
import math
from typing import NamedTuple

from plimsoll.contract.model import DayLimits
from plimsoll.core.calls import Usage
from plimsoll.core.clock import Clock
from plimsoll.core.errors import DayLimitExceeded, JournalUnavailable
from plimsoll.journal.spending import Drawn, Most, Spend, passed
from plimsoll.journal.store import Store

__all__ = ["DAY_S", "NANOS", "DayBook", "DayTab", "RunCount", "day_of", "most_of"]

DAY_S = 86_400
NANOS = 1_000_000_000
_ONE_RUN = Spend(runs=1)
_NOTHING = Spend()
_NAMES = {"nanos": "day_usd", "tokens": "day_tokens", "runs": "day_runs"}
_KEPT_PART = 20
"""A process keeps at most this part of a limit without having a use for it."""
_FIRST_RETRY_S, _LAST_RETRY_S = 0.01, 1.0


def day_of(at: float) -> int:
    """The day of a wall-clock time, counted from 1970-01-01; it begins at 00:00 UTC."""
    return int(at // DAY_S)


def most_of(limits: DayLimits) -> Most:
    """The limits as a store counts them."""
    nanos = None if limits.usd is None else round(limits.usd * NANOS)
    return Most(nanos=nanos, tokens=limits.tokens, runs=limits.runs)


class _Hand:
    """What a process has drawn on one day and does not need yet. Below 0: it used more than it drew."""

    __slots__ = ("day", "free")

    def __init__(self, day: int) -> None:
        self.day = day
        self.free = Spend()


class RunCount(NamedTuple):
    """A run as it was counted on a day; `over` says which limit it passes, if any."""

    hand: _Hand
    over: DayLimitExceeded | None


class _Held:
    """What one call may use up, at its worst, out of a hand."""

    __slots__ = ("amount", "hand")

    def __init__(self, hand: _Hand) -> None:
        self.hand = hand
        self.amount = Spend()


class DayBook:
    """What this process may still spend of a day's limits of one agent.

    With `enforced` false nothing is refused, and what would have been is told all the same. `patience_s` is how long a
    draw waits for a store that cannot be written.
    """

    def __init__(
        self,
        limits: DayLimits,
        *,
        account: str,
        owner: str,
        store: Store,
        clock: Clock,
        enforced: bool = True,
        patience_s: float = 5.0,
    ) -> None:
        self.enforced = enforced
        self._most = most_of(limits)
        self._account = account
        self._owner = owner
        self._store = store
        self._clock = clock
        self._patience_s = patience_s
        self._hand = _Hand(-1)
        self._drawing: set[asyncio.Task[Drawn]] = set()

    def tab(self) -> "DayTab":
        """A new run's, or that of a run that this process goes on with."""
        return DayTab(self)

    def hand(self) -> _Hand:
        """What is in hand of today."""
        day = day_of(self._clock.now())
        if day != self._hand.day:
            self._hand = _Hand(day)
        return self._hand

    def spend_of(self, usage: Usage | None) -> Spend:
        """The usage of models, as far as it is limited. A part of a billionth of a dollar counts as one."""
        if usage is None:
            return _NOTHING
        return Spend(
            nanos=0 if self._most.nanos is None else math.ceil(usage.usd * NANOS),
            tokens=0 if self._most.tokens is None else usage.tokens,
        )

    async def admit(self) -> RunCount:
        """Counts a run that is about to begin. Where it would pass the limit and that is enforced, it is not counted.
        Raises `JournalUnavailable`."""
        hand = self.hand()
        if self._most.runs is None:
            return RunCount(hand, None)
        over = await self.fill(hand, _ONE_RUN)
        if over is None or not self.enforced:
            hand.free = hand.free.minus(_ONE_RUN)
        return RunCount(hand, over)

    def dismiss(self, count: RunCount) -> None:
        """The run that was counted has not begun."""
        if self._most.runs is not None and (count.over is None or not self.enforced):
            count.hand.free = count.hand.free.plus(_ONE_RUN)

    async def fill(self, hand: _Hand, amount: Spend) -> DayLimitExceeded | None:
        """Returns when `amount` is in hand: None, or the limit that this passes. Where limits are enforced, it is not
        in hand then. Raises `JournalUnavailable`."""
        over: DayLimitExceeded | None = None
        while missing := _missing(amount, hand):
            dealt, before = await self._drawn(hand, missing)
            names = passed(missing, before=before, most=self._most)
            over = self._exceeded(names[0], missing, before) if names else over
            if dealt is None:
                return over
        return over

    def _exceeded(self, name: str, missing: Spend, before: Spend) -> DayLimitExceeded:
        unit = NANOS if name == "nanos" else 1
        allowed, needed = getattr(self._most, name), getattr(before, name) + getattr(missing, name)
        return DayLimitExceeded(_NAMES[name], allowed=allowed / unit, needed=needed / unit)

    async def _drawn(self, hand: _Hand, missing: Spend) -> Drawn:
        """Draws, whether or not whoever waits for it is given up meanwhile: what was drawn is in hand in any case."""
        work = asyncio.ensure_future(self._draw(hand, missing))
        self._drawing.add(work)
        work.add_done_callback(self._over)
        return await asyncio.shield(work)

    def _over(self, work: asyncio.Task[Drawn]) -> None:
        self._drawing.discard(work)
        if not work.cancelled():
            work.exception()  # whoever waited for it is told; where nobody does any more, nobody has to be

    async def _draw(self, hand: _Hand, missing: Spend) -> Drawn:
        give_up_at = self._clock.monotonic() + self._patience_s
        delay_s = _FIRST_RETRY_S
        while True:
            try:
                drawn = await self._store.draw(
                    self._account,
                    hand.day,
                    owner=self._owner,
                    need=missing,
                    most=self._most,
                    may_pass=not self.enforced,
                )
            except JournalUnavailable:
                if self._clock.monotonic() >= give_up_at:
                    raise
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_RETRY_S)
                continue
            if drawn.share is not None:
                hand.free = hand.free.plus(drawn.share)
            return drawn

    async def trim(self) -> None:
        """Puts back what is in hand beyond reason, after a call that was feared to be dear, so that others may use it;
        and writes down what was used beyond what was drawn. Where that cannot be done now, it is later."""
        kept = Spend(*(0 if limit is None else limit // _KEPT_PART for limit in self._most))
        if min(self._hand.free) < 0 or self._hand.free.above(kept.plus(kept)):
            spare = self._hand.free.above(kept)
            await self._put_back(self._hand, spare.minus(Spend().above(self._hand.free)))

    async def close(self) -> None:
        """Puts back what is in hand. What runs hold that have not been settled stays drawn."""
        if self._drawing:
            await asyncio.wait(self._drawing)
        if self._hand.free:
            await self._put_back(self._hand, self._hand.free)

    async def _put_back(self, hand: _Hand, unused: Spend) -> None:
        hand.free = hand.free.minus(unused)
        try:
            await self._store.put_back(self._account, hand.day, owner=self._owner, unused=unused)
        except JournalUnavailable:
            hand.free = hand.free.plus(unused)


class DayTab:
    """What the calls of one run hold of a day's limits, each by its key: at its worst while it is under way.

    A call counts for the day on which it began.
    """

    __slots__ = ("_book", "_held")

    def __init__(self, book: DayBook) -> None:
        self._book = book
        self._held: dict[str, _Held] = {}

    @property
    def enforced(self) -> bool:
        """Whether a call that would pass a limit is refused, and not only told."""
        return self._book.enforced

    async def hold(self, key: str, worst: Usage) -> DayLimitExceeded | None:
        """Holds `worst` for the call `key`, in place of what it held before. None, or the limit that this passes; where
        limits are enforced, nothing has changed then. Raises `JournalUnavailable`."""
        held = self._held.get(key) or _Held(self._book.hand())
        amount = self._book.spend_of(worst)
        over = await self._book.fill(held.hand, amount.minus(held.amount))
        if over is not None and self.enforced:
            return over
        self._keep(key, held, amount)
        return over

    def hold_of_hand(self, key: str, worst: Usage) -> bool:
        """Holds `worst` for the call `key` at once, if so much is in hand."""
        held = self._held.get(key) or _Held(self._book.hand())
        amount = self._book.spend_of(worst)
        if _missing(amount.minus(held.amount), held.hand):
            return False
        self._keep(key, held, amount)
        return True

    def _keep(self, key: str, held: _Held, amount: Spend) -> None:
        held.hand.free = held.hand.free.minus(amount.minus(held.amount))
        held.amount = amount
        self._held[key] = held

    def settle(self, key: str, usage: Usage | None) -> None:
        """The call `key` is over, and has used `usage`. Nothing where it holds nothing, as on replay."""
        held = self._held.pop(key, None)
        if held is not None:
            held.hand.free = held.hand.free.plus(held.amount).minus(self._book.spend_of(usage))

    def leave(self) -> None:
        """The run has left the stack. What it left under way counts at its worst: nobody knows what came of it."""
        self._held.clear()


def _missing(amount: Spend, hand: _Hand) -> Spend:
    """What is not in hand of `amount`. Who needs nothing more does not make up for what others used beyond theirs."""
    nanos, tokens, runs = amount
    free = hand.free
    if (
        (nanos <= 0 or nanos <= free.nanos)
        and (tokens <= 0 or tokens <= free.tokens)
        and (runs <= 0 or runs <= free.runs)
    ):
        return _NOTHING
    return Spend(*(max(0, need - has) if need > 0 else 0 for need, has in zip(amount, free, strict=True)))
