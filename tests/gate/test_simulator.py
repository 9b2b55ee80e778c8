# ruff: noqa: TID251 (every sleep here is virtual)
import asyncio
import concurrent.futures
import gc
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio._backends import _asyncio as anyio_backend
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from plimsoll.core.errors import PlimsollError
from plimsoll.gate.simulator import (
    InlineExecutor,
    NestedSimulation,
    ProcessRefused,
    SimulationDeadlock,
    SimulationStuck,
    SocketRefused,
    VirtualLoop,
    VirtualTimeExceeded,
    simulate,
)


def now() -> float:
    return asyncio.get_running_loop().time()


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


@contextmanager
def started_threads() -> Iterator[list[str]]:
    started: list[str] = []
    original = threading.Thread.start

    def start(self: threading.Thread) -> None:
        started.append(self.name)
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]
    try:
        yield started
    finally:
        threading.Thread.start = original  # type: ignore[method-assign]


# Time


def test_a_hang_of_thirty_seconds_costs_nothing() -> None:
    async def hang() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.sleep(3000)
        return now()

    started = time.perf_counter()
    assert simulate(hang) == 30.0
    assert time.perf_counter() - started < 5


def test_the_clock_starts_at_zero_and_is_exactly_where_its_timers_are() -> None:
    async def main() -> list[float]:
        times = [now()]
        for delay in (0.1, 0.2, 1e-12, 1000.0, 1e-12):
            await asyncio.sleep(delay)
            times.append(now())
        return times

    expected = [0.0]
    for delay in (0.1, 0.2, 1e-12, 1000.0, 1e-12):
        expected.append(expected[-1] + delay)
    assert simulate(main) == expected


def test_no_timer_fires_before_its_time() -> None:
    """A loop that waits out a remainder smaller than a clock's resolution must not spin."""

    async def main() -> tuple[float, int]:
        await asyncio.sleep(0.3)
        deadline, waits = 0.1 + 0.2, 0
        while now() < deadline:
            await asyncio.sleep(deadline - now())
            waits += 1
        return now(), waits

    assert simulate(main) == (0.1 + 0.2, 1)


def test_equal_timers_fire_in_the_order_in_which_they_were_set() -> None:
    async def main() -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(100):
            loop.call_at(5.0, fired.append, number)
            loop.call_at(1.0 + number % 7, lambda: None)
        await asyncio.sleep(10)
        return fired

    assert simulate(main) == list(range(100))


def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(50, lambda: None).cancel()
        await asyncio.sleep(100)
        return now()

    async def only_cancelled() -> None:
        asyncio.get_running_loop().call_later(50, lambda: None).cancel()
        await asyncio.get_running_loop().create_future()

    assert simulate(main) == 100.0
    with pytest.raises(SimulationDeadlock) as caught:
        simulate(only_cancelled)
    assert caught.value.now_s == 0.0


def test_cancelled_timers_do_not_pile_up() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        for _ in range(5000):
            async with asyncio.timeout(3000):
                await asyncio.sleep(0.01)
        return len(loop._timers)

    assert simulate(main) < 1000


def test_a_timer_whose_time_is_not_a_number_is_refused() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_at(math.nan, lambda: None)

    with pytest.raises(ValueError, match="NaN"):
        simulate(main)


def test_timers_and_task_groups_interleave_by_virtual_time() -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def worker(name: str, delay: float) -> None:
            for _ in range(3):
                await asyncio.sleep(delay)
                seen.append(f"{name}@{now():g}")

        async with asyncio.TaskGroup() as group:
            group.create_task(worker("a", 2))
            group.create_task(worker("b", 3))
        return seen

    assert simulate(main) == ["a@2", "b@3", "a@4", "b@6", "a@6", "b@9"]


# Ends


def test_the_result_and_the_exception_of_main_come_through() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise LookupError("no such order")

    async def exits() -> None:
        raise SystemExit(3)

    with pytest.raises(LookupError, match="no such order"):
        simulate(fails)
    with pytest.raises(SystemExit):
        simulate(exits)


def test_a_deadlock_names_the_tasks_and_where_they_wait() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(7)
        await asyncio.create_task(waits_for_nobody(), name="orphan")

    with pytest.raises(SimulationDeadlock) as caught:
        simulate(main)
    assert caught.value.now_s == 7.0
    assert [line.split()[0] for line in caught.value.tasks] == ["main", "orphan"]
    assert "waits_for_nobody" in caught.value.tasks[1]
    assert "test_simulator.py" in caught.value.tasks[1]


