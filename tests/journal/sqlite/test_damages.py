"""What the audit says of each damage: all of it, once, with its run and its place, and of what is whole nothing."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from plimsoll.core.errors import JournalCorrupt
from plimsoll.journal import SQLiteStore
from tests.journal.helpers import run
from tests.journal.sqlite.audits import KEYS, found
from tests.journal.sqlite.helpers import raw

KEEP = "Keep the file as it is, and restore a backup"
NONE_LEFT = "* 0 there is no checkpoint: nothing shows that this is all there ever was"
SWITCH = "0 the kill switch is not as the trail says that it was left"
CUT = "it was altered, or cut off"
LINK = "or the one before it, was altered, dropped or added"
ALTERED_1 = "* 0 what checkpoint 1 covers was altered"
ALTERED_2 = "* 0 what checkpoint 2 covers was altered"
PLACE = "its head and the inbox disagree about the last message to it"
BY_CHECKPOINT_1 = "the run was dropped: checkpoint 1 covers"

DAMAGES: dict[str, list[str]] = {
    # ----------------------------------------------------------------------------------------------------- runs
    "UPDATE runs SET reason = 'x', agent = 'y' WHERE run_id = 'parked'": [
        "parked 2 its head was altered: its events say otherwise of its agent, reason"
    ],
    "UPDATE runs SET digest = zeroblob(32) WHERE run_id = 'plain'": [
        "plain 4 the digest in its head is not that of record 4, its last"
    ],
    "UPDATE runs SET epoch = 0 WHERE run_id = 'plain'": ["plain 4 its head has epoch 0, its last event a later one"],
    "UPDATE runs SET posted = 7 WHERE run_id = 'sealed'": [f"sealed 0 {PLACE}"],
    "UPDATE runs SET posted = 0 WHERE run_id = 'plain'": [f"plain 0 {PLACE}"],
    "DELETE FROM runs WHERE run_id = 'plain'": [
        "* 0 a run was dropped: its 4 events are there (as run 1)",
        f"plain 4 {BY_CHECKPOINT_1} 4 events of it",
    ],
    "DELETE FROM runs WHERE run_id = 'sealed'": [
        "* 0 a run was dropped: its 3 events are there (as run 3)",
        "* 0 1 keys belong to no run",
        f"sealed 3 {BY_CHECKPOINT_1} 3 events of it",
    ],
    # --------------------------------------------------------------------------------------------------- events
    "UPDATE events SET body = x'00' WHERE run = 1 AND seq = 2": [
        f"plain 2 it cannot be read: its form is not known here (it begins with b'\\x00'). {KEEP}"
    ],
    "DELETE FROM events WHERE run = 1": [
        "plain 1 0 records are there, the head counts 4",
        "plain 1 the run was set back: checkpoint 1 covers 4 events, 0 are there",
    ],
    # ----------------------------------------------------------------------------------------- keys and erasure
    "UPDATE runs SET erased_at = 6.5 WHERE run_id = 'erased'": [
        "erased 3 its head and the trail disagree about its erasure"
    ],
    "UPDATE runs SET erased_at = 6.5 WHERE run_id = 'sealed'": [
        "sealed 0 it was erased, and its key is there",
        "sealed 3 its head and the trail disagree about its erasure",
    ],
    "DELETE FROM keys WHERE run = 3": ["sealed 1 its key is gone, and nobody has erased it"],
    "UPDATE keys SET master = '00000000' WHERE run = 3": [
        "sealed 0 its key is wrapped by master key 00000000, which is not here"
    ],
    "UPDATE keys SET wrapped = zeroblob(60) WHERE run = 2": [
        "claimed 0 its key was altered, or is another run's; restore a backup"
    ],
    "INSERT INTO keys VALUES (40, 'ef0307d8', zeroblob(60))": ["* 0 1 keys belong to no run"],
    "INSERT INTO keys VALUES (40, 'a', x'00'), (41, 'b', x'00')": ["* 0 2 keys belong to no run"],
    # ---------------------------------------------------------------------------------------------------- inbox
    "UPDATE inbox SET sender = 'bob' WHERE position = 1": [f"plain 0 message 1 in the inbox, {LINK}"],
    "UPDATE inbox SET at = 9.0 WHERE position = 2": [f"parked 0 message 2 in the inbox, {LINK}"],
    "UPDATE inbox SET run_id = 5 WHERE position = 2": [f"parked 0 {PLACE}", f"5 0 message 2 in the inbox, {LINK}"],
    "DELETE FROM inbox WHERE position = 2": [
        f"parked 0 {PLACE}",
        "* 0 inbox end at 1, and there were 2",
        f"* 0 the inbox is not as checkpoint 2 says: {CUT}",
    ],
    "DELETE FROM inbox WHERE position = 1": [
        f"plain 0 {PLACE}",
        f"parked 0 message 2 in the inbox, {LINK}",
        f"* 0 the inbox is not as checkpoint 1 says: {CUT}",
        f"* 0 the inbox is not as checkpoint 2 says: {CUT}",
    ],
    "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'inbox'": ["* 0 inbox end at 2, and there were 3"],
    # ---------------------------------------------------------------------------------------------------- trail
    "UPDATE acts SET reason = 'x' WHERE seq = 2": [f"* 0 act 2 of the trail, {LINK}"],
    "UPDATE acts SET act = 'x' WHERE seq = 2": [
        f"* 0 act 2 of the trail cannot be read: 'x' is not a valid ActKind. {KEEP}",
        "erased 3 its head and the trail disagree about its erasure",
    ],
    "UPDATE acts SET act = 'kill_switch_released' WHERE seq = 1": [f"* {SWITCH}", f"* 0 act 1 of the trail, {LINK}"],
    "UPDATE acts SET seq = 9 WHERE seq = 4": [
        "* 0 acts end at 9, and there were 4",
        f"* 0 act 4 of the trail, {LINK}",
    ],
    "DELETE FROM acts WHERE seq = 1": [
        f"* {SWITCH}",
        f"* 0 the trail is not as checkpoint 1 says: {CUT}",
        f"* 0 the trail is not as checkpoint 2 says: {CUT}",
        f"* 0 act 1 of the trail, {LINK}",
    ],
    "DELETE FROM acts WHERE seq = 4": [
        "* 0 acts end at 3, and there were 4",
        f"parked {SWITCH}",
        f"* 0 the trail is not as checkpoint 2 says: {CUT}",
    ],
    "DELETE FROM sqlite_sequence WHERE name = 'acts'": ["* 0 acts end at 4, and there were 0"],
    # -------------------------------------------------------------------------------------------- kill switches
    "DELETE FROM halts": [f"* {SWITCH}"],
    "UPDATE halts SET reason = 'x'": [f"* {SWITCH}"],
    "INSERT INTO halts VALUES ('plain', 'bob', 'x', 1.0), ('claimed', 'bob', 'x', 1.0)": [
        f"claimed {SWITCH}",
        f"plain {SWITCH}",
    ],
    "DROP TABLE halts": ["* 0 the file is damaged: no such table: halts"],
    # ---------------------------------------------------------------------------------------------- checkpoints
    "UPDATE checkpoints SET body = 'x' WHERE number = 2": [
        f"* 0 checkpoint 2 cannot be read: JSON is malformed: invalid character (byte 0). {KEEP}",
        NONE_LEFT,
    ],
    "UPDATE checkpoints SET signature = x'00' WHERE number = 2": [
        "* 0 checkpoint 2 is forged: its signature is not that of its key"
    ],
    "UPDATE checkpoints SET number = 5 WHERE number = 2": [
        "* 0 checkpoints end at 5, and there were 2",
        "* 0 checkpoint 2 was dropped",
        f"* 0 checkpoint 2 stands in the place of number 5. {KEEP}",
        NONE_LEFT,
    ],
    "DELETE FROM checkpoints WHERE number = 2": [
        "* 0 checkpoints end at 1, and there were 2",
        "* 0 checkpoint 2 was dropped",
    ],
    "DELETE FROM checkpoints WHERE number = 1": [
        "* 0 checkpoint 1 was dropped",
        "* 0 checkpoint 2 does not follow the one before: one is missing, or was changed",
    ],
    "UPDATE leaves SET digest = zeroblob(32) WHERE run_id = 'plain'": [
        ALTERED_1,
        "plain 4 it is not the event that checkpoint 1 covers: it, or one before it, was replaced",
    ],
    "UPDATE leaves SET seq = 9 WHERE run_id = 'plain'": [
        ALTERED_1,
        "plain 5 the run was set back: checkpoint 1 covers 9 events, 4 are there",
    ],
    "UPDATE leaves SET seq = 0 WHERE run_id = 'plain'": [
        ALTERED_1,
        "plain 0 it is not the event that checkpoint 1 covers: it, or one before it, was replaced",
    ],
    "DELETE FROM leaves WHERE run_id = 'plain'": [ALTERED_1, ALTERED_1],  # its places do not add up, nor its root
    "DELETE FROM leaves WHERE run_id = 'erased'": [ALTERED_1],
    "DELETE FROM leaves WHERE run_id = 'parked'": [ALTERED_2],
    "UPDATE leaves SET place = place + 1 WHERE checkpoint = 2": [ALTERED_2],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_told_with_its_place(copy: Path, damage: str) -> None:
    with raw(copy) as file:
        file.execute(damage)
    assert found(copy) == DAMAGES[damage]


def test_no_more_is_told_than_a_person_reads(copy: Path) -> None:
    with raw(copy) as file:
        file.executemany("INSERT INTO events VALUES (?, 1, 1, 1.0, x'7b7d', x'00')", [(n,) for n in range(100, 150)])
    assert found(copy) == [f"* 0 a run was dropped: its 1 events are there (as run {n})" for n in range(100, 120)]


def page_of(path: Path, name: str) -> tuple[int, int]:
    """Where in the file a table or an index begins, and ends if it fits into a page."""
    with raw(path) as file:
        (page,) = file.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        (size,) = file.execute("PRAGMA page_size").fetchone()
    return (page - 1) * size, page * size


def test_a_page_that_sqlite_cannot_read_is_told(copy: Path) -> None:
    begin, end = page_of(copy, "halts")
    content = copy.read_bytes()
    copy.write_bytes(content[:begin] + bytes(end - begin) + content[end:])
    assert set(found(copy)) == {"* 0 the file is damaged: database disk image is malformed"}


def test_an_index_that_does_not_agree_with_its_table_is_told(copy: Path) -> None:
    begin, end = page_of(copy, "sqlite_autoindex_runs_1")
    content = bytearray(copy.read_bytes())
    content[begin:end] = content[begin:end].replace(b"claimed", b"blamed!")
    copy.write_bytes(content)
    assert found(copy)[0] == "* 0 the file is damaged: row 2 missing from index sqlite_autoindex_runs_1"


def test_without_a_ring_no_key_is_looked_at(copy: Path) -> None:
    with raw(copy) as file:
        file.execute("UPDATE keys SET wrapped = zeroblob(60)")
    assert len(found(copy)) == 5, "three keys, two of which a run's events need"
    assert found(copy, ring=None) == []


async def erased_again(store: SQLiteStore) -> object:
    return await store.erase("erased", by="bo", reason="again", at=9.0)


async def told(store: SQLiteStore) -> object:
    return await store.inbox("parked")


@pytest.mark.parametrize(
    ("damage", "ask", "where", "says"),
    [
        ("UPDATE acts SET act = 'x' WHERE seq = 2", SQLiteStore.acts, "*", "act 2 of the trail cannot be read: "),
        ("UPDATE checkpoints SET body = 'x'", SQLiteStore.checkpoints, "*", "checkpoint 1 cannot be read: "),
        (
            "UPDATE checkpoints SET number = 5 WHERE number = 2",
            SQLiteStore.checkpoints,
            "*",
            "in the place of number 5",
        ),
        ("DELETE FROM acts WHERE seq = 2", erased_again, "erased", "the trail does not say by whom"),
        ("DELETE FROM keys WHERE run = 5", told, "parked", "a message to it cannot be read: it is sealed"),
    ],
)
def test_what_cannot_be_read_is_told_to_who_asks_for_it(
    copy: Path, damage: str, ask: Callable[[SQLiteStore], Awaitable[object]], where: str, says: str
) -> None:
    with raw(copy) as file:
        file.execute(damage)

    async def asked() -> None:
        store = SQLiteStore.open(copy, keys=KEYS)
        try:
            await ask(store)
        finally:
            await store.close()

    with pytest.raises(JournalCorrupt, match=says) as caught:
        run(asked())
    assert (caught.value.run_id, caught.value.seq) == (where, 0)
    assert caught.value.what.endswith(KEEP)
