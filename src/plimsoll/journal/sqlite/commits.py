"""Group commit: all changes that are asked for while one transaction is written share the next, and its sync."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from plimsoll.core.errors import PlimsollError

__all__ = ["GroupCommit"]

_T = TypeVar("_T")


class _Change:
    """One change that somebody waits for, and what came of it."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def make(self) -> None:
        """Makes the change, for the first time or again. One that is refused is so before it has written anything."""
        self.result = self.error = None
        try:
            self.result = self.work()
        except PlimsollError as refusal:
            self.error = refusal

    def tell(self) -> None:
        """Tells whoever waits, if somebody still does."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class GroupCommit:
    """Makes changes in a thread of its own, in the order in which they were asked for, inside `transaction`.

    A change that breaks down takes nobody with it: the others of its group are made again without it.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[None]], *, name: str) -> None:
        self._transaction = transaction
        self._thread = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        self._asked: list[_Change] = []
        self._at_work = False

    async def make(self, change: Callable[[], _T]) -> _T:
        """What `change` returns, once it is durable. Raises what it raises, or what its transaction does."""
        asked = _Change(change, asyncio.get_running_loop())
        with self._lock:
            self._asked.append(asked)
            idle, self._at_work = not self._at_work, True
        if idle:
            self._thread.submit(self._work)
        made: _T = await asked.future
        return made

    async def aside(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done in the same thread between two transactions."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self, last: Callable[[], object]) -> None:
        """Does what is asked, then `last`, and ends the thread."""
        while self._at_work:
            await self.aside(lambda: None)
        await self.aside(last)
        self._thread.shutdown(wait=False)

    def _work(self) -> None:
        """Writes one group. The next waits behind whatever is to be done aside by now."""
        with self._lock:
            group, self._asked = self._asked, []
        self._commit(group)
        for loop in {change.loop for change in group}:
            with suppress(RuntimeError):  # it was closed: nobody waits there any more
                loop.call_soon_threadsafe(_tell, [change for change in group if change.loop is loop])
        with self._lock:
            self._at_work = bool(self._asked)
            if self._at_work:
                self._thread.submit(self._work)

    def _commit(self, group: list[_Change]) -> None:
        broken: BaseException | None = None
        try:
            with self._transaction():
                for change in group:
                    try:
                        change.make()
                    except BaseException as error:
                        broken = error
                        raise
        except BaseException as error:
            if broken is not None and len(group) > 1:
                for change in group:
                    self._commit([change])
                return
            for change in group:
                change.error = error


def _tell(changes: Iterable[_Change]) -> None:
    for change in changes:
        change.tell()
