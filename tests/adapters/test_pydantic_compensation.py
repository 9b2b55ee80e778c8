"""Taking back what a run of a Pydantic AI agent has done."""

from typing import Any

from plimsoll.adapters.pydantic_ai import harden
from plimsoll.adapters.pydantic_ai.dependencies import AGAIN_S
from plimsoll.contract.model import Tool
from plimsoll.core.calls import Effect, Ending
from tests.adapters.bench import Desk, Shop, call, simulated
from tests.runtime.bench import pass_time


def free(args: Any, result: Any, *, deps: Shop) -> dict[str, Any]:
    deps.ledger.append((args["order"], -result["refunded"], "taken back"))
    return {"taken": args["amount"]}


def live(desk: Desk, deps: Any) -> Any:
    hardened = desk.live()
    return harden(
        hardened.agent, hardened.contract, deps=deps, models=desk.models, compensators={"refund": free},
        surroundings=hardened._surroundings, fingerprint="v1",
    )  # fmt: skip


def desk() -> Desk:
    tools = {
        "refund": Tool(effect=Effect.WRITE, compensate="shop:free", claims=("never said",)),
        "refund.compensate": Tool(effect=Effect.WRITE),
    }
    return Desk([call("refund", "c1", order="W1", amount=5.0)], "I never said so.", tools=tools)


def test_it_is_offered_after_a_run_that_went_wrong_and_has_the_dependencies() -> None:
    async def main() -> None:
        shop = desk()
        shop.agent.output_validator(_refuse)
        hardened = live(shop, lambda: shop.shop)
        result = await hardened.run("Refund W1", run_id="r")
        assert result.ending is Ending.FAILED
        assert [(one.key, one.tool, one.result) for one in result.undoable] == [("1/c1", "refund", {"refunded": 5.0})]
        undone = await hardened.compensate("r", by="ana")
        assert (undone.run_id, undone.ending) == ("r/undo", Ending.COMPLETE)
        assert shop.shop.refunds == [("W1", 5.0), ("W1", -5.0)]
        (again,) = await hardened.compensate_family("r", by="ana")
        assert (again.run_id, again.ending) == ("r/undo", Ending.COMPLETE)
        assert len(shop.shop.refunds) == 2

    simulated(main)


def test_without_dependencies_nothing_is_sent_and_nothing_is_in_doubt() -> None:
    async def main() -> None:
        shop = desk()
        shop.agent.output_validator(_refuse)
        await live(shop, lambda: shop.shop).run("Refund W1", run_id="r")
        down = [True]

        def open_shop() -> Shop:
            if down:
                raise ConnectionRefusedError("down")
            return shop.shop

        hardened = live(shop, open_shop)
        parked = await hardened.compensate("r", by="ana")
        assert parked.reason.startswith("dependencies")
        down.clear()
        await pass_time(AGAIN_S + 1)
        (undone,) = await hardened.wake()
        assert (undone.run_id, undone.ending) == ("r/undo", Ending.COMPLETE)
        assert shop.shop.refunds == [("W1", 5.0), ("W1", -5.0)]

    simulated(main)


async def _refuse(output: str) -> str:
    raise RuntimeError("the mail could not be sent")
