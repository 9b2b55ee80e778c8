# ruff: noqa: TID251 (every sleep here is virtual)
import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from plimsoll.gate.simulator import SimulationStuck, many_simulations, simulate


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False, timeout=50
    )


class SteppingWall:
    """A wall clock that moves by `step_s` whenever it is read."""

    def __init__(self, step_s: float) -> None:
        self._now_s = 0.0
        self._step_s = step_s

    def monotonic(self) -> float:
        self._now_s += self._step_s
        return self._now_s

    def now(self) -> float:
        raise AssertionError("not asked for")

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("not asked for")


async def spin() -> None:
    while True:
        await asyncio.sleep(0)


def test_an_endless_asynchronous_loop_is_stopped_by_counting_turns() -> None:
    with pytest.raises(SimulationStuck) as caught:
        simulate(spin, max_turns=5000)
    assert caught.value.kind == "spinning"
    assert "spin" in caught.value.where


def test_an_endless_asynchronous_loop_is_stopped_by_real_time() -> None:
    with pytest.raises(SimulationStuck) as caught:
        simulate(spin, max_turns=10**9, patience_s=1000, wall_limit_s=10**9, wall=SteppingWall(100))
    assert caught.value.kind == "spinning"


def test_a_loop_that_moves_the_clock_is_not_stuck_however_many_turns_it_takes() -> None:
    async def main() -> float:
        for _ in range(20_000):
            await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time()

    assert simulate(main, max_turns=2000) == pytest.approx(200)


def test_steps_too_small_to_move_the_clock_count_as_standing_still() -> None:
    async def main() -> None:
        await asyncio.sleep(1000)
        while True:
            await asyncio.sleep(1e-300)

    with pytest.raises(SimulationStuck) as caught:
        simulate(main, max_turns=5000)
    assert caught.value.kind == "spinning"


def test_a_trial_that_creeps_on_for_too_long_is_stopped() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(1e-6)

    with pytest.raises(SimulationStuck) as caught:
        simulate(main, patience_s=10, wall_limit_s=300, wall=SteppingWall(1))
    assert caught.value.kind == "slow"


def test_synchronous_code_that_never_returns_is_interrupted() -> None:
    def never_returns() -> None:
        while True:
            pass

    async def main() -> None:
        await asyncio.sleep(1)
        never_returns()

    with pytest.raises(SimulationStuck) as caught:
        simulate(main, patience_s=0.05)
    assert caught.value.kind == "blocked"
    assert "never_returns" in caught.value.where
    assert caught.value.now_s == 1.0


def test_a_lock_that_is_never_released_is_interrupted_in_a_synchronous_tool() -> None:
    lock = threading.Lock()
    lock.acquire()

    async def main() -> None:
        await asyncio.create_task(asyncio.to_thread(lock.acquire))

    with pytest.raises(SimulationStuck) as caught:
        simulate(main, patience_s=0.05)
    assert caught.value.kind == "blocked"


def test_swallowing_the_interruption_does_not_hide_it() -> None:
    async def main() -> str:
        try:
            while True:
                pass
        except BaseException:
            await asyncio.sleep(1)
            return "all is well"

    with pytest.raises(SimulationStuck):
        simulate(main, patience_s=0.05)


@contextmanager
def alarm(handler: Any, after_s: float, interval_s: float) -> Iterator[None]:
    """Sets an alarm of ours, in place of the one by which the test runner may bound this test."""
    old_handler = signal.signal(signal.SIGALRM, handler)
    old_timer = signal.setitimer(signal.ITIMER_REAL, after_s, interval_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *old_timer)
        signal.signal(signal.SIGALRM, old_handler)


def test_an_alarm_that_was_set_before_is_put_back() -> None:
    def handler(*_: object) -> None:
        raise AssertionError("not due for an hour")

    with alarm(handler, 3600, 7):
        simulate(lambda: asyncio.sleep(1))
        left_s, interval_s = signal.getitimer(signal.ITIMER_REAL)
        assert signal.getsignal(signal.SIGALRM) is handler
    assert 3500 < left_s <= 3600
    assert interval_s == 7


def test_many_simulations_share_an_alarm_which_stops_the_one_that_is_stuck() -> None:
    async def hangs() -> None:
        while True:
            pass

    def handler(*_: object) -> None:
        raise AssertionError("not due for an hour")

    with alarm(handler, 3600, 0):
        with many_simulations():
            for _ in range(2):
                assert simulate(lambda: asyncio.sleep(1, "done")) == "done"
                with pytest.raises(SimulationStuck, match="hangs"):
                    simulate(hangs, patience_s=1.0)  # by the shared alarm
                with pytest.raises(SimulationStuck, match="hangs"):
                    simulate(hangs, patience_s=0.05)  # too soon for it: by one of its own
        assert signal.getsignal(signal.SIGALRM) is handler


def test_an_alarm_that_was_set_before_goes_off_during_a_simulation() -> None:
    class TestTimeout(Exception):
        pass

    def handler(*_: object) -> None:
        raise TestTimeout

    async def main() -> None:
        while True:
            pass

    with alarm(handler, 0.05, 0), pytest.raises(TestTimeout):
        simulate(main)


def test_an_alarm_without_a_handler_still_ends_the_process() -> None:
    script = (
        "import signal\n"
        "from plimsoll.gate.simulator import simulate\n"
        "async def main():\n"
        "    while True: pass\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "simulate(main)\n"
    )
    assert run_python(script).returncode == -signal.SIGALRM


def test_outside_the_main_thread_a_simulation_runs_without_its_alarm() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(simulate, lambda: asyncio.sleep(30, "done")).result() == "done"
