"""The audit of a journal's file: no change of any row or byte goes unseen."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from plimsoll.core.events import chain_digest
from plimsoll.journal import SQLiteStore
from plimsoll.journal.audit import AuditReport, audit
from plimsoll.journal.checkpoints import Checkpoint, checkpoint_after
from plimsoll.journal.signing import verify
from tests.journal.helpers import STARTED, journal_on, run, value
from tests.journal.signing import OTHER_SIGNER, SIGNER
from tests.journal.sqlite.audits import KEYS, audited, found
from tests.journal.sqlite.helpers import raw


def test_a_journal_that_is_as_it_was_verifies(whole: Path) -> None:
    report = run(audited(whole))
    assert report.damages == []
    assert (report.runs, report.erased, report.events, report.covered, report.checkpoints) == (5, 1, 12, 12, 2)


# --------------------------------------------------------------------------------------- any change of any single row

WORKING_STATE = {("runs", "owner"), ("runs", "epoch"), ("runs", "updated_at")}
"""Who claimed a run last, and when: what a run needs to go on, and no part of what happened."""
NEVER_BEGAN = {("runs", 2), ("keys", 2)}
"""The run that was claimed and has no event: there is nothing of it to lose."""
TABLES = ["runs", "events", "inbox", "halts", "keys", "acts", "checkpoints", "leaves", "sqlite_sequence"]


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    with raw(path) as file:
        return file.execute(f"SELECT * FROM {table}").fetchall()


def columns(path: Path, table: str) -> list[str]:
    with raw(path) as file:
        return [name for _, name, *_ in file.execute(f"PRAGMA table_info({table})")]


def altered(data: st.DataObject, value: Any) -> Any:
    """Something else than `value`."""
    match value:
        case bytes() | str() if value:
            place = data.draw(st.integers(0, len(value) - 1))
            if isinstance(value, str):
                return value[:place] + ("x" if value[place] != "x" else "y") + value[place + 1 :]
            flipped = bytes([value[place] ^ data.draw(st.integers(1, 255))])
            return data.draw(
                st.sampled_from([value[:place] + flipped + value[place + 1 :], value[:place], value + b"\0"])
            )
        case float() | int():
            return value + data.draw(st.sampled_from([1, -1, 1000]))
        case _:
            return data.draw(st.sampled_from(["x", 7, 1.5, b"x"]))


def rewritten(path: Path, table: str, place: int, row: tuple[Any, ...] | None) -> None:
    """Puts `row` in the place of one of the table's rows, or takes that one out."""
    with raw(path) as file:
        before = file.execute(f"SELECT * FROM {table}").fetchall()[place]
        names = columns(path, table)
        where = " AND ".join(f"{name} IS ?" for name in names)
        if row is None:
            file.execute(f"DELETE FROM {table} WHERE {where}", before)
        else:
            file.execute(
                f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in names)} WHERE {where}", (*row, *before)
            )


mutations = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


