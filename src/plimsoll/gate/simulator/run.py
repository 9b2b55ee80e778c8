"""Runs one coroutine in virtual time, and leaves nothing of it behind."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from plimsoll.core.clock import Clock, SystemClock
from plimsoll.gate.simulator.errors import (
    RealWorldRefused,
    SimulationDeadlock,
    SimulationStuck,
    VirtualTimeExceeded,
)
from plimsoll.gate.simulator.limits import Limits
from plimsoll.gate.simulator.loop import VirtualLoop
from plimsoll.gate.simulator.ordered import describe
from plimsoll.gate.simulator.sandbox import alone_in_process, sandbox
from plimsoll.gate.simulator.watchdog import Interrupted, Watchdog

__all__ = ["simulate"]

T = TypeVar("T")

_GRACE_S = 60.0
_ROUNDS = 20
_SYSTEM_CLOCK = SystemClock()


def simulate(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    limit_s: float = 3600.0,
    patience_s: float = 10.0,
    wall_limit_s: float = 60.0,
    max_turns: int = 250_000,
    strict: bool = True,
    wall: Clock = _SYSTEM_CLOCK,
) -> T:
    """Runs `main()` on a fresh event loop in virtual time, and returns what it returns.

    The loop's clock starts at 0 s and is at once wherever the next timer is, so that a hang of 30 s costs
    microseconds. Two runs of the same `main` take the same order, in a fresh or a warm process. Synchronous
    functions that are sent to the default executor or to anyio's threads run inline. When `main` is done,
    what it left behind is cancelled and awaited, for at most 60 more virtual seconds, and everything patched
    is put back.

    Args:
        main: makes the coroutine; called with the loop running.
        limit_s: virtual seconds, positive and finite, after which `main` is cancelled.
        patience_s: real seconds for which the clock may stand still, and for which a thread, a file
            descriptor or synchronous code may be waited for.
        wall_limit_s: real seconds for the whole.
        max_turns: turns of the loop during which the clock may stand still.
        strict: raise a refused socket or process even where `main` has swallowed the refusal.
        wall: measures real time for all but synchronous code, which the system's own alarm interrupts.

    Raises:
        VirtualTimeExceeded: `limit_s` was passed.
        SimulationDeadlock: every task waits, and nothing could wake one.
        SimulationStuck: no progress in real time. Synchronous code is interrupted only in the main thread and
            where there is SIGALRM; C code that never returns, and a loop that swallows every BaseException,
            cannot be: to be sure, simulate in a process that can be killed.
        SocketRefused, ProcessRefused: `main` reached for the network, or for a process on its loop. Not seen:
            connections made by C libraries, connections that were open before, `subprocess` itself.
        NestedSimulation: called inside a running event loop, or while another thread simulates.
        Exception: whatever `main` raises.
    """
    limits = Limits(limit_s=limit_s, patience_s=patience_s, wall_limit_s=wall_limit_s, max_turns=max_turns)
    with alone_in_process():
        loop = VirtualLoop(limits, wall)
        try:
            with sandbox(loop.refused):
                result = _Simulation(loop, limits).run(main)
        except Exception as error:
            if strict and loop.refused and not isinstance(error, RealWorldRefused):
                raise loop.refused[0] from error
            raise
        finally:
            loop.close()
        if strict and loop.refused:
            raise loop.refused[0]
        return result


class _Simulation:
    """One coroutine on one loop, from its start until nothing of it is left."""

    def __init__(self, loop: VirtualLoop, limits: Limits) -> None:
        self._loop = loop
        self._watchdog = Watchdog(limits.patience_s, progress=loop.progress, on_stuck=loop.interrupt)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async def entry() -> T:
            return await main()

        with self._watchdog:
            task = self._loop.create_task(entry(), name="main")
            failure = self._carry(task)
            loose = self._clear_up(task)
        try:
            if failure is not None:
                if loose is not None:
                    failure.add_note(f"Nor did it end cleanly: {loose}")
                raise failure
            if loose is not None:
                raise loose
            return task.result()
        finally:
            del failure, loose, task  # an error, its frames and their locals would hold one another

    def _carry(self, awaitable: "asyncio.Task[Any]") -> BaseException | None:
        """Runs a task to its end and returns its error, or the simulator's own."""
        try:
            self._loop.run_until_complete(awaitable)
        except Interrupted:
            return self._loop.stuck
        except BaseException as error:
            return error
        finally:
            for task in self._loop.interrupted:
                if task.done() and not task.cancelled():
                    task.exception()  # seen: it is the watchdog's, not the task's
        return None

    def _clear_up(self, main: "asyncio.Task[Any]") -> BaseException | None:
        """Cancels and awaits what is left. What would not end is dropped, and the error returned."""
        self._loop.extend(_GRACE_S)
        self._watchdog.restart()
        if main.done() and not self._loop.has_leftovers():
            return None
        settling = self._loop.create_task(_settle(self._loop, main), name="settle")
        error = self._carry(settling)
        unstoppable = [task for task in self._loop.pending() if task is not settling]
        if isinstance(error, VirtualTimeExceeded | SimulationDeadlock) or (error is None and unstoppable):
            where = "; ".join(map(describe, unstoppable))
            error = SimulationStuck("unstoppable", where=where, now_s=self._loop.time())
        for task in self._loop.pending():
            _abandon(task)
        return error


async def _settle(loop: VirtualLoop, main: "asyncio.Task[Any]") -> None:
    """Ends `main` first, that it may end its own, then what it left behind."""
    if not main.done():
        await _end(loop, [main])
    await _end_rest(loop)
    await loop.shutdown_asyncgens()
    await loop.settle_threads()
    await _end_rest(loop)


async def _end_rest(loop: VirtualLoop) -> None:
    me = asyncio.current_task()
    for _ in range(_ROUNDS):  # since a task may start another when it is cancelled
        rest = [task for task in loop.pending() if task is not me]
        if not rest:
            return
        await _end(loop, rest)


async def _end(loop: VirtualLoop, tasks: list["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel("the simulation is over")
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "unhandled exception while a simulation was ended"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})


def _abandon(task: "asyncio.Task[Any]") -> None:
    """Takes a task that will not end off the stack, without the loop."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coro = task.get_coro()
    if coro is not None:
        with contextlib.suppress(Exception):  # it may refuse even this
            coro.close()
