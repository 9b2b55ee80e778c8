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
from weakref import WeakValueDictionary

from plimsoll.core.clock import Clock
from plimsoll.core.errors import JournalUnavailable, Misuse, Superseded
from plimsoll.core.events import Event, Record, chain_digest
from plimsoll.journal.store import RunHead, Store

__all__ = ["Journal", "RunLog"]

_T = TypeVar("_T")
_FIRST_RETRY_S = 0.01
_LAST_RETRY_S = 1.0
_WORTH_A_SYNC = 128
"""From so many events on a batch waits for no more: to write them takes longer than to sync, on a fast disk."""
_WOKEN_AT_ONCE = 16
_PREFIX = str(JournalUnavailable(""))


class RunLog:
    """One run's end of the journal, for as long as its owner holds it. Made by `Journal.open`.

    `seq` and `digest` are those of the last event appended, durable or not.
    """

    __slots__ = ("__weakref__", "_encode", "_journal", "_position", "_superseded", "digest", "epoch", "run_id", "seq")

    def __init__(self, journal: "Journal", head: RunHead) -> None:
        self.run_id = head.run_id
        self.epoch = head.epoch
        self.seq = head.seq
        self.digest = head.digest
        self._journal = journal
        self._encode = journal.store.encoder(head.run_id)
        self._position = 0
        self._superseded = False

    def append(self, event: Event) -> Record:
        """Numbers, dates and chains `event` and queues it. Never waits.

        Raises `Superseded` when another owner is known to hold the run, and `JournalUnavailable` when the queue is
        full or the journal closed; then nothing was appended.
        """
        journal = self._journal
        if self._superseded or journal._closed or len(journal._queue) >= journal._max_queue:
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


