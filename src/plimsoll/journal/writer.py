"""The writer: numbers, dates and chains the events of many runs, and commits them in groups.

Appending never waits. A *barrier* (`RunLog.durable`) waits until everything its run has appended is on the disk; one
batch at a time is in flight, so what is durable is always a prefix of what was appended. With an inline store a barrier
writes by itself and at once; with any other, and whenever the store fails, a task does it for all who wait.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextvars import Context
from itertools import islice
from types import coroutine
from typing import NoReturn, TypeVar
from weakref import WeakMethod, WeakValueDictionary

from plimsoll.core.clock import Clock
from plimsoll.core.errors import JournalUnavailable, Misuse, Superseded
from plimsoll.core.events import Event, Record, chain_digest
from plimsoll.journal.barriers import Barriers, text_of
from plimsoll.journal.store import RunHead, Store

__all__ = ["Journal", "RunLog"]

_T = TypeVar("_T")
_FIRST_RETRY_S = 0.01
_LAST_RETRY_S = 1.0
_WORTH_A_SYNC = 128
"""From so many events on a batch waits for no more: to write them takes longer than to sync, on a fast disk."""


class RunLog:
    """One run's end of the journal, for as long as its owner holds it. Made by `Journal.open`.

    `seq` and `digest` are those of the last event appended, durable or not; `superseded` is whether another owner is
    known to hold the run.
    """

    __slots__ = ("__weakref__", "_encode", "_journal", "_position", "digest", "epoch", "run_id", "seq", "superseded")

    def __init__(self, journal: "Journal", head: RunHead) -> None:
        self.run_id = head.run_id
        self.epoch = head.epoch
        self.seq = head.seq
        self.digest = head.digest
        self._journal = journal
        self._encode = journal.store.encoder(head.run_id)
        self._position = 0
        self.superseded = False

    def append(self, event: Event) -> Record:
        """Numbers, dates and chains `event` and queues it. Never waits.

        Raises `Superseded` when another owner is known to hold the run, and `JournalUnavailable` when the queue is
        full or the journal closed; then nothing was appended.
        """
        journal = self._journal
        if self.superseded or journal._closed or len(journal._queue) >= journal._max_queue:
            journal._refuse(self)
        if journal._task is None and not journal.store.inline:
            journal._running_loop()  # outside of one, raises before anything has changed
        body, opened = self._encode(event)
        at = float(journal._clock.now())
        run_id, epoch, seq = self.run_id, self.epoch, self.seq + 1
        digest = chain_digest(self.digest, run_id=run_id, seq=seq, epoch=epoch, at=at, body=body)
        record = Record(run_id=run_id, seq=seq, epoch=epoch, at=at, body=body, digest=digest, opened=opened)
        self.seq, self.digest = seq, digest
        self._position = journal._enqueue(self, record)
        return record

    @property
    def crowded(self) -> bool:
        """Whether the queue to the disk is half full: who can wait does, until what it has appended is durable."""
        return 2 * len(self._journal._queue) >= self._journal._max_queue

    async def durable(self) -> None:
        """The barrier: returns when everything this run has appended so far is durable.

        Raises `Superseded` when another owner holds the run, and `JournalUnavailable` when it did not come about
        within the journal's `patience_s`; the events stay queued then, and a later barrier may succeed.
        """
        journal = self._journal
        journal._check_barrier(self)
        if self._position > journal._written and journal.store.inline:
            await journal._write_up_to(self._position)
            journal._check_barrier(self)
        if self._position > journal._written:
            await journal._waiting(self._position, self)

    def abandon(self) -> None:
        """Drops what this run has appended and is not being written yet. Nothing more can be appended."""
        self._journal._supersede(self)

    async def commit(self, event: Event) -> Record:
        """`append`, then `durable`."""
        record = self.append(event)
        await self.durable()
        return record


class Journal:
    """Writes many runs' events to one store, in groups.

    `patience_s` is how long a barrier waits for the disk, `flush_s` how long an event may lie without any barrier (not
    with an inline store); both in seconds, above 0. `max_queue` and `max_batch` count events, from 1. `on_trouble` is
    told the error once when the store begins to fail, and None once it is back.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        patience_s: float = 5.0,
        max_queue: int = 10_000,
        flush_s: float = 0.005,
        max_batch: int = 500,
        on_trouble: Callable[[JournalUnavailable | None], None] | None = None,
    ) -> None:
        if patience_s <= 0 or flush_s <= 0 or max_queue < 1 or max_batch < 1:
            raise Misuse("patience_s and flush_s must be above 0, max_queue and max_batch at least 1")
        self.store = store
        self._clock = clock
        self._max_queue = max_queue
        self._flush_s = flush_s
        self._max_batch = max_batch
        self._on_trouble = on_trouble
        self._queue: deque[Record] = deque()  # a batch in flight still stands at its front
        self._queued_by: deque[RunLog] = deque()  # whose they are, one for one
        self._appended = 0  # counts the queue's entries ever
        self._written = 0  # and those that left it
        self._logs: WeakValueDictionary[str, RunLog] = WeakValueDictionary()
        self._barriers = Barriers(clock=clock, patience_s=patience_s, silent=WeakMethod(self._silent))
        self._readers: list[Callable[[Sequence[Record]], None]] = []
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # where all of these are
        self._due = False
        self._trouble: JournalUnavailable | None = None
        self._closed = ""
        self._abandoned = False

    def open(self, head: RunHead) -> RunLog:
        """Goes on with a run after `head`, as a claim returned it.

        An earlier log of the same run in this journal is superseded. Raises `Misuse` when that one has un-synced
        events of the same epoch.
        """
        earlier = self._logs.get(head.run_id)
        if earlier is not None:
            if earlier._position > self._written and head.epoch <= earlier.epoch and not earlier.superseded:
                raise Misuse(f"run {head.run_id} is open and has un-synced events; claim it anew to go on with it")
            self._supersede(earlier)
        log = RunLog(self, head)
        self._logs[head.run_id] = log
        return log

    def pending(self) -> list[Record]:
        """The events that are not known to be durable, in the order in which they will be."""
        return self._unwritten(len(self._queue))

    def subscribe(self, callback: Callable[[Sequence[Record]], None]) -> Callable[[], None]:
        """Calls `callback` with each batch after it is durable, in order. Returns what ends the subscription."""
        self._readers.append(callback)

        def unsubscribe() -> None:
            if callback in self._readers:
                self._readers.remove(callback)

        return unsubscribe

    async def close(self) -> None:
        """Writes what is queued, takes nothing more, and ends the task. The store stays open.

        Raises `JournalUnavailable` when the store could not be written; what is left stands in `pending`, and `close`
        may be called again.
        """
        self._closed = self._closed or "it was closed; open another"
        try:
            if self.store.inline:
                await self._write_up_to(self._appended)
            if self._appended > self._written:
                await self._waiting(self._appended, None)
        finally:
            await self._stop_writing()

    def abandon(self) -> None:
        """Drops what is queued and stops at once, as a crash would."""
        self._closed = "it was abandoned; open another"
        self._abandoned = True
        self._cancel_timers()
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._queue.clear()
        self._queued_by.clear()
        self._written = self._appended
        self._barriers.fail_all(self._closed)

    # ------------------------------------------------------------------------------------------- the queue's near end

    def _refuse(self, log: RunLog) -> NoReturn:
        if log.superseded:
            raise Superseded(log.run_id, epoch=log.epoch)
        if self._closed:
            raise JournalUnavailable(self._closed)
        why = f" ({text_of(self._trouble)})" if self._trouble else ""
        raise JournalUnavailable(f"{len(self._queue)} events wait for the disk already{why}")

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop. A journal stays in one for as long as that runs, and asking each time is a system call."""
        if self._loop is None or not self._loop.is_running():
            self._loop = asyncio.get_running_loop()
            self._timer = None  # that of a loop that is gone
            self._barriers.forget_loop()
        return self._loop

    def _enqueue(self, log: RunLog, record: Record) -> int:
        self._queue.append(record)
        self._queued_by.append(log)
        self._appended += 1
        if self._task is None and not self.store.inline:
            self._schedule()
        return self._appended

    async def _write_up_to(self, position: int) -> None:
        """Writes by itself and at once, as far as the store does not fail."""
        while position > self._written and self._trouble is None and await self._write():
            pass

    def _check_barrier(self, log: RunLog) -> None:
        if log.superseded:
            raise Superseded(log.run_id, epoch=log.epoch)
        if self._abandoned:
            raise JournalUnavailable(self._closed)

    def _waiting(self, position: int, log: RunLog | None) -> "asyncio.Future[None]":
        """A barrier that the task sees to: done when the queue is written up to `position`."""
        future = self._barriers.wait(position, log, self._running_loop())
        self._kick()
        return future

    def _schedule(self) -> None:
        """Sees to it that what is queued gets written soon, though no barrier may come."""
        if len(self._queue) >= self._max_batch:
            self._kick()
        elif self._task is None and self._timer is None:
            self._timer = self._running_loop().call_later(self._flush_s, self._flush_is_due)

    def _flush_is_due(self) -> None:
        self._timer = None
        self._due = bool(self._queue)
        self._kick()

    def _cancel_timers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._barriers.stop_timer()

    # -------------------------------------------------------------------------------------------- the queue's far end

    def _kick(self) -> None:
        if self._task is None or self._task.done():
            # An empty context: the task belongs to no run.
            self._task = Context().run(asyncio.get_running_loop().create_task, self._drain())
            self._task.add_done_callback(self._drained)

    def _wanted(self) -> bool:
        """Whether the task has to go on. With an inline store it works only for those who wait."""
        due = self._due or (len(self._queue) >= self._max_batch and not self.store.inline)
        return bool(self._barriers) or (due and bool(self._queue))

    async def _drain(self) -> None:
        delay = _FIRST_RETRY_S
        while True:
            await self._company()
            if not self._wanted():
                return
            if await self._write():
                delay = _FIRST_RETRY_S
                continue
            if self._trouble is not None:
                self._barriers.lose_patience(self._trouble)
            await self._clock.sleep(max(min(delay, self._barriers.patience_left_s()), 0.001))
            delay = min(2 * delay, _LAST_RETRY_S)

    async def _company(self) -> None:
        """Lets those just woken join the next batch, until it is worth a sync without them."""
        while len(self._queue) < _WORTH_A_SYNC:
            await _let_others_run()
            if not self._barriers.waking:
                return

    def _drained(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:
            self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _report("the journal's writer crashed", error)
        if task.cancelled() or error is not None:
            self._barriers.fail_all(f"its writer stopped ({error or 'cancelled'}); what is queued is kept")
        elif self._queue and not self.store.inline:
            self._schedule()

    async def _write(self) -> bool:
        """Writes one batch. False when that failed, and the batch still stands in the queue."""
        async with self._lock:
            count = min(len(self._queue), self._max_batch)
            records = self._unwritten(count)
            try:
                refused = await self.store.append(records) if records else frozenset[str]()
            except Exception as error:  # whatever a store raises, its records are not known to be durable
                self._failed(error)
                return False
            if not self._abandoned:
                self._settle(count, records, refused)
            return not self._abandoned

    def _unwritten(self, count: int) -> list[Record]:
        """The records of the queue's first `count` places; those of superseded runs are nobody's any more."""
        return [
            record
            for record, log in zip(islice(self._queue, count), self._queued_by, strict=False)
            if not log.superseded
        ]

    def _settle(self, count: int, records: list[Record], refused: frozenset[str]) -> None:
        logs = [self._queued_by.popleft() for _ in range(count)]
        for _ in range(count):
            self._queue.popleft()
        self._written += count
        self._due = self._due and bool(self._queue)
        if refused:
            for log in {log for log in logs if log.run_id in refused}:
                self._supersede(log)
            records = [record for record in records if record.run_id not in refused]
        if self._trouble is not None:
            self._trouble = None
            self._tell_trouble()
        if records:
            for reader in tuple(self._readers):
                _guarded(reader, records)
        if self._barriers:
            self._barriers.written(self._written)

    def _failed(self, error: Exception) -> None:
        known = self._trouble is not None
        self._trouble = error if isinstance(error, JournalUnavailable) else JournalUnavailable(repr(error))
        self._due = not self.store.inline and not self._abandoned
        if not known:
            self._tell_trouble()

    def _tell_trouble(self) -> None:
        if self._on_trouble is not None:
            _guarded(self._on_trouble, self._trouble)

    async def _stop_writing(self) -> None:
        self._cancel_timers()
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _silent(self) -> JournalUnavailable:
        """The store neither wrote nor failed for too long: that is trouble, too."""
        if self._trouble is None:
            self._failed(JournalUnavailable("the store gives no answer"))
        assert self._trouble is not None
        return self._trouble

    def _supersede(self, log: RunLog) -> None:
        log.superseded = True
        self._barriers.written(self._written)


@coroutine
def _let_others_run() -> Generator[None, None, None]:
    yield


def _guarded(callback: Callable[[_T], None], value: _T) -> None:
    """A listener's error is reported, and stops nobody."""
    try:
        callback(value)
    except Exception as error:
        _report("a listener of the journal failed", error)


def _report(message: str, error: BaseException) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
