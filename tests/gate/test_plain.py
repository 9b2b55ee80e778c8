"""The subject made of plain functions."""

from typing import Any

from plimsoll.gate.plain import plain_subject
from plimsoll.runtime.run import Run
from tests.gate.sample import agent, contract, hardened, shop_tools, shop_verifiers, with_tool


def test_the_fingerprint_sees_the_code_and_the_contract() -> None:
    def made(reply: str) -> Any:
        if reply == "yes":

            async def answer(run: Run, order_id: Any) -> str:
                return "yes"
        else:

            async def answer(run: Run, order_id: Any) -> str:
                return "no"

        return answer

    yes, no = (hardened(run=made(reply)).fingerprint for reply in ("yes", "no"))
    assert yes != no, "they have the same name"
    assert yes == hardened(run=made("yes")).fingerprint
    assert hardened().fingerprint != hardened(with_tool(contract(), "refund", approval=None)).fingerprint
    given = plain_subject(agent, contract(), tools=shop_tools, verifiers=shop_verifiers, fingerprint="mine")
    assert given.fingerprint == "mine"
