"""What every store that keeps evidence must do: keys, erasure, the trail."""

import pytest
from msgspec.structs import replace

from plimsoll.core.calls import Ending
from plimsoll.core.errors import KeyMissing, Misuse, RunErased, Superseded, UnknownRun
from plimsoll.core.events import RunParkedEvent, RunStarted, ValueRecorded
from plimsoll.journal import Halt, InboxEntry, InboxKind, RunHead, RunState, verify_chain
from plimsoll.journal.codec import ERASED, SEALED
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.evidence import EvidenceStore
from plimsoll.journal.trail import ActKind, wrong_act
from tests.journal.conftest import OpenStore
from tests.journal.helpers import ENDED, STARTED, chain, in_loop, journal_on, value, values

OLD, NEW = MasterKeys([bytes(32)]), MasterKeys([bytes(range(32))])
BOTH = MasterKeys([bytes(range(32)), bytes(32)])
SECRET = value({"card": "4111 1111"})


async def recorded(store: EvidenceStore, run_id: str = "r", *, ended: bool = True) -> RunHead:
    """A run with something personal in it."""
    log = journal_on(store).open(await store.claim(run_id, owner="one", at=1.0))
    log.append(STARTED)
    await log.commit(SECRET)
    if ended:
        await log.commit(ENDED)
    head = await store.head(run_id)
    assert head is not None
    return head


def message(request_id: str = "r.a1:x", run_id: str = "r", kind: InboxKind = InboxKind.DECISION) -> InboxEntry:
    return InboxEntry(request_id=request_id, run_id=run_id, kind=kind, body={"note": "secret"}, by="ann", at=3.5)


# ---------------------------------------------------------------------------------------------------- encrypted runs


