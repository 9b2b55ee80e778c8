"""The bell by which processes over one journal hear of one another: nothing that was done goes unheard."""

import shutil
from pathlib import Path

import pytest

from plimsoll.core.clock import ManualClock
from plimsoll.journal import SQLiteStore
from plimsoll.journal.sqlite.bell import Bell
from plimsoll.journal.store import Halt, InboxEntry, InboxKind
from tests.journal.helpers import in_loop
from tests.journal.sqlite.helpers import raw

HALT = Halt(scope="*", by="ana", reason="enough", at=1.0)
SIGNAL = InboxEntry(request_id="s", run_id="r", kind=InboxKind.SIGNAL, body={"name": "paid"}, by="bank", at=1.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """By which the bells of stores go."""
    clock = ManualClock()
    monkeypatch.setattr(Bell.__init__, "__kwdefaults__", {"monotonic": clock.monotonic})
    return clock


def looks(bell: Bell) -> bool:
    """Whether there is something to look at. Looks, if so."""
    sound = bell.sound()
    if sound is not None:
        bell.heard(sound)
    return sound is not None


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A file that stands for one."""
    (tmp_path / "journal.db").touch()
    return tmp_path / "journal.db"


def silent_bell(journal: Path) -> Bell:
    """One over which no time goes by."""
    return Bell(journal, monotonic=ManualClock().monotonic)


def test_a_ring_is_heard_by_everybody_once(journal: Path) -> None:
    one, two = silent_bell(journal), silent_bell(journal)
    assert [looks(one), looks(two)] == [True, True]  # nobody has looked yet
    assert [looks(one), looks(two)] == [False, False]
    one.ring()
    assert [looks(one), looks(two)] == [True, True]
    assert [looks(one), looks(two)] == [False, False]
    two.ring()
    two.ring()
    assert [looks(one), looks(two)] == [True, True]
    one.close()
    two.close()


def test_who_fails_to_look_is_told_again(journal: Path) -> None:
    bell = Bell(journal)
    assert bell.sound() is not None
    assert bell.sound() is not None
    bell.close()


def test_whoever_opens_it_rings_nothing_and_forgets_nothing(journal: Path) -> None:
    one = silent_bell(journal)
    one.ring()
    looks(one)
    two = Bell(journal)
    assert not looks(one)
    assert (journal.with_name("journal.db.owners") / "bell").stat().st_size == 8
    one.close()
    two.close()


@in_loop
async def test_what_another_process_does_is_seen_at_the_next_look(tmp_path: Path) -> None:
    one = SQLiteStore.open(tmp_path / "journal.db", owner="one")
    two = SQLiteStore.open(tmp_path / "journal.db", owner="two")
    nothing = one.outside()
    assert one.outside() is nothing
    await two.engage(HALT)
    assert one.outside().halts == {"*": HALT}
    await two.post(SIGNAL)
    assert one.outside().posted == 1
    await two.release("*")
    assert one.outside().halts == {}
    for store in (one, two):
        await store.close()


def test_whoever_rings_elsewhere_is_heard_soon(journal: Path, clock: ManualClock) -> None:
    bell = Bell(journal)
    assert looks(bell)
    for _ in range(3):
        clock.advance(0.049)
        assert not looks(bell)
        clock.advance(0.002)
        assert looks(bell)
    bell.close()


@in_loop
async def test_what_somebody_did_who_died_before_he_rang_is_seen_soon(tmp_path: Path, clock: ManualClock) -> None:
    """However few looks there are: between two of them may lie a model's answer of a minute."""
    store = SQLiteStore.open(tmp_path / "journal.db", owner="one")
    assert not store.outside().halts
    with raw(tmp_path / "journal.db") as file:
        file.execute("INSERT INTO halts VALUES ('*', 'ana', 'enough', 1.0)")
    clock.advance(60.0)
    assert store.outside().halts
    await store.close()


@in_loop
async def test_a_folder_that_was_tidied_away_silences_nobody(tmp_path: Path, clock: ManualClock) -> None:
    one = SQLiteStore.open(tmp_path / "journal.db", owner="one")
    assert not one.outside().halts
    shutil.rmtree(tmp_path / "journal.db.owners")
    two = SQLiteStore.open(tmp_path / "journal.db", owner="two")
    await two.engage(HALT)
    clock.advance(60.0)
    assert one.outside().halts == {"*": HALT}
    for store in (one, two):
        await store.close()


@in_loop
async def test_who_only_looks_sees_it_too_and_makes_no_bell(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    store = SQLiteStore.open(path, owner="one")
    await store.engage(HALT)
    await store.close()
    for left in (tmp_path / "journal.db.owners").iterdir():
        left.unlink()
    (tmp_path / "journal.db.owners").rmdir()
    looking = SQLiteStore.look(path)
    assert looking.outside().halts == {"*": HALT}
    await looking.close()
    assert not (tmp_path / "journal.db.owners").exists()
