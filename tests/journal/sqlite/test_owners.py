"""Who lives: a lock on a file for each owner."""

import fcntl
import stat
from pathlib import Path
from urllib.parse import quote

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.journal import SQLiteStore
from tests.journal.helpers import run


def test_an_owners_name_is_one_processs_own(path: Path) -> None:
    one = SQLiteStore.open(path, owner="one")
    with pytest.raises(Misuse, match="another process runs as owner 'one'"):
        SQLiteStore.open(path, owner="one")
    two = SQLiteStore.open(path, owner="two")
    with pytest.raises(Misuse, match="another process runs as owner 'one'"):
        run(two.claim("r", owner="one", at=1.0))
    run(one.close())
    again = SQLiteStore.open(path, owner="one")
    assert two.owner_alive("one")
    run(again.close())
    run(two.close())


def test_a_lock_is_its_owners_only_and_a_name_may_be_long(path: Path) -> None:
    store = SQLiteStore.open(path, owner="x" * 200)
    (lock,) = path.with_name("journal.db.owners").glob("*.lock")
    assert (lock.name, stat.S_IMODE(lock.stat().st_mode)) == (f"{'x' * 200}.lock", 0o600)
    run(store.close())


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_senseless_owner_is_refused(path: Path, name: str) -> None:
    with pytest.raises(Misuse, match="1 to 200 characters"):
        SQLiteStore.open(path, owner=name)


@pytest.mark.parametrize("name", ["..", "a/b", ".", "*", "ü"])
def test_an_owners_name_stays_in_its_folder(path: Path, name: str) -> None:
    store, other = SQLiteStore.open(path, owner=name), SQLiteStore.open(path)
    assert other.owner_alive(name)
    files = {file.name for file in path.with_name("journal.db.owners").iterdir()}
    assert files == {f"{quote(name, safe='')}.lock", "bell"}
    run(store.close())
    assert not other.owner_alive(name)
    run(other.close())


def test_the_files_of_the_dead_are_removed(path: Path) -> None:
    folder = path.with_name("journal.db.owners")
    folder.mkdir(parents=True)
    (folder / "dead.lock").touch()
    (folder / "gone.lock").touch()
    one = SQLiteStore.open(path, owner="one")
    assert [file.name for file in folder.glob("*.lock")] == ["one.lock"]
    (folder / "late.lock").touch()
    assert not one.owner_alive("late")
    two = SQLiteStore.open(path, owner="two")
    assert sorted(file.name for file in folder.iterdir()) == ["bell", "one.lock", "two.lock"]
    run(one.close())
    run(two.close())


def test_a_lock_on_a_removed_file_is_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody tidies the folder up between our opening the file and our locking it."""
    flock = fcntl.flock
    removed: list[Path] = []

    def remove_first(descriptor: int, operation: int) -> None:
        file = path.with_name("journal.db.owners") / "one.lock"
        if not removed:
            removed.append(file)
            file.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", remove_first)
    one = SQLiteStore.open(path, owner="one")
    monkeypatch.setattr("fcntl.flock", flock)
    two = SQLiteStore.open(path)
    assert removed and two.owner_alive("one")
    run(one.close())
    run(two.close())
