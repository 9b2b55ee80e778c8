"""Whatever the journal has said is durable survives a power cut, whatever else the disk had not written yet."""

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll.core.errors import JournalCorrupt
from plimsoll.journal import SQLiteStore, verify_chain
from tests.journal.helpers import run
from tests.journal.sqlite.powercut import Acknowledged, Disk, Operation, acknowledgements, compiled, watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched by Linux's own means")

WORK = """
import asyncio, os, sys
from plimsoll.core.clock import SystemClock
from plimsoll.core.events import ValueRecorded
from plimsoll.journal import Halt, Journal, SQLiteStore

folder, runs, pragma = sys.argv[1:]

async def main():
    store = SQLiteStore.open(f"{folder}/journal.db", owner="child")
    store._writer.execute("PRAGMA wal_autocheckpoint = 12")  # so that the log is emptied now and then
    if pragma:
        store._writer.execute(f"PRAGMA {pragma}")
    acks = os.open(f"{folder}/acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    journal = Journal(store, clock=SystemClock())

    async def work(run_id):
        log = journal.open(await store.claim(run_id, owner="child", at=1.0))
        os.write(acks, f"{run_id} 0\\n".encode())
        for number in range(8):
            log.append(ValueRecorded(key="k", value="unasked"))
            record = await log.commit(ValueRecorded(key="k", value="x" * 97 * number))
            os.write(acks, f"{run_id} {record.seq}\\n".encode())

    await asyncio.gather(*(work(f"run-{n}") for n in range(int(runs))))
    await store.engage(Halt(scope="*", by="ann", reason="enough", at=1.0))
    os.write(acks, b"halt\\n")
    await store.release("*")
    os.write(acks, b"released\\n")
    await journal.close()
    await store.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


def worked(library: Path, tmp_path: Path, *, runs: int = 3, pragma: str = "") -> list[Operation]:
    """What a process does to its files that works on a journal with so many runs at a time."""
    (tmp_path / "watched").mkdir()
    return watched(library, tmp_path / "watched", WORK, str(runs), pragma)


async def held(folder: Path) -> frozenset[str]:
    """All that a journal could have acknowledged, by what is there. Raises `JournalCorrupt` where it is damaged."""
    store = SQLiteStore.open(folder / "journal.db")
    try:
        lines = {"halt", "released"} if any(act.subject == "*" for act in await store.acts()) else set()
        for run_id in await store.run_ids():
            records = await store.read(run_id)
            verify_chain(records, head=await store.head(run_id))
            lines |= {f"{run_id} {seq}" for seq in range(len(records) + 1)}
        released = len(await store.acts()) == 2
        return frozenset(lines if released else lines - {"released"})
    finally:
        await store.close()


def lost(disk: Disk, promised: Acknowledged, folder: Path, rng: random.Random | None, kept: float) -> frozenset[str]:
    """What was promised and is not there after a power cut."""
    disk.after_power_cut(folder, rng, kept=kept)
    try:
        return promised.lines - run(held(folder))
    except JournalCorrupt as error:
        return frozenset({str(error)})
    finally:
        shutil.rmtree(folder)


def losses(operations: list[Operation], folder: Path) -> Iterator[tuple[str, frozenset[str]]]:
    """Cuts the power after each acknowledgement and at instants in between, in several ways: what is lost each time."""
    rng = random.Random(7)
    disk, done = Disk(), 0
    promises = acknowledgements(operations)
    for number, promised in enumerate(promises):
        until = promises[number + 1].after - 1 if number + 1 < len(promises) else len(operations)
        for instant in sorted({promised.after, rng.randint(promised.after, until)}):
            for operation in operations[done:instant]:
                disk.do(operation)
            done = instant
            for chance, kept in ((None, 0.0), (rng, 0.3), (rng, 0.8)):
                gone = lost(disk, promised, folder / f"{instant}-{kept}", chance, kept)
                yield f"after {instant} operations, {kept:.0%} of the rest kept", gone


def test_every_acknowledged_barrier_survives_every_power_cut(library: Path, tmp_path: Path) -> None:
    operations = worked(library, tmp_path)
    promised = acknowledgements(operations)[-1].lines
    assert len(promised) == 3 * 9 + 2
    for when, gone in losses(operations, tmp_path):
        assert gone == frozenset(), when


def test_each_barrier_waits_for_a_sync_of_its_own(library: Path, tmp_path: Path) -> None:
    written, synced, barriers = 0, 0, 0
    for operation in worked(library, tmp_path, runs=1):
        if operation.name == "journal.db-wal":
            written += operation.op == "w"
            synced = written if operation.op == "s" else synced
        elif operation.op == "w" and operation.name == "acks":
            assert written == synced > 0, "acknowledged before it was synced"
            written = synced = 0
            barriers += 1
    assert barriers == 9 + 2


@pytest.mark.parametrize("pragma", ["synchronous = OFF", "synchronous = NORMAL"])
def test_a_journal_that_does_not_sync_is_found_out(library: Path, tmp_path: Path, pragma: str) -> None:
    found = [gone for _, gone in losses(worked(library, tmp_path, pragma=pragma), tmp_path)]
    assert sum(bool(gone) for gone in found) > len(found) / 4
