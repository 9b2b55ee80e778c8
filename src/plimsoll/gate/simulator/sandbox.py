"""What is replaced in the process while a simulation runs, and put back after it."""

import asyncio
import gc
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, NoReturn

from plimsoll.gate.simulator.anyio_support import anyio_patches
from plimsoll.gate.simulator.errors import NestedSimulation, ProcessRefused, RealWorldRefused, SocketRefused
from plimsoll.gate.simulator.watchdog import kept_alarm

__all__ = ["Patch", "alone_in_process", "many_simulations", "sandbox"]

_MISSING = object()
_COLLECT_EVERY = 50
"""Between how many simulations garbage is collected, where many follow one another."""
_in_use = threading.Lock()


class Patch(NamedTuple):
    """One attribute of `owner` to be replaced."""

    owner: Any
    name: str
    replacement: Any


@contextmanager
def alone_in_process() -> Iterator[None]:
    """Holds what is patched for one simulation at a time; raises NestedSimulation for a second one."""
    if asyncio._get_running_loop() is not None:
        raise NestedSimulation("a simulation cannot start inside a running event loop")
    if not _in_use.acquire(blocking=False):
        raise NestedSimulation("another simulation is running in this process")
    try:
        yield
    finally:
        _in_use.release()


class _Walls:
    """What stands around simulations in this process. Putting it up costs more than a small trial, so it may be kept.

    There is one process, and so there is one of these.
    """

    def __init__(self) -> None:
        self._kept = 0
        self._since_collected = 0
        self._standing = ExitStack()
        self._refused: list[RealWorldRefused] = []
        self._outsiders: set[int | None] = set()

    @contextmanager
    def around(self, refused: list[RealWorldRefused]) -> Iterator[None]:
        ours = threading.get_ident()
        before = self._refused, self._outsiders
        self._refused = refused
        self._outsiders = {thread.ident for thread in threading.enumerate() if thread.ident != ours}
        self._kept += 1
        try:
            if self._kept == 1:
                outside = (*_socket_patches(self._refuse), *_process_patches(self._refuse))
                patches = (*outside, *_as_completed_patches(), *map(Patch._make, anyio_patches()))
                self._standing.enter_context(_patched(patches))
            yield
        finally:
            self._refused, self._outsiders = before
            self._kept -= 1
            self._since_collected += 1
            if self._kept and self._since_collected >= _COLLECT_EVERY:
                gc.collect()
                self._since_collected = 0
            if self._kept == 0:
                self._standing.close()

    def _refuse(self, error: RealWorldRefused) -> NoReturn:
        if threading.get_ident() not in self._outsiders:
            self._refused.append(error)
        raise error


_walls = _Walls()


@contextmanager
def sandbox(refused: list[RealWorldRefused]) -> Iterator[None]:
    """Refuses the network and other processes, makes order repeatable, and holds garbage collection, whose time is not.

    What is refused goes into `refused`, except for threads that were there before: an exporter of the gate's
    own telemetry, say, is refused as well, but the trial is not to blame.
    """
    collecting = gc.isenabled()
    with _walls.around(refused):
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()


@contextmanager
def many_simulations() -> Iterator[None]:
    """Keeps the sandbox up between the simulations inside, which makes each of them cheaper.

    Meanwhile this process has no network and starts no other outside simulations either: it is for workers that do
    nothing else.
    """
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is there now outlives every simulation: looking at it each time would only cost
    try:
        with _walls.around([]), kept_alarm():
            yield
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


@contextmanager
def _patched(patches: Iterable[Patch]) -> Iterator[None]:
    done: list[Patch] = []
    try:
        for owner, name, replacement in patches:
            done.append(Patch(owner, name, vars(owner).get(name, _MISSING)))
            setattr(owner, name, replacement)
        yield
    finally:
        for owner, name, original in reversed(done):
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def _socket_patches(refuse: Callable[[SocketRefused], NoReturn]) -> Iterator[Patch]:
    def refuse_address(operation: str, address: Any) -> NoReturn:
        if isinstance(address, tuple) and len(address) > 1:
            refuse(SocketRefused(operation, host=_text(address[0]), port=address[1]))
        refuse(SocketRefused(operation, host=_text(address), port=None))

    def method(name: str) -> Patch:
        def refused(_sock: socket.socket, *args: Any) -> NoReturn:
            # sendto(data, [flags,] address); the others take the address alone
            refuse_address(f"socket.{name}", args[-1] if args else None)

        return Patch(socket.socket, name, refused)

    def lookup(name: str) -> Patch:
        def refused(host: Any = None, port: Any = None, *_args: Any, **_kwargs: Any) -> NoReturn:
            if isinstance(host, tuple):
                refuse_address(f"socket.{name}", host)
            refuse(SocketRefused(f"socket.{name}", host=_text(host), port=port))

        return Patch(socket, name, refused)

    yield from map(method, ("connect", "connect_ex", "bind", "sendto"))
    yield from map(lookup, ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"))


def _process_patches(refuse: Callable[[ProcessRefused], NoReturn]) -> Iterator[Patch]:
    """What starts a process by other ways than the event loop, which refuses its own. `os.popen` is a Popen."""

    def popen(_self: Any, args: Any, *_args: Any, **_kwargs: Any) -> NoReturn:
        refuse(ProcessRefused(_program(args)))

    def started(program: Any, *_args: Any, **_kwargs: Any) -> NoReturn:
        refuse(ProcessRefused(_program(program)))

    yield Patch(subprocess.Popen, "__init__", popen)
    for name in ("system", "posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            yield Patch(os, name, started)


def _program(command: Any) -> str:
    """What is to be started, of a command as a sequence, a string or a path."""
    first = command if isinstance(command, str | bytes | os.PathLike) else next(iter(command), "")
    return os.fsdecode(first)


def _text(host: Any) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes) else "" if host is None else str(host)


def _as_completed_patches() -> Iterator[Patch]:
    """asyncio.as_completed starts coroutines in the order of a set of them; here, in the order given."""
    original = asyncio.as_completed

    def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
        if not (asyncio.isfuture(fs) or asyncio.iscoroutine(fs)):
            fs = [asyncio.ensure_future(f) for f in dict.fromkeys(fs)]
        return original(fs, timeout=timeout)

    yield Patch(asyncio, "as_completed", as_completed)
    yield Patch(asyncio.tasks, "as_completed", as_completed)
