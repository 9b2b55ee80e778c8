"""Asks a model server at a steady rate, whatever it does, and writes down how long each answer took.

Requests come at random times (a Poisson process of a seed) and wait for nobody: an answer's time counts from when it
was asked for, so that what piles up behind a slow one is counted, too. Standard library only.
"""

import asyncio
import json
import random
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from urllib.request import Request, urlopen

__all__ = ["QUESTION", "Arm", "Ask", "main"]

QUESTION = "Where is my order?"
WARM_UP = 60

Ask = Callable[[], Awaitable[str]]
Arm = Callable[[Namespace], AbstractAsyncContextManager[Ask]]
"""Makes what asks, by the options: `url`, `base_s`, `timeout_s` of an attempt, `patience_s` of one without a policy."""


async def _asked(ask: Ask, due_s: float, latencies_ms: list[float], failures: list[str]) -> None:
    try:
        answer = await ask()
    except Exception as error:
        failures.append(f"{type(error).__name__}: {str(error)[:200]}")
    else:
        if "Thursday" not in answer:
            failures.append(f"no answer: {answer[:100]}")
    latencies_ms.append((perf_counter() - due_s) * 1e3)


async def _load(ask: Ask, args: Namespace, calls: int, seed: int) -> tuple[list[float], list[str]]:
    rng = random.Random(seed)
    latencies_ms: list[float] = []
    failures: list[str] = []
    under_way: set[asyncio.Task[None]] = set()
    due_s = perf_counter()
    for _ in range(calls):
        due_s += rng.expovariate(args.per_s)
        await asyncio.sleep(max(0.0, due_s - perf_counter()))
        task = asyncio.create_task(_asked(ask, due_s, latencies_ms, failures))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        await asyncio.wait(under_way)
    return latencies_ms, failures


def _server(url: str, path: str, *, method: str) -> dict[str, int]:
    with urlopen(Request(url + path, method=method), timeout=10) as reply:
        served: dict[str, int] = json.load(reply)
        return served


async def _play(arm: Arm, args: Namespace) -> dict[str, object]:
    async with arm(args) as ask:
        await _load(ask, args, WARM_UP, seed=1)
        await asyncio.to_thread(_server, args.url, "/begin", method="POST")
        latencies_ms, failures = await _load(ask, args, args.calls, seed=2)
        served = await asyncio.to_thread(_server, args.url, "/served", method="GET")
    return {"latencies_ms": latencies_ms, "failures": failures, "served": served}


def main(arms: dict[str, Arm]) -> None:
    """Plays the arm that the command line names, and prints one line of JSON."""
    parser = ArgumentParser()
    parser.add_argument("arm", choices=sorted(arms))
    parser.add_argument("--url", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--per-s", type=float, required=True)
    parser.add_argument("--base-s", type=float, required=True)
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--patience-s", type=float, required=True)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(_play(arms[args.arm], args))))
    sys.stdout.flush()
