"""Keys and ciphers: what opens what, and what is said when it does not."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.contract.model import JournalSection
from plimsoll.core.errors import JournalCorrupt, KeyMissing, Misuse
from plimsoll.journal.codec import Unreadable
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.keys import WrappedKey, key_ring, master_keys, new_master_key

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


def made(keys: MasterKeys, run_id: str = "r") -> WrappedKey:
    key = keys.make(run_id)
    assert key is not None
    return key


def test_a_run_key_opens_what_it_sealed() -> None:
    keys = MasterKeys([OLD])
    wrapped = made(keys)
    sealed = keys.open("r", wrapped).seal(b"secret", bound=b"b")
    assert b"secret" not in sealed
    assert keys.open("r", wrapped).unseal(sealed, bound=b"b") == b"secret"
    assert sealed != keys.open("r", wrapped).seal(b"secret", bound=b"b"), "no nonce is used twice"


@given(st.data())
def test_nothing_that_was_altered_opens(data: st.DataObject) -> None:
    keys = MasterKeys([OLD])
    key = keys.open("r", made(keys))
    sealed = key.seal(b"secret", bound=b"bound")
    place = data.draw(st.integers(0, len(sealed) - 1))
    altered = sealed[:place] + bytes([sealed[place] ^ data.draw(st.integers(1, 255))]) + sealed[place + 1 :]
    for what, bound in ((altered, b"bound"), (sealed[:place], b"bound"), (sealed, b"other"), (b"", b"bound")):
        with pytest.raises(Unreadable):
            key.unseal(what, bound=bound)


def test_a_run_key_is_that_runs_alone() -> None:
    keys = MasterKeys([OLD])
    with pytest.raises(JournalCorrupt, match="run s is damaged at event 0: its key was altered, or is another run's"):
        keys.open("s", made(keys, "r"))
    sealed = keys.open("r", made(keys)).seal(b"secret", bound=b"")
    with pytest.raises(Unreadable):
        keys.open("r", made(keys)).unseal(sealed, bound=b"")


def test_a_tag_is_the_runs_own() -> None:
    keys = MasterKeys([OLD])
    wrapped = made(keys)
    tag = keys.open("r", wrapped).tag("r.a1:x")
    assert tag == keys.open("r", wrapped).tag("r.a1:x") and len(tag) == 64
    assert len({tag, keys.open("r", wrapped).tag("r.a1:y"), keys.open("r", made(keys)).tag("r.a1:x")}) == 3


def test_without_its_master_key_a_run_key_does_not_open() -> None:
    keys = MasterKeys([OLD])
    with pytest.raises(KeyMissing, match=f"run r is encrypted under master key {keys.first}, which is not here"):
        MasterKeys([NEW]).open("r", made(keys))


def test_rewrapped_it_is_the_same_key_under_the_first_master_key() -> None:
    old, both, new = MasterKeys([OLD]), MasterKeys([NEW, OLD]), MasterKeys([NEW])
    wrapped = made(old)
    sealed = old.open("r", wrapped).seal(b"secret", bound=b"")
    again = both.rewrap("r", wrapped)
    assert (wrapped.master, again.master) == (old.first, new.first) == (old.first, both.first)
    assert new.open("r", again).unseal(sealed, bound=b"") == b"secret"
    with pytest.raises(KeyMissing):
        new.rewrap("r", wrapped)


def test_new_runs_may_be_left_as_they_are() -> None:
    keys = MasterKeys([OLD], encrypt=False)
    assert keys.make("r") is None
    keys.open("r", made(MasterKeys([OLD])))


# ----------------------------------------------------------------------------------------------- where keys come from


def test_a_master_key_is_one_word_that_is_read_back() -> None:
    one, two = new_master_key(), new_master_key()
    assert one != two and one.startswith("plimsoll-key-") and len(one.split()) == 1
    text = f"# the new one\n{one}\n\n{two} # until March\n"
    assert master_keys(text, source="file") == master_keys(f"{one},{two}", source="env")
    assert [len(key) for key in master_keys(text, source="file")] == [32, 32]


@pytest.mark.parametrize(
    "text",
    ["plimsoll-key-abc", "plimsoll-key-" + "A" * 44, "A" * 43, "plimsoll-key-" + "é" * 43, "plimsoll-key-" + "*" * 43],
)
def test_what_is_no_master_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Misuse, match="key 2 in file is no master key") as caught:
        master_keys(f"{new_master_key()} {text}", source="file")
    assert text not in str(caught.value)


def test_no_master_key_at_all() -> None:
    with pytest.raises(Misuse, match="file holds no master key"):
        master_keys("# none yet\n", source="file")


def ring(tmp_path: Path, section: JournalSection, **environ: str) -> MasterKeys | None:
    found = key_ring(section, directory=tmp_path, environ=environ)
    assert found is None or isinstance(found, MasterKeys)
    return found


def test_keys_come_from_the_file_or_the_environment(tmp_path: Path) -> None:
    in_file, in_environment = new_master_key(), new_master_key()
    (tmp_path / "journal.key").write_text(in_file)
    named = JournalSection(encrypt=True, key_file="journal.key")
    by_file = ring(tmp_path, named, PLIMSOLL_JOURNAL_KEY=in_environment)
    by_environment = ring(tmp_path, JournalSection(encrypt=True), PLIMSOLL_JOURNAL_KEY=in_environment)
    assert by_file is not None and by_environment is not None and by_file.first != by_environment.first
    assert ring(tmp_path, JournalSection()) is None
    reading = ring(tmp_path, JournalSection(), PLIMSOLL_JOURNAL_KEY=in_environment)
    assert reading is not None and reading.make("r") is None


def test_encryption_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="there is no master key: set PLIMSOLL_JOURNAL_KEY, or name a key_file"):
        ring(tmp_path, JournalSection(encrypt=True))
    with pytest.raises(Misuse, match=r"key_file .*nowhere.key cannot be read"):
        ring(tmp_path, JournalSection(encrypt=True, key_file="nowhere.key"))
    (tmp_path / "binary.key").write_bytes(b"\xff\xfe")
    with pytest.raises(Misuse, match=r"key_file .*binary.key cannot be read"):
        ring(tmp_path, JournalSection(key_file="binary.key"))


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import plimsoll.journal, plimsoll.cli\n"
        "from plimsoll.core.errors import MissingExtra\n"
        "try: import plimsoll.journal.encryption\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "cryptography is not installed: pip install 'plimsoll-ai[encryption]'\n"
