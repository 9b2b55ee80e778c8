"""Going on with a coroutine that has begun: a policy steps it once, and arms itself only where it has to wait."""

from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

__all__ = ["resumed"]

T = TypeVar("T")


@coroutine
def resumed(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    """Goes on with a coroutine that has begun and waits: what `await` does for one that has not."""
    while True:
        try:
            yield waits_for
        except BaseException as error:
            try:
                waits_for = work.throw(error)
            except StopIteration as done:
                returned: T = done.value
                return returned
        else:
            result: T = yield from work
            return result
