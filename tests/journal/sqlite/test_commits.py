"""Group commit: what is asked for together is written together, and nobody goes down with another."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Superseded
from plimsoll.journal.sqlite.commits import GroupCommit
from tests.journal.helpers import in_loop, run


class Disk:
    """A transaction that can be held open, and that can fail."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.groups: list[list[str]] = []
        self.begin_fails = 0
        self.commit_fails = 0
        self._open: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.go_on.wait(10)
        if self.begin_fails:
            self.begin_fails -= 1
            raise OSError("locked")
        self._open = []
        yield
        if self.commit_fails:
            self.commit_fails -= 1
            raise OSError("full")
        self.groups.append(self._open)

    def written(self) -> list[str]:
        return [name for group in self.groups for name in group]

    def writes(self, name: str) -> Callable[[], str]:
        def change() -> str:
            self._open.append(name)
            return name.upper()

        return change


@contextmanager
def committing(disk: Disk) -> Iterator[GroupCommit]:
    yield GroupCommit(disk.transaction, name="test")


async def together(changes: GroupCommit, disk: Disk, *works: Callable[[], str]) -> list[object]:
    """Asks for all of it while a first change is being written, so that the rest is one group."""
    disk.go_on.clear()
    first = asyncio.ensure_future(changes.make(disk.writes("first")))
    await LoopClock().sleep(0)
    rest = [asyncio.ensure_future(changes.make(work)) for work in works]
    await LoopClock().sleep(0)
    disk.go_on.set()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


@in_loop
async def test_what_is_asked_while_one_is_written_shares_the_next() -> None:
    disk = Disk()
    with committing(disk) as changes:
        answers = await together(changes, disk, disk.writes("a"), disk.writes("b"), disk.writes("c"))
        await changes.close(lambda: None)
    assert answers == ["A", "B", "C"]
    assert disk.written() == ["first", "a", "b", "c"]
    assert len(disk.groups) <= 2


@in_loop
async def test_one_that_is_refused_takes_nobody_with_it() -> None:
    disk = Disk()

    def refused() -> str:
        raise Superseded("r", epoch=1)

    with committing(disk) as changes:
        answers = await together(changes, disk, disk.writes("a"), refused, disk.writes("b"))
        await changes.close(lambda: None)
    assert [answers[0], answers[2]] == ["A", "B"]
    assert isinstance(answers[1], Superseded)
    assert disk.written() == ["first", "a", "b"]


@in_loop
async def test_one_that_breaks_down_is_left_out_and_the_others_are_made_again() -> None:
    disk = Disk()

    def breaks() -> str:
        raise ValueError("no such table")

    with committing(disk) as changes:
        answers = await together(changes, disk, disk.writes("a"), breaks, disk.writes("b"))
        await changes.close(lambda: None)
    assert [answers[0], answers[2]] == ["A", "B"]
    assert isinstance(answers[1], ValueError)
    assert disk.written() == ["first", "a", "b"]


@in_loop
async def test_one_that_is_made_again_is_told_what_came_of_it_then() -> None:
    """It was refused because of another in its group, which then came to nothing: it has been made after all."""
    disk = Disk()
    made: list[str] = []

    def first() -> str:
        made.append("first")
        if len(made) > 1:
            raise ValueError("not this time")
        return "FIRST"

    def second() -> str:
        if made == ["first"]:
            raise Superseded("r", epoch=1)
        return disk.writes("second")()

    def breaks() -> str:
        raise ValueError("no such table")

    with committing(disk) as changes:
        answers = await together(changes, disk, first, second, breaks)
        await changes.close(lambda: None)
    assert answers[1] == "SECOND"
    assert isinstance(answers[0], ValueError)
    assert disk.written() == ["first", "second"]


@in_loop
async def test_what_is_to_be_done_aside_is_not_put_off_by_changes_without_end() -> None:
    disk = Disk()
    with committing(disk) as changes:
        going_on = True

        async def ask() -> None:
            while going_on:
                await changes.make(disk.writes("x"))

        asking = [asyncio.ensure_future(ask()) for _ in range(3)]
        await LoopClock().sleep(0)
        assert await changes.aside(lambda: "aside") == "aside"
        going_on = False
        await asyncio.gather(*asking)
        await changes.close(lambda: None)


@pytest.mark.parametrize("at", ["begin_fails", "commit_fails"])
@in_loop
async def test_where_the_transaction_itself_fails_nobody_is_told_that_it_was_made(at: str) -> None:
    disk = Disk()
    with committing(disk) as changes:
        setattr(disk, at, 1)
        with pytest.raises(OSError, match=r"locked|full"):
            await changes.make(disk.writes("a"))
        assert await changes.make(disk.writes("b")) == "B"
        await changes.close(lambda: None)
    assert disk.groups == [["b"]]


@in_loop
async def test_whoever_gave_up_is_left_alone() -> None:
    disk = Disk()
    with committing(disk) as changes:
        disk.go_on.clear()
        waiting = asyncio.ensure_future(changes.make(disk.writes("a")))
        await LoopClock().sleep(0)
        waiting.cancel()
        await LoopClock().sleep(0)
        disk.go_on.set()
        assert await changes.make(disk.writes("b")) == "B"
        await changes.close(lambda: None)
    assert waiting.cancelled()
    assert disk.written() == ["a", "b"]


@in_loop
async def test_what_is_done_aside_is_done_between_two_transactions_by_the_same_thread() -> None:
    disk = Disk()
    with committing(disk) as changes:
        disk.go_on.clear()
        change = asyncio.ensure_future(changes.make(disk.writes("a")))
        aside = asyncio.ensure_future(changes.aside(lambda: (threading.current_thread().name, disk.written())))
        await LoopClock().sleep(0)
        disk.go_on.set()
        assert await aside == ("test_0", ["a"])
        assert await change == "A"
        await changes.close(lambda: None)


def test_a_loop_that_is_gone_keeps_nobody_from_writing() -> None:
    disk = Disk()
    disk.go_on.clear()
    changes = GroupCommit(disk.transaction, name="test")

    async def leave() -> None:
        waiting = asyncio.ensure_future(changes.make(disk.writes("a")))
        await LoopClock().sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    async def write() -> None:
        assert await changes.make(disk.writes("b")) == "B"
        await changes.close(lambda: None)

    run(leave())
    disk.go_on.set()
    run(write())
    assert disk.written() == ["a", "b"]
