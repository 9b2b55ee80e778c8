"""Both stores under random histories: two owners, crashes, takeovers, against a model of what must be there."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import Superseded
from plimsoll.core.events import GENESIS, Record, encode_event
from plimsoll.journal import (
    Halt,
    InboxEntry,
    InboxKind,
    Journal,
    MemoryStore,
    RunHead,
    RunLog,
    SQLiteStore,
    Store,
    verify_chain,
)
from tests.journal.helpers import value

T = TypeVar("T")

OWNERS = st.sampled_from(["one", "two"])
RUNS = st.sampled_from(["a", "b", "c"])


async def quiet(journal: Journal) -> None:
    """Waits for the writer's task, which a full batch starts without any barrier: else histories would not repeat."""
    while (task := journal._task) is not None:
        await asyncio.wait([task])


async def appended(journal: Journal, log: RunLog, number: int) -> Record:
    record = log.append(value(number))
    await quiet(journal)
    return record


@dataclass
class ModelRun:
    """A run as it must be: at least `acknowledged` of `log`'s records are stored after `base`, in order."""

    epoch: int = 0
    owner: str = ""
    base: list[Record] = field(default_factory=list)
    written: list[Record] = field(default_factory=list)
    acknowledged: int = 0


class JournalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stores: dict[str, Store] = {}
        self.journals: dict[str, Journal] = {}
        self.logs: dict[tuple[str, str], RunLog] = {}
        self.current: dict[str, RunLog] = {}
        self.runs = {run_id: ModelRun() for run_id in ("a", "b", "c")}
        self.seen: dict[str, list[Record]] = {}
        self.inbox: dict[str, InboxEntry] = {}
        self.halts: dict[str, Halt] = {}
        self.alive = {"one": False, "two": False}
        self.count = 0

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def open_store(self, owner: str) -> Store:
        raise NotImplementedError

    def end_process(self, owner: str) -> None:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        for owner in ("one", "two"):
            self.start(owner)

    def start(self, owner: str) -> None:
        self.stores[owner] = self.open_store(owner)
        # Batches of 3, and no timer.
        journal = Journal(self.stores[owner], clock=ManualClock(), flush_s=3600.0, max_batch=3)
        journal.subscribe(lambda records: self.seen.setdefault(owner, []).extend(records))
        self.journals[owner] = journal

    def stored(self, run_id: str) -> list[Record]:
        return self.do(self.stores["one"].read(run_id))

    # ------------------------------------------------------------------------------------------------ runs

    @rule(owner=OWNERS, run_id=RUNS)
    def claim(self, owner: str, run_id: str) -> None:
        model = self.runs[run_id]
        head = self.do(self.stores[owner].claim(run_id, owner=owner, at=1.0))
        stored = self.stored(run_id)
        assert (head.epoch, head.owner, head.seq) == (model.epoch + 1, owner, len(stored))
        assert head.digest == (stored[-1].digest if stored else GENESIS)
        self.runs[run_id] = ModelRun(epoch=head.epoch, owner=owner, base=stored)
        self.alive[owner] = True
        self.logs[owner, run_id] = self.current[run_id] = self.journals[owner].open(head)

    @rule(owner=OWNERS, run_id=RUNS, times=st.integers(1, 4))
    def append(self, owner: str, run_id: str, times: int) -> None:
        log = self.logs.get((owner, run_id))
        for _ in range(times if log is not None else 0):
            assert log is not None
            self.count += 1
            try:
                record = self.do(appended(self.journals[owner], log, self.count))
            except Superseded:
                assert log is not self.current[run_id]
                return
            if log is self.current[run_id]:
                self.runs[run_id].written.append(record)

    @rule(owner=OWNERS, run_ids=st.sets(RUNS, min_size=1))
    def barriers(self, owner: str, run_ids: set[str]) -> None:
        async def together(logs: list[RunLog]) -> list[BaseException | None]:
            results = await asyncio.gather(*(log.durable() for log in logs), return_exceptions=True)
            await quiet(self.journals[owner])
            return results

        logs = [log for run_id in sorted(run_ids) if (log := self.logs.get((owner, run_id))) is not None]
        for log, result in zip(logs, self.do(together(logs)), strict=True):
            if log is self.current[log.run_id]:
                assert result is None
                model = self.runs[log.run_id]
                model.acknowledged = len(model.written)
            else:
                assert result is None or isinstance(result, Superseded)

    @rule(owner=OWNERS, kept=st.sampled_from(["nothing", "half", "everything"]))
    def crash(self, owner: str, kept: str) -> None:
        journal = self.journals[owner]
        pending = journal.pending()
        journal.abandon()
        survivors = pending[: {"nothing": 0, "half": len(pending) // 2, "everything": len(pending)}[kept]]
        if survivors:
            refused = self.do(self.stores[owner].append(survivors))
            assert refused == {r.run_id for r in survivors if self.runs[r.run_id].epoch != r.epoch}
        self.end_process(owner)
        self.alive[owner] = False
        self.start(owner)
        for run_id in self.runs:
            log = self.logs.pop((owner, run_id), None)
            if log is not None and log is self.current[run_id]:  # what was lost is lost
                model = self.runs[run_id]
                after = self.stored(run_id)[len(model.base) :]
                assert after == model.written[: len(after)] and len(after) >= model.acknowledged
                model.written = after

    @rule(owner=OWNERS, run_id=RUNS, data=st.data())
    def append_again(self, owner: str, run_id: str, data: st.DataObject) -> None:
        stored = self.stored(run_id)
        begin = data.draw(st.integers(0, len(stored)))
        again = stored[begin : begin + data.draw(st.integers(0, 3))]
        assert self.do(self.stores[owner].append(again)) == frozenset()
        assert self.stored(run_id) == stored

    @rule(owner=OWNERS, run_id=RUNS, data=st.data())
    def forge(self, owner: str, run_id: str, data: st.DataObject) -> None:
        stored = self.stored(run_id)
        if not stored:
            return
        original = data.draw(st.sampled_from(stored))
        body = encode_event(value("forged"))
        for forged in (
            replace(original, body=body, digest=bytes(32)),
            replace(original, seq=len(stored) + 1, epoch=self.runs[run_id].epoch - 1),
            replace(original, seq=len(stored) + 2, epoch=self.runs[run_id].epoch),
        ):
            assert self.do(self.stores[owner].append([*stored[:1], forged])) == {run_id}
        assert self.stored(run_id) == stored

    # --------------------------------------------------------------------------------- inbox, kill switches

    @rule(owner=OWNERS, run_id=RUNS, request_id=st.sampled_from("pqrstu"))
    def post(self, owner: str, run_id: str, request_id: str) -> None:
        entry = InboxEntry(
            request_id=request_id, run_id=run_id, kind=InboxKind.DECISION, body={"n": self.count}, by="ann", at=1.0
        )
        assert self.do(self.stores[owner].post(entry)) == (request_id not in self.inbox)
        self.inbox.setdefault(request_id, entry)

    @rule(owner=OWNERS, scope=st.sampled_from(["*", "a"]), reason=st.sampled_from(["x", "y"]))
    def engage(self, owner: str, scope: str, reason: str) -> None:
        self.halts[scope] = Halt(scope=scope, by="ann", reason=reason, at=1.0)
        self.do(self.stores[owner].engage(self.halts[scope]))

    @precondition(lambda self: self.halts)
    @rule(owner=OWNERS, scope=st.sampled_from(["*", "a"]))
    def release(self, owner: str, scope: str) -> None:
        assert self.do(self.stores[owner].release(scope)) == (scope in self.halts)
        self.halts.pop(scope, None)

    # --------------------------------------------------------------------------------------- what must hold

    @invariant()
    def every_run_is_as_it_must_be(self) -> None:
        if not self.stores:
            return
        for run_id, model in self.runs.items():
            head = self.do(self.stores["two"].head(run_id))
            stored = self.stored(run_id)
            if head is None:
                assert (model.epoch, stored) == (0, [])
                continue
            assert (head.epoch, head.owner) == (model.epoch, model.owner)
            verify_chain(stored, head=head)
            assert stored[: len(model.base)] == model.base
            after = stored[len(model.base) :]
            assert after == model.written[: len(after)] and len(after) >= model.acknowledged
            if (model.owner, run_id) in self.logs:
                mine = [record for record in self.journals[model.owner].pending() if record.run_id == run_id]
                assert after + mine == model.written

    @invariant()
    def readers_saw_only_what_is_stored_and_in_order(self) -> None:
        for records in self.seen.values():
            for run_id in self.runs:
                seqs = [record.seq for record in records if record.run_id == run_id]
                assert seqs == sorted(set(seqs))
                stored = self.stored(run_id)
                assert all(record == stored[record.seq - 1] for record in records if record.run_id == run_id)

    @invariant()
    def the_rest_is_as_it_must_be(self) -> None:
        for store in self.stores.values():
            assert dict(store.halts()) == self.halts
            for owner, alive in self.alive.items():
                assert store.owner_alive(owner) >= alive
            for run_id in self.runs:
                found = [replace(entry, position=0) for entry in self.do(store.inbox(run_id))]
                assert found == [entry for entry in self.inbox.values() if entry.run_id == run_id]

    @invariant()
    def heads_lists_every_run_once(self) -> None:
        if self.stores:
            heads: list[RunHead] = self.do(self.stores["one"].heads())
            assert sorted(head.run_id for head in heads) == sorted(r for r, m in self.runs.items() if m.epoch)

    def teardown(self) -> None:
        for journal in self.journals.values():
            journal.abandon()
        for store in self.stores.values():
            self.do(store.close())
        self.runner.close()


class MemoryMachine(JournalMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shared = MemoryStore()

    def open_store(self, owner: str) -> Store:
        return self.shared

    def end_process(self, owner: str) -> None:
        self.shared.kill_owner(owner)
        assert not self.shared.owner_alive(owner)


class SQLiteMachine(JournalMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()

    def open_store(self, owner: str) -> Store:
        return SQLiteStore.open(Path(self.folder.name) / "journal.db", owner=owner)

    def end_process(self, owner: str) -> None:
        self.do(self.stores[owner].close())
        other = "two" if owner == "one" else "one"
        assert not self.stores[other].owner_alive(owner)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSQLite = SQLiteMachine.TestCase
TestSQLite.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
