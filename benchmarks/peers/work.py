"""What every system does in the durability benchmarks: a run of 20 steps with one effect, and the ledger of effects.

Standard library only: the peers run this in environments where Plimsoll is not installed.
"""

import json
import os
import random
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["ANSWERS", "LEDGER", "STEPS", "Ledger", "answer", "order_line", "prompt"]

STEPS = ("model",) + ("read",) * 5 + ("model",) + ("read",) * 5 + ("model",) + ("read",) * 5 + ("write", "model")
"""15 reads, 4 model calls, 1 write, in the order of an agent that looks things up, pays, and says so."""

LEDGER = "ledger"
"""The name of the ledger's file."""

_PROSE = (
    "the order that you asked about was sent on Monday and is with our carrier in Rotterdam now since it holds two "
    "lamps one kettle and a chair we looked at every line of it first and found that the kettle was billed at the "
    "price of last week so twenty dollars go back to your account within three working days please keep the chair in "
    "its box until the driver comes again between nine and noon he will bring the other one along with all its "
    "screws thank you for telling us about this here is what we know so far about each part of your order"
)
_WORDS = _PROSE.split()


def _text(rng: random.Random, length: int) -> str:
    words = []
    while length > 0:
        word = rng.choice(_WORDS)
        words.append(word)
        length -= len(word) + 1
    return " ".join(words)


ANSWERS = tuple(_text(random.Random(seed), 1300) for seed in range(256))
"""What models answer: about 1,300 bytes of plain words each, made beforehand so that making them costs no run."""


def prompt(run: str, step: int) -> dict[str, Any]:
    """What a model is asked."""
    return {"system": "You help the customers of a shop.", "order": run, "step": step}


def answer(run: str, step: int) -> str:
    """What a model answers to that."""
    return ANSWERS[zlib.crc32(f"{run}:{step}".encode()) % len(ANSWERS)]


def order_line(order: str, line: int) -> dict[str, Any]:
    """What a read brings: with its arguments, about 156 bytes of JSON."""
    return {
        "order": order,
        "line": line,
        "item": "kettle, 1.7 l, steel",
        "quantity": 2,
        "price": 2150,
        "status": "shipped",
        "sent": "2026-11-20",
    }


class Ledger:
    """The outside world: a file to which every effect is appended and fsynced, and that deduplicates nothing."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def add(self, order: str, *, key: str = "") -> None:
        """Brings the effect about."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps({"order": order, "key": key}).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rows(self) -> Iterable[dict[str, str]]:
        """Every effect that there was, in order."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [json.loads(line) for line in lines]
