"""Micro-batching: what is asked at the same time is read together, and nothing waits while nobody reads.

Texts gather while the worker reads the batch before theirs. Requests take turns, text by text, so that one with three
hundred texts holds nobody up. A batch has no more texts than are read in about `max_wait_s`, at the pace of those
before: so long a text may have to wait for the worker.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse, OperationFailed

__all__ = ["Admission", "BatchOptions", "Batcher", "Item", "Overloaded", "ReadFailed", "Reader", "Reading"]

Item = str | Sequence[int]
"""A text, or its token ids."""

_SMALL = 64
"""What has no more tokens than this is read at once where it is alone: handing it to a thread would take as long."""
_NEWEST = 0.2
"""The weight of the newest batch in the pace."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one item: its vector, float32 of shape (dimensions,), and how many tokens it had."""

    vector: Any
    tokens: int


class Reader(Protocol):
    """Who reads. `read` is called by one thread at a time."""

    def size(self, item: Item) -> int:
        """About how many tokens an item has."""
        ...

    def read(self, items: Sequence[Item]) -> Sequence[Reading]:
        """The items as vectors, in their order."""
        ...


class Overloaded(OperationFailed):
    """There is more in the queue than may be. In `retry_after_s` seconds there should be less."""

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__("there is more in the queue than may be: ask again later")


class ReadFailed(OperationFailed):
    """The model failed at a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """At most `max_batch` texts are read together, and no more than in about `max_wait_s` seconds."""

    max_batch: int = 16
    max_wait_s: float = 0.02

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise Misuse(f"max_batch is {self.max_batch}; it is 1 or more")
        if not self.max_wait_s > 0:
            raise Misuse(f"max_wait_s is {self.max_wait_s}; it is more than 0")


class Admission:
    """How many texts may be in the queue, over all batchers: beyond that, requests are refused at once."""

    def __init__(self, max_queued: int) -> None:
        if max_queued < 1:
            raise Misuse(f"max_queued is {max_queued}; it is 1 or more")
        self.max_queued = max_queued
        self.queued = 0

    def admits(self, texts: int) -> bool:
        """Whether so many more may come. One request is always let in where there is none, however large it is."""
        return self.queued == 0 or self.queued + texts <= self.max_queued


@dataclass(eq=False, slots=True)
class _Job:
    """A request's items; how many of them were given to be read, and what came back."""

    items: Sequence[Item]
    future: "asyncio.Future[list[Reading]]"
    taken: int = 0
    read: dict[int, Reading] = field(default_factory=dict)


_Batch = list[tuple[_Job, int, int]]
"""Items, each as its job, its place there, and its size."""


