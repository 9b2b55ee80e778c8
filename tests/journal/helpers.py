"""What the journal's tests share: running coroutines, making records, and a store that misbehaves on command."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalUnavailable
from plimsoll.core.events import Event, Record, RunEnded, RunStarted, ValueRecorded, chain_digest, encode_event
from plimsoll.journal import Journal, MemoryStore, RunHead, RunLog, Store

T = TypeVar("T")
P = ParamSpec("P")

NEVER_S = 3600.0

STARTED = RunStarted(agent="shop", fingerprint="f", contract_digest="c", input={"ask": 1})
ENDED = RunEnded(ending=Ending.DEGRADED, output="bye", reason="fallback")


def run(coro: Coroutine[Any, Any, T]) -> T:
    """Runs a test's coroutine in a loop of its own. What the loop reports is a failure."""

    async def reporting() -> T:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        result = await coro
        assert not reports
        return result

    return asyncio.run(reporting())


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that is a coroutine, in a loop of its own: see `run`."""

    @functools.wraps(test)
    def in_its_own_loop(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return in_its_own_loop


def reports() -> list[dict[str, Any]]:
    """From here on collects what the running loop is told of errors that nobody awaits."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


def value(text: Any) -> ValueRecorded:
    return ValueRecorded(key="k", value=text)


def chain(head: RunHead, *events: Event, at: float = 1.25) -> list[Record]:
    """The records that extend a run after `head`, in its epoch."""
    records = []
    digest = head.digest
    for seq, event in enumerate(events, head.seq + 1):
        body = encode_event(event)
        digest = chain_digest(digest, run_id=head.run_id, seq=seq, epoch=head.epoch, at=at, body=body)
        records.append(Record(run_id=head.run_id, seq=seq, epoch=head.epoch, at=at, body=body, digest=digest))
    return records


def values(records: Sequence[Record]) -> list[Any]:
    """What `value` was called with, for each record."""
    return [record.event.value for record in records if isinstance(record.event, ValueRecorded)]


def journal_on(store: Store, **options: Any) -> Journal:
    """A journal that writes only for barriers and full batches, on a clock that moves when told to."""
    return Journal(store, **{"clock": ManualClock(), "flush_s": NEVER_S, **options})


async def opened(journal: Journal, run_id: str = "r") -> RunLog:
    """A run of the journal's, claimed and open."""
    return journal.open(await journal.store.claim(run_id, owner="one", at=0.0))


async def fails(log: RunLog, match: str) -> JournalUnavailable:
    """The error of a barrier that does not come about."""
    with pytest.raises(JournalUnavailable, match=match) as caught:
        await log.durable()
    return caught.value


async def settle() -> None:
    """Lets every task that can go on do so."""
    loop = asyncio.get_running_loop()
    for _ in range(10):
        passed = loop.create_future()
        loop.call_soon(passed.set_result, None)
        await passed


class TrickyStore(MemoryStore):
    """A store in memory that waits at `gate`, or fails the next `failures` appends, before or after it wrote."""

    def __init__(self, *, inline: bool = False) -> None:
        super().__init__()
        self.inline = inline
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0
        self.error: BaseException = JournalUnavailable("the disk is full")
        self.fails_after_writing = False
        self.batches: list[list[Record]] = []
        self.in_flight = 0

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        self.in_flight += 1
        assert self.in_flight == 1, "two batches in flight"
        try:
            self.batches.append(list(records))
            if not self.gate.is_set():
                await self.gate.wait()
            if self.failures and not self.fails_after_writing:
                self._fail()
            refused = await super().append(records)
            if self.failures:
                self._fail()
            return refused
        finally:
            self.in_flight -= 1

    def _fail(self) -> None:
        self.failures -= 1
        raise self.error
