"""How much it matters that a call is made, beside others: said once for whatever is done inside a block."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum

__all__ = ["Criticality", "criticality", "current_criticality"]


class Criticality(IntEnum):
    """When not all calls can be made, the least critical is shed first."""

    SHEDDABLE = 0
    DEFAULT = 1
    CRITICAL = 2


_level: ContextVar[Criticality] = ContextVar("plimsoll_criticality", default=Criticality.DEFAULT)


@contextmanager
def criticality(level: Criticality) -> Iterator[None]:
    """Runs that are begun inside, their children, and calls through a `ResiliencePipeline`, matter so much.

    A run keeps its criticality for as long as it lives, in whatever process it goes on.

    >>> with criticality(Criticality.SHEDDABLE):
    ...     await hardened.run("Summarise last night's tickets")
    """
    token = _level.set(level)
    try:
        yield
    finally:
        _level.reset(token)


def current_criticality() -> Criticality:
    """How much what is done here matters."""
    return _level.get()