class Batcher:
    """Gathers items from an event loop, and has them read by one thread. `on_batch` is told each batch's texts."""

    def __init__(
        self,
        reader: Reader,
        *,
        options: BatchOptions,
        admission: Admission,
        clock: Clock,
        on_batch: Callable[[int], object] = lambda texts: None,
    ) -> None:
        self._reader = reader
        self._options = options
        self._admission = admission
        self._clock = clock
        self._on_batch = on_batch
        self._jobs: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plimsoll-inference")
        self._is_reading = False
        self._is_gathering = False
        self._pace_s = 0.0
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def submit(self, items: Sequence[Item]) -> "asyncio.Future[list[Reading]]":
        """What the items read as, in their order: known already where nobody else asks anything.

        Cancelling it takes those back that are not being read yet. Raises `Overloaded`; the future raises `ReadFailed`.
        """
        if not self._admission.admits(len(items)):
            raise Overloaded(self._backlog_s())
        future: asyncio.Future[list[Reading]] = asyncio.get_running_loop().create_future()
        if not items:
            future.set_result([])
            return future
        is_alone = not (self._is_reading or self._is_gathering)
        if is_alone and len(items) == 1 and (size := self._reader.size(items[0])) <= _SMALL:
            self._read_at_once(items, size, future)
            return future
        job = _Job(items, future)
        self._admission.queued += len(items)
        self._is_empty.clear()
        self._jobs.append(job)
        job.future.add_done_callback(partial(self._left, job))
        if is_alone:
            self._begin()
        return future

    async def close(self) -> None:
        """Waits until everything is read, and lets the thread end. Nothing may be submitted any more."""
        await self._is_empty.wait()
        self._thread.shutdown(wait=False)

    def _read_at_once(self, items: Sequence[Item], size: int, future: "asyncio.Future[list[Reading]]") -> None:
        self._is_gathering = True  # whoever comes in the same turn of the loop is not alone: they are read together
        asyncio.get_running_loop().call_soon(self._gathered)
        began = self._clock.monotonic()
        (read,) = _read(self._reader, items)
        self._read_in(self._clock.monotonic() - began, size=size, texts=1)
        if isinstance(read, ReadFailed):
            future.set_exception(read)
        else:
            future.set_result([read])

    def _begin(self) -> None:
        batch = self._next_batch()
        if not batch:
            return
        began = self._clock.monotonic()
        items = [job.items[place] for job, place, _ in batch]
        self._is_reading = True
        reading = asyncio.get_running_loop().run_in_executor(self._thread, _read, self._reader, items)
        reading.add_done_callback(lambda done: self._settle(batch, began, done.result()))

    def _gathered(self) -> None:
        self._is_gathering = False
        self._begin()

    def _next_batch(self) -> _Batch:
        """The next items, one of each job in turn."""
        batch: _Batch = []
        spent_s = 0.0
        while self._jobs and len(batch) < self._options.max_batch:
            job = self._jobs[0]
            size = self._reader.size(job.items[job.taken])
            spent_s += size * self._pace_s
            if batch and spent_s > self._options.max_wait_s:
                break
            self._jobs.popleft()
            batch.append((job, job.taken, size))
            job.taken += 1
            if job.taken < len(job.items):
                self._jobs.append(job)
        return batch

    def _settle(self, batch: _Batch, began: float, read: "list[Reading | ReadFailed]") -> None:
        self._is_reading = False
        self._read_in(self._clock.monotonic() - began, size=sum(size for _, _, size in batch), texts=len(batch))
        for (job, place, _), each in zip(batch, read, strict=True):
            if job.future.done():
                continue
            if isinstance(each, ReadFailed):
                job.future.set_exception(each)
                continue
            job.read[place] = each
            if len(job.read) == len(job.items):
                job.future.set_result([job.read[number] for number in range(len(job.items))])
        self._begin()
        self._rest()

    def _read_in(self, seconds: float, *, size: int, texts: int) -> None:
        pace_s = seconds / max(1, size)
        self._pace_s += _NEWEST * (pace_s - self._pace_s) if self._pace_s else pace_s
        self._on_batch(texts)

    def _left(self, job: _Job, future: "asyncio.Future[list[Reading]]") -> None:
        """A job is over: answered, failed, or cancelled by who had asked."""
        self._admission.queued -= len(job.items)
        if job.taken < len(job.items):
            self._jobs.remove(job)
        self._rest()

    def _rest(self) -> None:
        if not self._jobs and not self._is_reading:
            self._is_empty.set()

    def _backlog_s(self) -> float:
        """About how long it takes to read what is in the queue."""
        left = (self._reader.size(item) for job in self._jobs for item in job.items[job.taken :])
        return sum(left) * self._pace_s


def _read(reader: Reader, items: Sequence[Item]) -> list[Reading | ReadFailed]:
    """What the items read as. Where they cannot be read together, each is read alone: one must not fail the others."""
    try:
        return list(reader.read(items))
    except BaseException as error:  # a panic of the tokenizer is no Exception, and a request must not end the service
        if len(items) == 1:
            return [ReadFailed(f"the model failed at a text: {type(error).__name__}: {error}")]
        return [_read(reader, [item])[0] for item in items]
