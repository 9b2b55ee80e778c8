"""Plays one trial: the client's request, the process's lives, its people, until it ends or waits. In virtual time, but
for an agent that is a process of its own: nobody can hold that one's clock."""

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, TypeVar

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalUnavailable, ReplayMismatch
from plimsoll.core.ids import SequentialIds
from plimsoll.gate.crashing_store import CrashingStore
from plimsoll.gate.injector import Injector
from plimsoll.gate.people import People
from plimsoll.gate.scene import RUN_ID, Life, Scene
from plimsoll.gate.simulator import (
    RealWorldRefused,
    SimulationDeadlock,
    SimulationError,
    VirtualTimeExceeded,
    simulate,
)
from plimsoll.gate.subject import Process
from plimsoll.journal.store import RunState
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["play"]

_MAX_LIVES = 6
_MAX_ROUNDS = 12
_RESTART_S = 1.0
_BURIAL_S = 1.0
_PATIENCE_S = 1.0
"""How many seconds longer than it may a process of its own is left alone."""

T = TypeVar("T")


def play(scene: Scene) -> str:
    """Plays the scene to its end and returns why it could not be, or nothing."""
    try:
        with _silence():
            if scene.stage.subject.outside:
                _in_real_time(scene)
            else:
                simulate(lambda: _lives(scene), limit_s=scene.stage.virtual_limit_s)
    except (VirtualTimeExceeded, SimulationDeadlock) as never:
        scene.error = str(never)
    except (SimulationError, RealWorldRefused) as stuck:
        return str(stuck)
    return ""


class _RealLoop(asyncio.SelectorEventLoop):
    """Real time, counted from 0 as in a simulation."""

    _began_s = 0.0

    def time(self) -> float:
        return super().time() - self._began_s


def _real_loop() -> asyncio.AbstractEventLoop:
    loop = _RealLoop()
    loop._began_s = loop.time()
    return loop


def _in_real_time(scene: Scene) -> None:
    limit_s = scene.stage.active_limit_s + _PATIENCE_S

    async def within() -> None:
        async with asyncio.timeout(limit_s):
            await _lives(scene)

    try:
        with asyncio.Runner(loop_factory=_real_loop) as runner:
            runner.run(within())
    except TimeoutError:
        scene.error = f"the agent had not ended after {limit_s:g} s, and was killed"


class _Nowhere(io.TextIOBase):
    """A stream that keeps nothing."""

    def write(self, text: str, /) -> int:
        return len(text)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Takes what an agent prints and logs to the terminal: thousands of trials would drown the gate's own words."""
    nowhere = _Nowhere()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


async def _lives(scene: Scene) -> None:
    """One life after the other, until one serves the request or leaves it to a person."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_ignore)
    people = People(scene)
    try:
        for number in range(1, _MAX_LIVES + 1):
            life = Life(number)
            scene.lives = number
            result = await _life(scene, life, people)
            if not life.death:
                scene.result = result
                return
            await _bury(scene, life)
            if scene.overrun:
                return
            await scene.clock.sleep(_RESTART_S)
        scene.error = f"the process died {_MAX_LIVES} times"
    finally:
        scene.virtual_s = loop.time()


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the tasks of a dead process still raise is nobody's concern."""


async def _life(scene: Scene, life: Life, people: People) -> RunResult | None:
    try:
        return await _Server(scene, life, people).serve()
    except BaseException as error:
        task = asyncio.current_task()
        ended_from_outside = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
        if not life.death or ended_from_outside:
            raise
        return None


async def _bury(scene: Scene, life: Life) -> None:
    """Ends whatever the dead process left running, and lets the journal know that its owner is gone."""
    scene.tell("gate", f"the process is dead: {life.death}; another takes its place")
    if any(head.seq > 0 and head.state is RunState.RUNNING for head in scene.heads()):
        scene.noticed_crashes.append(scene.clock.monotonic())
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_BURIAL_S)
    scene.store.kill_owner(life.owner)


