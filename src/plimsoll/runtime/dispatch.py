"""The embedded dispatcher: goes on with runs by itself as soon as they can, in this process and beside others."""

import asyncio
from typing import Protocol, Self

from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse, ReplayMismatch, RunBusy, Superseded
from plimsoll.observability.findings import left_behind_finding, stuck_finding
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.lineage import link_of

__all__ = ["Dispatcher"]

_FIRST_PAUSE_S = 1.0
_LAST_PAUSE_S = 60.0
_TELL_EVERY_S = 15.0
"""How often it tells whoever listens what waits for people, at most: to look takes a twentieth of its time, or less."""


class HasHarness(Protocol):
    """An adapter's agent: a harness stands behind it."""

    @property
    def harness(self) -> Harness: ...


class Dispatcher:
    """Wakes the runs of an agent, and of its children: decided, signalled, cancelled, due, or left by a dead process.

    It looks every `poll_s` seconds, and that costs as much as there is to do, not as much as waits. At most
    `concurrency` runs are gone on with at once; their state is all that it keeps in memory. A run that cannot be gone
    on with raises a finding and is tried again later, ever more seldom, at least once a minute. Several processes may
    dispatch the same runs: each run is advanced by one. Now and then it has the `watch` of each harness look over all
    runs, for those that say nothing, and for people who are waited for.

    >>> async with Dispatcher(harness):
    ...     await serve_requests()

    When the block ends, nothing more is begun; what runs has `patience_s` seconds to end or park. What has not by then
    is cancelled and left as a crash would leave it, with a finding that says so: whoever comes next goes on with it.
    """

    def __init__(
        self,
        agent: Harness | HasHarness,
        *,
        concurrency: int = 10,
        poll_s: float = 0.25,
        patience_s: float = 30.0,
    ) -> None:
        if concurrency < 1 or poll_s <= 0 or patience_s < 0:
            raise Misuse("a dispatcher's concurrency is at least 1, poll_s above 0 and patience_s not negative")
        self._harness = agent if isinstance(agent, Harness) else agent.harness
        self._clock: Clock = self._harness.env.clock
        self._concurrency = concurrency
        self._poll_s = poll_s
        self._patience_s = patience_s
        self._running: dict[str, asyncio.Task[None]] = {}
        self._paused: dict[str, tuple[float, float]] = {}  # runs that are stuck: until when, and for how long
        self._loop: asyncio.Task[None] | None = None
        self._troubled = False
        self._tell_at = self._clock.monotonic()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._dispatch(), name="plimsoll dispatcher")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def running(self) -> frozenset[str]:
        """The ids of the runs that it goes on with now."""
        return frozenset(self._running)

    async def stop(self) -> tuple[str, ...]:
        """Begins nothing more, and waits for what runs. The ids of the runs that had to be left in the middle."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
            self._loop = None
        if self._running and self._patience_s > 0:
            await asyncio.wait(self._running.values(), timeout=self._patience_s)
        left = dict(self._running)
        for task in left.values():
            task.cancel()
        if left:
            await asyncio.wait(left.values())
            self._harness.alert(left_behind_finding(len(left)))
        return tuple(left)

    async def _dispatch(self) -> None:
        while True:
            try:
                await self._begin_what_is_due()
                for harness in self._harness.family():
                    await harness.watch.look()
                await self._tell_waiting()
            except Exception as error:  # the journal cannot be read now: it is told once, and looked at again
                if not self._troubled:
                    self._harness.alert(stuck_finding(error))
                self._troubled = True
            else:
                self._troubled = False
            await self._clock.sleep(self._poll_s)

    async def _tell_waiting(self) -> None:
        began = self._clock.monotonic()
        if began >= self._tell_at:
            for harness in self._harness.family():
                await harness.tell_waiting()
            ended = self._clock.monotonic()
            self._tell_at = ended + max(_TELL_EVERY_S, 20 * (ended - began))

    async def _begin_what_is_due(self) -> None:
        for harness in self._harness.family():
            free = self._concurrency - len(self._running)
            if free <= 0:
                return
            for head in await harness.due(limit=free + len(self._paused)):
                run_id = link_of(head.run_id)[0]
                until, _ = self._paused.get(run_id, (0.0, 0.0))
                if free <= 0 or run_id in self._running or until > self._clock.monotonic():
                    continue
                free -= 1
                task = asyncio.create_task(self._go_on(harness, run_id), name=f"run {run_id}")
                self._running[run_id] = task
                task.add_done_callback(lambda done, run_id=run_id: self._ended(run_id, done))  # type: ignore[misc]

    async def _go_on(self, harness: Harness, run_id: str) -> None:
        try:
            await harness.resume(run_id)
        except ReplayMismatch:
            pass  # it is parked, and has told so
        except (RunBusy, Superseded):
            self._pause(run_id)
            return
        except Exception as error:
            if run_id not in self._paused:
                harness.alert(stuck_finding(error), run_id=run_id)
            self._pause(run_id)
            return
        self._paused.pop(run_id, None)

    def _pause(self, run_id: str) -> None:
        _, before_s = self._paused.get(run_id, (0.0, 0.0))
        pause_s = min(max(_FIRST_PAUSE_S, 2 * before_s), _LAST_PAUSE_S)
        self._paused[run_id] = (self._clock.monotonic() + pause_s, pause_s)

    def _ended(self, run_id: str, task: asyncio.Task[None]) -> None:
        self._running.pop(run_id, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # no `Exception`, as when an agent ends its process
            self._harness.alert(stuck_finding(error), run_id=run_id)
