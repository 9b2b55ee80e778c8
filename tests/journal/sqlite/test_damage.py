"""A journal that somebody, or a disk, has changed."""

from pathlib import Path

import pytest

from plimsoll.core.errors import JournalCorrupt, JournalUnavailable
from plimsoll.core.events import encode_event
from plimsoll.journal import SQLiteStore
from plimsoll.journal.sqlite.errors import RESTORE
from tests.journal.helpers import STARTED, chain, in_loop, run, value, values
from tests.journal.sqlite.helpers import filled, raw, read

DAMAGES: dict[str, tuple[int, str, tuple[object, ...]]] = {
    "no event": (2, "UPDATE events SET body = ? WHERE seq = 2", (b'{"type":"party"}',)),
    "no JSON": (2, "UPDATE events SET body = ? WHERE seq = 2", (b"\x00\xff",)),
    "no bytes": (2, "UPDATE events SET body = ? WHERE seq = 2", (5,)),
    "altered": (2, "UPDATE events SET body = ? WHERE seq = 2", (encode_event(value("other")),)),
    "dated anew": (3, "UPDATE events SET at = 0.5 WHERE seq = 3", ()),
    "dropped": (2, "DELETE FROM events WHERE seq = 2", ()),
    "cut off": (3, "DELETE FROM events WHERE seq = 3", ()),
    "no state": (3, "UPDATE runs SET state = 'dancing'", ()),
    "no ending": (3, "UPDATE runs SET ending = 'happily'", ()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_with_its_place(path: Path, damage: str) -> None:
    seq, sql, arguments = DAMAGES[damage]
    run(filled(path))
    with raw(path) as connection:
        connection.execute(sql, arguments)
    with pytest.raises(JournalCorrupt) as caught:
        run(read(path))
    assert (caught.value.run_id, caught.value.seq) == ("r", seq)


UNREADABLE = {
    "no event": "it cannot be read: Invalid value 'party'",
    "no JSON": "it cannot be read: its form is not known here",
    "no bytes": "it cannot be read: ",
    "dropped": "it is missing, 3 is the next",
}


@pytest.mark.parametrize("damage", UNREADABLE)
@in_loop
async def test_what_cannot_be_read_is_found_by_reading(path: Path, damage: str) -> None:
    seq, sql, arguments = DAMAGES[damage]
    await filled(path)
    with raw(path) as connection:
        connection.execute(sql, arguments)
    store = SQLiteStore.open(path)
    for after in (0, 1):
        with pytest.raises(JournalCorrupt) as caught:
            await store.read("r", after=after)
        assert (caught.value.run_id, caught.value.seq) == ("r", seq)
        assert caught.value.what.startswith(UNREADABLE[damage]) and caught.value.what.endswith(f". {RESTORE}")
    await store.close()


@pytest.mark.parametrize(
    ("column", "says"),
    [("state", "'dancing' is not a valid RunState"), ("ending", "'dancing' is not a valid Ending")],
)
@in_loop
async def test_a_head_that_cannot_be_read_says_why(path: Path, column: str, says: str) -> None:
    await filled(path)
    with raw(path) as connection:
        connection.execute(f"UPDATE runs SET {column} = 'dancing'")
    store = SQLiteStore.open(path)
    with pytest.raises(JournalCorrupt) as caught:
        await store.head("r")
    assert (caught.value.run_id, caught.value.seq) == ("r", 3)
    assert caught.value.what == f"its head cannot be read: {says}. {RESTORE}"
    await store.close()


def test_a_damaged_page_is_found(path: Path) -> None:
    run(filled(path, events=100, text="y" * 300))
    content = path.read_bytes()
    page = content.index(b"y50") // 4096 * 4096
    path.write_bytes(content[:page] + b"\xff" * 4096 + content[page + 4096 :])
    with pytest.raises(JournalCorrupt, match="restore a backup") as caught:
        run(read(path))
    assert caught.value.run_id == "r"
    assert 40 <= caught.value.seq <= 52, "where the page begins"


@in_loop
async def test_a_failure_to_read_is_no_damage(path: Path) -> None:
    await filled(path)
    store = SQLiteStore.open(path)
    store._reader.close()
    with pytest.raises(JournalUnavailable, match="closed"):
        await store.read("r")
    await store.close()


@in_loop
async def test_a_head_that_lost_its_place_overwrites_nothing(path: Path) -> None:
    await filled(path)
    with raw(path) as connection:
        connection.execute("UPDATE runs SET seq = 1")
    store = SQLiteStore.open(path, owner="two")
    head = await store.claim("r", owner="two", at=2.0)
    with pytest.raises(JournalCorrupt, match="UNIQUE"):
        await store.append(chain(head, value("new")))
    assert values(await store.read("r")) == ["x0", "x1"]
    await store.close()


@in_loop
async def test_a_head_that_cannot_be_read_fails_its_batch_before_anything_is_written(path: Path) -> None:
    store = SQLiteStore.open(path, owner="one")
    claimed = await store.claim("r", owner="one", at=1.0)
    store._writer.execute("UPDATE runs SET state = 'flying' WHERE run_id = 'r'")
    store._appender.forget()
    records = [*chain(await store.begin("s", owner="one", at=1.0), STARTED), *chain(claimed, STARTED)]
    with pytest.raises(JournalCorrupt, match="its head cannot be read"):
        await store.append(records)
    assert await store.head("s") is None and await store.read("r") == []
    store._writer.execute("UPDATE runs SET state = 'running' WHERE run_id = 'r'")
    assert await store.append(records) == frozenset()
    assert await store.damages() == []
    await store.close()
