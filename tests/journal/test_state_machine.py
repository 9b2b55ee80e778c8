"""Both stores under random histories: two owners, crashes, takeovers, messages, kill switches, erasures, checkpoints,
against a model of what must be there.

What owner `one` begins is encrypted, what `two` begins is not.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import Misuse, RunErased, Superseded, UnknownRun
from plimsoll.core.events import GENESIS, Event, Record, RunParkedEvent, RunResumed, SignalReceived, encode_event
from plimsoll.journal import (
    Halt,
    InboxEntry,
    InboxKind,
    Journal,
    MemoryStore,
    RunHead,
    RunLog,
    RunState,
    SQLiteStore,
    verify_chain,
)
from plimsoll.journal.audit import audit
from plimsoll.journal.checkpoints import checkpoint_after
from plimsoll.journal.codec import ERASED, is_sealed, opened
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.evidence import Erased, EvidenceStore
from plimsoll.journal.keys import KeyRing
from plimsoll.journal.signing import verify
from tests.journal.helpers import ENDED, value
from tests.journal.signing import SIGNER

T = TypeVar("T")

OWNERS = st.sampled_from(["one", "two"])
RUNS = st.sampled_from(["a", "b", "c"])
KEYS = {"one": MasterKeys([bytes(32)]), "two": MasterKeys([bytes(32)], encrypt=False)}
"""Both can open what is encrypted."""
MESSAGES = [kind for kind in InboxKind if kind is not InboxKind.CHILD]
PARKED = RunParkedEvent(reason="signal", detail="go", active_s=1.0)
RESUMED = RunResumed(crashed=False, fingerprint="f")


def bare(records: list[Record]) -> list[Record]:
    """The records as they are stored: what can be read in them depends on who reads, and when."""
    return [replace(record, opened=None) for record in records]


async def quiet(journal: Journal) -> None:
    """Waits for the writer's task, which a full batch starts without any barrier: else histories would not repeat."""
    while (task := journal._task) is not None:
        await asyncio.wait([task])


async def appended(journal: Journal, log: RunLog, event: Event) -> Record:
    record = log.append(event)
    await quiet(journal)
    return record


@dataclass
class ModelRun:
    """A run as it must be: at least `acknowledged` of what was `written` is stored after `base`, in order."""

    epoch: int = 0
    sealed: bool = False
    erased: Erased | None = None
    owner: str = ""
    base: list[Record] = field(default_factory=list)
    written: list[Record] = field(default_factory=list)
    acknowledged: int = 0


class JournalMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stores: dict[str, EvidenceStore] = {}
        self.journals: dict[str, Journal] = {}
        self.logs: dict[tuple[str, str], RunLog] = {}
        self.current: dict[str, RunLog] = {}
        self.runs = {run_id: ModelRun() for run_id in ("a", "b", "c")}
        self.seen: dict[str, list[Record]] = {}
        self.inbox: dict[tuple[str, str], InboxEntry] = {}
        self.halts: dict[str, Halt] = {}
        self.alive = {"one": False, "two": False}
        self.count = 0

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def open_store(self, owner: str) -> EvidenceStore:
        raise NotImplementedError

    def end_process(self, owner: str) -> None:
        raise NotImplementedError

    @initialize(owners=st.tuples(OWNERS, OWNERS, OWNERS))
    def begin(self, owners: tuple[str, str, str]) -> None:
        for owner in ("one", "two"):
            self.start(owner)
        for run_id, owner in zip(self.runs, owners, strict=True):
            self.claim(owner, run_id)

    def start(self, owner: str) -> None:
        self.stores[owner] = self.open_store(owner)
        # Batches of 3, and no timer.
        journal = Journal(self.stores[owner], clock=ManualClock(), flush_s=3600.0, max_batch=3)
        journal.subscribe(lambda records: self.seen.setdefault(owner, []).extend(records))
        self.journals[owner] = journal

    def stored(self, run_id: str) -> list[Record]:
        return bare(self.do(self.stores["one"].read(run_id)))

    # ------------------------------------------------------------------------------------------------ runs

    @rule(owner=OWNERS, run_id=RUNS)
    def claim(self, owner: str, run_id: str) -> None:
        model = self.runs[run_id]
        if model.erased is not None:
            with pytest.raises(RunErased):
                self.do(self.stores[owner].claim(run_id, owner=owner, at=1.0))
            return
        head = self.do(self.stores[owner].claim(run_id, owner=owner, at=1.0))
        stored = self.stored(run_id)
        assert (head.epoch, head.owner, head.seq) == (model.epoch + 1, owner, len(stored))
        assert head.digest == (stored[-1].digest if stored else GENESIS)
        sealed = model.sealed or (owner == "one" and not stored)
        self.runs[run_id] = ModelRun(epoch=head.epoch, sealed=sealed, owner=owner, base=stored)
        self.alive[owner] = True
        self.logs[owner, run_id] = self.current[run_id] = self.journals[owner].open(head)

    @precondition(lambda self: self.logs)
    @rule(data=st.data(), times=st.integers(1, 4))
    def append(self, data: st.DataObject, times: int) -> None:
        owner, run_id = data.draw(st.sampled_from(sorted(self.logs)))
        for _ in range(times):
            self.count += 1
            self.write(owner, run_id, value(self.count))

    @precondition(lambda self: self.logs)
    @rule(data=st.data(), event=st.sampled_from([PARKED, RESUMED, ENDED]))
    def park_resume_or_end(self, data: st.DataObject, event: Event) -> None:
        self.write(*data.draw(st.sampled_from(sorted(self.logs))), event)

    @precondition(lambda self: self.logs)
    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        """Somebody who has the run, or has had it, copies the signals that it was sent into the chain."""
        owner, run_id = data.draw(st.sampled_from(sorted(self.logs)))
        for entry in self.do(self.stores[owner].inbox(run_id)):
            if entry.kind is InboxKind.SIGNAL:
                asked = {"name": "go", "signal_id": entry.request_id, "payload": entry.body, "by": entry.by}
                self.write(owner, run_id, SignalReceived(key="1:wait", **asked))

    def write(self, owner: str, run_id: str, event: Event) -> None:
        log = self.logs[owner, run_id]
        try:
            record = self.do(appended(self.journals[owner], log, event))
        except Superseded:
            assert log is not self.current[run_id] or self.runs[run_id].erased is not None
            return
        assert record.event == event
        if log is self.current[run_id] and self.runs[run_id].erased is None:
            self.runs[run_id].written.extend(bare([record]))

    @rule(owner=OWNERS, run_ids=st.sets(RUNS, min_size=1))
    def barriers(self, owner: str, run_ids: set[str]) -> None:
        async def together(logs: list[RunLog]) -> list[BaseException | None]:
            results = await asyncio.gather(*(log.durable() for log in logs), return_exceptions=True)
            await quiet(self.journals[owner])
            return results

        logs = [log for run_id in sorted(run_ids) if (log := self.logs.get((owner, run_id))) is not None]
        for log, result in zip(logs, self.do(together(logs)), strict=True):
            if log is self.current[log.run_id] and self.runs[log.run_id].erased is None:
                assert result is None
                model = self.runs[log.run_id]
                model.acknowledged = len(model.written)
            else:
                assert result is None or isinstance(result, Superseded)

    @rule(owner=OWNERS, data=st.data())
    def crash(self, owner: str, data: st.DataObject) -> None:
        """Of what was not synced, the disk has all, nothing, or any part from the front."""
        journal = self.journals[owner]
        pending = journal.pending()
        journal.abandon()
        survivors = pending[: data.draw(st.integers(0, len(pending)))]
        if survivors:
            refused = self.do(self.stores[owner].append(survivors))
            assert refused == {r.run_id for r in survivors if self.is_another(r)}
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

    def is_another(self, record: Record) -> bool:
        """Whether the run takes no record of this epoch any more."""
        return self.runs[record.run_id].epoch != record.epoch or self.runs[record.run_id].erased is not None

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

    @rule(owner=OWNERS, run_id=RUNS, request_id=st.sampled_from("pqrstu"), kind=st.sampled_from(MESSAGES))
    def post(self, owner: str, run_id: str, request_id: str, kind: InboxKind) -> None:
        body = {"n": self.count}
        entry = InboxEntry(request_id=request_id, run_id=run_id, kind=kind, body=body, by="ann", at=1.0)
        if self.runs[run_id].erased is not None:
            with pytest.raises(RunErased):
                self.do(self.stores[owner].post(entry))
            return
        # Sealed ids are told apart run by run, those that stand as they are in the whole journal.
        stored_id = (run_id if self.runs[run_id].sealed else "", request_id)
        assert self.do(self.stores[owner].post(entry)) == (stored_id not in self.inbox)
        self.inbox.setdefault(stored_id, entry)

    @rule(owner=OWNERS, scope=st.sampled_from(["*", "a"]), reason=st.sampled_from(["x", "y"]))
    def engage(self, owner: str, scope: str, reason: str) -> None:
        self.halts[scope] = Halt(scope=scope, by="ann", reason=reason, at=1.0)
        self.do(self.stores[owner].engage(self.halts[scope]))

    @precondition(lambda self: self.halts)
    @rule(owner=OWNERS, scope=st.sampled_from(["*", "a"]))
    def release(self, owner: str, scope: str) -> None:
        assert self.do(self.stores[owner].release(scope)) == (scope in self.halts)
        self.halts.pop(scope, None)

    # -------------------------------------------------------------------------------------------- evidence

    @rule(owner=OWNERS, run_id=RUNS, ends_first=st.booleans())
    def erase(self, owner: str, run_id: str, ends_first: bool) -> None:
        model, store = self.runs[run_id], self.stores[owner]
        if ends_first and (model.owner, run_id) in self.logs:
            self.write(model.owner, run_id, ENDED)
            self.barriers(model.owner, {run_id})
        head = self.do(store.head(run_id))
        erasing = store.erase(run_id, by="ann", reason="asked", at=2.0)
        if head is None:
            with pytest.raises(UnknownRun):
                self.do(erasing)
        elif model.erased is not None:
            assert self.do(erasing).act == model.erased.act
        elif model.sealed and head.state is RunState.ENDED:
            model.erased = self.do(erasing)
            model.written = self.stored(run_id)[len(model.base) :]
        else:
            with pytest.raises(Misuse):
                self.do(erasing)

    @rule(owner=OWNERS)
    def checkpoint(self, owner: str) -> None:
        store = self.stores[owner]
        self.do(store.checkpoint(checkpoint_after(SIGNER, at=3.0)))
        covered = {
            leaf.run_id: leaf.seq
            for checkpoint in self.do(store.checkpoints())
            for leaf in self.do(store.leaves(checkpoint.number))
        }
        assert covered == {head.run_id: head.seq for head in self.do(store.heads()) if head.seq}

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
            if (model.owner, run_id) in self.logs and model.erased is None:
                mine = [record for record in self.journals[model.owner].pending() if record.run_id == run_id]
                assert after + bare(mine) == model.written
            self.can_be_read(run_id, model)

    def can_be_read(self, run_id: str, model: ModelRun) -> None:
        """Everything can, by both owners, until it is erased; what is sealed, nowhere else."""
        for store in self.stores.values():
            for record in self.do(store.read(run_id)):
                assert is_sealed(record.body) == (model.sealed and record.event not in (RESUMED,))
                erased = is_sealed(record.body) and record.json == opened(record.body, None, missing=ERASED)
                assert erased == (is_sealed(record.body) and model.erased is not None)

    @invariant()
    def readers_saw_only_what_is_stored_and_in_order(self) -> None:
        for records in self.seen.values():
            for run_id in self.runs:
                mine = bare([record for record in records if record.run_id == run_id])
                seqs = [record.seq for record in mine]
                assert seqs == sorted(set(seqs))
                stored = self.stored(run_id)
                assert all(record == stored[record.seq - 1] for record in mine)

    @invariant()
    def the_rest_is_as_it_must_be(self) -> None:
        for store in self.stores.values():
            assert dict(store.outside().halts) == self.halts
            for owner, alive in self.alive.items():
                assert store.owner_alive(owner) >= alive
            for run_id in self.runs:
                found = [replace(entry, position=0) for entry in self.do(store.inbox(run_id))]
                sent = [entry for entry in self.inbox.values() if entry.run_id == run_id]
                assert found == ([] if self.runs[run_id].erased is not None else sent)

    @invariant()
    def heads_lists_every_run_once(self) -> None:
        if self.stores:
            heads: list[RunHead] = self.do(self.stores["one"].heads())
            assert sorted(head.run_id for head in heads) == sorted(r for r, m in self.runs.items() if m.epoch)

    def teardown(self) -> None:
        if self.stores:
            report = self.do(audit(self.stores["one"], verify=verify))
            assert report.damages == []
        for journal in self.journals.values():
            journal.abandon()
        for store in self.stores.values():
            self.do(store.close())
        self.runner.close()


class InMemory:
    """A store in memory as one owner has it: with keys of its own."""

    def __init__(self, shared: MemoryStore, keys: KeyRing) -> None:
        self._shared = shared
        self._keys = keys

    def __getattr__(self, name: str) -> Any:
        self._shared.keys = self._keys
        return getattr(self._shared, name)


class MemoryMachine(JournalMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shared = MemoryStore()

    def open_store(self, owner: str) -> EvidenceStore:
        return InMemory(self.shared, KEYS[owner])

    def end_process(self, owner: str) -> None:
        self.shared.kill_owner(owner)
        assert not self.shared.owner_alive(owner)


class SQLiteMachine(JournalMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()

    def open_store(self, owner: str) -> EvidenceStore:
        return SQLiteStore.open(Path(self.folder.name) / "journal.db", owner=owner, keys=KEYS[owner])

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
