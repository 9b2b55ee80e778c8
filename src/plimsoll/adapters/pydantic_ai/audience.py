"""The audience: who, in this process, is shown a run or takes it from node to node. It is no part of the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_ai.agent import EventStreamHandler

from plimsoll.adapters.pydantic_ai.iterating import Handover

__all__ = ["Audience"]


class Audience:
    """Event stream handlers and handovers, by run id."""

    def __init__(self) -> None:
        self._handlers: dict[str, EventStreamHandler[Any]] = {}
        self._handovers: dict[str, Handover] = {}

    @contextmanager
    def of(
        self, run_id: str, *, handler: EventStreamHandler[Any] | None = None, handover: Handover | None = None
    ) -> Iterator[None]:
        """While the run is advanced here."""
        if handler is not None:
            self._handlers[run_id] = handler
        if handover is not None:
            self._handovers[run_id] = handover
        try:
            yield
        finally:
            self._handlers.pop(run_id, None)
            self._handovers.pop(run_id, None)

    def handler(self, run_id: str) -> EventStreamHandler[Any] | None:
        """Who is shown the run's events."""
        return self._handlers.get(run_id)

    def handover(self, run_id: str) -> Handover | None:
        """To whom the run is handed over."""
        return self._handovers.get(run_id)
