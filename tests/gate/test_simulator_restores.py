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
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from anyio._backends import _asyncio as anyio_backend

from plimsoll.core.errors import PlimsollError
from plimsoll.gate.simulator import (
    NestedSimulation,
    ProcessRefused,
    SimulationDeadlock,
    SimulationStuck,
    SocketRefused,
    VirtualTimeExceeded,
    many_simulations,
    simulate,
)


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False, timeout=50
    )


async def spin() -> None:
    while True:
        await asyncio.sleep(0)


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


def test_many_simulations_share_one_sandbox_and_it_is_gone_afterwards() -> None:
    before = socket.socket.connect

    async def connecting() -> None:
        with socket.socket() as sock:
            sock.connect(("127.0.0.1", 9))

    async def nothing() -> int:
        return 1

    with many_simulations():
        assert socket.socket.connect is not before
        assert simulate(nothing) == 1
        with pytest.raises(SocketRefused):
            simulate(connecting)
        assert simulate(nothing) == 1
    assert socket.socket.connect is before
