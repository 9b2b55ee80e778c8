"""Checkpoints: from time to time a signed digest of where every run stands. What it covers cannot be changed unseen.

A checkpoint covers the runs that went on since the one before: a Merkle root over their places (run, number and digest
of the last event), the places of the trail and of the inbox, and the digest of the checkpoint before. So the last one
vouches for all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import msgspec

from plimsoll.core.canonical import canonical_json
from plimsoll.journal.merkle import merkle_root
from plimsoll.journal.trail import Mark

__all__ = [
    "Checkpoint",
    "Checkpointing",
    "Leaf",
    "MakeCheckpoint",
    "Signer",
    "VerifySignature",
    "checkpoint_after",
    "parse_checkpoint",
]

_DOMAIN = b"plimsoll checkpoint\x00"

VerifySignature = Callable[[bytes, bytes, bytes], bool]
"""Whether a public key (32 bytes) has signed a message with a signature."""


class Signer(Protocol):
    """Who signs checkpoints."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointing:
    """When checkpoints are made: after so many events, or so many seconds in which there was any; each at least 1."""

    signer: Signer
    every_events: int = 1000
    every_s: float = 600.0


class Leaf(msgspec.Struct, frozen=True, array_like=True):
    """Where a run stood: the number and the digest of its last event."""

    run_id: str
    seq: int
    digest: bytes

    @property
    def encoded(self) -> bytes:
        """What is hashed into the tree: `[run_id, seq, digest]` in canonical JSON, the digest in base64."""
        return canonical_json(self)


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A signed checkpoint. `number` counts from 1; `at` is wall-clock seconds; `runs` is the number of its leaves.

    `previous` is the digest of the checkpoint before, 32 zero bytes for the first. `acts` and `inbox` say how far the
    trail and the inbox had come. `key` is the public key that `signature` is made for.
    """

    number: int
    at: float
    previous: bytes
    runs: int
    root: bytes
    acts: Mark
    inbox: Mark
    key: bytes
    signature: bytes = b""

    @property
    def body(self) -> bytes:
        """What is stored and signed: everything but the signature, in canonical JSON."""
        return canonical_json(msgspec.structs.replace(self, signature=b""))

    @property
    def digest(self) -> bytes:
        """The digest that the next checkpoint carries on: over the body and the signature."""
        return sha256(_DOMAIN + self.body + self.signature).digest()

    def signed_by(self, verify: VerifySignature) -> bool:
        """Whether the key that it names has signed it."""
        return verify(self.key, _DOMAIN + self.body, self.signature)


MakeCheckpoint = Callable[[Checkpoint | None, Sequence[Leaf], Mark, Mark], Checkpoint]
"""Makes the checkpoint after one: of these leaves, and of where the trail and the inbox stand."""


def checkpoint_after(signer: Signer, *, at: float) -> MakeCheckpoint:
    """Makes checkpoints dated `at` and signed by `signer`."""

    def make(previous: Checkpoint | None, leaves: Sequence[Leaf], acts: Mark, inbox: Mark) -> Checkpoint:
        unsigned = Checkpoint(
            number=1 if previous is None else previous.number + 1,
            at=at,
            previous=bytes(32) if previous is None else previous.digest,
            runs=len(leaves),
            root=merkle_root([leaf.encoded for leaf in leaves]),
            acts=acts,
            inbox=inbox,
            key=signer.public,
        )
        return msgspec.structs.replace(unsigned, signature=signer.sign(_DOMAIN + unsigned.body))

    return make


_decoder = msgspec.json.Decoder(Checkpoint)


def parse_checkpoint(body: bytes, signature: bytes) -> Checkpoint:
    """A stored checkpoint. Raises `ValueError` for what is none, or is not written as we write it."""
    checkpoint = msgspec.structs.replace(_decoder.decode(body), signature=signature)
    if checkpoint.body != body:
        raise ValueError("it is not written as a checkpoint is")
    return checkpoint
