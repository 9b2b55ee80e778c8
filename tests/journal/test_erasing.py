"""Erasing a run: what is part of it, and what is done about one that has not ended."""

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import KeyMissing, Misuse, UnknownRun
from plimsoll.core.events import Event, RunEnded, RunParkedEvent
from plimsoll.journal import MemoryStore, RunHead
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.erasing import check_over, erase_run, parts_of
from plimsoll.journal.evidence import Erased
from tests.journal.helpers import ENDED, STARTED, chain, in_loop

KEYS = MasterKeys([bytes(32)])
PARKED = RunParkedEvent(reason="approval", detail="", active_s=1.0)


async def recorded(store: MemoryStore, *events: Event, run_id: str = "r") -> RunHead:
    head = await store.claim(run_id, owner="one", at=1.0)
    if events:
        await store.append(chain(head, *events))
    return head


async def erased(store: MemoryStore, *, force: bool, run_id: str = "r") -> Erased:
    clock = ManualClock(epoch_s=9.5)
    return await erase_run(store, run_id, by="ann", reason="request 7", clock=clock, owner="two", force=force)


@in_loop
async def test_what_is_part_of_a_run() -> None:
    store = MemoryStore()
    for run_id in ("r", "r/1:billing", "r~2", "r~2/1:billing", "rr", "x/r", "ticket/1", "ticket/2"):
        await recorded(store, run_id=run_id)
    assert await parts_of(store, "r") == ["r", "r/1:billing", "r~2", "r~2/1:billing"]
    assert await parts_of(store, "ticket") == ["ticket/1", "ticket/2"]
    assert await parts_of(store, "ticket/1") == ["ticket/1"]
    with pytest.raises(UnknownRun, match="nobody"):
        await parts_of(store, "nobody")


@in_loop
async def test_a_run_that_has_ended_is_erased() -> None:
    store = MemoryStore(keys=KEYS)
    await recorded(store, STARTED, ENDED)
    clock = ManualClock(epoch_s=9.5)
    found = await erase_run(store, "r", by="ann", reason="request 7", clock=clock, owner="two")
    assert (found.act.subject, found.act.by, found.act.reason, found.act.at) == ("r", "ann", "request 7", 9.5)
    assert await erased(store, force=False) == await erased(store, force=True) == found, "and stays so"
    head = await store.head("r")
    assert head is not None and (head.epoch, head.seq, head.ending) == (1, 2, Ending.DEGRADED)


@in_loop
async def test_nothing_of_a_family_may_be_erased_while_one_has_not_ended() -> None:
    store = MemoryStore(keys=KEYS)
    for run_id in ("over", "gone"):
        await recorded(store, STARTED, ENDED, run_id=run_id)
    await erased(store, force=False, run_id="gone")
    await recorded(store, run_id="claimed")
    await check_over(store, ["over", "gone", "claimed", "nobody"])
    await recorded(store, STARTED, run_id="open")
    with pytest.raises(Misuse, match="run open is running: it may go on"):
        await check_over(store, ["over", "open"])


@pytest.mark.parametrize(("events", "state"), [((STARTED,), "running"), ((STARTED, PARKED), "parked")])
@in_loop
async def test_a_run_that_has_not_ended_is_ended_by_force_alone(events: tuple[Event, ...], state: str) -> None:
    store = MemoryStore(keys=KEYS)
    await recorded(store, *events)
    before = await store.head("r")
    with pytest.raises(Misuse, match=f"^run r is {state}: .*`plimsoll kill`.*, or erase it by force .*stays so$"):
        await erase_run(store, "r", by="ann", reason="request 7", clock=ManualClock(), owner="two")
    assert await store.head("r") == before
    found = await erased(store, force=True)
    assert (found.act.subject, found.act.at) == ("r", 9.5)
    head = await store.head("r")
    assert head is not None
    assert (head.epoch, head.owner, head.updated_at, head.erased_at) == (2, "two", 9.5, 9.5)
    assert (head.ending, head.reason) == (Ending.HALTED, "")


@in_loop
async def test_who_ended_it_stands_in_its_last_event() -> None:
    """The reason is personal, and gone with the key: here the key is kept from being destroyed."""

    class Kept(MemoryStore):
        async def erase(self, run_id: str, *, by: str, reason: str, at: float) -> Erased:
            raise Misuse("not today")

    store = Kept(keys=KEYS)
    await recorded(store, STARTED)
    with pytest.raises(Misuse, match="not today"):
        await erased(store, force=True)
    last = (await store.read("r"))[-1]
    assert (last.event, last.epoch) == (RunEnded(ending=Ending.HALTED, reason="erased by ann"), 2)


@in_loop
async def test_what_cannot_be_erased() -> None:
    store = MemoryStore(keys=KEYS)
    with pytest.raises(UnknownRun, match="nobody"):
        await erased(store, force=True, run_id="nobody")
    await recorded(store, run_id="claimed")
    with pytest.raises(Misuse, match="run claimed is running: only what has ended is erased"):
        await erased(store, run_id="claimed", force=True)
    await recorded(store, STARTED)
    store.keys = None
    with pytest.raises(KeyMissing):
        await erased(store, force=True)
    head = await store.head("r")
    assert head is not None and head.ending is None
