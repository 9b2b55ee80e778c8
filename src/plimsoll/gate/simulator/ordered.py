"""Tasks, futures and weak sets that order the same in every trial.

asyncio and anyio keep tasks in sets. By default a task hashes by its address, so in a process that has run
before, the same trial wakes and cancels its tasks in another order. Here the hash is a number counted within
the simulation.
"""

import asyncio
import weakref
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

__all__ = ["OrderedFuture", "OrderedTask", "OrderedWeakSet", "describe", "in_order"]

T = TypeVar("T")

_ASYNCIO = asyncio.__file__.removesuffix("__init__.py")


class OrderedFuture(asyncio.Future[T]):
    """A future whose hash is its number."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class OrderedTask(asyncio.Task[T]):
    """A task whose hash is its number."""

    def __init__(self, coro: Any, *, number: int, **options: Any) -> None:
        self.number = number  # first: asyncio registers a task, by its hash, while it is being made
        super().__init__(coro, **options)

    def set_name(self, value: object) -> None:
        if value is not None:  # some versions of asyncio name a factory's task even where there is no name
            super().set_name(value)

    def __hash__(self) -> int:
        return self.number


class OrderedWeakSet:
    """What an event loop needs of a weak set, in the order of insertion."""

    def __init__(self) -> None:
        self._refs: dict[int, weakref.ref[Any]] = {}

    def add(self, item: object) -> None:
        key = id(item)
        self._refs[key] = weakref.ref(item, lambda _: self._refs.pop(key, None))

    def discard(self, item: object) -> None:
        self._refs.pop(id(item), None)

    def clear(self) -> None:
        self._refs.clear()

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Any]:
        return iter([item for ref in list(self._refs.values()) if (item := ref()) is not None])


def in_order(tasks: Iterable["asyncio.Task[Any]"]) -> list["asyncio.Task[Any]"]:
    """The tasks that are not done, in the order in which they were created."""
    return sorted((task for task in tasks if not task.done()), key=hash)


def describe(task: "asyncio.Task[Any]") -> str:
    """A task's name and the innermost place, outside of asyncio, where it waits."""
    where = "asyncio"
    for frame in _frames(task.get_coro()):
        if not frame.f_code.co_filename.startswith(_ASYNCIO):
            where = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    return f"{task.get_name()} in {where}"


def _frames(place: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine, outermost first, through what it awaits."""
    while place is not None:
        for kind, awaited in (("cr", "cr_await"), ("ag", "ag_await"), ("gi", "gi_yieldfrom")):
            if hasattr(place, awaited):
                if (frame := getattr(place, f"{kind}_frame")) is not None:
                    yield frame
                place = getattr(place, awaited)
                break
        else:
            return
