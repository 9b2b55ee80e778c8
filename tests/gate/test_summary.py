"""What a verdict says of a claim beyond how often it held."""

import pytest

from plimsoll.gate.verdict import CLAIMS, NOBODY_ASKED
from tests.gate.narrow import narrow_verdict
from tests.gate.sample import hardened, scenario

BELOW_APPROVAL, ABOVE_APPROVAL = "W2", "W1"


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ([BELOW_APPROVAL], NOBODY_ASKED),
        ([ABOVE_APPROVAL], CLAIMS["oversight"]),
        ([BELOW_APPROVAL, ABOVE_APPROVAL], CLAIMS["oversight"]),
        ([], CLAIMS["oversight"]),
    ],
)
def test_oversight_claims_no_approval_where_no_healthy_run_asked_a_person(orders: list[str], said: str) -> None:
    verdict = narrow_verdict(hardened(), [scenario(order) for order in orders])
    texts = {claim.name: claim.text for claim in verdict.claims}
    assert texts == {**CLAIMS, "oversight": said}
