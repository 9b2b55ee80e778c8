"""Where keys come from: the environment, or a file that the contract names. The ciphers are in `encryption`."""

import base64
import binascii
import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from plimsoll.contract.model import JournalSection
from plimsoll.core.errors import KeyMissing, Misuse
from plimsoll.core.rng import secret_bytes
from plimsoll.journal.checkpoints import Signer
from plimsoll.journal.codec import ERASED, SEALED, RunKey, is_sealed, opened

__all__ = [
    "MASTER_ENV",
    "SIGNING_ENV",
    "KeyRing",
    "RunReader",
    "WrappedKey",
    "key_ring",
    "key_text",
    "master_key_text",
    "master_keys",
    "new_master_key",
    "open_key",
    "ring_of",
    "signer",
]

MASTER_ENV = "PLIMSOLL_JOURNAL_KEY"
SIGNING_ENV = "PLIMSOLL_SIGNING_KEY"
_PREFIX = "plimsoll-key-"
_KEY_BYTES = 32


class WrappedKey(msgspec.Struct, frozen=True):
    """A run's key as it stands in a store: encrypted under the master key whose id is `master`."""

    master: str
    wrapped: bytes


class KeyRing(Protocol):
    """The master keys that a process has."""

    @property
    def first(self) -> str:
        """The id of the master key that wraps new keys."""
        ...

    def make(self, run_id: str) -> WrappedKey | None:
        """A key for a new run; None where new runs are not to be encrypted."""
        ...

    def open(self, run_id: str, key: WrappedKey) -> RunKey:
        """The run's key. Raises `KeyMissing`, and `JournalCorrupt` for one that was damaged or is another run's."""
        ...

    def rewrap(self, run_id: str, key: WrappedKey) -> WrappedKey:
        """The same key under the first master key. Raises as `open` does."""
        ...


class RunReader:
    """Opens the bodies of one run. Its key is looked for at the first that is sealed.

    `find` gives the key as it is stored, None where it was destroyed: then `ERASED` stands for each personal field.
    Where its master key is not here, `SEALED` does.
    """

    __slots__ = ("_find", "_key", "_looked", "_missing", "_ring", "_run_id")

    def __init__(self, run_id: str, ring: KeyRing | None, find: Callable[[], WrappedKey | None]) -> None:
        self._run_id = run_id
        self._ring = ring
        self._find = find
        self._looked = False
        self._key: RunKey | None = None
        self._missing = ERASED

    def __call__(self, body: bytes) -> bytes | None:
        """The JSON in `body`, None where that is the body itself. Raises `Unreadable`."""
        if is_sealed(body) and not self._looked:
            self._look()
        return opened(body, self._key, missing=self._missing)

    def _look(self) -> None:
        wrapped = self._find()
        if wrapped is not None:
            self._missing = SEALED
            with suppress(KeyMissing):
                self._key = open_key(self._run_id, wrapped, self._ring)
        self._looked = True


def open_key(run_id: str, key: WrappedKey, ring: KeyRing | None) -> RunKey:
    """The run's key. Raises `KeyMissing` when its master key is not in `ring`, or there is no ring at all."""
    if ring is None:
        raise KeyMissing(run_id, master=key.master)
    return ring.open(run_id, key)


def new_master_key() -> str:
    """A master key to be kept in a file or in the environment: 256 random bits, as one word."""
    return _PREFIX + base64.urlsafe_b64encode(secret_bytes(_KEY_BYTES)).decode().rstrip("=")


def master_keys(text: str, *, source: str) -> list[bytes]:
    """The master keys in `text`, apart by white space or commas; what follows a `#` on its line is a comment.

    The first wraps new keys; all of them open what they have wrapped. Raises `Misuse`, which names `source` and shows
    no key.
    """
    words = " ".join(line.partition("#")[0] for line in text.splitlines()).replace(",", " ").split()
    if not words:
        raise Misuse(f"{source} holds no master key; `plimsoll keys make` makes one")
    return [_decoded(word, f"key {number} in {source}") for number, word in enumerate(words, 1)]


def _decoded(word: str, what: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(word.removeprefix(_PREFIX) + "=")
    except (binascii.Error, ValueError):
        key = b""
    if not word.startswith(_PREFIX) or len(key) != _KEY_BYTES:
        raise Misuse(f"{what} is no master key: one begins with {_PREFIX} and is made by `plimsoll keys make`")
    return key


def ring_of(text: str, *, source: str, encrypt: bool) -> KeyRing:
    """The ring of the master keys in `text`; see `master_keys`. `encrypt` says whether it makes keys for new runs.

    Raises `Misuse`, and `MissingExtra` where the extra is not installed.
    """
    encryption: Any = importlib.import_module("plimsoll.journal.encryption")
    ring: KeyRing = encryption.MasterKeys(master_keys(text, source=source), encrypt=encrypt)
    return ring


def key_ring(section: JournalSection, *, directory: Path, environ: Mapping[str, str]) -> KeyRing | None:
    """The master keys that the contract's [journal] names, or the environment has; None where there are none.

    Raises `Misuse` when the contract wants encryption and there is no key, or one that is none.
    """
    found = master_key_text(section, directory=directory, environ=environ)
    if found is not None:
        text, source = found
        return ring_of(text, source=source, encrypt=section.encrypt)
    if section.encrypt:
        raise Misuse(
            f"the contract's [journal] says encrypt = true, and there is no master key: set {MASTER_ENV}, or name a"
            " key_file; `plimsoll keys make` makes a key"
        )
    return None


def master_key_text(section: JournalSection, *, directory: Path, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The text with the master keys, and where it comes from; None where there is none. Raises `Misuse`."""
    return key_text(section.key_file, MASTER_ENV, what="key_file", directory=directory, environ=environ)


def signer(section: JournalSection, *, directory: Path, environ: Mapping[str, str]) -> Signer | None:
    """Who signs checkpoints: by the file that the contract's [journal] names, or the environment; None: nobody does."""
    found = key_text(
        section.signing_key_file, SIGNING_ENV, what="signing_key_file", directory=directory, environ=environ
    )
    if found is None:
        return None
    signing: Any = importlib.import_module("plimsoll.journal.signing")
    made: Signer = signing.SigningKey(found[0], source=found[1])
    return made


def key_text(
    name: str | None, variable: str, *, what: str, directory: Path, environ: Mapping[str, str]
) -> tuple[str, str] | None:
    """The text that holds a key, and where it comes from: the file `name`, or a variable of the environment.

    `what` is the contract's word for that file. None where there is no key. Raises `Misuse`.
    """
    if name is None:
        return (environ[variable], variable) if environ.get(variable) else None
    file = directory / name
    try:
        return file.read_text(encoding="utf-8"), str(file)
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"the contract's {what} {file} cannot be read: {error}") from error
