"""Synchronous functions without threads."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from plimsoll.runtime.foreign import in_its_thread

__all__ = ["InlineExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs a function when it is submitted, in the thread that submits it, and returns a future that is done.

    The default executor of a simulation's event loop; Pydantic AI takes one by
    `Agent.using_thread_executor(...)`. What a function raises goes into its future, all but
    KeyboardInterrupt, which the submitter must see.
    """

    def __init__(self) -> None:
        self._shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            result = in_its_thread(fn, *args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._shut_down = True
