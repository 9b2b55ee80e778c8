"""A journal that is opened to be looked at stays as it is, to the byte, whatever state it is in."""

import logging
import os
import signal
import sqlite3
from pathlib import Path

import pytest

from plimsoll.core.errors import JournalCorrupt, JournalUnavailable, Misuse
from plimsoll.journal import SQLiteStore
from plimsoll.journal.audit import audit
from tests.journal.helpers import chain, in_loop, value, values
from tests.journal.sqlite.helpers import process, raw
from tests.journal.sqlite.test_migration import contents, version_1, version_of
from tests.journal.sqlite.test_real_disks import SmallDisk, disk, only_root

__all__ = ["disk", "version_1"]


def files(path: Path) -> dict[str, bytes]:
    """The journal and its log, byte for byte; what SQLite keeps besides is an index that it makes anew."""
    found = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*") if file.is_file()}
    return {name: data for name, data in found.items() if data and not name.endswith("-shm")}


async def filled(path: Path) -> SQLiteStore:
    store = SQLiteStore.open(path, owner="one")
    head = await store.claim("r", owner="one", at=1.0)
    await store.append(chain(head, value("a"), value("b")))
    return store


async def is_sound(path: Path) -> None:
    """It can be read and audited, and is as it was."""
    before = files(path)
    store = SQLiteStore.look(path)
    assert values(await store.read("r")) == ["a", "b"]
    assert (await audit(store)).damages == []
    await store.close()
    assert files(path) == before


@in_loop
async def test_one_that_nobody_uses(path: Path) -> None:
    await (await filled(path)).close()
    await is_sound(path)


@in_loop
async def test_one_that_somebody_uses_is_read_with_what_stands_in_its_log(path: Path) -> None:
    store = await filled(path)
    assert path.with_name(f"{path.name}-wal").stat().st_size
    await is_sound(path)
    head = await store.head("r")
    assert head is not None and await store.append(chain(head, value("c"))) == frozenset()
    await store.close()


CRASH = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.journal.sqlite.test_looking import filled

async def main():
    await filled(Path(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@in_loop
async def test_one_that_a_dead_process_left(path: Path) -> None:
    child = process(CRASH, path)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert files(path)[f"{path.name}-wal"], "the log was not brought in"
    owners = sorted(file.name for file in path.with_name(f"{path.name}.owners").iterdir())
    await is_sound(path)
    assert sorted(file.name for file in path.with_name(f"{path.name}.owners").iterdir()) == owners


@in_loop
async def test_nothing_can_be_written_to_it(path: Path) -> None:
    await (await filled(path)).close()
    before = files(path)
    store = SQLiteStore.look(path)
    with pytest.raises(JournalUnavailable, match="readonly"):
        await store.release("*")
    with pytest.raises(JournalUnavailable, match="readonly"):
        await store.claim("r", owner="two", at=2.0)
    await store.close()
    assert files(path) == before


@in_loop
async def test_one_of_an_earlier_format_is_read_in_a_copy(version_1: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, written = files(version_1), contents(version_1)
    with caplog.at_level(logging.WARNING, logger="plimsoll.journal"):
        store = SQLiteStore.look(version_1)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{version_1} has format 1: a copy of it is read") and said.endswith("It stays as it is")
    report = await audit(store)
    folder = Path(store._file).parent
    assert folder != version_1.parent and folder.exists()
    await store.close()
    assert not folder.exists()
    assert (report.damages, report.runs, report.events) == ([], 4, 5), "as it was written"
    assert version_of(version_1) == 1
    assert (files(version_1), contents(version_1)) == (before, written)


@in_loop
async def test_what_was_altered_in_an_earlier_format_is_found(version_1: Path) -> None:
    with raw(version_1) as file:
        altered = "CAST(replace(body, 'no answer', 'an answer') AS BLOB)"
        file.execute(f"UPDATE events SET body = {altered} WHERE run = 4 AND seq = 2")
    store = SQLiteStore.look(version_1)
    damages = (await audit(store)).damages
    await store.close()
    assert ("ended", 2) in {(damage.run_id, damage.seq) for damage in damages}
    assert version_of(version_1) == 1


def test_what_is_no_journal_is_refused_and_left(path: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="unable to open"):
        SQLiteStore.look(path)
    assert not path.parent.exists()
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE t (x)")
    file.close()
    with pytest.raises(Misuse, match="another program's database"):
        SQLiteStore.look(other)
    noise = tmp_path / "noise.db"
    noise.write_bytes(os.urandom(5000))
    with pytest.raises(JournalCorrupt, match="no SQLite database"):
        SQLiteStore.look(noise)


@only_root
@in_loop
async def test_one_on_a_disk_that_may_only_be_read(disk: SmallDisk) -> None:
    path = disk.folder / "journal.db"
    await (await filled(path)).close()
    disk.freeze()
    await is_sound(path)
    disk.thaw()
