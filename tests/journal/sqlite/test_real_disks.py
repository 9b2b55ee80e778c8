"""A disk that is full, or read-only, or damaged: the journal says so, loses nothing, and goes on when it is mended."""

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plimsoll import Harness, Run, local
from plimsoll.contract.loading import parse_contract
from plimsoll.core.calls import Ending, Happened, NotHappenedAndCannot
from plimsoll.core.clock import ManualClock
from plimsoll.core.errors import JournalCorrupt, JournalUnavailable
from plimsoll.journal import SQLiteStore, verify_chain
from plimsoll.observability.findings import MemorySink
from tests.journal.helpers import STARTED, chain, in_loop, journal_on, value, values
from tests.journal.sqlite.disks import SmallDisk, is_root
from tests.journal.sqlite.helpers import filled, in_use, nothing_was_lost, process, refuses

only_root = pytest.mark.skipif(not is_root(), reason="only root can mount a small disk")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = SmallDisk(folder)
    yield disk
    disk.unmount()


# ------------------------------------------------------------------------------------------------------------ full disk


@only_root
@in_loop
async def test_a_full_disk(disk: SmallDisk) -> None:
    store, head = await in_use(disk.folder / "journal.db")
    disk.fill()
    await refuses(store, head, "database or disk is full; make room on its disk")
    assert await store.head("r") == head, "readers go on"
    disk.free()
    await nothing_was_lost(store, head)


@only_root
@in_loop
async def test_a_journal_that_is_opened_when_the_disk_is_full(disk: SmallDisk) -> None:
    store, head = await in_use(disk.folder / "journal.db")
    (disk.folder / "journal.db.owners" / "bell").unlink()
    disk.fill()
    code = (
        "import sys; from plimsoll.journal import SQLiteStore; store = SQLiteStore.open(sys.argv[1]);"
        " print(list(store.outside().halts))"
    )
    other = process(code, disk.folder / "journal.db")
    output, _ = other.communicate()
    assert (other.returncode, output) == (0, "['*']\n")
    disk.free()
    await nothing_was_lost(store, head)


@only_root
@in_loop
async def test_a_journal_outlasts_a_full_disk(disk: SmallDisk) -> None:
    store, head = await in_use(disk.folder / "journal.db")
    told: list[JournalUnavailable | None] = []
    journal = journal_on(store, on_trouble=told.append, max_queue=4)
    log = journal.open(head)
    await log.commit(STARTED)
    disk.fill()
    for number in range(4):
        log.append(value(number))
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match=r"make room on its disk\. This run waited 5 s; its events"):
            await log.durable()
    with pytest.raises(JournalUnavailable, match=r"4 events wait for the disk already \(.*full; make room"):
        log.append(value(4))
    assert [type(error) for error in told] == [JournalUnavailable]
    disk.free()
    await log.durable()
    await log.commit(value(5))
    assert told[1:] == [None]
    assert values(await store.read("r")) == [0, 1, 2, 3, 5]
    verify_chain(await store.read("r"), head=await store.head("r"))
    await journal.close()
    await store.close()


CONTRACT = """
[agent]
name = "refunds"
[tools.look]
effect = "read"
[tools.refund]
effect = "write"
[journal]
path = "journal.db"
patience_s = 1.5
"""


@only_root
def test_a_run_parks_when_the_disk_is_full_and_comes_back_when_it_is_not(disk: SmallDisk) -> None:
    sink = MemorySink()
    paid: list[str] = []

    async def look() -> str:
        disk.fill()  # before the intent of the refund could be recorded
        return "W1"

    async def refund(order: str) -> str:
        paid.append(order)
        return "paid"

    async def agent(run: Run, request: Any) -> Any:
        return await run.call("refund", {"order": await run.call("look", {})})

    async def life(work: Any) -> Any:
        contract = parse_contract(CONTRACT, file="plimsoll.toml")
        surroundings = local(contract, directory=disk.folder, sinks=[sink])
        verifiers = {"refund": lambda args, key: Happened("paid") if paid else NotHappenedAndCannot()}
        harness = Harness(contract, agent=agent, surroundings=surroundings, tools=[look, refund], verifiers=verifiers)
        try:
            return await work(harness)
        finally:
            disk.free()
            await harness.close()
            await surroundings.store.close()

    async def full(harness: Harness) -> None:
        result = await harness.run({}, run_id="r")
        assert result.ending is Ending.PARKED
        assert result.reason.startswith("journal: the journal cannot be written: ") and "make room" in result.reason
        assert paid == []
        with pytest.raises(JournalUnavailable, match="make room on its disk"):
            await harness.run({}, run_id="refused-at-the-door")

    asyncio.run(life(full))
    assert [(finding.kind, finding.severity) for finding in sink.findings] == [
        ("journal", "critical"),
        ("journal", "info"),
    ]
    (result,) = asyncio.run(life(lambda harness: harness.wake()))
    assert (result.run_id, result.ending, result.output) == ("r", Ending.COMPLETE, "paid")
    assert paid == ["W1"]