@mutations
@given(data=st.data())
def test_any_change_in_any_row_is_found(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = Path(shutil.copy(whole, tmp_path / "journal.db"))
    table = data.draw(st.sampled_from(TABLES))
    place = data.draw(st.integers(0, len(rows(path, table)) - 1))
    row = rows(path, table)[place]
    name = data.draw(st.sampled_from([name for name in columns(path, table) if (table, name) not in WORKING_STATE]))
    if (table, row[0], name) == ("runs", 2, "started_at"):
        return  # when it was claimed: it has not begun
    number = columns(path, table).index(name)
    try:
        rewritten(path, table, place, (*row[:number], altered(data, row[number]), *row[number + 1 :]))
    except sqlite3.IntegrityError:
        return  # the tables themselves refuse that
    if rows(path, table)[place : place + 1] != [row]:
        assert found(path), f"{table}.{name} of {row}"


@pytest.mark.parametrize("table", TABLES)
def test_a_value_of_another_type_is_found(whole: Path, tmp_path: Path, table: str) -> None:
    """SQLite keeps anything in any column: what cannot be compared or encoded is a damage, and no crash."""
    row, names = rows(whole, table)[0], columns(whole, table)
    for number, name in enumerate(names):
        for other in ("", b"\xff\xfe"):
            path = Path(shutil.copy(whole, tmp_path / "journal.db"))
            with suppress(sqlite3.IntegrityError):  # the tables themselves refuse that
                rewritten(path, table, 0, (*row[:number], other, *row[number + 1 :]))
            said = found(path)
            assert said or rows(path, table)[0] == row or (table, name) in WORKING_STATE, f"{table}.{name}: {other!r}"


def test_any_row_that_is_taken_out_is_found(whole: Path, tmp_path: Path) -> None:
    for table in TABLES:
        for place, row in enumerate(rows(whole, table)):
            path = Path(shutil.copy(whole, tmp_path / "journal.db"))
            rewritten(path, table, place, None)
            if (table, row[0]) not in NEVER_BEGAN:
                assert found(path), f"{table}: {row}"


def test_any_row_that_is_put_in_is_found(whole: Path, tmp_path: Path) -> None:
    for table in ("events", "inbox", "halts", "keys", "acts", "checkpoints", "leaves"):
        for row in rows(whole, table):
            path = Path(shutil.copy(whole, tmp_path / "journal.db"))
            another = list(row)
            for number, cell in enumerate(another):
                if isinstance(cell, int):
                    another[number] = cell + 1000
                elif isinstance(cell, str):
                    another[number] = cell + "x"
            with raw(path) as file:
                file.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", another)
            assert found(path), f"{table}: {another}"


def everything(path: Path) -> list[Any]:
    """All that the journal tells of what happened."""

    async def read() -> list[Any]:
        store = SQLiteStore.open(path, keys=KEYS)
        try:
            ids = await store.run_ids()
            heads = [await store.head(run_id) for run_id in ids]
            told = [head and replace(head, owner="", epoch=0, updated_at=0.0) for head in heads]
            runs = [(await store.read(run_id), await store.inbox(run_id)) for run_id in ids]
            return [ids, told, runs, await store.acts(), await store.checkpoints(), dict(store.outside().halts)]
        finally:
            await store.close()

    return run(read())


@settings(mutations, max_examples=200)
@given(data=st.data())
def test_any_byte_that_is_changed_is_found_or_says_nothing(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Some bytes of a file say nothing: unused space, and counters that SQLite keeps for itself."""
    content = bytearray(whole.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    for log in tmp_path.glob("journal.db-*"):
        log.unlink()
    if not found(path):
        assert everything(path) == everything(whole)


# ------------------------------------------------------------------------------------------------- a careful forger


def rechained(file: sqlite3.Connection, run_id: str, alter: Callable[[list[Any]], list[Any]]) -> None:
    """Rewrites a run's bodies, and everything in its chain and its head that follows from them."""
    (key,) = file.execute("SELECT key FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    events = file.execute("SELECT epoch, at, body FROM events WHERE run = ? ORDER BY seq", (key,)).fetchall()
    file.execute("DELETE FROM events WHERE run = ?", (key,))
    digest, seq = bytes(32), 0
    for seq, (epoch, at, body) in enumerate(alter(events), 1):
        digest = chain_digest(digest, run_id=run_id, seq=seq, epoch=epoch, at=at, body=body)
        file.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (key, seq, epoch, at, body, digest))
    file.execute("UPDATE runs SET seq = ?, digest = ? WHERE key = ?", (seq, digest, key))


FORGERIES: dict[str, tuple[Callable[[list[Any]], list[Any]], str]] = {
    "altered": (
        lambda e: [e[0], (e[1][0], e[1][1], e[1][2].replace(b"one", b"two")), *e[2:]],
        "plain 4 it is not the event that checkpoint 1 covers: it, or one before it, was replaced",
    ),
    "dropped": (lambda e: [e[0], *e[2:]], "plain 4 the run was set back: checkpoint 1 covers 4 events, 3 are there"),
    "reordered": (lambda e: [e[0], e[2], e[1], e[3]], "plain 4 it is not the event that checkpoint 1 covers"),
    "truncated": (lambda e: e[:1], "plain 2 the run was set back: checkpoint 1 covers 4 events, 1 are there"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_who_rewrites_the_whole_chain_is_found_by_the_checkpoints(copy: Path, forgery: str) -> None:
    alter, says = FORGERIES[forgery]
    with raw(copy) as file:
        rechained(file, "plain", alter)
    assert any(line.startswith(says) for line in found(copy))
    with raw(copy) as file:
        file.execute("DELETE FROM checkpoints")
        file.execute("DELETE FROM leaves")
        file.execute("DELETE FROM sqlite_sequence WHERE name = 'checkpoints'")
    said = found(copy, keys=())
    assert [line for line in said if "head was altered" not in line] == [], "without checkpoints nothing shows it"
    assert "* 0 there is no checkpoint: nothing shows that this is all there ever was" in found(copy)


def test_a_run_that_was_dropped_whole(copy: Path) -> None:
    with raw(copy) as file:
        file.execute("DELETE FROM events WHERE run = (SELECT key FROM runs WHERE run_id = 'sealed')")
        file.execute("DELETE FROM keys WHERE run = (SELECT key FROM runs WHERE run_id = 'sealed')")
        file.execute("DELETE FROM runs WHERE run_id = 'sealed'")
    assert found(copy) == ["sealed 3 the run was dropped: checkpoint 1 covers 3 events of it"]


def test_a_journal_that_was_set_back_whole(copy: Path, tmp_path: Path) -> None:
    earlier = Path(shutil.copy(copy, tmp_path / "earlier.db"))

    async def go_on() -> Checkpoint | None:
        store = SQLiteStore.open(copy, owner="two", keys=KEYS)
        await journal_on(store).open(await store.claim("late", owner="two", at=8.0)).commit(STARTED)
        made = await store.checkpoint(checkpoint_after(SIGNER, at=9.0))
        await store.close()
        return made

    kept = run(go_on())
    assert kept is not None
    assert found(copy, against=kept) == []
    assert found(earlier) == [], "by itself it is as it once was"
    assert found(earlier, against=kept) == [
        "* 0 the journal was set back, or forged: checkpoint 3 is not there as it was kept elsewhere"
    ]


def test_a_checkpoint_by_another_key(copy: Path) -> None:
    async def sign() -> None:
        store = SQLiteStore.open(copy, owner="two", keys=KEYS)
        await journal_on(store).open(await store.claim("late", owner="two", at=8.0)).commit(STARTED)
        await store.checkpoint(checkpoint_after(OTHER_SIGNER, at=9.0))
        await store.close()

    run(sign())
    assert found(copy) == ["* 0 checkpoint 3 is signed by a key that is not among those given"]
    assert found(copy, keys={SIGNER.public, OTHER_SIGNER.public}) == []
    assert found(copy, keys=()) == []


def test_a_checkpoint_that_was_left_out(copy: Path) -> None:
    with raw(copy) as file:
        file.execute("DELETE FROM checkpoints WHERE number = 1")
        file.execute("DELETE FROM leaves WHERE checkpoint = 1")
    assert "* 0 checkpoint 2 does not follow the one before: one is missing, or was changed" in found(copy)


def test_a_journal_in_use_is_audited_as_it_is(copy: Path) -> None:
    async def busy() -> list[AuditReport]:
        store, looking = SQLiteStore.open(copy, owner="two", keys=KEYS), SQLiteStore.open(copy, keys=KEYS)
        log = journal_on(store).open(await store.claim("parked", owner="two", at=8.0))
        read = looking.read

        async def read_late(run_id: str, **options: Any) -> Any:
            if run_id == "parked":
                await log.commit(value("meanwhile"))
            return await read(run_id, **options)

        looking.read = read_late  # type: ignore[method-assign]
        reports = [await audit(looking, verify=verify) for _ in range(2)]
        await store.close()
        await looking.close()
        return reports

    assert [(report.damages, report.events) for report in run(busy())] == [([], 12), ([], 13)]


def test_more_than_one_damage_is_told(copy: Path) -> None:
    with raw(copy) as file:
        file.execute("UPDATE events SET at = at + 1 WHERE seq = 2")
        file.execute("UPDATE runs SET reason = 'else' WHERE run_id = 'parked'")
    said = found(copy)
    for run_id in ("plain", "sealed", "erased", "parked"):
        assert any(line.startswith(f"{run_id} 2 ") for line in said), run_id


@pytest.mark.parametrize("run_id", ["plain", "sealed", "claimed", "parked", "erased"])
def test_an_id_that_is_no_text_any_more(copy: Path, run_id: str) -> None:
    with raw(copy) as file:
        file.execute("UPDATE runs SET run_id = CAST(run_id AS BLOB) WHERE run_id = ?", (run_id,))
    assert any("its id is no text" in line for line in found(copy))