class _Server:
    """One life of the process, and the client that asks it."""

    def __init__(self, scene: Scene, life: Life, people: People) -> None:
        self._scene = scene
        self._life = life
        self._people = people
        self._process = self._born()
        self._asked = scene.asked()

    def _born(self) -> Process:
        scene, life = self._scene, self._life
        surroundings = Surroundings(
            store=CrashingStore(scene, life),
            owner=life.owner,
            clock=scene.clock,
            rng=scene.rng,
            ids=SequentialIds(f"{life.number}."),
            sinks=(scene.alerts,),
            interceptor=Injector(scene, life),
        )
        stage = scene.stage
        make = stage.scenario.adversaries[scene.adversary] if scene.adversary else stage.scenario.models
        return stage.subject.live(surroundings, make(scene.world), scene.world)

    async def serve(self) -> RunResult | None:
        """Wakes what an earlier life left, else asks; then goes on for as long as anything gets it further."""
        result = await self._wake() if self._life.number > 1 else None
        if result is None:
            result = await self._ask()
        for _ in range(_MAX_ROUNDS):
            if result.ending is not Ending.PARKED:
                break
            further = await self._after_parking(result)
            if further is None:
                break
            result = further
        with contextlib.suppress(JournalUnavailable):
            await self._process.close()
        return result

    async def _ask(self) -> RunResult:
        """The client's request. Refused for want of a journal, it is made once more under the same id."""
        scene = self._scene
        scene.tell("run", f"is asked: {self._asked!r}")
        try:
            return await self._request()
        except JournalUnavailable:
            await self._outlast_outage()
            return await self._request(last=True)

    async def _request(self, *, last: bool = False) -> RunResult:
        try:
            return await self._timed(self._process.run(self._asked, run_id=RUN_ID))
        except JournalUnavailable as refused:
            if not last:
                raise
            return RunResult(run_id=RUN_ID, ending=Ending.HALTED, reason=str(refused))
        except ReplayMismatch as mismatch:
            return RunResult(run_id=RUN_ID, ending=Ending.PARKED, reason=f"mismatch: {mismatch}")
        except Exception as error:  # the client sees it fail
            self._life.check()
            return RunResult(run_id=RUN_ID, ending=Ending.FAILED, reason=f"{type(error).__name__}: {error}")

    async def _after_parking(self, result: RunResult) -> RunResult | None:
        """What the world does while the run waits. None when nobody gets it any further."""
        reason = result.reason.partition(":")[0]
        self._scene.tell("run", f"parks: {result.reason}")
        if reason in ("journal", "superseded"):
            await self._outlast_outage()
            return await self._wake()
        if not result.waiting_for:
            return None
        if await self._people.answer(result.waiting_for):
            further = await self._wake() or await self._wake_after_outage()
            if further is not None:
                return further
        await self._until(max(request.expires_at for request in result.waiting_for))
        return await self._wake()

    async def _wake_after_outage(self) -> RunResult | None:
        """A child that found no journal has parked, and its parent was not woken. None where there is no outage."""
        if self._scene.outage_until_s <= self._scene.clock.monotonic():
            return None
        await self._outlast_outage()
        return await self._wake()

    async def _outlast_outage(self) -> None:
        clock = self._scene.clock
        await clock.sleep(max(0.0, self._scene.outage_until_s - clock.monotonic()) + _RESTART_S)

    async def _until(self, wall_s: float) -> None:
        """Lets time pass beyond a wall-clock time."""
        await self._scene.clock.sleep(max(0.0, wall_s - self._scene.clock.now()) + _RESTART_S)

    async def _wake(self) -> RunResult | None:
        results: Sequence[RunResult] = await self._timed(self._process.wake())
        return next((result for result in results if result.run_id == RUN_ID), None)

    async def _timed(self, work: Awaitable[T]) -> T:
        started_s = self._scene.clock.monotonic()
        try:
            return await work
        finally:
            self._scene.active_s += self._scene.clock.monotonic() - started_s
