"""anyio in virtual time: synchronous code runs inline, and cancel scopes order the same in every trial."""

import asyncio
import contextvars
import math
from collections.abc import Callable
from typing import Any, TypeVar

from plimsoll.gate.simulator.loop import VirtualLoop

try:
    from anyio._backends import _asyncio as backend
except ImportError:  # anyio comes with some extras only
    backend = None  # type: ignore[assignment, unused-ignore]

__all__ = ["anyio_patches"]

T = TypeVar("T")


def _number() -> int | None:
    loop = asyncio._get_running_loop()
    return loop.next_number() if isinstance(loop, VirtualLoop) else None


if backend is not None:

    class OrderedCancelScope(backend.CancelScope):
        """A cancel scope whose hash is its number."""

        __slots__ = ("_number",)

        def __init__(self, deadline: float = math.inf, shield: bool = False) -> None:
            super().__init__(deadline, shield)
            self._number = _number()

        def __hash__(self) -> int:
            return object.__hash__(self) if self._number is None else self._number

    class OrderedTaskGroup(backend.TaskGroup):
        """A task group whose hash is its number."""

        def __init__(self) -> None:
            super().__init__()
            self._number = _number()

        def __hash__(self) -> int:
            return object.__hash__(self) if self._number is None else self._number

    async def _run_inline(
        cls: type[Any],
        func: Callable[..., T],
        args: tuple[Any, ...],
        abandon_on_cancel: bool = False,
        limiter: Any = None,
    ) -> T:
        await cls.checkpoint()
        async with limiter or cls.current_default_thread_limiter():
            return contextvars.copy_context().run(func, *args)


def anyio_patches() -> list[tuple[Any, str, Any]]:
    """What to replace in anyio while a simulation runs: owner, name, replacement. Empty without anyio."""
    if backend is None:
        return []
    return [
        (backend, "CancelScope", OrderedCancelScope),
        (backend, "TaskGroup", OrderedTaskGroup),
        (backend.AsyncIOBackend, "run_sync_in_worker_thread", classmethod(_run_inline)),
    ]
