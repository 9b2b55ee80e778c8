"""A race of two attempts at the same: the first good answer wins, and the loser is cancelled and awaited."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from plimsoll.policies.begun import resumed

__all__ = ["Race"]

T = TypeVar("T")


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
