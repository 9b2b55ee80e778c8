"""Merkle trees: the known answers of RFC 6962, and proofs that prove one leaf only."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.journal.merkle import inclusion_proof, leaf_hash, merkle_root, root_by_proof

# The leaves and roots that Certificate Transparency's own tests use.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert merkle_root(LEAVES[:size]).hex() == ROOTS[size]


def by_the_book(leaves: list[bytes]) -> bytes:
    """The RFC's own, recursive definition."""
    if len(leaves) < 2:
        return leaf_hash(leaves[0]) if leaves else sha256().digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + by_the_book(leaves[:split]) + by_the_book(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_a_root_is_that_of_the_rfcs_own_definition(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == by_the_book(leaves)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70, unique=True), st.data())
def test_a_proof_leads_to_the_root_from_its_own_leaf_and_place_only(leaves: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(leaves) - 1))
    proof, size, root = inclusion_proof(leaves, place), len(leaves), merkle_root(leaves)
    assert root_by_proof(leaves[place], place, size, proof) == root
    assert len(proof) <= (size - 1).bit_length()
    assert root_by_proof(leaves[place] + b"!", place, size, proof) != root
    for other in {place - 1, place + 1, data.draw(st.integers(-1, size))} - {place}:
        assert root_by_proof(leaves[place], other, size, proof) != root
    assert root_by_proof(leaves[place], place, size, [*proof, bytes(32)]) is None
    if proof:
        assert root_by_proof(leaves[place], place, size, proof[:-1]) is None
        assert root_by_proof(leaves[place], place, size, [bytes(32), *proof[1:]]) != root


def test_a_node_does_not_pass_for_a_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert merkle_root([left + right]) != merkle_root([b"a", b"b"])
