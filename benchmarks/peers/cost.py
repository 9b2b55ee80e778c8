"""What a protected call costs, in CPU time on the healthy path. Standard library only: the peers run this, too.

Two functions are called: one that answers at once, and one that waits for a turn of the loop, as every real call waits
for something. The cost is that of the protected call, less that of the function by itself.
"""

import asyncio
import json
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable
from time import process_time
from typing import Any

__all__ = ["ANSWER", "Asked", "Protect", "main"]

ANSWER = "Your order is with the carrier and should be with you on Thursday."
WARM_UP = 64

Asked = Callable[[str], Awaitable[str]]
Protect = Callable[[Asked], Asked]
"""Puts protections around a function."""


async def at_once(question: str) -> str:
    return ANSWER


async def waits(question: str) -> str:
    loop = asyncio.get_running_loop()
    answered = loop.create_future()
    loop.call_soon(answered.set_result, ANSWER)
    answer: str = await answered
    return answer


async def _us_per_call(ask: Asked, calls: int) -> float:
    for _ in range(WARM_UP):
        await ask("Where is my order?")
    began_s = process_time()
    for _ in range(calls):
        await ask("Where is my order?")
    return (process_time() - began_s) / calls * 1e6


async def _measured(protections: dict[str, Protect], calls: int) -> dict[str, dict[str, float]]:
    """By protection and function, µs per call on top of the function's own."""
    measured: dict[str, dict[str, float]] = {}
    for name, protect in protections.items():
        measured[name] = {}
        for function in (at_once, waits):
            protected = protect(function)
            bare_us = await _us_per_call(function, calls)
            measured[name][function.__name__] = await _us_per_call(protected, calls) - bare_us
    return measured


def main(protections: dict[str, Protect]) -> None:
    """Measures each once, and prints one line of JSON."""
    parser = ArgumentParser()
    parser.add_argument("--calls", type=int, required=True)
    args = parser.parse_args()
    result: dict[str, Any] = asyncio.run(_measured(protections, args.calls))
    print(json.dumps(result))
