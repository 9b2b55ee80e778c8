"""Which run the running task's models and tools belong to."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from plimsoll.adapters.common.binding import Bound
from plimsoll.core.errors import Misuse

__all__ = ["bound_context", "bound_to", "not_in_a_run"]

bound_context: ContextVar[Bound | None] = ContextVar("plimsoll_langgraph", default=None)
"""None outside a run, and inside a tool: what a tool does inside is part of its call."""


@contextmanager
def bound_to(bound: Bound | None) -> Iterator[None]:
    """While it is entered, the calls of journaled models and tools belong to this run; None: to none."""
    token = bound_context.set(bound)
    try:
        yield
    finally:
        bound_context.reset(token)


def not_in_a_run() -> None:
    """Raises `Misuse` in a hardened run: what is called without `await` cannot go through its pipeline."""
    if bound_context.get() is not None:
        raise Misuse("a hardened run asks its models and tools by `await`: use `ainvoke` in the nodes of the graph")
