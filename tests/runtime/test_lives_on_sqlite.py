"""Children, sessions and chains on a SQLite file, over processes that die at each of their writes to it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import AgentSection
from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalUnavailable, RunBusy, SessionBusy
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.runtime.bench import Crash, CrashingStore, Shop, contract

Asked = Callable[[Harness], Awaitable[Any]]


async def billing(run: Run, request: dict[str, Any]) -> Any:
    return await run.call("refund", {"order": request["order"], "amount": 20.0})


async def front(run: Run, request: dict[str, Any]) -> Any:
    """Has one order refunded by a child, another as a new run."""
    if request["order"] == "A":
        await run.child("billing", request)
        await run.continue_as_new({"order": "B"})
    earlier = [turn.input["order"] for turn in await run.history()]
    await run.call("refund", {"order": request["order"], "amount": 20.0})
    return [*earlier, request["order"]]


async def serves_one(harness: Harness) -> Any:
    return (await harness.run({"order": "A"}, run_id="r")).output


async def talks(harness: Harness) -> Any:
    session = harness.session("ticket")
    await session.run({"order": "A"}, turn="message-1")
    return (await session.run({"order": "C"}, turn="message-2")).output


class Town:
    """A shop, a file, and the processes that come and go."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "journal.db"
        self.shop = Shop()
        self.lives = 0

    async def life(self, asked: Asked, *, dies_at: int | None = None, keep: int = 0) -> Any:
        """One process: wakes what was left, does what it is asked, and may die at its nth write."""
        self.lives += 1
        store: Any = SQLiteStore.open(self.file, owner=f"life-{self.lives}")
        seen = store if dies_at is None else CrashingStore(store, at=dies_at, keep=keep)
        surroundings = Surroundings(store=seen, owner=f"life-{self.lives}", sinks=(MemorySink(),))
        common: dict[str, Any] = {
            "tools": [self.shop.refund],
            "verifiers": {"refund": self.shop.verify},
            "fingerprint": "v1",
        }
        terms = contract(agent=AgentSection(name="billing"))
        children = {"billing": partial(Harness, terms, agent=billing, **common)}
        harness = Harness(contract(), agent=front, surroundings=surroundings, children=children, **common)
        try:
            await harness.wake()
            return await asked(harness)
        finally:
            for one in (harness, *harness.children.values()):
                one.journal.abandon()
            await store.close()


@pytest.mark.parametrize("keep", [0, 99])
@pytest.mark.parametrize(("asked", "said", "orders"), [(serves_one, ["B"], "AB"), (talks, ["A", "C"], "ABC")])
def test_processes_that_die_at_any_write_neither_lose_nor_double(
    tmp_path: Path, asked: Asked, said: list[str], orders: str, keep: int
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the writer tells that it died
        for at in range(1, 40):
            folder = tmp_path / str(at)
            folder.mkdir()
            town = Town(folder)
            died = True
            with suppress(Crash, JournalUnavailable, RunBusy, SessionBusy):
                died = await town.life(asked, dies_at=at, keep=keep) != said
            assert await town.life(asked) == said, at
            assert sorted(order for order, _, _ in town.shop.ledger) == list(orders), at
            await everything_has_ended(town)
            if not died:
                return
        pytest.fail("it never came to an end without dying")

    asyncio.run(main())


async def everything_has_ended(town: Town) -> None:
    store = SQLiteStore.open(town.file)
    heads = [head for head in await store.heads() if head.seq]
    await store.close()
    assert {head.ending for head in heads} == {Ending.COMPLETE, Ending.CONTINUED}
    assert len({head.run_id for head in heads}) == len(heads)