GROW_UNTIL_REFUSED = """
import asyncio, resource, signal, sys
from plimsoll.core.errors import JournalUnavailable
from plimsoll.journal import SQLiteStore
sys.path.insert(0, sys.argv[2])
from tests.journal.helpers import chain, value

async def main():
    store = SQLiteStore.open(sys.argv[1], owner="one")
    head = await store.claim("r", owner="one", at=1.0)
    records = chain(head, *(value("x" * 2000) for _ in range(200)))
    await store.append(records[:1])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        await store.append(records)
    except JournalUnavailable as error:
        print(error)
    print(len(await store.read("r")))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.append(records)
    print(len(await store.read("r")))
    await store.close()

asyncio.run(main())
"""


def test_a_file_that_may_not_grow(path: Path) -> None:
    child = process(GROW_UNTIL_REFUSED, path, Path.cwd())
    out, _ = child.communicate()
    said, kept, then = out.splitlines()
    assert "disk I/O error; look after its disk (a failing drive, a quota, a limit on file sizes?)" in said
    assert (kept, then) == ("1", "200")


# ------------------------------------------------------------------------------------------------------------ read-only


@only_root
@in_loop
async def test_a_read_only_disk(disk: SmallDisk) -> None:
    path = disk.folder / "journal.db"
    await filled(path)
    disk.freeze()
    with pytest.raises(JournalUnavailable, match="make the file and its folder"):
        SQLiteStore.open(path)
    with pytest.raises(JournalUnavailable, match="Read-only file system"):
        SQLiteStore.open(disk.folder / "another.db")
    disk.thaw()
    store = SQLiteStore.open(path)
    assert len(await store.read("r")) == 3
    await store.close()


OPEN = """
import sys
from plimsoll.core.errors import JournalUnavailable
from plimsoll.journal import SQLiteStore
try:
    SQLiteStore.open(sys.argv[1])
except JournalUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
@in_loop
async def test_a_file_or_folder_that_may_not_be_written(path: Path, what: str) -> None:
    await filled(path)
    target, mode = (path, 0o444) if what == "file" else (path.parent, 0o555)
    target.chmod(mode)
    out, _ = process(OPEN, path, unprivileged=True).communicate()
    assert "make the file and its folder" in out
    target.chmod(0o755)
    store = SQLiteStore.open(path)
    assert len(await store.read("r")) == 3
    await store.close()


# ------------------------------------------------------------------------------------------------- damaged, taken away


@in_loop
async def test_a_page_that_is_damaged_while_it_is_in_use(path: Path) -> None:
    await filled(path, events=100, text="y" * 300)
    store = SQLiteStore.open(path, owner="two")
    told: list[JournalUnavailable | None] = []
    journal = journal_on(store, clock=ManualClock(), on_trouble=told.append)
    log = journal.open(await store.claim("r", owner="two", at=2.0))
    whole = path.read_bytes()
    events = whole.index(b"y" * 300)
    path.write_bytes(whole[: events // 4096 * 4096] + b"\xff" * 4096 + whole[events // 4096 * 4096 + 4096 :])
    other = SQLiteStore.open(path)
    with pytest.raises(JournalCorrupt, match="restore a backup"):
        await other.read("r")
    await other.close()
    path.write_bytes(whole)
    await log.commit(value("goes on"))
    assert values(await store.read("r"))[-1] == "goes on"
    verify_chain(await store.read("r"), head=await store.head("r"))
    await store.close()


@in_loop
async def test_damage_that_the_writer_meets_is_trouble_and_nothing_is_lost(path: Path) -> None:
    await filled(path)
    store = SQLiteStore.open(path, owner="two")
    told: list[JournalUnavailable | None] = []
    journal = journal_on(store, on_trouble=told.append)
    log = journal.open(await store.claim("r", owner="two", at=2.0))
    head = await store.head("r")
    assert head is not None
    stranger = chain(head, value("a stranger's"))
    store._writer.execute("INSERT INTO events SELECT 1, ?, 1, 1.0, ?, ?", (4, stranger[0].body, stranger[0].digest))
    with pytest.raises(JournalUnavailable, match=r"the journal is damaged: .*UNIQUE.* its events are kept"):
        await log.commit(value("mine"))
    assert len(told) == 1
    store._writer.execute("DELETE FROM events WHERE seq = 4")
    await log.durable()
    assert told[1:] == [None]
    assert values(await store.read("r"))[-1] == "mine"
    await journal.close()
    await store.close()


@in_loop
async def test_a_folder_that_is_taken_away(path: Path) -> None:
    store, head = await in_use(path)
    away = path.parent.with_name("away")
    path.parent.rename(away)
    await refuses(store, head, "was moved, replaced or deleted while it was open; put it back")
    away.rename(path.parent)
    await nothing_was_lost(store, head)


@in_loop
async def test_a_file_that_is_replaced_by_a_copy_takes_nothing_more(path: Path) -> None:
    store, head = await in_use(path)
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)
    await refuses(store, head, "was moved, replaced or deleted")
    await store.close()


# ------------------------------------------------------------------------------------------------------ another process

HOLD = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@in_loop
async def test_a_lock_that_another_process_holds(path: Path) -> None:
    store, head = await in_use(path)
    holder = process(HOLD, path)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    await refuses(store, head, "locked; another process holds it locked: end that, or wait")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    await nothing_was_lost(store, head)
