"""The subject made of plain functions."""

import asyncio
from typing import Any

from plimsoll.core.calls import Unknown
from plimsoll.core.clock import LoopClock
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.plain import plain_subject
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.gate.sample import Shop, agent, contract, hardened, shop_tools, shop_verifiers, with_tool


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


def test_the_contracts_own_verify_is_never_asked_in_a_world_that_is_only_played() -> None:
    async def main() -> None:
        surroundings = Surroundings(
            store=MemoryStore(), owner="one", clock=LoopClock(), rng=seeded_rng(1), ids=SequentialIds(), sinks=()
        )
        subject = plain_subject(agent, contract(), tools=shop_tools, verifiers=lambda shop: {"refund": shop.verify})
        assert contract().tools["tell_customer"].verify == "shop:verify", "which is in no module"
        shop = Shop()
        harness = subject.live(surroundings, {}, shop)
        assert isinstance(harness, Harness)
        assert harness.env.verifiers["refund"] == shop.verify
        assert isinstance(harness.env.verifiers["tell_customer"]({}, "key"), Unknown)

    asyncio.run(main())