def test_the_virtual_limit_cancels_and_awaits_main() -> None:
    seen: list[Any] = []

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(8)
        finally:
            await asyncio.sleep(5)
            seen.append(now())

    with pytest.raises(VirtualTimeExceeded) as caught:
        simulate(main, limit_s=100)
    assert caught.value.limit_s == 100
    assert "test_simulator.py" in caught.value.tasks[0]
    assert seen == [105.0]


def test_a_timer_at_the_limit_still_fires() -> None:
    assert simulate(lambda: asyncio.sleep(100, "done"), limit_s=100) == "done"


def test_main_that_ignores_its_cancellation_is_dropped_after_the_grace() -> None:
    closed: list[bool] = []

    async def stubborn() -> None:
        try:
            while True:
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    continue
        finally:
            closed.append(True)

    with pytest.raises(VirtualTimeExceeded) as caught:
        simulate(stubborn, limit_s=10)
    assert any("unstoppable" in note for note in caught.value.__notes__)
    assert closed == [True]


def test_a_background_task_that_ignores_its_cancellation_is_reported() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        main.task = asyncio.create_task(stubborn(), name="stubborn")  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    with pytest.raises(SimulationStuck, match="stubborn") as caught:
        simulate(main)
    assert caught.value.kind == "unstoppable"


def test_what_main_leaves_behind_is_cancelled_and_awaited() -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            seen.append(f"background ended at {now():g}")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            seen.append("generator closed")

    kept: list[Any] = []

    async def main() -> str:
        kept.append(asyncio.create_task(background()))
        kept.append(numbers())
        await anext(kept[1])
        await asyncio.sleep(3)
        return "answer"

    assert simulate(main) == "answer"
    assert seen == ["background ended at 4", "generator closed"]


def test_an_error_in_what_main_leaves_behind_reaches_the_loops_exception_handler() -> None:
    reports: list[dict[str, Any]] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise OSError("while cleaning up")

    kept: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        kept.append(asyncio.create_task(background()))
        await asyncio.sleep(1)

    simulate(main)
    assert [str(report["exception"]) for report in reports] == ["while cleaning up"]


# Stuck in real time


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
        return now()

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


# Threads and file descriptors


def test_the_clock_stands_still_while_a_thread_works() -> None:
    async def main(pool: concurrent.futures.Executor) -> tuple[str, float]:
        async with asyncio.timeout(5):
            finished = threading.Event()
            asyncio.get_running_loop().call_soon(finished.set)
            job = asyncio.get_running_loop().run_in_executor(pool, finished.wait, 20)
            await asyncio.sleep(1)
            assert job.done()
            return ("thread done" if await job else "lost"), now()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert simulate(lambda: main(pool)) == ("thread done", 1.0)


def test_a_thread_that_never_finishes_exhausts_patience() -> None:
    release = threading.Event()

    async def main(pool: concurrent.futures.Executor) -> None:
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().run_in_executor(pool, release.wait)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        try:
            with pytest.raises(SimulationStuck) as caught:
                simulate(lambda: main(pool), patience_s=0.05)
        finally:
            release.set()
    assert caught.value.kind == "thread"
    assert caught.value.where == "Event.wait"
    assert caught.value.now_s == 0.0


def test_an_abandoned_thread_is_awaited_before_the_simulation_ends() -> None:
    release, ended = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(20)
        ended.set()

    async def main(pool: concurrent.futures.Executor) -> None:
        job = asyncio.get_running_loop().run_in_executor(pool, work)
        await asyncio.sleep(0)
        job.cancel()
        asyncio.get_running_loop().call_soon(release.set)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        simulate(lambda: main(pool))
        assert ended.is_set()


def test_a_pipe_is_waited_for_with_the_clock_standing_still() -> None:
    async def main() -> tuple[bytes, float]:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(5):
                reading = asyncio.create_task(loop.sock_recv(left, 10))
                await asyncio.sleep(0)
                loop.call_later(0, right.send, b"hello")
                return await reading, now()

    assert simulate(main) == (b"hello", 0.0)


def test_a_silent_file_descriptor_exhausts_patience() -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_recv(left, 10)

    with pytest.raises(SimulationStuck) as caught:
        simulate(main, patience_s=0.05)
    assert caught.value.kind == "descriptor"


# Synchronous code runs inline


def test_the_inline_executor_runs_at_submit_in_the_calling_thread() -> None:
    executor = InlineExecutor()
    done = executor.submit(threading.get_ident)
    assert done.done()
    assert done.result() == threading.get_ident()
    assert list(executor.map(abs, [-1, -2])) == [1, 2]
    assert isinstance(executor.submit(int, "x").exception(), ValueError)
    assert isinstance(executor.submit(sys.exit, 1).exception(), SystemExit)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, 1)


def test_the_inline_executor_lets_a_keyboard_interrupt_through() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupted)


