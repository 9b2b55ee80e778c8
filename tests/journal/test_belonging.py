"""Runs that belong together, in each store: turns of a session, children and their parents."""

from msgspec.structs import replace

from plimsoll.core.calls import Ending
from plimsoll.journal import InboxKind, Store
from tests.journal.conftest import OpenStore
from tests.journal.helpers import ENDED, STARTED, chain, in_loop, value

TURN = replace(STARTED, session="ticket", turn="message-1")
CHILD = replace(STARTED, parent="r")


async def filled(store: Store, run_id: str, *events: object, at: float = 1.25) -> None:
    head = await store.claim(run_id, owner="one", at=at)
    await store.append(chain(head, *events, at=at))  # type: ignore[arg-type]


@in_loop
async def test_a_head_tells_whom_its_run_belongs_to(open_store: OpenStore) -> None:
    store = open_store("one")
    await filled(store, "ticket/1", TURN, ENDED)
    await filled(store, "r/2:billing", CHILD)
    turn, child = await store.head("ticket/1"), await store.head("r/2:billing")
    assert turn is not None and child is not None
    assert (turn.session, turn.turn, turn.parent) == ("ticket", "message-1", "")
    assert (child.session, child.turn, child.parent) == ("", "", "r")
    await store.close()


@in_loop
async def test_the_runs_of_a_session_are_found(open_store: OpenStore) -> None:
    store = open_store("one")
    for number, at in enumerate((5.0, 7.0, 6.0), 1):
        await filled(store, f"ticket/{number}", TURN, at=at)
    await filled(store, "other/1", replace(TURN, session="other"))
    await filled(store, "r", STARTED)
    assert [head.run_id for head in await store.heads(session="ticket")] == ["ticket/2", "ticket/3", "ticket/1"]
    assert [head.run_id for head in await store.heads(session="ticket", limit=1)] == ["ticket/2"]
    assert await store.heads(session="nobody's") == []
    await store.close()


@in_loop
async def test_as_many_records_are_read_as_are_asked_for(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await store.claim("r", owner="one", at=1.0)
    records = chain(head, STARTED, value(1), value(2))
    await store.append(records)
    assert await store.read("r", limit=1) == records[:1]
    assert await store.read("r", after=1, limit=1) == records[1:2]
    assert await store.read("r", after=2, limit=5) == records[2:]
    assert await store.read("r", limit=0) == []
    await store.close()


@in_loop
async def test_a_child_that_ends_leaves_word_for_its_parent_once(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await store.claim("c", owner="one", at=1.0)
    records = chain(head, CHILD, value(1), ENDED, at=8.5)
    await store.append(records[:2])
    assert await store.inbox("r") == []
    await store.append(records[2:])
    await store.append(records[2:])  # the writer's own retry
    (word,) = await store.inbox("r")
    assert (word.kind, word.body, word.by, word.at) == (InboxKind.CHILD, {"run_id": "c"}, "c", 8.5)
    await store.close()


@in_loop
async def test_a_child_that_begins_and_ends_in_one_batch_leaves_word_too(open_store: OpenStore) -> None:
    store = open_store("one")
    await filled(store, "c", CHILD, ENDED)
    assert [word.run_id for word in await store.inbox("r")] == ["r"]
    await store.close()


@in_loop
async def test_a_child_that_goes_on_as_a_new_run_has_not_ended(open_store: OpenStore) -> None:
    store = open_store("one")
    await filled(store, "c", CHILD, replace(ENDED, ending=Ending.CONTINUED))
    await filled(store, "r", STARTED, ENDED)  # and who has no parent tells nobody
    assert await store.inbox("r") == []
    await filled(store, "c~2", CHILD, ENDED)
    assert [word.body for word in await store.inbox("r")] == [{"run_id": "c~2"}]
    await store.close()


@in_loop
async def test_a_run_that_ends_cancels_the_children_that_it_leaves_behind_once(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await store.claim("r", owner="one", at=1.0)
    records = chain(head, STARTED, replace(ENDED, leaves=("r/2:billing", "r/2:billing~2")), at=8.5)
    await store.append(records[:1])
    assert await store.inbox("r/2:billing") == []
    await store.append(records[1:])
    await store.append(records[1:])  # the writer's own retry
    for child in ("r/2:billing", "r/2:billing~2"):
        (word,) = await store.inbox(child)
        assert (word.kind, word.by, word.at, word.request_id) == (InboxKind.CANCEL, "plimsoll", 8.5, f"{child}:cancel")
        assert word.body == {"reason": "r, which began it, has ended"}
    await store.close()


@in_loop
async def test_of_a_batch_that_is_refused_no_word_is_left(open_store: OpenStore) -> None:
    store = open_store("one")
    head = await store.claim("c", owner="one", at=1.0)
    records = chain(head, CHILD, ENDED)
    await store.claim("c", owner="two", at=2.0)
    assert await store.append(records) == {"c"}
    assert await store.inbox("r") == []
    await store.close()
