"""All cores: numbered jobs, done by forked processes that inherit what they work on.

Nothing is pickled: a job is a number, and its result is bytes. A process that dies or hangs costs its job, no more.
"""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import msgspec

from plimsoll.core.clock import Clock, SystemClock

__all__ = ["Lost", "can_fork", "cores", "do_all"]

_CHUNKS_PER_WORKER = 12
_LARGEST_CHUNK = 64
_PATIENCE_S = 120.0
_POLL_S = 1.0
_ORPHAN_S = 1.0
_FAREWELL_S = 5.0
_GO_HOME = b""
_SYSTEM = SystemClock()

Range = tuple[int, int]
Work = Callable[[int], bytes]
Around = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Lost:
    """What stands for the result of a job that its process did not survive."""

    why: str


def can_fork() -> bool:
    """Whether jobs can be done in other processes at all."""
    return "fork" in multiprocessing.get_all_start_methods()


def cores() -> int:
    """How many processes make sense here: one for each core that this process may use; 1 where there is no fork."""
    if not can_fork():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def do_all(
    work: Work,
    count: int,
    *,
    workers: int | None = None,
    apart: bool = False,
    patience_s: float = _PATIENCE_S,
    on_done: Callable[[int], None] = lambda done: None,
    around: Around = contextlib.nullcontext,
    clock: Clock = _SYSTEM,
) -> list[bytes | Lost]:
    """Does the jobs 0 … `count` − 1 and returns their results in that order.

    `workers` is how many processes to use (None: one for each core; 1: this process). `apart` keeps even a single job
    out of this process, which it may end; it needs `can_fork()`. `patience_s` is how many real
    seconds a process may be silent. `on_done` is told how many are done. `around` is entered once by each process.
    """
    several = min(workers or cores(), count)
    if several == 0 or (several == 1 and not apart):
        results: list[bytes | Lost] = []
        with around():
            for number in range(count):
                results.append(work(number))
                on_done(number + 1)
        return results
    return _Pool(work, count, several, patience_s, on_done, around, clock).run()


@dataclass(slots=True)
class _Worker:
    """A process, our end of its pipe, and what it is busy with since when."""

    process: BaseProcess
    pipe: Connection
    busy: Range | None = None
    since_s: float = 0.0


@dataclass(slots=True)
class _Pool:
    """The parent's side."""

    work: Work
    count: int
    several: int
    patience_s: float
    on_done: Callable[[int], None]
    around: Around
    clock: Clock
    waiting: deque[Range] = field(default_factory=deque)
    workers: list[_Worker] = field(default_factory=list)
    results: dict[int, bytes | Lost] = field(default_factory=dict)

    def run(self) -> list[bytes | Lost]:
        size = max(1, min(_LARGEST_CHUNK, self.count // (self.several * _CHUNKS_PER_WORKER)))
        self.waiting.extend((start, min(start + size, self.count)) for start in range(0, self.count, size))
        try:
            while len(self.results) < self.count:
                self._employ()
                self._collect()
        finally:
            self._dismiss()
        return [self.results[number] for number in range(self.count)]

    def _employ(self) -> None:
        """Gives every idle worker something to do, and hires while there is more to do than hands."""
        while self.waiting and len(self.workers) < self.several:
            self.workers.append(self._hire())
        for worker in self.workers:
            if worker.busy is None and self.waiting:
                worker.busy = self.waiting.popleft()
                worker.since_s = self.clock.monotonic()
                worker.pipe.send_bytes(msgspec.msgpack.encode(worker.busy))

    def _hire(self) -> _Worker:
        fork = multiprocessing.get_context("fork")
        ours, theirs = fork.Pipe()
        process = fork.Process(target=_labour, args=(self.work, theirs, self.around), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _collect(self) -> None:
        busy = {worker.pipe: worker for worker in self.workers if worker.busy is not None}
        for pipe in wait(list(busy), timeout=_POLL_S):
            self._receive(busy[pipe])  # type: ignore[index]
        now_s = self.clock.monotonic()
        for worker in list(self.workers):
            if worker.busy is not None and now_s - worker.since_s > self.patience_s:
                self._lose(worker, f"the worker process gave no sign of life for {self.patience_s:g} s")

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv_bytes()
        except (EOFError, ConnectionError):
            worker.process.join()
            self._lose(worker, f"the worker process died (exit code {worker.process.exitcode})")
            return
        assert worker.busy is not None
        done = msgspec.msgpack.decode(message, type=list[bytes])
        self.results.update(zip(range(*worker.busy), done, strict=True))
        worker.busy = None
        self.on_done(len(self.results))

    def _lose(self, worker: _Worker, why: str) -> None:
        """A worker is gone. Its jobs are tried again one by one; one that was alone is lost."""
        self.workers.remove(worker)
        _kill(worker)
        assert worker.busy is not None
        start, stop = worker.busy
        if stop - start > 1:
            self.waiting.extendleft((number, number + 1) for number in reversed(range(start, stop)))
            return
        self.results[start] = Lost(why)
        self.on_done(len(self.results))

    def _dismiss(self) -> None:
        """Sends everybody home: by a word, since a pipe that later workers inherited does not end by being closed."""
        for worker in self.workers:
            if worker.busy is not None:
                _kill(worker)
                continue
            with contextlib.suppress(OSError):
                worker.pipe.send_bytes(_GO_HOME)
        for worker in self.workers:
            worker.process.join(timeout=_FAREWELL_S)
            _kill(worker)


def _kill(worker: _Worker) -> None:
    worker.pipe.close()
    worker.process.kill()
    worker.process.join()


def _labour(work: Work, pipe: Connection, around: Around) -> None:
    """The child's side: ranges come in, results go out, until it is sent home."""
    parent = os.getppid()
    with around():
        while (message := _awaited(pipe, parent)) != _GO_HOME:
            start, stop = msgspec.msgpack.decode(message, type=tuple[int, int])
            pipe.send_bytes(msgspec.msgpack.encode([work(number) for number in range(start, stop)]))


def _awaited(pipe: Connection, parent: int) -> bytes:
    """The next message; the word to go home when the parent has died, whose end of the pipe its other children hold."""
    while not pipe.poll(_ORPHAN_S):
        if os.getppid() != parent:
            return _GO_HOME
    return pipe.recv_bytes()
