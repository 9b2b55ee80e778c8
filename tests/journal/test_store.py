"""What every store must do: each sentence of the protocol, for each store."""

import pytest
from msgspec.structs import replace

from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse, Superseded
from plimsoll.core.events import Record, RunParkedEvent, RunResumed
from plimsoll.journal import Halt, InboxEntry, InboxKind, RunHead, RunState, Store, verify_chain
from tests.journal.conftest import OpenStore
from tests.journal.helpers import ENDED, STARTED, chain, in_loop, journal_on, value, values

PARKED = RunParkedEvent(reason="approval", detail="req-1", active_s=1.5, until=99.5)
RESUMED = RunResumed(crashed=False, fingerprint="f")


def entry(request_id: str, run_id: str = "r", body: object = None) -> InboxEntry:
    return InboxEntry(request_id=request_id, run_id=run_id, kind=InboxKind.DECISION, body=body, by="ann", at=3.5)


def halt(scope: str, reason: str = "enough") -> Halt:
    return Halt(scope=scope, by="ann", reason=reason, at=4.5)


async def claimed(store: Store, run_id: str = "r") -> RunHead:
    return await store.claim(run_id, owner="one", at=1.0)


@in_loop
async def test_a_new_run_begins_at_epoch_1(open_store: OpenStore) -> None:
    store = open_store("one")
    assert await store.head("r") is None
    assert await store.read("r") == []
    head = await store.claim("r", owner="one", at=7.5)
    assert head == RunHead(run_id="r", epoch=1, owner="one", started_at=7.5, updated_at=7.5)
    assert await store.head("r") == head
    assert await store.read("r") == []
    await store.close()


@in_loop
async def test_what_was_appended_is_read_back_in_order(open_store: OpenStore) -> None:
    store = open_store("one")
    records = chain(await claimed(store), STARTED, value("é\x00"), value(2), at=1_767_225_600.123_456_7)
    assert await store.append(records[:2]) == frozenset()
    assert await store.append(records[2:]) == frozenset()
    assert await store.read("r") == records
    assert await store.read("r", after=1) == records[1:]
    assert await store.read("r", after=3) == []
    verify_chain(await store.read("r"), head=await store.head("r"))
    await store.close()


@in_loop
async def test_a_batch_moves_the_heads_of_all_its_runs(open_store: OpenStore) -> None:
    store = open_store("one")
    a = chain(await claimed(store, "a"), STARTED, value(1), at=5.0)
    b = chain(await claimed(store, "b"), value(2), at=6.0)
    assert await store.append([a[0], b[0], a[1]]) == frozenset()
    head_a, head_b = await store.head("a"), await store.head("b")
    assert head_a is not None and head_b is not None
    assert (head_a.seq, head_a.digest, head_a.agent) == (2, a[1].digest, "shop")
    assert (head_a.started_at, head_a.updated_at) == (5.0, 5.0)
    assert (head_b.seq, head_b.digest, head_b.agent) == (1, b[0].digest, "")
    assert (head_b.started_at, head_b.updated_at) == (1.0, 6.0)
    assert await store.append([]) == frozenset()
    await store.close()


