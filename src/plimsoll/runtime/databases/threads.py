"""Threads that are waited for to the end."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from plimsoll.runtime.foreign import in_its_thread

__all__ = ["whole"]

P = ParamSpec("P")
T = TypeVar("T")


async def whole(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a sync function in a thread, and is back only when that is, also where this is cancelled meanwhile.

    A connection that one thread uses must not be closed by another.
    """
    call = partial(copy_context().run, in_its_thread, function, *args, **kwargs)
    work = asyncio.get_running_loop().run_in_executor(None, call)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        work.exception()  # seen
        raise cancelled
    return work.result()
