"""The ciphers: AES-256-GCM for personal fields and for run keys, by the library `cryptography`.

Nonces are random, 96 bits: with a key for each run, their number stays far below where two may be the same
(NIST SP 800-38D, section 8.3: at most 2**32 under one key). A master key wraps one key for each run.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

from plimsoll.core.errors import JournalCorrupt, KeyMissing, MissingExtra
from plimsoll.core.rng import secret_bytes
from plimsoll.journal.codec import RunKey, Unreadable
from plimsoll.journal.keys import WrappedKey

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as error:
    raise MissingExtra("cryptography", extra="encryption") from error

__all__ = ["Cipher", "MasterKeys"]

_NONCE_BYTES = 12
_KEY_BYTES = 32


class Cipher:
    """AES-256-GCM under one key of 32 bytes: a `RunKey`. What it writes begins with its nonce."""

    __slots__ = ("_cipher", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._cipher = AESGCM(secret)

    def seal(self, plain: bytes, *, bound: bytes) -> bytes:
        nonce = secret_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound)

    def unseal(self, sealed: bytes, *, bound: bytes) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise Unreadable("its key does not open it: it was altered") from error

    def tag(self, text: str) -> str:
        subkey = hmac.digest(self.secret, b"plimsoll tags", "sha256")
        return hmac.digest(subkey, text.encode(), "sha256").hex()


class MasterKeys:
    """A `KeyRing`. The first of `keys` (32 bytes each) wraps new keys, all open what they have wrapped.

    `encrypt` false makes no keys for new runs, and goes on with those that have one.
    """

    def __init__(self, keys: Sequence[bytes], *, encrypt: bool = True) -> None:
        self._ciphers = {sha256(b"plimsoll master key\x00" + key).hexdigest()[:8]: Cipher(key) for key in keys}
        self.first = next(iter(self._ciphers))
        self._encrypt = encrypt

    def make(self, run_id: str) -> WrappedKey | None:
        return self._wrap(run_id, secret_bytes(_KEY_BYTES)) if self._encrypt else None

    def open(self, run_id: str, key: WrappedKey) -> RunKey:
        return Cipher(self._unwrap(run_id, key))

    def rewrap(self, run_id: str, key: WrappedKey) -> WrappedKey:
        return self._wrap(run_id, self._unwrap(run_id, key))

    def _wrap(self, run_id: str, key: bytes) -> WrappedKey:
        return WrappedKey(self.first, self._ciphers[self.first].seal(key, bound=_bound(run_id)))

    def _unwrap(self, run_id: str, key: WrappedKey) -> bytes:
        cipher = self._ciphers.get(key.master)
        if cipher is None:
            raise KeyMissing(run_id, master=key.master)
        try:
            return cipher.unseal(key.wrapped, bound=_bound(run_id))
        except Unreadable as error:
            raise JournalCorrupt(run_id, 0, "its key was altered, or is another run's; restore a backup") from error


def _bound(run_id: str) -> bytes:
    return b"plimsoll run key\x00" + run_id.encode()
