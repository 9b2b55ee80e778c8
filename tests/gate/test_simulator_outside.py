# ruff: noqa: TID251 (every sleep here is virtual)
import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine
from subprocess import Popen
from typing import Any

import anyio
import anyio.to_thread
import pytest

from plimsoll.gate.simulator import (
    ProcessRefused,
    SimulationStuck,
    SocketRefused,
    simulate,
)


def now() -> float:
    return asyncio.get_running_loop().time()


# Threads and file descriptors: the clock stands still


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


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run(["true"], check=False),
        lambda: Popen("true", shell=True),
        lambda: subprocess.Popen(args=["true"]),
        lambda: os.popen("true"),
        lambda: os.system("true"),
        lambda: os.posix_spawn("/usr/bin/true", ["true"], {}),
    ],
)
def test_a_process_by_another_way_than_the_loop_is_refused_too(start: Callable[[], Any]) -> None:
    async def main() -> None:
        with contextlib.suppress(ProcessRefused):
            start()

    with pytest.raises(ProcessRefused, match=r"starting .*true.* refused"):
        simulate(main)
    assert subprocess.run(["true"], check=False).returncode == 0 and os.system("true") == 0
