"""A process that works is killed, again and again: the world's own ledger says that nothing was lost or doubled."""

import pytest

from tests.proof.killing import Verdict, killed

pytestmark = pytest.mark.timeout(300)  # 2 s each on an idle machine; real processes are as slow as theirs


def holds(verdict: Verdict) -> None:
    """Nothing lost, nothing doubled, everything finished; and the kills did strike where it hurts."""
    assert (verdict.lost, verdict.doubled, verdict.unfinished, verdict.audit.damages) == ({}, {}, [], [])
    assert verdict.orders > verdict.kills.total() and verdict.resumed > verdict.kills.total() / 2
    assert verdict.kills.keys() == {"moment", "append", "effect"}
    assert verdict.doubts["happened"] and verdict.doubts["not_happened"]


def test_nothing_is_lost_or_doubled_in_20_kills() -> None:
    verdict = killed(1, 20)
    holds(verdict)
    assert verdict.kills.total() == 20


def test_a_journal_that_is_encrypted_and_signed_loses_no_more_and_no_kill_looks_like_tampering() -> None:
    verdict = killed(3, 20, sealed=True)
    holds(verdict)
    assert verdict.audit.checkpoints > 5 and verdict.audit.covered > verdict.audit.events / 2


@pytest.mark.heavy
@pytest.mark.parametrize("sealed", [False, True], ids=["plain", "encrypted and signed"])
def test_nothing_is_lost_or_doubled_in_200_kills(sealed: bool) -> None:
    verdict = killed(2, 200, sealed=sealed)
    holds(verdict)
    assert verdict.kills.total() == 200


@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        ("early", "a store that says that it is durable before it is"),
        ("no_barrier", "a journal whose barrier does not wait"),
        ("blind_retry", "a harness that sends a write again without asking"),
    ],
)
def test_what_doubles_effects_is_caught(mutant: str, what: str) -> None:
    verdict = killed(5, 10, mutant=mutant, only=("effect",))
    assert verdict.doubled, f"{what} passed"


def test_what_loses_effects_is_caught() -> None:
    verdict = killed(5, 10, mutant="trusting", only=("effect",))
    assert verdict.lost, "a verify that always says `Happened` passed"