@in_loop
async def test_the_head_follows_parking_resuming_and_the_end(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await claimed(store)
    records = chain(head, STARTED, PARKED, RESUMED, ENDED)
    seen = []
    for record in records:
        await store.append([record])
        now = await store.head("r")
        assert now is not None
        seen.append((now.state, now.reason, now.wake_at, now.ending))
    assert seen == [
        (RunState.RUNNING, "", None, None),
        (RunState.PARKED, "approval", 99.5, None),
        (RunState.RUNNING, "", None, None),
        (RunState.ENDED, "fallback", None, Ending.DEGRADED),
    ]
    await store.close()


@in_loop
async def test_a_batch_may_park_and_resume_a_run(open_store: OpenStore) -> None:
    store = open_store("one")
    records = chain(await claimed(store), STARTED, PARKED, RESUMED, value(1))
    await store.append(records)
    head = await store.head("r")
    assert head is not None and (head.state, head.seq, head.wake_at) == (RunState.RUNNING, 4, None)
    await store.close()


@in_loop
async def test_large_events_are_read_back_and_move_the_head_too(open_store: OpenStore) -> None:
    store = open_store("one")
    log = journal_on(store).open(await claimed(store))
    started = replace(STARTED, input="word " * 10_000)
    ended = replace(ENDED, output="word " * 10_000)
    written = [log.append(started), log.append(value("small")), await log.commit(ended)]
    assert [len(record.body) < 1000 for record in written] == [True] * 3, "compressed"
    records = await store.read("r")
    assert records == written
    assert [record.event for record in records] == [started, value("small"), ended]
    head = await store.head("r")
    assert head is not None and (head.agent, head.ending, head.reason) == ("shop", Ending.DEGRADED, "fallback")
    verify_chain(records, head=head)
    await store.close()


@in_loop
async def test_a_value_that_looks_like_an_event_moves_no_head(open_store: OpenStore) -> None:
    store = open_store("one")
    await store.append(chain(await claimed(store), value({"type": "run_ended"}), value('"type":"run_parked"')))
    head = await store.head("r")
    assert head is not None and head.state is RunState.RUNNING
    await store.close()


@in_loop
async def test_a_claim_raises_the_epoch_and_keeps_the_rest(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    records = chain(await claimed(one), STARTED, PARKED)
    await one.append(records)
    before = await one.head("r")
    assert before is not None
    head = await two.claim("r", owner="two", at=8.0)
    assert head == replace(before, epoch=2, owner="two", updated_at=8.0)
    assert await one.head("r") == head
    assert await two.append(chain(head, RESUMED)) == frozenset()
    again = await one.claim("r", owner="one", at=9.0)
    assert (again.epoch, again.seq, again.state) == (3, 3, RunState.RUNNING)
    await one.close()
    await two.close()


@in_loop
async def test_a_claim_that_was_decided_on_another_epoch_is_refused_and_changes_nothing(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    with pytest.raises(Superseded) as caught:
        await one.claim("r", owner="one", at=1.0, expected=1)
    assert (caught.value.run_id, caught.value.epoch) == ("r", 1)
    assert await one.head("r") is None
    assert (await one.claim("r", owner="one", at=1.0, expected=0)).epoch == 1
    first = await one.claim("r", owner="one", at=2.0, expected=1)
    for late in (0, 1, 3):
        with pytest.raises(Superseded):
            await two.claim("r", owner="two", at=3.0, expected=late)
    assert await two.head("r") == first
    assert (first.epoch, first.owner, first.updated_at) == (2, "one", 2.0)
    assert (await two.claim("r", owner="two", at=4.0)).epoch == 3
    await one.close()
    await two.close()


@in_loop
async def test_an_earlier_owner_is_refused_and_harms_nobody_else_in_the_batch(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    lost, kept = await claimed(one, "lost"), await claimed(one, "kept")
    await one.append(chain(lost, STARTED))
    lost = replace(lost, seq=1, digest=chain(lost, STARTED)[0].digest)
    await two.claim("lost", owner="two", at=2.0)
    mine, other = chain(lost, value(1), value(2)), chain(kept, value(3), value(4))
    assert await one.append([mine[0], other[0], mine[1], other[1]]) == {"lost"}
    assert await two.read("lost") == chain(replace(lost, seq=0, digest=bytes(32)), STARTED)
    assert await two.read("kept") == other
    head = await two.head("lost")
    assert head is not None and (head.seq, head.epoch, head.owner) == (1, 2, "two")
    await one.close()
    await two.close()


def forged(records: list[Record], head: RunHead) -> list[Record]:
    return [records[0], *chain(replace(head, seq=1, digest=records[0].digest), value("other"), value("more"))]


@in_loop
async def test_another_record_in_a_stored_ones_place_is_refused(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await claimed(store)
    records = chain(head, STARTED, value(1))
    await store.append(records)
    assert await store.append(forged(records, head)) == {"r"}
    assert await store.read("r") == records
    assert await store.append([replace(records[0], seq=0)]) == {"r"}
    (only,) = chain(await claimed(store, "s"), value(1))
    await store.append([only])
    assert await store.append([replace(only, seq=0)]) == {"s"}
    await store.close()


@in_loop
async def test_a_gap_is_refused(open_store: OpenStore) -> None:
    store = open_store("one")
    records = chain(await claimed(store), STARTED, value(1), value(2))
    assert await store.append([records[0], records[2]]) == {"r"}
    assert await store.append(records[1:]) == {"r"}
    assert await store.read("r") == []
    await store.close()


@in_loop
async def test_a_run_that_nobody_claimed_and_a_later_epoch_are_refused(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await claimed(store)
    stranger = RunHead(run_id="x", epoch=1, owner="one")
    assert await store.append(chain(stranger, STARTED)) == {"x"}
    assert await store.head("x") is None
    assert await store.append(chain(replace(head, epoch=2), STARTED)) == {"r"}
    await store.close()


@in_loop
async def test_appending_again_what_is_there_changes_nothing(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    records = chain(await claimed(one), STARTED, value(1), value(2))
    await one.append(records[:2])
    assert await one.append(records[:2]) == frozenset()
    assert await one.append([records[1], records[1]]) == frozenset()
    before = await one.head("r")
    assert await one.append([records[0]]) == frozenset()
    assert await one.head("r") == before
    assert await one.append(records) == frozenset(), "partly there"
    assert await one.read("r") == records
    await two.claim("r", owner="two", at=2.0)
    assert await one.append(records) == frozenset(), "it was written before the run was taken over"
    assert await one.read("r") == records
    await one.close()
    await two.close()


@in_loop
async def test_a_record_twice_in_one_batch_stands_once(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await claimed(store)
    records = chain(head, STARTED, value(1))
    assert await store.append([records[0], records[0], records[1], records[0]]) == frozenset()
    assert await store.read("r") == records
    head = await store.head("r")
    assert head is not None
    more = chain(head, value(2), value(3))
    assert await store.append([more[0], more[0], more[1], more[1], more[0]]) == frozenset()
    assert await store.read("r") == [*records, *more]
    other = await claimed(store, "s")
    first = chain(other, value(1))
    assert await store.append([*first, *chain(other, value(2))]) == {"s"}
    assert await store.read("s") == []
    await store.close()


@in_loop
async def test_the_latest_started_run_comes_first(open_store: OpenStore) -> None:
    store = open_store("one")
    for run_id, at in (("b", 2.0), ("c", 3.0), ("a", 1.0), ("d", 3.0)):
        await store.claim(run_id, owner="one", at=at)
    late = await store.claim("a", owner="one", at=9.0)
    await store.append(chain(late, PARKED, at=9.5))

    async def ids(state: RunState | None = None, limit: int | None = None) -> list[str]:
        return [head.run_id for head in await store.heads(state=state, limit=limit)]

    assert await ids() == ["d", "c", "b", "a"]
    assert await ids(limit=2) == ["d", "c"]
    assert await ids(limit=0) == []
    assert await ids(RunState.RUNNING) == ["d", "c", "b"]
    assert await ids(RunState.RUNNING, 1) == ["d"]
    assert await ids(RunState.PARKED) == ["a"]
    assert await ids(RunState.ENDED) == []
    assert await store.heads(limit=1) == [await store.head("d")]
    await store.append(chain(late, PARKED, STARTED, at=9.5))
    assert await ids(limit=1) == ["a"], "a run starts when its first event says so"
    await store.close()


@in_loop
async def test_the_runs_that_ask_come_the_latest_started_first_and_then_by_name(open_store: OpenStore) -> None:
    store = open_store("one")
    for run_id, at, asks in (("b", 1.0, 1), ("d", 2.0, None), ("c", 2.0, 2), ("silent", 3.0, 0)):
        head = await store.claim(run_id, owner="one", at=at)
        await store.append(chain(head, STARTED, replace(PARKED, asks=asks), at=at))
    assert [head.run_id for head in await store.asking()] == ["c", "d", "b"]
    head = await store.head("c")
    assert head is not None
    await store.append(chain(head, RESUMED))
    assert [head.run_id for head in await store.asking()] == ["d", "b"]
    await store.close()


@in_loop
async def test_what_a_process_says_of_itself_is_gone_with_it(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    assert two.reports() == {}
    await one.claim("r", owner="one", at=1.0)
    await two.claim("s", owner="two/a.b c", at=1.0)
    one.report("one", b"first")
    one.report("one", b"second")
    two.report("two/a.b c", b"other")
    one.report("nobody", b"is not held here")
    for store in (one, two):
        assert store.reports() == {"one": b"second", "two/a.b c": b"other"}
    if (kill := getattr(one, "kill_owner", None)) is not None:
        kill("one")
    await one.close()
    assert two.reports() == {"two/a.b c": b"other"}
    await two.close()


@in_loop
async def test_an_owner_lives_until_its_process_ends(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    assert not two.owner_alive("nobody")
    await one.claim("r", owner="one", at=1.0)
    await one.claim("s", owner="one/another name", at=1.0)
    await two.claim("t", owner="two", at=1.0)
    for store in (one, two):
        assert store.owner_alive("one")
        assert store.owner_alive("one/another name")
        assert store.owner_alive("two")
    if (kill := getattr(one, "kill_owner", None)) is not None:
        kill("one")
        kill("one/another name")
    await one.close()
    assert not two.owner_alive("one")
    assert not two.owner_alive("one/another name")
    assert two.owner_alive("two")
    await two.close()


@in_loop
async def test_a_message_is_left_once_and_read_in_order(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    assert await one.inbox("r") == []
    assert await one.post(entry("q1", body={"b": 1, "a": (None, 2.5, "é")}))
    assert await two.post(entry("q2", run_id="s"))
    assert await two.post(entry("q3"))
    assert not await two.post(entry("q1", body="other"))
    assert not await one.post(entry("q2", run_id="r"))
    assert await one.post(entry("q4"))
    found = await two.inbox("r")
    assert [message.request_id for message in found] == ["q1", "q3", "q4"]
    first, second, third = (message.position for message in found)
    assert 0 < first < second < third
    assert found[0] == replace(entry("q1", body={"a": [None, 2.5, "é"], "b": 1}), position=first)
    assert await one.inbox("r", after=first) == found[1:]
    assert await one.inbox("r", after=third) == []
    assert [message.request_id for message in await one.inbox("s")] == ["q2"]
    await one.close()
    await two.close()


@in_loop
async def test_a_message_must_be_json(open_store: OpenStore) -> None:
    store = open_store("one")
    with pytest.raises(Misuse, match="not a JSON value"):
        await store.post(entry("q", body=object()))
    assert await store.inbox("r") == []
    await store.close()


@in_loop
async def test_a_kill_switch_shows_at_once_to_every_owner(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    assert dict(one.outside().halts) == dict(two.outside().halts) == {}
    await one.engage(halt("*"))
    assert dict(one.outside().halts) == dict(two.outside().halts) == {"*": halt("*")}
    earlier = two.outside().halts
    await two.engage(halt("r"))
    await two.engage(halt("*", "more than enough"))
    assert (
        dict(one.outside().halts) == dict(two.outside().halts) == {"*": halt("*", "more than enough"), "r": halt("r")}
    )
    assert dict(earlier) == {"*": halt("*")}
    assert await one.release("*")
    assert not await two.release("*")
    assert dict(one.outside().halts) == dict(two.outside().halts) == {"r": halt("r")}
    await one.append(chain(await claimed(one), STARTED))
    assert dict(two.outside().halts) == {"r": halt("r")}
    await one.close()
    await two.close()


@in_loop
async def test_what_was_stored_stays(open_store: OpenStore) -> None:
    store = open_store("one")
    records = chain(await claimed(store), STARTED, value(1))
    await store.append(records)
    await store.post(entry("q"))
    await store.engage(halt("r"))
    head = await store.head("r")
    await store.close()
    await store.close()
    again = open_store("one")
    assert await again.read("r") == records
    assert values(await again.read("r")) == [1]
    assert await again.head("r") == head
    assert [message.request_id for message in await again.inbox("r")] == ["q"]
    assert dict(again.outside().halts) == {"r": halt("r")}
    await again.close()