def test_the_default_executor_and_anyios_threads_run_inline() -> None:
    def fails() -> None:
        raise LookupError

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        idents = [await asyncio.to_thread(threading.get_ident)]
        idents.append(await loop.run_in_executor(None, threading.get_ident))
        idents.append(await loop.run_in_executor(InlineExecutor(), threading.get_ident))
        idents.append(await anyio.to_thread.run_sync(threading.get_ident))
        idents.append(await anyio.to_thread.run_sync(threading.get_ident, limiter=anyio.CapacityLimiter(1)))
        with pytest.raises(LookupError):
            await asyncio.to_thread(fails)
        with pytest.raises(LookupError):
            await anyio.to_thread.run_sync(fails)
        return idents

    with started_threads() as started:
        assert set(simulate(main)) == {threading.get_ident()}
    assert started == []


@pytest.mark.parametrize("own_executor", [False, True])
def test_a_pydantic_ai_agent_with_a_synchronous_tool_starts_no_thread(own_executor: bool) -> None:
    def model(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        returned = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
        if returned:
            return ModelResponse(parts=[TextPart(f"order 7 is {returned[0].content}")])
        return ModelResponse(parts=[ToolCallPart("status", {"order": 7})])

    agent = Agent(FunctionModel(model))

    @agent.tool_plain
    def status(order: int) -> str:
        return f"shipped by {threading.current_thread().name}"

    @agent.tool_plain
    async def slow() -> None:
        await asyncio.sleep(1)

    async def main() -> str:
        async with asyncio.timeout(5):
            if own_executor:
                with Agent.using_thread_executor(InlineExecutor()):
                    return (await agent.run("where is order 7?")).output
            return (await agent.run("where is order 7?")).output

    with started_threads() as started:
        assert simulate(main) == f"order 7 is shipped by {threading.current_thread().name}"
    assert started == []


# anyio


def test_anyio_timeouts_groups_and_streams_take_virtual_time() -> None:
    async def main() -> tuple[list[int], bool, float]:
        send, receive = anyio.create_memory_object_stream[int](0)
        got: list[int] = []

        async def produce() -> None:
            async with send:
                for number in range(3):
                    await anyio.sleep(10)
                    await send.send(number)

        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            async with receive:
                got.extend([number async for number in receive])
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(3000)
        return got, scope.cancelled_caught, anyio.current_time()

    assert simulate(main) == ([0, 1, 2], True, 35.0)


# The real world is refused by name


def connects(address: Any, family: int = socket.AF_INET) -> None:
    with socket.socket(family) as sock:
        sock.connect(address)


async def opens_connection(host: str, port: int) -> None:
    await asyncio.open_connection(host, port)


async def serves() -> None:
    await asyncio.start_server(lambda *_: None, "127.0.0.1", 8125)


def says_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"up:1|c", ("192.0.2.1", 8125))


async def later(function: Callable[..., object], *args: Any) -> None:
    await asyncio.sleep(1)
    await asyncio.to_thread(function, *args)


@pytest.mark.parametrize(
    ("reach", "address"),
    [
        (lambda: opens_connection("api.example.com", 443), "api.example.com:443"),
        (lambda: opens_connection("192.0.2.1", 80), "192.0.2.1:80"),
        (lambda: anyio.connect_tcp("api.example.com", 443), "api.example.com:443"),
        (lambda: later(connects, ("192.0.2.1", 5432)), "192.0.2.1:5432"),
        (lambda: later(connects, "/run/server.sock", socket.AF_UNIX), "/run/server.sock"),
        (lambda: later(connects, b"/run/server.sock", socket.AF_UNIX), "/run/server.sock"),
        (lambda: later(socket.create_connection, ("db.example.com", 5432)), "db.example.com:5432"),
        (lambda: later(socket.gethostbyname, "db.example.com"), "db.example.com"),
        (lambda: later(socket.getnameinfo, ("192.0.2.1", 80), 0), "192.0.2.1:80"),
        (lambda: later(socket.getaddrinfo, None, 80), "*:80"),
        (lambda: later(says_udp), "192.0.2.1:8125"),
        (serves, "127.0.0.1:8125"),
    ],
)
def test_sockets_are_refused_by_name(reach: Callable[[], Coroutine[Any, Any, object]], address: str) -> None:
    with pytest.raises(SocketRefused) as caught:
        simulate(reach)
    assert caught.value.address == address
    assert f"Give the gate a stand-in for what answers at {address}" in str(caught.value)


