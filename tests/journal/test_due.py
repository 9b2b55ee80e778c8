"""What a store says may go on: each kind of run, its order and bounds, and any history against a look at all heads."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from plimsoll.core.events import DoubtResolved, Event, RunAdopted, RunParkedEvent, RunResumed
from plimsoll.journal import InboxEntry, InboxKind, MemoryStore, RunHead, RunState, SQLiteStore, Store
from plimsoll.journal.audit import audit
from plimsoll.journal.sqlite.rows import ASKING, due_conditions
from tests.journal.conftest import OpenStore
from tests.journal.helpers import ENDED, STARTED, chain, in_loop

T = TypeVar("T")


def parked(until: float | None = None, *, seen: int = 0, reason: str = "timer", asks: int = 0) -> RunParkedEvent:
    return RunParkedEvent(reason=reason, detail="", active_s=0.0, until=until, seen=seen, asks=asks)


def message(run_id: str, number: int) -> InboxEntry:
    return InboxEntry(
        request_id=f"{run_id}:{number}", run_id=run_id, kind=InboxKind.SIGNAL, body=None, by="ana", at=0.0
    )


async def filled(store: Store, run_id: str, *events: Event, owner: str = "one") -> None:
    head = await store.claim(run_id, owner=owner, at=0.0)
    await store.append(chain(head, STARTED, *events))


async def due(store: Store, now: float = 10.0, **options: Any) -> list[str]:
    asked = {"agent": "shop", "fingerprint": "f", "owner": "two"} | options
    return [head.run_id for head in await store.due(now=now, **asked)]


@in_loop
async def test_a_parked_run_is_due_when_its_time_has_come(open_store: OpenStore) -> None:
    store = open_store("one")
    for run_id, until in (("late", 9.5), ("early", 3.0), ("now", 10.0), ("not yet", 10.5), ("never", None)):
        await filled(store, run_id, parked(until))
    assert await due(store) == ["early", "late", "now"]
    assert await due(store, limit=2) == ["early", "late"]
    assert await due(store, now=2.9) == []
    assert await due(store, agent="another") == []
    await store.close()


@in_loop
async def test_a_time_that_was_changed_is_the_one_that_counts(open_store: OpenStore) -> None:
    store = open_store("one")
    await filled(store, "r", parked(5.0), RunResumed(crashed=False, fingerprint="f"), parked(20.0))  # in one batch
    assert await due(store) == []
    assert await due(store, now=20.0) == ["r"]
    head = await store.claim("r", owner="one", at=0.0)
    await store.append(chain(head, RunResumed(crashed=False, fingerprint="f"), ENDED))
    assert await due(store, now=99.0) == []
    await store.close()


@in_loop
async def test_a_parked_run_is_due_while_it_has_a_message_that_it_has_not_acted_on(open_store: OpenStore) -> None:
    store = open_store("one")
    counts = [store.outside().posted]
    await filled(store, "r", parked())
    await filled(store, "other", parked())
    assert await store.post(message("r", 1))
    assert not await store.post(message("r", 1))
    counts.append(store.outside().posted)
    assert await due(store) == ["r"]
    (entry,) = await store.inbox("r")
    head = await store.claim("r", owner="one", at=0.0)
    assert (head.posted, head.seen) == (entry.position, 0)
    await store.append(chain(head, RunResumed(crashed=False, fingerprint="f"), parked(seen=entry.position)))
    assert await due(store) == []
    await store.post(message("r", 2))
    counts.append(store.outside().posted)
    assert await due(store) == ["r"]
    assert len(set(counts)) == 3
    await store.close()


@in_loop
async def test_a_message_that_comes_before_its_run_is_not_forgotten(open_store: OpenStore) -> None:
    store = open_store("one")
    await store.post(message("r", 1))
    (entry,) = await store.inbox("r")
    assert (await store.claim("r", owner="one", at=0.0)).posted == entry.position
    head = await store.head("r")
    assert head is not None and head.posted == entry.position
    await store.close()


@in_loop
async def test_a_running_run_is_due_to_its_owner_and_to_all_once_that_is_dead(open_store: OpenStore) -> None:
    store = open_store("one")
    await filled(store, "r")
    await store.claim("never accepted", owner="one", at=0.0)
    assert await due(store, owner="one") == ["r"]
    assert await due(store) == []
    if isinstance(store, MemoryStore):
        store.kill_owner("one")
    else:
        await store.close()
        store = open_store("two")
    assert await due(store) == ["r"]
    await store.close()


@in_loop
async def test_a_run_of_another_version_is_due_to_the_one_that_it_belongs_to(open_store: OpenStore) -> None:
    store = open_store("one")
    await filled(store, "r", parked(reason="version"))
    assert await due(store) == ["r"]
    assert await due(store, fingerprint="g") == []
    head = await store.claim("r", owner="one", at=0.0)
    await store.append(chain(head, RunAdopted(by="ana", old="f", new="g")))
    assert await due(store) == []
    assert await due(store, fingerprint="g") == ["r"]
    head_now = await store.head("r")
    assert head_now is not None and (head_now.fingerprint, head_now.state) == ("g", RunState.PARKED)
    await store.close()


@in_loop
async def test_a_parked_run_asks_until_it_goes_on(open_store: OpenStore) -> None:
    store = open_store("one")
    for run_id, asks in (("first", 1), ("silent", 0), ("second", 2), ("ended", 1)):
        await filled(store, run_id, parked(asks=asks))
    head = await store.claim("ended", owner="one", at=0.0)
    await store.append(chain(head, RunResumed(crashed=False, fingerprint="f"), ENDED))
    assert [(head.run_id, head.asks) for head in await store.asking()] == [("first", 1), ("second", 2)]
    head = await store.claim("first", owner="one", at=0.0)
    await store.append(chain(head, RunResumed(crashed=False, fingerprint="f")))
    assert [head.run_id for head in await store.asking()] == ["second"]
    head = await store.claim("first", owner="one", at=0.0)
    await store.append(chain(head, parked()))
    assert [head.run_id for head in await store.asking()] == ["second"]
    await store.close()


@in_loop
async def test_what_a_run_left_in_doubt_is_asked_until_somebody_has_answered(open_store: OpenStore) -> None:
    store = open_store("one")
    for run_id, asks in (("left", 2), ("silent", 0)):
        await filled(
            store, run_id, DoubtResolved(key="0:pay", answer="not_happened", by="bo"), replace(ENDED, asks=asks)
        )
    for asks, answer in ((2, "unknown"), (1, "happened"), (0, "not_happened"), (0, "happened")):
        head = await store.claim("left", owner="one", at=0.0)
        await store.append(chain(head, DoubtResolved(key="1:pay", answer=answer, by="ana")))
        assert [(head.run_id, head.asks) for head in await store.asking()] == ([("left", asks)] if asks else [])
    assert (await audit(store)).damages == []
    await store.close()


def test_no_look_at_who_asks_or_is_open_reads_the_runs_that_do_not(tmp_path: Path) -> None:
    async def main() -> None:
        store = SQLiteStore.open(tmp_path / "journal.db", owner="one")
        (plan,) = store._reader.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {ASKING}").fetchall()[:1]
        assert "USING INDEX runs_that_ask" in plan[-1], plan
        state = "SELECT * FROM runs WHERE TRUE AND state = ? ORDER BY started_at DESC, key DESC LIMIT ?"
        (plan,) = store._reader.execute(f"EXPLAIN QUERY PLAN {state}", ("parked", -1)).fetchall()[:1]
        assert "SEARCH runs USING INDEX runs_by_state" in plan[-1], plan
        await store.close()

    asyncio.run(main())


def test_no_look_at_what_is_due_reads_the_runs_that_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        store = SQLiteStore.open(tmp_path / "journal.db", owner="one")
        for condition, values in due_conditions(agent="shop", fingerprint="f", now=1.0):
            sql = f"EXPLAIN QUERY PLAN SELECT * FROM runs WHERE {condition}"
            (plan,) = store._reader.execute(sql, values).fetchall()
            assert "SEARCH runs USING INDEX" in plan[-1], plan
        await store.close()

    asyncio.run(main())


class DueMachine(RuleBasedStateMachine):
    """Any history of a few runs. What is due is what a look at every head would find."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.open_store()
        self.heads: dict[str, RunHead] = {}
        self.count = 0

    def open_store(self) -> Store:
        return MemoryStore()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    runs = st.sampled_from(["a", "b", "c"])
    times = st.sampled_from([None, 1.0, 2.0, 3.0])

    @rule(run_id=runs, version=st.sampled_from(["f", "g"]))
    def begin(self, run_id: str, version: str) -> None:
        if run_id not in self.heads:
            head = self.do(self.store.claim(run_id, owner="one", at=0.0))
            self.append(head, replace(STARTED, fingerprint=version))

    @rule(
        run_id=runs,
        until=times,
        seen=st.booleans(),
        reason=st.sampled_from(["timer", "version"]),
        asks=st.integers(0, 2),
    )
    def park(self, run_id: str, until: float | None, seen: bool, reason: str, asks: int) -> None:
        self.change(run_id, parked(until, seen=self.posted(run_id) if seen else 0, reason=reason, asks=asks))

    @rule(run_id=runs, until=times)
    def resume_and_park(self, run_id: str, until: float | None) -> None:
        resumed = RunResumed(crashed=False, fingerprint="f")
        self.change(run_id, resumed, parked(until, seen=self.posted(run_id)))

    @rule(run_id=runs, event=st.sampled_from([RunResumed(crashed=True, fingerprint="f"), ENDED]))
    def resume_or_end(self, run_id: str, event: Event) -> None:
        self.change(run_id, event)

    @rule(run_id=runs, version=st.sampled_from(["f", "g"]))
    def adopt(self, run_id: str, version: str) -> None:
        self.change(run_id, RunAdopted(by="ana", old="", new=version))

    @rule(run_id=runs)
    def post(self, run_id: str) -> None:
        self.count += 1
        self.do(self.store.post(message(run_id, self.count)))

    def posted(self, run_id: str) -> int:
        return max([entry.position for entry in self.do(self.store.inbox(run_id))], default=0)

    def change(self, run_id: str, *events: Event) -> None:
        if run_id in self.heads and self.heads[run_id].state is not RunState.ENDED:
            self.append(self.do(self.store.claim(run_id, owner="one", at=0.0)), *events)

    def append(self, head: RunHead, *events: Event) -> None:
        assert self.do(self.store.append(chain(head, *events))) == frozenset()
        self.heads[head.run_id] = self.do(self.store.head(head.run_id))  # type: ignore[assignment]

    @invariant()
    def what_is_due_is_what_a_look_at_all_would_find(self) -> None:
        heads = self.do(self.store.heads())
        for now, fingerprint, owner, limit in ((0.5, "f", "two", None), (2.0, "g", "one", None), (3.0, "f", "one", 1)):
            asked = {"agent": "shop", "fingerprint": fingerprint, "owner": owner, "now": now, "limit": limit}
            found = self.do(self.store.due(**asked))  # type: ignore[arg-type]
            expected = [head for head in heads if is_due(head, fingerprint, owner, now)]
            assert all(head in expected for head in found)
            assert len(found) == len({head.run_id for head in found}) == min(len(expected), limit or 9)

    @invariant()
    def who_is_open_or_asks_is_who_a_look_at_all_would_find(self) -> None:
        heads = self.do(self.store.heads())
        for state in RunState:
            assert self.do(self.store.heads(state=state)) == [head for head in heads if head.state is state]
        asking = {head.run_id for head in heads if head.asks}
        assert {head.run_id for head in self.do(self.store.asking())} == asking

    def teardown(self) -> None:
        self.do(self.store.close())
        self.runner.close()


def is_due(head: RunHead, fingerprint: str, owner: str, now: float) -> bool:
    if head.state is RunState.RUNNING:
        return head.owner == owner  # "one" lives
    if head.state is RunState.ENDED:
        return False
    timely = head.wake_at is not None and head.wake_at <= now
    return timely or head.posted > head.seen or (head.reason == "version" and head.fingerprint == fingerprint)


class SQLiteDueMachine(DueMachine):
    def open_store(self) -> Store:
        self.folder = TemporaryDirectory()
        return SQLiteStore.open(Path(self.folder.name) / "journal.db", owner="one")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestMemory = DueMachine.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSQLite = SQLiteDueMachine.TestCase
TestSQLite.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
