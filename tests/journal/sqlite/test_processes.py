"""Several processes on one journal, some of which die."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from plimsoll.journal import RunState, SQLiteStore, verify_chain
from tests.journal.helpers import STARTED, chain, in_loop, run, value, values
from tests.journal.sqlite.helpers import in_use, process


@in_loop
async def test_two_stores_see_each_others_records_at_once(path: Path) -> None:
    one, two = SQLiteStore.open(path, owner="one"), SQLiteStore.open(path, owner="two")
    head = await one.claim("r", owner="one", at=1.0)
    for turn, store in enumerate((one, two, one, two), 1):
        records = chain(head, value(turn), value(turn))
        assert await store.append(records) == frozenset()
        assert (await two.read("r"))[-2:] == records
        found = await one.head("r")
        assert found is not None
        head = found
    assert head.seq == 8
    await one.close()
    await two.close()


@in_loop
async def test_two_processes_may_write_at_the_same_time(path: Path) -> None:
    async def advance(store: SQLiteStore, run_id: str, owner: str) -> None:
        head = await store.claim(run_id, owner=owner, at=1.0)
        for record in chain(head, *(value(i) for i in range(40))):
            assert await store.append([record]) == frozenset()

    one, two = SQLiteStore.open(path, owner="one"), SQLiteStore.open(path, owner="two")
    await asyncio.gather(advance(one, "a", "one"), advance(two, "b", "two"))
    for run_id in ("a", "b"):
        assert values(await one.read(run_id)) == list(range(40))
    await one.close()
    await two.close()


@in_loop
async def test_kill_switches_are_read_again_only_when_something_changed(path: Path) -> None:
    store, _ = await in_use(path)
    halts = store.outside().halts
    assert store.outside().halts is halts
    await store.close()


@in_loop
async def test_many_heads_are_forgotten_and_found_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll.journal.sqlite.appending._MAX_CACHED", 2)
    store = SQLiteStore.open(path, owner="one")
    heads = [await store.claim(f"r{i}", owner="one", at=1.0) for i in range(5)]
    assert await store.append([record for head in heads for record in chain(head, STARTED)]) == frozenset()
    assert len(store._appender._runs) <= 2
    assert [head.seq for head in await store.heads(state=RunState.RUNNING)] == [1] * 5
    await store.close()


APPEND_UNTIL_KILLED = """
import asyncio, sys
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import ValueRecorded
from plimsoll.journal import Journal, SQLiteStore

async def advance(journal, run_id):
    log = journal.open(await journal.store.claim(run_id, owner="child", at=1.0))
    while True:
        log.append(ValueRecorded(key="k", value="unasked" * 50))
        record = await log.commit(ValueRecorded(key="k", value=log.seq))
        print(run_id, record.seq, flush=True)

async def main():
    journal = Journal(SQLiteStore.open(sys.argv[1], owner="child"), clock=SystemClock())
    async with asyncio.TaskGroup() as group:
        for i in range(5):
            group.create_task(advance(journal, f"run-{i}"))

asyncio.run(main())
"""


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    with process(APPEND_UNTIL_KILLED, path) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(300)]
        watching = SQLiteStore.open(path, owner="heir")
        alive = watching.owner_alive("child")
        child.kill()
        lines += child.stdout.readlines()  # not `communicate`, which forgets what `readline` has read ahead
    assert alive
    acknowledged: Counter[str] = Counter()
    for line in lines:
        if not line.endswith("\n"):
            continue  # cut off by the kill
        run_id, seq = line.split()
        acknowledged[run_id] = max(acknowledged[run_id], int(seq))
    assert len(acknowledged) == 5

    async def inherit() -> None:
        assert not watching.owner_alive("child")
        for run_id, seq in acknowledged.items():
            records = await watching.read(run_id)
            assert len(records) >= seq
            head = await watching.claim(run_id, owner="heir", at=2.0)
            verify_chain(records, head=head)
            assert (head.epoch, head.state) == (2, RunState.RUNNING)
            assert await watching.append(chain(head, value("heir"))) == frozenset()
        await watching.close()

    run(inherit())


@in_loop
async def test_a_cancelled_claim_leaves_the_store_usable(path: Path) -> None:
    store = SQLiteStore.open(path, owner="one")
    claiming = asyncio.create_task(store.claim("r", owner="one", at=1.0))
    await asyncio.wait([claiming], timeout=0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    head = await store.claim("r", owner="one", at=2.0)
    assert await store.append(chain(head, STARTED)) == frozenset()
    await store.close()


@in_loop
async def test_begun_runs_that_come_to_nothing_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plimsoll.journal.sqlite.appending._MOST_BEGUN", 4)
    store = SQLiteStore.open(path, owner="one")
    heads = [await store.begin(f"r{i}", owner="one", at=1.0) for i in range(6)]
    assert await store.append([record for head in heads for record in chain(head, STARTED)]) == {"r0", "r1"}
    assert {head.run_id for head in await store.heads()} == {"r2", "r3", "r4", "r5"}
    await store.close()
