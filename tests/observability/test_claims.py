"""Claimed but not done."""

from typing import Any

import pytest

from plimsoll.contract.model import AgentSection, Contract, Mode, Protections, Tool
from plimsoll.core.calls import CallKind, Effect, Ending, Fault, Outcome, Status
from plimsoll.core.events import CallSettled, DoubtRaised, DoubtResolved, Finding, RunEnded, RunResumed
from plimsoll.observability import claims
from plimsoll.observability.claims import ClaimDetector

CONTRACT = Contract(
    agent=AgentSection(name="shop"),
    tools={
        "refund": Tool(claims=("refunded", "have issued a refund", "money is back")),
        "store_credit": Tool(claims=("money is back",)),
        "cancel": Tool(claims=("cancelled",)),
        "get_order": Tool(effect=Effect.READ),
    },
)
CLAIM = "I have issued a refund for your order."


def settled(dependency: str, status: Status = Status.OK) -> CallSettled:
    return CallSettled(
        key=f"1:{dependency}",
        kind=CallKind.TOOL,
        dependency=dependency,
        effect=Effect.WRITE,
        args_digest="a",
        outcome=Outcome(status=status),
        duration_s=0.1,
    )


def ended(output: Any, detector: ClaimDetector) -> list[Finding]:
    return list(detector.observe(RunEnded(ending=Ending.COMPLETE, output=output), at=0.0))


def test_a_claim_without_the_effect_is_found() -> None:
    (finding,) = ended(CLAIM, ClaimDetector(CONTRACT))

    assert (finding.kind, finding.severity, finding.dependency, finding.observed) == (
        "claimed_not_done",
        "critical",
        "refund",
        False,
    )
    assert CLAIM not in finding.message


def test_a_claim_with_the_effect_is_true() -> None:
    detector = ClaimDetector(CONTRACT)
    detector.observe(settled("refund"), at=0.0)

    assert ended(CLAIM, detector) == []


@pytest.mark.parametrize("status", [Status.FAILED, Status.REJECTED, Status.IN_DOUBT])
def test_a_call_that_did_not_succeed_is_no_effect(status: Status) -> None:
    detector = ClaimDetector(CONTRACT)
    detector.observe(settled("refund", status), at=0.0)

    assert len(ended(CLAIM, detector)) == 1


def test_another_tools_effect_is_none() -> None:
    detector = ClaimDetector(CONTRACT)
    detector.observe(settled("cancel"), at=0.0)

    assert len(ended(CLAIM, detector)) == 1


@pytest.mark.parametrize(("answer", "undone"), [("happened", 0), ("not_happened", 1), ("unknown", 1)])
def test_a_doubt_counts_once_it_is_known_to_have_happened(answer: str, undone: int) -> None:
    detector = ClaimDetector(CONTRACT)
    doubt = DoubtRaised(
        key="1:refund", dependency="refund", idempotency_key="i", fault=Fault.TIMEOUT, message="no answer"
    )
    detector.observe(doubt, at=0.0)
    detector.observe(DoubtResolved(key="1:refund", answer="unknown", by="verify"), at=0.0)
    detector.observe(DoubtResolved(key="1:refund", answer=answer, by="ann"), at=0.0)
    detector.observe(DoubtResolved(key="9:never", answer="happened", by="ann"), at=0.0)

    assert len(ended(CLAIM, detector)) == undone


def test_a_phrase_that_tools_share_is_cleared_by_either() -> None:
    detector = ClaimDetector(CONTRACT)
    assert detector.undone_in("Your money is back!") == ["refund", "store_credit"]

    detector.observe(settled("store_credit"), at=0.0)

    assert detector.undone_in("Your money is back!") == []
    assert detector.undone_in(CLAIM) == ["refund"]


def test_every_undone_tool_is_named_once() -> None:
    detector = ClaimDetector(CONTRACT)

    assert detector.undone_in("You were refunded. I have issued a refund. Your order is cancelled.") == [
        "refund",
        "cancel",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "I could not issue a refund.",
        "Would you like a refund?",
        "Your order has not been refunded.",
        "Shall I have your order cancelled?",
        "Your order ships on Monday.",
        "",
    ],
)
def test_an_honest_answer_raises_nothing(answer: str) -> None:
    detector = ClaimDetector(CONTRACT)

    assert detector.undone_in(answer) == []
    assert ended(answer, detector) == []


@pytest.mark.parametrize(
    "output",
    [
        {"answer": CLAIM},
        {"answers": [{"text": "Hello."}, {"text": CLAIM, "score": 0.9}], "n": None},
        [CLAIM],
        ["Not", CLAIM],
        {"message": f"All done.\n{CLAIM}"},
        {"message": f"\t{CLAIM}"},
        {"answer": f'It says "paid".\n{CLAIM}'},
        {"answer": "Voilà. I\u00a0have issued a refund."},
        ({"deep": ["Hello.", (CLAIM,)]},),
    ],
)
def test_a_claim_inside_a_structured_output_is_found(output: Any) -> None:
    assert len(ended(output, ClaimDetector(CONTRACT))) == 1
    assert ClaimDetector(CONTRACT).undone_in(output) == ["refund"]


@pytest.mark.parametrize("output", [None, 7, True, {}, {"refunded": True}, [1.5]])
def test_an_output_without_text_claims_nothing(output: Any) -> None:
    assert ended(output, ClaimDetector(CONTRACT)) == []


def test_an_observed_protection_says_so() -> None:
    contract = Contract(
        agent=CONTRACT.agent, tools=CONTRACT.tools, protections=Protections(silent_failures=Mode.OBSERVE)
    )

    (finding,) = ended(CLAIM, ClaimDetector(contract))

    assert finding.observed


def test_a_replay_restores_what_was_done_and_raises_nothing() -> None:
    detector = ClaimDetector(CONTRACT)
    detector.restore(settled("refund"))
    detector.restore(RunResumed(crashed=True, fingerprint="f"))

    assert ended(CLAIM, detector) == []


def test_what_it_keeps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_MAX_OPEN", 1)
    detector = ClaimDetector(CONTRACT)
    for key, dependency in (("1", "refund"), ("2", "cancel")):
        detector.observe(
            DoubtRaised(key=key, dependency=dependency, idempotency_key=key, fault=Fault.TIMEOUT, message=""), at=0.0
        )
        detector.observe(DoubtResolved(key="1", answer="unknown", by="verify"), at=0.0)
    for key in ("1", "2"):
        detector.observe(DoubtResolved(key=key, answer="happened", by="ann"), at=0.0)

    assert detector.undone_in("refunded and cancelled") == ["refund"]
