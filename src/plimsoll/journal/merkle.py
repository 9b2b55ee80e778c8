"""Merkle trees as in Certificate Transparency (RFC 6962, section 2.1): one digest over many leaves, and short proofs
that one of them is there. Leaves and nodes are hashed in domains of their own, so that neither passes for the other.
"""

from collections.abc import Sequence
from hashlib import sha256

__all__ = ["inclusion_proof", "leaf_hash", "merkle_root", "root_by_proof"]


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over `leaves`, in their order; of none, the hash of nothing."""
    return _root([leaf_hash(leaf) for leaf in leaves])


def _root(hashes: list[bytes]) -> bytes:
    """Level by level: an odd one at the end goes up as it is, which gives the RFC's tree."""
    if not hashes:
        return sha256().digest()
    while len(hashes) > 1:
        hashes = _above(hashes)
    return hashes[0]


def _above(hashes: list[bytes]) -> list[bytes]:
    paired = [_node(*hashes[place : place + 2]) for place in range(0, len(hashes) - 1, 2)]
    return paired + hashes[len(paired) * 2 :]


def inclusion_proof(leaves: Sequence[bytes], place: int) -> list[bytes]:
    """The audit path of the leaf at `place` (from 0): the hashes beside its way up, from the bottom."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    proof = []
    while len(hashes) > 1:
        beside = place ^ 1
        if beside < len(hashes):
            proof.append(hashes[beside])
        hashes, place = _above(hashes), place // 2
    return proof


def root_by_proof(leaf: bytes, place: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root of a tree of `size` leaves in which `leaf` stands at `place`, by its proof; None if that cannot be."""
    if not 0 <= place < size:
        return None
    digest, path = leaf_hash(leaf), list(proof)
    while size > 1:
        if place ^ 1 < size:
            if not path:
                return None
            beside = path.pop(0)
            digest = _node(beside, digest) if place % 2 else _node(digest, beside)
        place, size = place // 2, (size + 1) // 2
    return None if path else digest
