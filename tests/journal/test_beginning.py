"""Runs that are begun: their row is written with their first records, and whoever is first to write has the run."""

import pytest
from msgspec.structs import replace

from plimsoll.core.errors import Superseded
from plimsoll.core.events import RunStarted
from plimsoll.journal import InboxEntry, InboxKind, RunHead, RunState, SQLiteStore, verify_chain
from plimsoll.journal.codec import is_sealed
from plimsoll.journal.encryption import MasterKeys
from tests.journal.conftest import OpenStore
from tests.journal.helpers import ENDED, STARTED, chain, in_loop, journal_on, value, values


@in_loop
async def test_a_begun_run_is_there_with_its_first_records(open_store: OpenStore) -> None:
    store, other = open_store("one"), open_store("two")
    head = await store.begin("r", owner="one", at=7.5)
    assert head == RunHead(run_id="r", epoch=1, owner="one", started_at=7.5, updated_at=7.5)
    records = chain(head, STARTED, value(1), at=8.5)
    assert await store.append(records) == frozenset()
    assert await other.read("r") == records
    found = await other.head("r")
    assert found == replace(
        head, seq=2, digest=records[1].digest, agent="shop", fingerprint="f", started_at=8.5, updated_at=8.5
    )
    assert [head.run_id for head in await other.heads(state=RunState.RUNNING)] == ["r"]
    more = chain(found, value(2))
    assert await store.append(more) == frozenset()
    assert values(await other.read("r")) == [1, 2]
    verify_chain(await other.read("r"), head=await other.head("r"))
    await store.close()
    await other.close()


@in_loop
async def test_many_runs_begin_in_one_batch(open_store: OpenStore) -> None:
    store = open_store("one")
    begun = [await store.begin(f"r{number:03}", owner="one", at=1.0) for number in range(700)]
    kept = await store.claim("kept", owner="one", at=1.0)
    records = [record for head in (*begun, kept) for record in chain(head, STARTED, value(head.run_id))]
    assert await store.append(records) == frozenset()
    for head in (begun[0], begun[255], begun[256], begun[699], kept):
        assert values(await store.read(head.run_id)) == [head.run_id]
    assert {head.seq for head in await store.heads()} == {2}
    await store.close()


@in_loop
async def test_a_run_that_is_there_cannot_be_begun(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await store.claim("r", owner="one", at=1.0)
    with pytest.raises(Superseded):
        await store.begin("r", owner="one", at=2.0)
    assert await store.append(chain(head, STARTED)) == frozenset()
    await store.close()


@in_loop
async def test_who_claims_a_begun_run_before_its_first_records_has_it(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    for owner, store in (("one", one), ("two", two)):
        begun = await one.begin(f"to {owner}", owner="one", at=1.0)
        claimed = await store.claim(begun.run_id, owner=owner, at=2.0)
        assert await one.append(chain(begun, STARTED, value("late"))) == {begun.run_id}
        assert await store.append(chain(claimed, STARTED, value("mine"))) == frozenset()
        assert values(await one.read(begun.run_id)) == ["mine"]
        head = await one.head(begun.run_id)
        assert head is not None and (head.owner, head.epoch) == (owner, claimed.epoch)
    await one.close()
    await two.close()


@in_loop
async def test_the_first_records_of_a_begun_run_may_be_added_again(open_store: OpenStore) -> None:
    store = open_store("one")
    records = chain(await store.begin("r", owner="one", at=1.0), STARTED, value(1))
    assert await store.append(records[:1]) == frozenset()
    assert await store.append(records) == frozenset()
    assert await store.read("r") == records
    await store.close()


@in_loop
async def test_a_begun_run_counts_the_messages_that_were_there_before(open_store: OpenStore) -> None:
    store = open_store("one")
    message = InboxEntry(request_id="q", run_id="r", kind=InboxKind.SIGNAL, body=1, by="ann", at=1.0)
    await store.post(message)
    begun = await store.begin("r", owner="one", at=2.0)
    assert begun.posted == 1
    await store.post(replace(message, request_id="q2"))
    await store.append(chain(begun, STARTED))
    head = await store.head("r")
    assert head is not None and head.posted == 2
    assert await store.damages() == []
    await store.close()


@in_loop
async def test_a_begun_run_may_end_in_the_same_batch_and_tells_its_parent(open_store: OpenStore) -> None:
    store = open_store("one")
    parent = await store.begin("parent", owner="one", at=1.0)
    child = await store.begin("parent>1", owner="one", at=1.0)
    started = RunStarted(agent="shop", fingerprint="f", contract_digest="c", input=1, parent="parent")
    await store.append([*chain(parent, STARTED), *chain(child, started, ENDED)])
    assert [(entry.kind, entry.by) for entry in await store.inbox("parent")] == [(InboxKind.CHILD, "parent>1")]
    head = await store.head("parent")
    assert head is not None and head.posted == 1
    await store.close()


@in_loop
async def test_a_begun_run_has_its_key_from_its_first_event_on(open_store: OpenStore) -> None:
    store = open_store("one", keys=MasterKeys([bytes(32)]))
    log = journal_on(store).open(await store.begin("r", owner="one", at=1.0))
    record = await log.commit(STARTED)
    assert is_sealed(record.body)
    await store.close()
    again = open_store("two", keys=MasterKeys([bytes(32)]))
    assert [record.event for record in await again.read("r")] == [STARTED]
    assert await again.damages() == []
    await again.close()


@in_loop
async def test_two_processes_begin_a_run_and_the_first_to_write_has_it(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    if not isinstance(one, SQLiteStore):  # a store that learns of it at once refuses the second
        await one.begin("r", owner="one", at=1.0)
        with pytest.raises(Superseded):
            await two.begin("r", owner="two", at=1.0)
        return
    early = await one.begin("r", owner="one", at=1.0)
    late = await two.begin("r", owner="two", at=1.0)
    assert await one.append(chain(early, STARTED, value("early"))) == frozenset()
    assert await two.append(chain(late, STARTED, value("late"))) == {"r"}
    assert values(await two.read("r")) == ["early"]
    head = await two.head("r")
    assert head is not None and (head.owner, head.seq) == ("one", 2)
    await one.close()
    await two.close()


@in_loop
async def test_a_begun_run_is_kept_until_its_records_are_durable(open_store: OpenStore) -> None:
    store = open_store("one")
    begun = await store.begin("r", owner="one", at=1.0)
    if isinstance(store, SQLiteStore):  # the batch fails, and is written again
        store._writer.execute("PRAGMA query_only = ON")
        with pytest.raises(Exception, match="readonly"):
            await store.append(chain(begun, STARTED))
        store._writer.execute("PRAGMA query_only = OFF")
    assert await store.append(chain(begun, STARTED)) == frozenset()
    assert len(await store.read("r")) == 1
    await store.close()
