"""Identifiers, injected."""

import itertools
import uuid
from typing import Protocol

__all__ = ["Ids", "RandomIds", "SequentialIds"]


class Ids(Protocol):
    """Makes identifiers."""

    def new(self, kind: str) -> str:
        """A fresh identifier, unique for ever, that starts with `kind` and a hyphen."""
        ...


class RandomIds:
    """128 random bits, as in UUID version 4."""

    __slots__ = ()

    def new(self, kind: str) -> str:
        return f"{kind}-{uuid.uuid4().hex}"


class SequentialIds:
    """A test double and the simulator's source: `kind-1`, `kind-2`, … in the order of asking."""

    __slots__ = ("_counters", "_prefix")

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._counters: dict[str, itertools.count[int]] = {}

    def new(self, kind: str) -> str:
        counter = self._counters.setdefault(kind, itertools.count(1))
        return f"{kind}-{self._prefix}{next(counter)}"
