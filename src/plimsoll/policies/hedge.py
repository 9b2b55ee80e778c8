"""Hedging: what takes longer than nearly all others did is asked once more, and the first answer is taken.

Dean and Barroso, The Tail at Scale, https://research.google/pubs/the-tail-at-scale/. For what changes nothing only.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from ddsketch import DDSketch
from msgspec.structs import asdict

from plimsoll.contract.model import HedgeSection
from plimsoll.core.errors import Misuse
from plimsoll.policies.begun import resumed

__all__ = ["Hedge", "HedgeBook", "Race"]

T = TypeVar("T")

_SPAN = 500
"""So many answers at least are remembered, and twice as many at most: a dependency that changes is learned anew."""
_LOOKED_UP_EVERY = 16
_MARGIN = 1.05
"""The sketch is right to one per cent: without a margin, calls that all take the same time would all be asked twice."""
_MOST_SAVED = 5.0
"""Extra calls that may be made at once after a long time without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """Asks a second time after the `quantile` of the latencies seen (between 0 and 1), from `min_observations` on.

    `max_extra` caps the extra load, as a share of the calls: where everything is slow, asking twice helps nobody.
    Raises `Misuse` for values that make no sense.
    """

    quantile: float = 0.97
    min_observations: int = 20
    max_extra: float = 0.05

    def __post_init__(self) -> None:
        if not 0.5 <= self.quantile < 1:
            raise Misuse(f"hedge.quantile is {self.quantile!r}; it is a share from 0.5 on and below 1")
        if self.min_observations < 1:
            raise Misuse(f"hedge.min_observations is {self.min_observations!r}; at least one latency must be known")
        if not 0 < self.max_extra <= 1:
            raise Misuse(f"hedge.max_extra is {self.max_extra!r}; it is a share above 0, at most 1")

    @classmethod
    def from_contract(cls, section: HedgeSection) -> Self:
        """The policy that a contract describes."""
        return cls(**asdict(section))


class HedgeBook:
    """The state of one dependency's hedging: its latencies, and how much extra load it may still cause."""

    __slots__ = ("_after_s", "_old", "_saved", "_since", "_young", "asked", "extra", "policy")

    def __init__(self, policy: Hedge) -> None:
        self.policy = policy
        self.asked = 0
        """How many calls there were."""
        self.extra = 0
        """How many of them were asked a second time."""
        self._old, self._young = DDSketch(), DDSketch()  # the young one takes over when the old one is full
        self._saved = 0.0
        self._after_s: float | None = None
        self._since = 0

    @property
    def after_s(self) -> float | None:
        """After how many seconds a call is asked a second time; None while too little is known."""
        return self._after_s

    def begin(self) -> float | None:
        """A call begins. After how many seconds it may be asked once more; None: not at all."""
        self.asked += 1
        self._saved = min(_MOST_SAVED, self._saved + self.policy.max_extra)
        return self._after_s

    def observe(self, seconds: float) -> None:
        """A call was answered, by whichever was first, `seconds` after it was first asked."""
        if not (math.isfinite(seconds) and seconds >= 0):
            return
        self._old.add(seconds)
        if self._old.count > _SPAN:
            self._young.add(seconds)
        if self._old.count >= 2 * _SPAN:
            self._old, self._young = self._young, DDSketch()
        self._since += 1
        if self._old.count >= self.policy.min_observations and (
            self._after_s is None or self._since >= _LOOKED_UP_EVERY
        ):
            self._after_s = _MARGIN * (self._old.get_quantile_value(self.policy.quantile) or 0.0)
            self._since = 0

    def spend(self) -> bool:
        """Whether a call may be asked a second time now; if so, that is counted."""
        if self._saved < 1:
            return False
        self._saved -= 1
        self.extra += 1
        return True


