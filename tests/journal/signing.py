"""Keys for the tests' signatures, always the same."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plimsoll.journal.signing import SigningKey

__all__ = ["OTHER_SIGNER", "PRIVATE", "PUBLIC", "SIGNER", "pems"]


def pems(seed: int) -> tuple[str, str]:
    """A private key and its public key in PEM."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


PRIVATE, PUBLIC = pems(1)
SIGNER = SigningKey(PRIVATE, source="here")
OTHER_SIGNER = SigningKey(pems(2)[0], source="there")
