"""Work of the process itself, beside its runs: a task that is begun where there is a loop, and belongs to no run."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["kept_going"]


def kept_going(
    task: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]]
) -> asyncio.Task[None] | None:
    """The task that does `work`: `task` as long as it runs, or else a new one; None where no loop runs to do it."""
    if task is not None and not task.done():
        return task
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return Context().run(loop.create_task, work())  # an empty context: nothing of a run's is in it
