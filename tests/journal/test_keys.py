"""Where keys come from: files that the contract names, before the environment; and what is said of what is none."""

import re
from pathlib import Path

import pytest

from plimsoll.contract.model import JournalSection
from plimsoll.core.errors import Misuse
from plimsoll.journal.codec import encoder
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.keys import RunReader, WrappedKey, key_ring, new_master_key, signer
from tests.journal.helpers import value
from tests.journal.signing import OTHER_SIGNER, PRIVATE, SIGNER, pems

SIGNING = "PLIMSOLL_SIGNING_KEY"
NAMED = JournalSection(signing_key_file="signing.pem")


def test_who_signs_comes_from_the_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "signing.pem").write_text(pems(2)[0])
    environ = {SIGNING: PRIVATE}
    by_file = signer(NAMED, directory=tmp_path, environ=environ)
    by_environment = signer(JournalSection(), directory=tmp_path, environ=environ)
    assert by_file is not None and by_file.public == OTHER_SIGNER.public
    assert by_environment is not None and by_environment.public == SIGNER.public
    assert by_environment.sign(b"m") == SIGNER.sign(b"m")
    assert signer(JournalSection(), directory=tmp_path, environ={}) is None


def test_a_signing_key_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"the contract's signing_key_file .*signing.pem cannot be read"):
        signer(NAMED, directory=tmp_path, environ={})
    (tmp_path / "signing.pem").write_text("secret")
    with pytest.raises(Misuse, match=r"/signing.pem holds no Ed25519 private key") as caught:
        signer(NAMED, directory=tmp_path, environ={})
    assert "secret" not in str(caught.value)
    with pytest.raises(Misuse, match=f"{SIGNING} holds no Ed25519 private key"):
        signer(JournalSection(), directory=tmp_path, environ={SIGNING: "secret"})


def test_a_master_key_that_is_none_is_named_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "journal.key").write_text(f"{new_master_key()}\nsecret\n")
    with pytest.raises(Misuse, match=r"key 2 in .*/journal.key is no master key"):
        key_ring(JournalSection(key_file="journal.key"), directory=tmp_path, environ={})
    with pytest.raises(Misuse, match="key 1 in PLIMSOLL_JOURNAL_KEY is no master key"):
        key_ring(JournalSection(), directory=tmp_path, environ={"PLIMSOLL_JOURNAL_KEY": "secret"})


def test_keys_are_made_for_new_runs_only_where_the_contract_wants_them(tmp_path: Path) -> None:
    environ = {"PLIMSOLL_JOURNAL_KEY": new_master_key()}
    for encrypt in (True, False):
        ring = key_ring(JournalSection(encrypt=encrypt), directory=tmp_path, environ=environ)
        assert ring is not None
        assert (ring.make("r") is not None) is encrypt


def test_a_new_master_key_is_one_word_of_256_bits() -> None:
    assert re.fullmatch(r"plimsoll-key-[A-Za-z0-9_-]{43}", new_master_key())
    assert new_master_key() != new_master_key()


def test_a_runs_key_is_looked_for_once_at_the_first_body_that_needs_it() -> None:
    ring = MasterKeys([bytes(32)])
    wrapped = ring.make("r")
    assert wrapped is not None
    encode = encoder(ring.open("r", wrapped))
    sealed = [encode(value(text)) for text in ("one", "two")]
    looked: list[WrappedKey | None] = []

    def find(found: WrappedKey | None) -> WrappedKey | None:
        looked.append(found)
        return found

    reader = RunReader("r", ring, lambda: find(wrapped))
    assert reader(b"{}") is None and looked == []
    assert [reader(body) for body, _ in sealed] == [json for _, json in sealed]
    assert looked == [wrapped]
    without = RunReader("r", ring, lambda: find(None))
    assert [without(body) for body, _ in sealed] == [b'{"key":"k","type":"value_recorded","value":"[erased]"}'] * 2
    assert looked == [wrapped, None]