@in_loop
async def test_an_encrypted_run_is_read_by_who_has_the_key(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    head = await recorded(store)
    records = await store.read("r")
    assert [record.event for record in records] == [STARTED, SECRET, ENDED]
    assert all(b"4111" not in record.body and b'"ask"' not in record.body for record in records)
    assert [record.event for record in await store.read("r", after=1)] == [SECRET, ENDED]
    verify_chain(records, head=head)
    assert (head.agent, head.state, head.ending) == ("shop", RunState.ENDED, Ending.DEGRADED)
    assert head.reason == "", "it can quote what the run was about"
    await store.close()


@in_loop
async def test_it_goes_on_under_another_owner(open_store: OpenStore) -> None:
    one, two = open_store("one", keys=OLD), open_store("two", keys=OLD)
    await recorded(one, ended=False)
    head = await two.claim("r", owner="two", at=2.0)
    await journal_on(two).open(head).commit(value("more"))
    assert values(await one.read("r")) == [{"card": "4111 1111"}, "more"]
    verify_chain(await one.read("r"), head=await one.head("r"))
    await one.close()
    await two.close()


@pytest.mark.parametrize("keys", [None, NEW], ids=["no key", "another key"])
@in_loop
async def test_without_the_key_it_is_seen_and_not_read(open_store: OpenStore, keys: MasterKeys | None) -> None:
    store = open_store("one", keys=OLD)
    await recorded(store, ended=False)
    await store.post(message())
    before = await store.head("r")
    assert before is not None
    await store.close()
    store = open_store("two", keys=keys)
    records = await store.read("r")
    started, recorded_value = records[0].event, records[1].event
    assert isinstance(started, RunStarted) and isinstance(recorded_value, ValueRecorded)
    assert (started.agent, started.input, recorded_value.value) == ("shop", SEALED, SEALED)
    verify_chain(records, head=before)
    for attempt in (
        store.claim("r", owner="two", at=2.0),
        store.post(message("r.a2:x")),
        store.inbox("r"),
    ):
        with pytest.raises(KeyMissing, match=f"run r is encrypted under master key {OLD.first}, which is not here"):
            await attempt
    with pytest.raises(KeyMissing):
        store.encoder("r")
    assert await store.head("r") == before
    await store.close()


@in_loop
async def test_a_run_stays_as_it_began(open_store: OpenStore) -> None:
    store = open_store("one")
    await recorded(store, "plain", ended=False)
    await store.close()
    store = open_store("one", keys=OLD)
    await recorded(store, "sealed", ended=False)
    await store.close()
    for keys in (OLD, MasterKeys([bytes(32)], encrypt=False)):
        store = open_store("two", keys=keys)
        for run_id in ("plain", "sealed"):
            head = await store.claim(run_id, owner="two", at=2.0)
            record = await journal_on(store).open(head).commit(SECRET)
            assert (b"4111" in record.body) == (run_id == "plain")
        await store.close()


@in_loop
async def test_a_run_that_was_claimed_and_never_began_is_encrypted_when_it_begins(open_store: OpenStore) -> None:
    store = open_store("one")
    await store.claim("r", owner="one", at=1.0)
    await store.close()
    store = open_store("one", keys=OLD)
    await recorded(store)
    await recorded(store, "s", ended=False)
    await store.claim("s", owner="one", at=2.0)
    records = [*await store.read("r"), *await store.read("s")]
    assert all(b"4111" not in record.body for record in records)
    await store.close()


@in_loop
async def test_messages_are_sealed_and_stand_once(open_store: OpenStore) -> None:
    one, two = open_store("one", keys=OLD), open_store("two", keys=OLD)
    await recorded(one, ended=False)
    assert await one.post(message())
    assert not await two.post(replace(message(), by="bo"))
    assert await two.post(message("r.a2:x", kind=InboxKind.DOUBT))
    found = await two.inbox("r")
    assert [(each.request_id, each.kind, each.body, each.by) for each in found] == [
        ("r.a1:x", InboxKind.DECISION, {"note": "secret"}, "ann"),
        ("r.a2:x", InboxKind.DOUBT, {"note": "secret"}, "ann"),
    ]
    assert [each.request_id for each in await one.inbox("r", after=found[0].position)] == ["r.a2:x"]
    await one.close()
    await two.close()


@pytest.mark.parametrize("keys", [None, OLD], ids=["plain", "sealed"])
@in_loop
async def test_a_message_stands_once_among_those_of_another_run(open_store: OpenStore, keys: MasterKeys | None) -> None:
    store = open_store("one", keys=keys)
    for run_id in ("r", "s", "t"):
        await recorded(store, run_id)
    assert await store.posted("r:x", among="r") is None
    assert await store.post(message("r:x", "s"), among="r")
    assert not await store.post(message("r:x", "t"), among="r")
    assert not await store.post(message("r:x", "r"))
    assert [each.request_id for each in await store.inbox("s")] == ["r:x"]
    assert await store.inbox("t") == await store.inbox("r") == []
    found = await store.posted("r:x", among="r")
    assert found is not None
    assert [found] == await store.inbox("s")
    assert (found.run_id, found.body) == ("s", {"note": "secret"})
    assert (await store.posted("r:x", among="s") is None) == (keys is not None), "sealed ids are a run's own"
    await store.close()


@in_loop
async def test_what_was_posted_to_an_erased_run_or_among_its_messages_is_not_told(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    for run_id in ("first", "to"):
        await recorded(store, run_id)
    await store.post(message("x", "to"), among="first")
    await store.post(message("y", "first"), among="to")
    await store.erase("first", by="ann", reason="asked", at=9.5)
    assert await store.posted("x", among="first") is None
    assert await store.posted("y", among="to") is None
    assert await store.post(message("z", "to"), among="first"), "then it is unique among its own run's"
    assert not await store.post(message("z", "to"), among="first")
    await store.close()


@in_loop
async def test_a_child_leaves_word_for_its_parent_whatever_became_of_that(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    await recorded(store, "parent", ended=False)
    child = await store.claim("child", owner="one", at=2.0)
    await recorded(store, "gone")
    await store.erase("gone", by="ann", reason="asked", at=3.0)
    orphan = await store.claim("orphan", owner="one", at=2.0)
    for head, parent in ((child, "parent"), (orphan, "gone")):
        log = journal_on(store).open(head)
        log.append(replace(STARTED, parent=parent))
        await log.commit(ENDED)
    assert [each.body for each in await store.inbox("parent")] == [{"run_id": "child"}]
    assert await store.inbox("gone") == []
    await store.close()


# ----------------------------------------------------------------------------------------------------------- erasure


@in_loop
async def test_an_erased_run_verifies_and_tells_nothing_personal(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    await recorded(store)
    await store.post(message())
    before = await store.head("r")
    assert before is not None
    erased = await store.erase("r", by="ann", reason="request 7", at=9.5)
    assert (erased.act.act, erased.act.subject, erased.act.by) == (ActKind.ERASED, "r", "ann")
    assert (erased.act.reason, erased.act.at, erased.wiped) == ("request 7", 9.5, True)
    head = await store.head("r")
    assert head == replace(before, erased_at=9.5)
    records = await store.read("r")
    verify_chain(records, head=head)
    assert [record.event for record in records] == [
        replace(STARTED, input=ERASED),
        value(ERASED),
        replace(ENDED, output=ERASED, reason=ERASED, carried=ERASED),
    ]
    assert await store.inbox("r") == []
    assert (await store.heads())[0].erased_at == 9.5
    await store.close()


@in_loop
async def test_an_erased_run_can_be_erased_again_and_nothing_else(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    head = await recorded(store)
    first = await store.erase("r", by="ann", reason="request 7", at=9.5)
    assert await store.erase("r", by="bo", reason="again", at=10.5) == first
    assert await store.acts() == [first.act]
    await recorded(store, "another")
    second = await store.erase("another", by="ann", reason="request 8", at=10.5)
    assert await store.erase("another", by="bo", reason="again", at=11.5) == second != first
    for attempt in (store.claim("r", owner="one", at=11.0), store.post(message())):
        with pytest.raises(RunErased, match="run r was erased; `plimsoll audit log` tells by whom and why"):
            await attempt
    with pytest.raises(RunErased):
        store.encoder("r")
    assert await store.head("r") == replace(head, erased_at=9.5)
    await store.close()


@in_loop
async def test_who_still_holds_an_erased_run_can_write_no_more(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    log = journal_on(store).open(await store.claim("r", owner="one", at=1.0))
    await log.commit(ENDED)
    await store.erase("r", by="ann", reason="request 7", at=9.5)
    with pytest.raises(Superseded):
        await log.commit(SECRET)
    assert len(await store.read("r")) == 1
    await store.close()


@in_loop
async def test_the_key_need_not_be_here_to_be_destroyed(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    await recorded(store)
    await store.close()
    store = open_store("two")
    await store.erase("r", by="ann", reason="request 7", at=9.5)
    await store.close()
    store = open_store("one", keys=OLD)
    assert values(await store.read("r")) == [ERASED]
    await store.close()


@in_loop
async def test_what_may_not_be_erased(open_store: OpenStore) -> None:
    store = open_store("one")
    await recorded(store, "plain")
    await store.close()
    store = open_store("one", keys=OLD)
    running = await recorded(store, "running", ended=False)
    parked = await recorded(store, "parked", ended=False)
    await store.append(chain(parked, RunParkedEvent(reason="approval", detail="", active_s=1.0)))
    for run_id, says in (
        ("plain", "^run plain was recorded without encryption, .*\\. Set encrypt = true .* can be erased$"),
        ("running", "run running is running: only what has ended is erased"),
        ("parked", "run parked is parked: only what has ended is erased"),
    ):
        with pytest.raises(Misuse, match=says):
            await store.erase(run_id, by="ann", reason="", at=9.5)
    with pytest.raises(UnknownRun, match="nobody"):
        await store.erase("nobody", by="ann", reason="", at=9.5)
    assert await store.acts() == []
    assert await store.head("running") == running
    await store.close()


# --------------------------------------------------------------------------------------------------- another master key


@in_loop
async def test_rewrapped_keys_open_with_the_new_master_key_alone(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    for run_id in ("a", "b", "gone"):
        await recorded(store, run_id)
    await store.erase("gone", by="ann", reason="", at=9.0)
    await store.close()
    store = open_store("two", keys=BOTH)
    await recorded(store, "c")
    assert await store.rewrap(by="ann", at=10.0) == 2
    assert await store.rewrap(by="ann", at=11.0) == 0
    await store.close()
    for keys, shown in ((NEW, {"card": "4111 1111"}), (OLD, SEALED)):
        store = open_store("three", keys=keys)
        assert [values(await store.read(run_id)) for run_id in ("a", "b", "c")] == [[shown]] * 3
        assert values(await store.read("gone")) == [ERASED]
        await store.close()
    store = open_store("three", keys=NEW)
    acts = [(act.act, act.subject, act.reason, act.by, act.at) for act in await store.acts()]
    assert acts[1:] == [
        (ActKind.REKEYED, NEW.first, "2 run keys", "ann", 10.0),
        (ActKind.REKEYED, NEW.first, "0 run keys", "ann", 11.0),
    ]
    await store.close()


@in_loop
async def test_keys_that_cannot_be_opened_are_not_rewrapped(open_store: OpenStore) -> None:
    store = open_store("one", keys=OLD)
    await recorded(store)
    await store.close()
    for keys, error, says in (
        (NEW, KeyMissing, "run r is encrypted under master key"),
        (None, Misuse, "^this process has no master key: set PLIMSOLL_JOURNAL_KEY, or key_file"),
    ):
        store = open_store("two", keys=keys)
        with pytest.raises(error, match=says):
            await store.rewrap(by="ann", at=10.0)
        assert await store.acts() == []
        await store.close()


# ----------------------------------------------------------------------------------------------------------- the trail


@in_loop
async def test_kill_switches_leave_a_trail(open_store: OpenStore) -> None:
    store = open_store("one")
    await store.engage(Halt(scope="*", by="ann", reason="enough", at=4.5))
    assert await store.release("*", by="bo", at=5.5)
    assert not await store.release("*", by="bo", at=6.5)
    acts = await store.acts()
    assert [(act.seq, act.act, act.subject, act.by, act.reason, act.at) for act in acts] == [
        (1, ActKind.ENGAGED, "*", "ann", "enough", 4.5),
        (2, ActKind.RELEASED, "*", "bo", "", 5.5),
    ]
    assert wrong_act(acts) is None
    assert wrong_act(acts[1:]) == 1
    assert wrong_act([acts[0], replace(acts[1], by="cy")]) == 2
    assert await store.damages() == []
    await store.engage(Halt(scope="r", by="ann", reason="enough", at=7.5))
    assert await store.release("r")
    nobody = (await store.acts())[-1]
    assert (nobody.by, nobody.at) == ("", 0.0)
    await store.close()
