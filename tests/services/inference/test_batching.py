"""What is asked at the same time is read together, in fair turns and within bounds; nobody waits for nothing."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import Misuse
from plimsoll.services.inference.batching import (
    Admission,
    Batcher,
    BatchOptions,
    Item,
    Overloaded,
    ReadFailed,
    Reading,
)

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(60)]


class Reader:
    """Reads an item as itself. One that begins with `bad` fails; each character takes `takes_s` of the clock."""

    def __init__(self, clock: ManualClock | None = None, *, takes_s: float = 0.0) -> None:
        self.batches: list[list[Item]] = []
        self.threads: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self._clock = clock
        self._takes_s = takes_s

    def size(self, item: Item) -> int:
        return len(item)

    def read(self, items: Sequence[Item]) -> list[Reading]:
        assert self.go.wait(30)
        self.batches.append(list(items))
        self.threads.append(threading.get_ident())
        if self._clock is not None:
            self._clock.advance(self._takes_s * sum(map(len, items)))
        if any(isinstance(item, str) and item.startswith("bad") for item in items):
            raise ValueError("bad text")
        return [Reading(item, len(item)) for item in items]


def batching(
    scene: Callable[[Batcher, Reader, Admission], Awaitable[None]],
    *,
    max_queued: int = 100,
    takes_s: float = 0.0,
    **options: Any,
) -> None:
    """Plays a scene with a batcher, which must be empty at its end."""

    async def played() -> None:
        clock = ManualClock()
        reader, admission = Reader(clock, takes_s=takes_s), Admission(max_queued)
        batcher = Batcher(reader, options=BatchOptions(**options), admission=admission, clock=clock)
        await scene(batcher, reader, admission)
        await batcher.close()
        await turn()
        assert admission.queued == 0

    asyncio.run(played())


async def turn() -> None:
    """One turn of the loop."""
    await ManualClock().sleep(0)


def vectors(read: Sequence[Reading]) -> list[Any]:
    return [each.vector for each in read]


LONG = "x" * 100  # what is long goes to the worker, even alone


def test_what_is_asked_alone_is_read_at_once_and_by_nobody_else() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        for _ in range(2):
            reading = batcher.submit(["text"])
            assert reading.done()
            assert vectors(reading.result()) == ["text"]
            await turn()
        assert reader.threads == [threading.get_ident()] * 2

    batching(scene)


def test_what_is_long_does_not_stop_the_loop() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        assert vectors(await batcher.submit([LONG])) == [LONG]
        assert reader.threads != [threading.get_ident()]

    batching(scene)


def test_what_is_asked_at_once_is_read_together() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        read = await asyncio.gather(*(batcher.submit([str(number)]) for number in range(5)))
        assert [vectors(each) for each in read] == [["0"], ["1"], ["2"], ["3"], ["4"]]
        assert reader.batches == [["0"], ["1", "2", "3", "4"]]  # nobody could know that there would be more

    batching(scene)


def test_what_comes_while_the_worker_reads_is_read_next_up_to_a_batch() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        reader.go.clear()
        first = batcher.submit([LONG])  # the worker has it
        others = [batcher.submit([str(number)]) for number in range(5)]
        await turn()
        assert not any(other.done() for other in others)
        reader.go.set()
        await asyncio.gather(first, *others)
        assert reader.batches == [[LONG], ["0", "1", "2"], ["3", "4"]]

    batching(scene, max_batch=3)


def test_a_large_request_holds_nobody_up() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        large, small = batcher.submit(list("abcdef")), batcher.submit(["z"])
        await asyncio.gather(large, small)
        assert reader.batches == [["a", "b"], ["c", "z"], ["d", "e"], ["f"]]
        assert vectors(large.result()) == list("abcdef")

    batching(scene, max_batch=2)


def test_a_batch_takes_no_longer_than_one_may_wait() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        await batcher.submit(["xx"])  # its pace: 10 ms a character
        await batcher.submit(["x" * 7, "y" * 3, "z" * 3, "w" * 30, "v"])
        assert [len(batch) for batch in reader.batches] == [1, 2, 1, 1, 1]

    batching(scene, max_wait_s=0.1, takes_s=0.01)


def test_the_queue_is_bounded() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        await batcher.submit([LONG])  # its pace: 10 ms a character
        reader.go.clear()
        waiting = batcher.submit(["x" * 100, "y" * 100])
        with pytest.raises(Overloaded) as refused:
            batcher.submit(["a", "b"])
        assert refused.value.retry_after_s == pytest.approx(1)
        reader.go.set()
        assert vectors(await batcher.submit(["c"])) == ["c"]
        assert len(await waiting) == 2
        assert vectors(await batcher.submit(["d"])) == ["d"]

    batching(scene, max_queued=3, takes_s=0.01)


def test_one_request_is_always_let_in_where_there_is_none() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        reader.go.clear()
        large = batcher.submit(list("abcd"))
        with pytest.raises(Overloaded):
            batcher.submit(["e"])
        reader.go.set()
        assert vectors(await large) == list("abcd")

    batching(scene, max_queued=2)


def test_what_nobody_waits_for_is_not_read() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        reader.go.clear()
        first, gone = batcher.submit([LONG]), batcher.submit(["a", "b", "c"])
        gone.cancel()
        after = batcher.submit(["d"])
        reader.go.set()
        assert vectors(await after) == ["d"]
        assert vectors(await first) == [LONG]
        assert reader.batches == [[LONG], ["d"]]

    batching(scene, max_batch=2)


def test_what_is_left_while_it_is_read_does_not_keep_the_batcher_open() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        reader.go.clear()
        only = batcher.submit([LONG])
        await turn()
        only.cancel()
        reader.go.set()

    batching(scene)


def test_a_text_that_fails_fails_no_other() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        await batcher.submit(["first"])
        good, bad, mixed = batcher.submit(["a"]), batcher.submit(["bad"]), batcher.submit(["b", "bad too", "c"])
        assert vectors(await good) == ["a"]
        for failing in (bad, mixed):
            with pytest.raises(ReadFailed, match="ValueError: bad text"):
                await failing
        assert vectors(await batcher.submit(["d"])) == ["d"]

    batching(scene, max_batch=3)


def test_nothing_asked_is_nothing_read() -> None:
    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        assert await batcher.submit([]) == []
        assert reader.batches == []

    batching(scene)


@pytest.mark.parametrize(("option", "value"), [("max_batch", 0), ("max_wait_s", 0.0), ("max_wait_s", float("nan"))])
def test_options_that_cannot_be(option: str, value: Any) -> None:
    with pytest.raises(Misuse, match=option):
        BatchOptions(**{option: value})


@given(
    requests=st.lists(
        st.tuples(st.integers(0, 6), st.booleans(), st.booleans(), st.integers(0, 2)), min_size=1, max_size=12
    ),
    max_batch=st.integers(1, 5),
)
def test_whatever_comes_and_goes(requests: list[tuple[int, bool, bool, int]], max_batch: int) -> None:
    """Each request gets what it asked for, in order, or its own failure; no text is read twice, none for nobody."""

    async def scene(batcher: Batcher, reader: Reader, admission: Admission) -> None:
        asked: list[tuple[list[str], bool, asyncio.Future[list[Reading]]]] = []
        for number, (count, fails, leaves, turns) in enumerate(requests):
            items = [f"{'bad' if fails and place == 0 else ''}{number}.{place}" for place in range(count)]
            asked.append((items, leaves, batcher.submit(items)))
            for _ in range(turns):
                await turn()
            if leaves:
                asked[-1][2].cancel()
        await asyncio.wait([future for _, _, future in asked])
        for items, leaves, future in asked:
            if future.cancelled():
                assert leaves
            elif any(item.startswith("bad") for item in items):
                assert isinstance(future.exception(), ReadFailed)
            else:
                assert vectors(future.result()) == items
        assert all(len(batch) <= max_batch for batch in reader.batches)

    batching(scene, max_batch=max_batch)