class _Waiter:
    """A barrier that waits: for the queue to be written up to `position`.

    It has patience until `deadline` on the journal's clock while the store fails, and until `gives_up_at` on the loop's
    while it gives no answer.
    """

    __slots__ = ("deadline", "future", "gives_up_at", "log", "position")

    def __init__(
        self,
        position: int,
        log: RunLog | None,
        future: "asyncio.Future[None]",
        *,
        deadline: float,
        gives_up_at: float,
    ) -> None:
        self.position = position
        self.log = log
        self.future = future
        self.deadline = deadline
        self.gives_up_at = gives_up_at

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


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
        self._patience_s = patience_s
        self._max_queue = max_queue
        self._flush_s = flush_s
        self._max_batch = max_batch
        self._on_trouble = on_trouble
        self._queue: deque[Record] = deque()  # a batch in flight still stands at its front
        self._queued_by: deque[RunLog] = deque()  # whose they are, one for one
        self._appended = 0  # counts the queue's entries ever
        self._written = 0  # and those that left it
        self._logs: WeakValueDictionary[str, RunLog] = WeakValueDictionary()
        self._waiters: list[_Waiter] = []
        self._woken: deque[asyncio.Future[None]] = deque()  # of those whose events are durable, and do not know yet
        self._readers: list[Callable[[Sequence[Record]], None]] = []
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None  # of the barrier that waits longest
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
            if earlier._position > self._written and head.epoch <= earlier.epoch and not earlier._superseded:
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
        self._fail_waiters(self._closed)

    # ------------------------------------------------------------------------------------------- the queue's near end

    def _refuse(self, log: RunLog) -> NoReturn:
        if log._superseded:
            raise Superseded(log.run_id, epoch=log.epoch)
        if self._closed:
            raise JournalUnavailable(self._closed)
        why = f" ({_text(self._trouble)})" if self._trouble else ""
        raise JournalUnavailable(f"{len(self._queue)} events wait for the disk already{why}")

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """The running loop. A journal stays in one for as long as that runs, and asking each time is a system call."""
        if self._loop is None or not self._loop.is_running():
            self._loop = asyncio.get_running_loop()
            self._timer = self._patience = None  # those of a loop that is gone
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
        if log._superseded:
            raise Superseded(log.run_id, epoch=log.epoch)
        if self._abandoned:
            raise JournalUnavailable(self._closed)

    def _waiting(self, position: int, log: RunLog | None) -> "asyncio.Future[None]":
        """A barrier that the task sees to: done when the queue is written up to `position`."""
        loop = self._running_loop()
        future: asyncio.Future[None] = loop.create_future()
        deadline, gives_up_at = self._clock.monotonic() + self._patience_s, loop.time() + self._patience_s
        self._waiters.append(_Waiter(position, log, future, deadline=deadline, gives_up_at=gives_up_at))
        if self._patience is None:
            self._patience = loop.call_at(gives_up_at, self._give_up, gives_up_at)
        if self._task is None or self._task.done():
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
        for timer in (self._timer, self._patience):
            if timer is not None:
                timer.cancel()
        self._timer = self._patience = None

    # -------------------------------------------------------------------------------------------- the queue's far end

    def _kick(self) -> None:
        if self._task is None or self._task.done():
            # An empty context: the task belongs to no run.
            self._task = Context().run(asyncio.get_running_loop().create_task, self._drain())
            self._task.add_done_callback(self._drained)

    def _wanted(self) -> bool:
        """Whether the task has to go on. With an inline store it works only for those who wait."""
        due = self._due or (len(self._queue) >= self._max_batch and not self.store.inline)
        return bool(self._waiters) or (due and bool(self._queue))

    async def _drain(self) -> None:
        delay = _FIRST_RETRY_S
        while True:
            await self._company()
            if not self._wanted():
                return
            if await self._write():
                delay = _FIRST_RETRY_S
                continue
            self._lose_patience()
            await self._clock.sleep(self._pause(delay))
            delay = min(2 * delay, _LAST_RETRY_S)

    async def _company(self) -> None:
        """Lets those just woken join the next batch, until it is worth a sync without them."""
        while len(self._queue) < _WORTH_A_SYNC:
            await _let_others_run()
            if not self._woken:
                return

    def _drained(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:
            self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _report("the journal's writer crashed", error)
        if task.cancelled() or error is not None:
            self._fail_waiters(f"its writer stopped ({error or 'cancelled'}); what is queued is kept")
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
            if not log._superseded
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
        if self._waiters:
            self._wake_waiters()

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

    # ------------------------------------------------------------------------------------------------ those who wait

    def _supersede(self, log: RunLog) -> None:
        log._superseded = True
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        written, waiting = self._written, []
        for waiter in self._waiters:
            if waiter.log is not None and waiter.log._superseded:
                waiter.fail(Superseded(waiter.log.run_id, epoch=waiter.log.epoch))
            elif waiter.position <= written:
                self._woken.append(waiter.future)
            else:
                waiting.append(waiter)
        self._waiters = waiting
        self._wake_some()

    def _wake_some(self) -> None:
        """Wakes some of those whose events are durable, and the others after those have had their turn: by then
        there is something to write again, while the others go on."""
        for _ in range(min(len(self._woken), _WOKEN_AT_ONCE)):
            future = self._woken.popleft()
            if not future.done():
                future.set_result(None)
        if self._woken:
            self._running_loop().call_soon(self._wake_some)

    def _forget_waiters(self) -> None:
        self._waiters = [waiter for waiter in self._waiters if not waiter.future.done()]

    def _fail_waiters(self, why: str) -> None:
        for waiter in self._waiters:
            waiter.fail(JournalUnavailable(why))
        self._waiters = []

    def _lose_patience(self) -> None:
        """The store failed again: fails those who have waited long enough."""
        now = self._clock.monotonic()
        for waiter in self._waiters:
            if now >= waiter.deadline:
                self._fail_waiter(waiter)
        self._forget_waiters()

    def _give_up(self, at: float) -> None:
        """The store neither wrote nor failed for as long as the barriers that wait since longest have patience."""
        self._patience = None
        self._forget_waiters()
        overdue = [waiter for waiter in self._waiters if waiter.gives_up_at <= at]
        if overdue and self._trouble is None:
            self._failed(JournalUnavailable("the store gives no answer"))
        for waiter in overdue:
            self._fail_waiter(waiter)
        self._forget_waiters()
        if self._waiters:
            first = self._waiters[0].gives_up_at
            self._patience = self._running_loop().call_at(first, self._give_up, first)

    def _fail_waiter(self, waiter: _Waiter) -> None:
        why = _text(self._trouble)
        error = JournalUnavailable(f"{why}. This run waited {self._patience_s:g} s; its events are kept")
        error.__cause__ = self._trouble
        waiter.fail(error)

    def _pause(self, delay: float) -> float:
        deadline = min((waiter.deadline for waiter in self._waiters), default=float("inf"))
        return max(min(delay, deadline - self._clock.monotonic()), 0.001)


@coroutine
def _let_others_run() -> Generator[None, None, None]:
    yield


def _text(error: JournalUnavailable | None) -> str:
    return str(error).removeprefix(_PREFIX)


def _guarded(callback: Callable[[_T], None], value: _T) -> None:
    """A listener's error is reported, and stops nobody."""
    try:
        callback(value)
    except Exception as error:
        _report("a listener of the journal failed", error)


def _report(message: str, error: BaseException) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
