"""An event loop whose clock jumps from timer to timer."""

import asyncio
import contextlib
import functools
import itertools
import math
import selectors
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextvars import Context
from heapq import heapify, heappop, heappush
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack, cast

from plimsoll.core.clock import Clock
from plimsoll.gate.simulator.errors import (
    ProcessRefused,
    RealWorldRefused,
    SimulationDeadlock,
    SimulationStuck,
    StuckKind,
    VirtualTimeExceeded,
)
from plimsoll.gate.simulator.inline import InlineExecutor
from plimsoll.gate.simulator.limits import Limits
from plimsoll.gate.simulator.ordered import OrderedFuture, OrderedTask, OrderedWeakSet, describe, in_order

__all__ = ["VirtualLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# poll() holds no file descriptor of its own, which makes it the cheapest selector to create.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)

_POLL_S = 0.005
_TURNS_PER_CHECK = 1024
_KEEP_CANCELLED = 256


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at 0 s and is at once wherever its next timer is.

    The clock moves only when nothing is ready, no thread works for the loop and no file descriptor is
    watched. Timers fire at exactly their time, those of one time in the order in which they were set. It has
    no self-pipe, hence no file descriptor, and no signal handlers.
    """

    _ready: deque[asyncio.Handle]
    _selector: selectors.BaseSelector
    _stopping: bool
    _check_closed: Callable[[], None]
    _process_events: Callable[[list[tuple[selectors.SelectorKey, int]]], None]

    def __init__(self, limits: Limits, wall: Clock) -> None:
        self._wake = threading.Event()
        selector = _Selector()
        super().__init__(selector)
        self.turns = 0
        self.waits_outside = False
        self.stuck: SimulationStuck | None = None
        self.interrupted: list[asyncio.Task[Any]] = []
        self.refused: list[RealWorldRefused] = []
        self._limits = limits
        self._wall = wall
        self._started_s = wall.monotonic()
        self._limit_s = limits.limit_s
        self._now = 0.0
        self._moved_at_turn = 0
        self._standing_since: tuple[int, float] = (-1, 0.0)
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._prune_at = _KEEP_CANCELLED
        self._jobs: dict[int, str] = {}
        self._watched = selector.get_map()
        self._inline = InlineExecutor()
        self._asyncgens = OrderedWeakSet()
        self.set_task_factory(cast(Any, self._make_task))

    # Time

    def time(self) -> float:
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._check_closed()
        if math.isnan(when):
            raise ValueError("a timer's time must not be NaN")
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        timers = self._timers
        heappush(timers, (when, next(self._numbers), handle))
        if len(timers) > self._prune_at:
            timers[:] = [timer for timer in timers if not timer[2]._cancelled]
            heapify(timers)
            self._prune_at = 2 * len(timers) + _KEEP_CANCELLED
        return handle

    def extend(self, grace_s: float) -> None:
        """Allows `grace_s` more virtual seconds from now, and starts all other limits anew."""
        self._limit_s = self._now + grace_s
        self._moved_at_turn = self.turns
        self._started_s = self._wall.monotonic()
        self.stuck = None

    # Order

    def next_number(self) -> int:
        """Counts up from 1; what is numbered in one trial gets the same number in the next."""
        return next(self._numbers)

    def create_future(self) -> "asyncio.Future[Any]":
        future: OrderedFuture[Any] = OrderedFuture(loop=self)
        future.number = next(self._numbers)
        return future

    @staticmethod
    def _make_task(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], **options: Any
    ) -> "asyncio.Future[T]":
        assert isinstance(loop, VirtualLoop)
        number = next(loop._numbers)
        if options.get("name") is None:
            options["name"] = f"Task-{number}"
        return OrderedTask(coro, number=number, loop=loop, **options)

    def pending(self) -> list["asyncio.Task[Any]"]:
        """The tasks that are not done, in the order in which they were created."""
        return in_order(asyncio.all_tasks(self))

    def has_leftovers(self) -> bool:
        """Is there a task, an asynchronous generator or a thread that has not ended?"""
        return bool(self._jobs or len(self._asyncgens) or self.pending())

    # One turn

    def _run_once(self) -> None:
        ready = self._ready
        self.turns += 1
        if self.stuck is not None:
            raise self.stuck
        if not self.turns % _TURNS_PER_CHECK:
            self._check_progress()
        if self._watched and ready:
            self._process_events(self._selector.select(0))
        self._take_due()
        if not ready and not self._stopping:
            self._jump()
            self._take_due()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _take_due(self) -> None:
        timers, now = self._timers, self._now
        while timers and timers[0][0] <= now:
            self._ready.append(heappop(timers)[2])

    def _jump(self) -> None:
        """Moves the clock to the next timer, unless the real world has to be waited for."""
        if (self._jobs or self._watched) and self._wait_outside():
            return
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not timers:
            raise SimulationDeadlock(now_s=self._now, tasks=tuple(map(describe, self.pending())))
        when = timers[0][0]
        if when > self._limit_s:
            self._now = self._limit_s
            raise VirtualTimeExceeded(limit_s=self._limit_s, tasks=tuple(map(describe, self.pending())))
        self._now = when
        self._moved_at_turn = self.turns

    # Real time

    def _wait_outside(self) -> bool:
        """Waits for a thread or a file descriptor while the clock stands still. Was there anything?"""
        self.waits_outside = True
        try:
            give_up_s = self._wall.monotonic() + self._limits.patience_s
            while not self._ready and (self._jobs or self._watched):
                left_s = give_up_s - self._wall.monotonic()
                if left_s <= 0:
                    self._raise_stuck_outside()
                if self._watched:
                    self._process_events(self._selector.select(min(left_s, _POLL_S)))
                else:
                    self._wake.wait(left_s)
                    self._wake.clear()
            return bool(self._ready)
        finally:
            self.waits_outside = False

    def _raise_stuck_outside(self) -> NoReturn:
        if self._jobs:
            self._raise_stuck("thread", ", ".join(self._jobs.values()))
        self._raise_stuck("descriptor", ", ".join(f"file descriptor {key.fd}" for key in self._watched.values()))

    def _check_progress(self) -> None:
        """Called every so many turns: has the clock moved, and is there real time left?"""
        now_s = self._wall.monotonic()
        if self.turns - self._moved_at_turn > self._limits.max_turns:
            self._raise_stuck("spinning")
        moved_at, since_s = self._standing_since
        if moved_at != self._moved_at_turn:
            self._standing_since = (self._moved_at_turn, now_s)
        elif now_s - since_s > self._limits.patience_s:
            self._raise_stuck("spinning")
        if now_s - self._started_s > self._limits.wall_limit_s:
            self._raise_stuck("slow")

    def _raise_stuck(self, kind: StuckKind, where: str = "") -> NoReturn:
        raise SimulationStuck(kind, where=where or "; ".join(map(describe, self.pending())), now_s=self._now)

    def progress(self) -> int | None:
        """A figure that changes for as long as the loop turns; None while it rightfully waits for the real world."""
        return None if self.waits_outside else self.turns

    def interrupt(self, where: str) -> None:
        """Notes that synchronous code at `where` does not return, and which task that is."""
        self.stuck = SimulationStuck("blocked", where=where, now_s=self._now)
        if (task := asyncio.current_task(self)) is not None:
            self.interrupted.append(task)

    # Threads

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        if executor is None:
            executor = self._inline
        if isinstance(executor, InlineExecutor):
            return super().run_in_executor(executor, func, *args)
        self._check_closed()
        job = executor.submit(func, *args)
        number = next(self._numbers)
        self._jobs[number] = getattr(func, "__qualname__", None) or repr(func)
        future = asyncio.wrap_future(job, loop=self)
        # After wrap_future's own callback: the thread counts as working until its result is on the loop.
        job.add_done_callback(functools.partial(self._job_done, number))
        return future

    def _job_done(self, number: int, _job: "Future[Any]") -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed while an abandoned thread went on
            self.call_soon_threadsafe(self._jobs.pop, number)

    async def settle_threads(self) -> None:
        """Returns when no thread works for this loop any more."""
        while self._jobs:
            # Done as soon as the last thread is, since until then the clock stands still.
            waiter = self.create_future()
            self.call_later(math.ulp(self._now), waiter.set_result, None)
            await waiter

    # What a selector loop does with file descriptors of its own, done without

    def _make_self_pipe(self) -> None:
        """A simulation needs none: only `_wait_outside` ever blocks, and `_wake` ends that."""

    def _close_self_pipe(self) -> None:
        """None was made."""

    def _write_to_self(self) -> None:
        self._wake.set()

    def add_signal_handler(self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        raise NotImplementedError("a simulation's event loop handles no signals")

    async def subprocess_exec(self, protocol_factory: Any, program: Any, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse_process(str(program))

    async def subprocess_shell(self, protocol_factory: Any, cmd: Any, **kwargs: Any) -> NoReturn:
        self._refuse_process(str(cmd))

    def _refuse_process(self, program: str) -> NoReturn:
        error = ProcessRefused(program)
        self.refused.append(error)
        raise error
