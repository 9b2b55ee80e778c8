"""Who lives: a lock on a file for each owner."""

import fcntl
import os
import shutil
import stat
from pathlib import Path
from urllib.parse import quote

import pytest

from plimsoll.core.errors import Misuse
from plimsoll.journal import SQLiteStore
from tests.journal.helpers import run
from tests.journal.sqlite.disks import is_root
from tests.journal.sqlite.helpers import filled


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


def test_who_opens_a_link_to_the_journal_meets_those_who_have_it_open(path: Path, tmp_path: Path) -> None:
    one = SQLiteStore.open(path, owner="one")
    (tmp_path / "link.db").symlink_to(path)
    two, looking = SQLiteStore.open(tmp_path / "link.db"), SQLiteStore.look(tmp_path / "link.db")
    assert [two.owner_alive("one"), looking.owner_alive("one")] == [True, True]
    assert [file.name for file in tmp_path.glob("link.db*")] == ["link.db"]
    for store in (one, two, looking):
        run(store.close())


def test_a_lock_is_its_owners_only_and_a_name_may_be_long(path: Path) -> None:
    store = SQLiteStore.open(path, owner="x" * 200)
    (lock,) = path.with_name("journal.db.owners").glob("*.lock")
    assert (lock.name, stat.S_IMODE(lock.stat().st_mode)) == (f"{'x' * 200}.lock", 0o600)
    run(store.close())


def test_whoever_may_use_the_journal_may_use_what_lies_beside_it(path: Path) -> None:
    run(filled(path))
    shutil.rmtree(path.with_name("journal.db.owners"))
    path.chmod(0o660)
    store = SQLiteStore.open(path, owner="one")
    folder = path.with_name("journal.db.owners")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folder, *folder.iterdir())}
    assert modes == {"journal.db.owners": 0o770, "one.lock": 0o660, "bell": 0o660}
    run(store.close())


@pytest.mark.skipif(not is_root(), reason="only root opens other users' files")
def test_root_locks_nobody_out_of_his_journal(path: Path) -> None:
    run(filled(path))
    shutil.rmtree(path.with_name("journal.db.owners"))
    os.chown(path, 65534, 65533)
    store = SQLiteStore.open(path, owner="root")
    folder = path.with_name("journal.db.owners")
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in (folder, *folder.iterdir())}
    assert owners == {(65534, 65533)}
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
