"""Chance, injected: the machine's own in production, seeded in tests and in the gate."""

import os
import random
from typing import Protocol

__all__ = ["Rng", "secret_bytes", "seeded_rng", "system_rng"]


class Rng(Protocol):
    """What Plimsoll asks of chance."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def uniform(self, a: float, b: float) -> float:
        """A float between `a` and `b`."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """A non-negative integer of `k` random bits."""
        ...


def system_rng() -> Rng:
    """The operating system's source of randomness."""
    return random.SystemRandom()


def seeded_rng(seed: int | str) -> Rng:
    """A reproducible source: the same seed gives the same sequence on every machine and under every hash seed."""
    return random.Random(seed)


def secret_bytes(count: int) -> bytes:
    """So many bytes for keys and nonces, from the operating system. Never simulated: who can repeat them can read."""
    return os.urandom(count)