class Race(Generic[T]):
    """One call's contenders: the first, and the spare that joins it when it is late. The first good answer wins.

    `make_spare` is asked for the spare once it is time, and may decline (None). `is_failure` says which answers are
    none; an exception is none, too. Where both fail, what became of the first is what came of the call. Whoever loses
    is cancelled and awaited, and so are both where the call is cancelled.
    """

    __slots__ = (
        "_cancelled_before", "_decided", "_first_is_over", "_is_failure", "_main", "_make_spare", "_spare", "_timer",
        "_told",
    )  # fmt: skip

    def __init__(
        self,
        make_spare: "Callable[[Race[T]], Coroutine[Any, Any, T] | None]",
        *,
        is_failure: Callable[[T], bool] = lambda answer: False,
    ) -> None:
        self._make_spare = make_spare
        self._is_failure = is_failure
        self._main: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._spare: asyncio.Task[T] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._decided: bool | None = None  # for the spare, or for the first
        self._told = False  # the first was cancelled by us
        self._first_is_over = False

    async def run(self, first: Coroutine[Any, Any, T], *, after_s: float) -> T:
        """What the winner answers; the spare joins after `after_s` seconds. Raises what the first raises where both
        fail. Not to be run twice."""
        try:
            waits_for = first.send(None)
        except StopIteration as done:
            answer: T = done.value
            return answer
        loop = asyncio.get_running_loop()
        self._main = asyncio.current_task(loop)
        assert self._main is not None
        self._cancelled_before = self._main.cancelling()
        if self._decided is None:
            self._timer = loop.call_later(after_s, self._join)
        try:
            answer = await resumed(first, waits_for)
        except GeneratorExit:  # it is closed, and may wait for nobody any more
            self._over()
            if self._spare is not None:
                self._spare.cancel()
            raise
        except asyncio.CancelledError:
            self._over()
            if not self._decided or self._is_cancelled():
                await self._drop()
                raise
        except Exception:
            self._over()
            if not await self._is_saved():
                raise
        except BaseException:
            self._over()
            await self._drop()
            raise
        else:
            self._over()
            wins = not self._decided and not (self._is_failure(answer) and await self._is_saved())
            if wins or self._is_cancelled():
                await self._drop()
                return answer
        return await self._of_spare()

    @property
    def has_spare(self) -> bool:
        """Whether the spare has joined."""
        return self._spare is not None

    def lead(self, *, is_spare: bool) -> bool:
        """The answer of this contender has begun to come: the other is to give up. False where the other was faster,
        and this one is being cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        if self._decided is None:
            self._decide(is_spare)
        return self._decided is is_spare

    def _decide(self, for_spare: bool) -> None:
        self._decided = for_spare
        if for_spare and not self._first_is_over:
            assert self._main is not None
            self._told = self._main.cancel()
        elif not for_spare and self._spare is not None:
            self._spare.cancel()

    def _is_cancelled(self) -> bool:
        """Whether somebody else cancels the call, or a timeout of its own the first contender."""
        assert self._main is not None
        return self._main.cancelling() > self._cancelled_before

    def _join(self) -> None:
        if self._is_cancelled():
            return
        spare = self._make_spare(self)
        if spare is not None:
            self._spare = asyncio.get_running_loop().create_task(spare)
            self._spare.add_done_callback(self._spare_ended)

    def _spare_ended(self, spare: "asyncio.Task[T]") -> None:
        if self._decided is None and not self._first_is_over and self._is_good(spare):
            self._decide(True)

    def _is_good(self, spare: "asyncio.Task[T]") -> bool:
        return not spare.cancelled() and spare.exception() is None and not self._is_failure(spare.result())

    def _over(self) -> None:
        """The first has ended, whichever way. What we told it is taken back: others count cancellations, too."""
        self._first_is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._told:
            assert self._main is not None
            self._main.uncancel()
            self._told = False

    async def _is_saved(self) -> bool:
        """Whether the spare, which is waited for, answers well after the first has failed. It is over then."""
        if self._spare is None:
            return False
        if self._decided is False or self._is_cancelled():  # the first was shown; or nobody waits any more
            await self._drop()
            return False
        await self._ended()
        return self._decided is True or self._is_good(self._spare)

    async def _of_spare(self) -> T:
        assert self._spare is not None
        await self._ended()
        return self._spare.result()

    async def _ended(self) -> None:
        """Waits for the spare. Cancelled meanwhile, it takes the spare with it."""
        assert self._spare is not None
        if self._spare.done():
            return
        try:
            await asyncio.wait([self._spare])
        except asyncio.CancelledError:
            await self._drop()
            raise

    async def _drop(self) -> None:
        """Cancels the spare and waits for its end. Whoever cancels the call meanwhile cancels the spare again."""
        spare = self._spare
        if spare is None:
            return
        spare.cancel()
        cancelled = None
        while not spare.done():
            try:
                await asyncio.wait([spare])
            except asyncio.CancelledError as error:
                cancelled = error
                spare.cancel()
        if not spare.cancelled():
            spare.exception()  # looked at, so that nobody complains that it was not
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled  # an error, its frame and its locals would hold one another
