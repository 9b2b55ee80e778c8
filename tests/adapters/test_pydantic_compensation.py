"""Taking back what a run of a Pydantic AI agent has done."""

from typing import Any

import pytest
from msgspec.structs import replace
from pydantic_ai import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from plimsoll.adapters.common.dependencies import AGAIN_S
from plimsoll.adapters.pydantic_ai import harden
from plimsoll.contract.model import Approval, Tool
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
        "refund": Tool(
            effect=Effect.WRITE,
            compensate="shop:free",
            claims=("never said",),
            approval=Approval(when="amount > 50", approvers=("ana",)),
        ),
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


class Talker:
    """A model that refunds in the first turn, and remembers what it is told in every later one."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.asked = 0

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.asked += 1
        if self.asked == 1:
            return ModelResponse(parts=[call("refund", "c1", order="W1", amount=5.0)])
        text = " | ".join(str(getattr(part, "content", "")) for message in messages for part in message.parts)
        self.told.append(text)
        if "ask first" in text and self.asked == 3:
            return ModelResponse(parts=[call("refund", "c3", order="W3", amount=500.0)])
        return ModelResponse(parts=[TextPart("said")])


def conversing(*, fails: bool) -> tuple[Any, Desk, Talker]:
    shop, talker = desk(), Talker()
    shop.models["primary"] = FunctionModel(talker)
    failing = [fails]

    @shop.agent.output_validator
    def check(output: str) -> str:
        if failing[0]:
            failing[0] = False
            raise RuntimeError("the first turn fails")
        return output

    return live(shop, lambda: shop.shop), shop, talker


@pytest.mark.parametrize("fails", [False, True])
def test_the_next_turns_model_is_told_what_was_taken_back(fails: bool) -> None:
    async def main() -> None:
        hardened, _, talker = conversing(fails=fails)
        session = hardened.session("s")
        assert (await session.run("refund W1", turn="m1")).ending is (Ending.FAILED if fails else Ending.COMPLETE)
        assert (await hardened.compensate("s/1", by="ana")).ending is Ending.COMPLETE
        await pass_time(1.0)
        for turn in ("m2", "m3"):
            result = await session.run(f"what was refunded? {turn}", turn=turn)
            assert result.output == "said"
            assert 'refund {"amount":5.0,"order":"W1"}, which somebody has taken back' in talker.told[-1]
        assert talker.told[-1].count("which somebody has taken back") == 1

    simulated(main)


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_taken_back_while_a_later_turn_waits_does_not_change_what_that_was_told(fails: bool) -> None:
    async def main() -> None:
        hardened, shop, talker = conversing(fails=fails)
        session = hardened.session("s")
        await session.run("refund W1", turn="m1")
        waiting = await session.run("ask first, then refund W3", turn="m2")
        (request,) = waiting.waiting_for
        await pass_time(1.0)
        assert (await hardened.compensate("s/1", by="ana")).ending is Ending.COMPLETE
        await hardened.approvals.decide(request.request_id, approve=True, by="ana")
        (result,) = await hardened.wake()
        assert (result.run_id, result.output, result.reason) == ("s/2", "said", "")
        assert "taken back" not in talker.told[-1]
        assert ("W3", 500.0) in shop.shop.refunds

    simulated(main)


def test_a_compensator_that_is_handed_over_needs_no_word_in_the_contract() -> None:
    async def main() -> None:
        shop = desk()
        tools = {name: replace(tool, compensate=None) for name, tool in shop.contract.tools.items()}
        shop.contract = replace(shop.contract, tools=tools)
        shop.agent.output_validator(_refuse)
        hardened = live(shop, lambda: shop.shop)
        assert [call.tool for call in (await hardened.run("Refund W1", run_id="r")).undoable] == ["refund"]
        assert (await hardened.compensate("r", by="ana")).ending is Ending.COMPLETE
        assert shop.shop.refunds == [("W1", 5.0), ("W1", -5.0)]

    simulated(main)
