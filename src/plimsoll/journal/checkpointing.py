"""Making checkpoints as events become durable, beside the work and never in its way."""

import asyncio
from collections.abc import Sequence
from contextvars import Context

from plimsoll.core.clock import Clock
from plimsoll.core.errors import JournalUnavailable, Misuse
from plimsoll.core.events import Record
from plimsoll.journal.checkpoints import Signer, checkpoint_after
from plimsoll.journal.evidence import EvidenceStore

__all__ = ["Checkpointer"]


class Checkpointer:
    """Makes a checkpoint after every `every_events` events, or once `every_s` seconds have passed since the last.

    It is told what is durable (`committed`, a subscriber of the journal), so that a checkpoint covers nothing else. One
    that cannot be made is made with the next events: the journal meets the same trouble, and tells it.
    """

    def __init__(
        self,
        store: EvidenceStore,
        signer: Signer,
        *,
        clock: Clock,
        every_events: int = 1000,
        every_s: float = 600.0,
    ) -> None:
        if every_events < 1 or every_s <= 0:
            raise Misuse("every_events must be at least 1, every_s above 0")
        self._store = store
        self._signer = signer
        self._clock = clock
        self._every_events = every_events
        self._every_s = every_s
        self._events = 0
        self._since = clock.monotonic()
        self._task: asyncio.Task[None] | None = None

    def committed(self, records: Sequence[Record]) -> None:
        """Counts events that are durable now, and begins a checkpoint when one is due."""
        self._events += len(records)
        due = self._events >= self._every_events or self._clock.monotonic() - self._since >= self._every_s
        if due and (self._task is None or self._task.done()):
            # An empty context: the task belongs to no run.
            self._task = Context().run(asyncio.get_running_loop().create_task, self._make())

    async def settle(self) -> None:
        """Waits for a checkpoint under way, and covers what came since: before a process ends in peace."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
        if self._events:
            await self._make()

    async def _make(self) -> None:
        counted, self._events = self._events, 0
        try:
            await self._store.checkpoint(checkpoint_after(self._signer, at=self._clock.now()))
            self._since = self._clock.monotonic()
        except BaseException as error:
            self._events += counted
            if not isinstance(error, JournalUnavailable):
                raise
