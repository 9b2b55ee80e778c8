"""The audience: who, in this process, is shown a run or takes it from node to node. It is no part of the run.

A turn is watched as its session, since its run's id is known only once it has begun; what has continued as new is
watched as the first run of its chain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_ai.agent import EventStreamHandler

from plimsoll.adapters.pydantic_ai.iterating import Handover
from plimsoll.runtime.lineage import link_of
from plimsoll.runtime.run import Run

__all__ = ["Audience", "of_session"]


def of_session(session: str) -> str:
    """The name under which the turns of a session are watched. No run has it."""
    return f"{session}/"


class Audience:
    """Event stream handlers and handovers, by run id or session."""

    def __init__(self) -> None:
        self._handlers: dict[str, EventStreamHandler[Any]] = {}
        self._handovers: dict[str, Handover] = {}

    @contextmanager
    def of(
        self, name: str, *, handler: EventStreamHandler[Any] | None = None, handover: Handover | None = None
    ) -> Iterator[None]:
        """While the run of this id is advanced here, or a turn of the session that goes by this name."""
        if handler is not None:
            self._handlers[name] = handler
        if handover is not None:
            self._handovers[name] = handover
        try:
            yield
        finally:
            self._handlers.pop(name, None)
            self._handovers.pop(name, None)

    def handler(self, run: Run) -> EventStreamHandler[Any] | None:
        """Who is shown the run's events."""
        return self._handlers.get(_watched_as(run))

    def handover(self, run: Run) -> Handover | None:
        """To whom the run is handed over."""
        return self._handovers.get(_watched_as(run))


def _watched_as(run: Run) -> str:
    return of_session(run.session) if run.session else link_of(run.id)[0]
