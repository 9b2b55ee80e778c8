"""How a system is played: for its speed, or until it is killed right after an effect. Standard library only.

    python dbos_runs.py VARIANT speed FOLDER --runs 200
    python dbos_runs.py VARIANT life FOLDER --runs 12 --kill-after 3 --delay-ms 0.4

The ledger of effects is FOLDER/ledger.
"""

import asyncio
import json
import os
import signal
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import perf_counter, process_time

from work import LEDGER, STEPS, Ledger

__all__ = ["Advance", "Opened", "Pay", "main"]

Pay = Callable[[str, str], None]
"""Brings the effect about: for an order, with the call's idempotency key where the system has one."""
Advance = Callable[[str], Awaitable[str]]
"""Starts the run of an order, or goes on with it where it was left, and returns how it stands: `over` or `parked`."""
Opened = Callable[[str, Path, Pay, "tuple[str, ...]"], AbstractAsyncContextManager[Advance]]
"""A system, opened on a folder: variant, folder, what a write does, the steps of a run."""

SHORT = ("read", "model", "write", "model")
"""The steps of a run where only its effect is judged."""


class Killed:
    """Effects go to the ledger; after the n-th of this life the process is killed, at once or a moment later.

    At once is while the system still waits for the effect's answer, so before it can have recorded it.
    """

    def __init__(self, ledger: Ledger, *, after: int, delay_s: float) -> None:
        self._ledger = ledger
        self._after = after
        self._delay_s = delay_s
        self._effects = 0
        self._one_at_a_time = threading.Lock()

    def pay(self, order: str, key: str) -> None:
        with self._one_at_a_time:
            self._ledger.add(order, key=key)
            self._effects += 1
            if self._effects == self._after:
                self._kill()

    def _kill(self) -> None:
        if self._delay_s:
            threading.Timer(self._delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def main(opened: Opened) -> None:
    """Plays the system as the command line says, and prints one line of JSON."""
    parser = ArgumentParser()
    parser.add_argument("variant")
    parser.add_argument("what", choices=("speed", "life"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--kill-after", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(_speed(opened, args) if args.what == "speed" else _life(opened, args))))


async def _speed(opened: Opened, args: Namespace) -> dict[str, float]:
    async with opened(args.variant, args.folder, lambda order, key: None, STEPS) as advance:
        began, cpu_began = perf_counter(), process_time()
        stand = await _all(advance, args.runs, args.concurrency)
        seconds, cpu_s = perf_counter() - began, process_time() - cpu_began
    assert set(stand.values()) == {"over"}, stand
    return {"seconds": seconds, "cpu_s": cpu_s, "steps": args.runs * len(STEPS)}


async def _life(opened: Opened, args: Namespace) -> dict[str, str]:
    killed = Killed(Ledger(args.folder / LEDGER), after=args.kill_after, delay_s=args.delay_ms / 1e3)
    async with opened(args.variant, args.folder, killed.pay, SHORT) as advance:
        return await _all(advance, args.runs, args.concurrency)


async def _all(advance: Advance, runs: int, concurrency: int) -> dict[str, str]:
    """Plays so many orders, so many at a time, and says how each stands."""
    stand: dict[str, str] = {}
    left = iter([f"W{number:07}" for number in range(runs)])

    async def worker() -> None:
        for order in left:
            stand[order] = await advance(order)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return stand