def test_a_refusal_that_main_swallowed_is_raised_all_the_same() -> None:
    async def main() -> str:
        try:
            await asyncio.open_connection("api.example.com", 443)
        except Exception:
            return "fell back"
        return "connected"

    async def fails() -> None:
        await main()
        raise LookupError("what came of it")

    with pytest.raises(SocketRefused, match=r"api\.example\.com:443"):
        simulate(main)
    with pytest.raises(SocketRefused) as caught:
        simulate(fails)
    assert isinstance(caught.value.__cause__, LookupError)
    assert simulate(main, strict=False) == "fell back"
    with pytest.raises(LookupError):
        simulate(fails, strict=False)


def test_a_thread_from_before_is_refused_without_blame() -> None:
    def look_up() -> type[BaseException]:
        with pytest.raises(SocketRefused) as caught:
            socket.getaddrinfo("collector.example.com", 4317)
        return caught.type

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()

        async def main() -> None:
            assert pool.submit(look_up).result(20) is SocketRefused

        simulate(main)


@pytest.mark.parametrize("start", [asyncio.create_subprocess_exec, asyncio.create_subprocess_shell])
def test_processes_on_the_loop_are_refused_by_name(start: Any) -> None:
    with pytest.raises(ProcessRefused, match="mcp-server"):
        simulate(lambda: start("mcp-server"))


def test_signal_handlers_are_refused() -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)

    with pytest.raises(NotImplementedError):
        simulate(main)


# Nothing stays behind


def patched_state() -> list[object]:
    return [
        dict(vars(socket.socket)),
        dict(vars(socket)),
        asyncio.as_completed,
        asyncio.tasks.as_completed,
        anyio_backend.CancelScope,
        anyio_backend.TaskGroup,
        vars(anyio_backend.AsyncIOBackend)["run_sync_in_worker_thread"],
        gc.isenabled(),
        signal.getsignal(signal.SIGALRM),
        asyncio._get_running_loop(),
        sys.get_asyncgen_hooks(),
    ]


async def _fails() -> None:
    raise LookupError


async def _parks() -> None:
    raise SystemExit


@pytest.mark.parametrize("main", [_fails, _parks, asyncio.Event().wait, spin])
def test_everything_is_put_back_after_an_error(main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    before = patched_state()
    with pytest.raises((LookupError, SystemExit, PlimsollError)):
        simulate(main, max_turns=5000)
    assert patched_state() == before
    assert "connect" not in vars(socket.socket)  # it inherits it
    assert simulate(lambda: asyncio.sleep(1, "works again")) == "works again"


def test_garbage_collection_is_held_and_left_as_it_was() -> None:
    async def main() -> bool:
        return gc.isenabled()

    assert simulate(main) is False
    assert gc.isenabled()
    gc.disable()
    try:
        simulate(main)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_many_simulations_leak_neither_descriptors_nor_tasks() -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await asyncio.sleep(3)

    simulate(main)
    gc.collect()
    descriptors, objects = len(list(Path("/dev/fd").iterdir())), len(gc.get_objects())
    for _ in range(300):
        simulate(main)
    gc.collect()
    assert len(list(Path("/dev/fd").iterdir())) == descriptors
    assert len(gc.get_objects()) - objects < 300


def test_a_simulation_inside_a_simulation_is_refused() -> None:
    async def main() -> None:
        simulate(lambda: asyncio.sleep(1))

    with pytest.raises(NestedSimulation, match="running event loop"):
        simulate(main)
    with pytest.raises(NestedSimulation, match="running event loop"):
        asyncio.run(main())


def test_a_second_simulation_in_another_thread_is_refused() -> None:
    async def main(pool: concurrent.futures.Executor) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, simulate, lambda: asyncio.sleep(1))

    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        pytest.raises(NestedSimulation, match="in this process"),
    ):
        simulate(lambda: main(pool))


@pytest.mark.parametrize(
    "options",
    [
        {"limit_s": 0},
        {"limit_s": math.inf},
        {"limit_s": math.nan},
        {"patience_s": 0},
        {"wall_limit_s": -1},
        {"max_turns": 0},
    ],
)
def test_senseless_limits_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        simulate(lambda: asyncio.sleep(1), **options)


@pytest.mark.parametrize(
    "error",
    [
        SimulationDeadlock(now_s=1.5, tasks=("main in f",)),
        VirtualTimeExceeded(limit_s=60, tasks=("main in f",)),
        SimulationStuck("thread", where="f", now_s=2),
        SocketRefused("socket.connect", host="h", port=1),
        ProcessRefused("git"),
        NestedSimulation("no"),
    ],
)
def test_errors_survive_the_way_out_of_a_worker_process(error: PlimsollError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_it_works_where_anyio_is_not_installed() -> None:
    script = (
        "import sys; sys.modules['anyio'] = None\n"
        "import asyncio\n"
        "from plimsoll.gate.simulator import simulate\n"
        "print(simulate(lambda: asyncio.sleep(30, 'done')))\n"
    )
    assert run_python(script).stdout == "done\n"
