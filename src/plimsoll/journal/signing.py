"""Signatures: Ed25519 (RFC 8032), by the library `cryptography`. Keys stand in PEM files, as OpenSSL writes them."""

from plimsoll.core.errors import MissingExtra, Misuse

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise MissingExtra("cryptography", extra="encryption") from error

__all__ = ["SigningKey", "new_signing_key", "public_key", "verify"]


class SigningKey:
    """A `Signer`, from the text of a PEM file with a private key. Raises `Misuse`, which names `source`."""

    def __init__(self, pem: str, *, source: str) -> None:
        try:
            key = serialization.load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise Misuse(f"{source} holds no Ed25519 private key in PEM; `plimsoll keys make --signing` makes one")
        self._key = key
        self.public = key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def new_signing_key() -> tuple[str, str]:
    """A private key and its public key, each as the text of a PEM file."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def public_key(pem: str, *, source: str) -> bytes:
    """The public key (32 bytes) in the text of a PEM file. Raises `Misuse`, which names `source`."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise Misuse(f"{source} holds no Ed25519 public key in PEM")
    return key.public_bytes_raw()


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `key` (32 bytes) has signed `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
