"""People decide: an approval parks the run, and lets exactly the call pass that was shown to somebody."""

from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.core.calls import Effect, Ending
from plimsoll.core.canonical import digest
from plimsoll.core.errors import DecisionRefused
from plimsoll.core.events import ApprovalDecided, ApprovalRequested, CallIntended
from plimsoll.runtime.run import Run
from tests.adapters.conformance.desk import Bench, Desk, Script, call, contract, simulated
from tests.runtime.bench import pass_time

LARGE: list[Any] = [[call("refund", order_id="W1", amount=80)], "W1 is done with."]


async def decide(hardened: Any, result: Any, *, approve: bool = True, by: str = "ana") -> None:
    (request,) = result.waiting_for
    await hardened.approvals.decide(request.request_id, approve=approve, by=by)


def test_a_call_that_needs_a_person_parks_the_run_and_the_decision_lets_it_pass(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*LARGE))
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        assert result.ending is Ending.PARKED and desk.shop.refunds == []
        assert result.waiting_for[0].args == {"order_id": "W1", "amount": 80}
        await decide(hardened, result)
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "W1 is done with."), result.reason
        assert desk.shop.refunds == [("W1", 80)] and desk.script.asked == 2
        (intended,) = await desk.events(CallIntended)
        assert intended.decision_id

    simulated(main)


def test_a_denial_reaches_the_model_as_a_tool_result(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*LARGE))
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        await decide(hardened, result, approve=False)
        (result,) = await hardened.wake()
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [])
        (told,) = desk.told("refund")
        assert "refund was not carried out" in told and "Nothing was done" in told

    simulated(main)


def test_an_approval_is_for_these_arguments_alone(bench: Bench) -> None:
    async def main() -> None:
        steps = [*LARGE[:1], [call("refund", order_id="W1", amount=90)], "Paid."]
        desk = Desk(bench, Script(*steps))
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        with pytest.raises(DecisionRefused):
            looked_at = {"order_id": "W1", "amount": 8}
            await hardened.approvals.decide(result.waiting_for[0].request_id, approve=True, by="ana", args=looked_at)
        await decide(hardened, result)
        (result,) = await desk.live().wake()
        assert result.ending is Ending.PARKED and result.waiting_for[0].args["amount"] == 90
        assert desk.shop.refunds == [("W1", 80)]

    simulated(main)


def test_arguments_that_changed_after_the_approval_void_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something between the model's recorded answer and the tool changes them, when the run is gone on with."""

    async def main() -> None:
        desk = Desk(bench, Script(*LARGE))
        hardened = desk.live()
        await decide(hardened, await hardened.run("Refund W1", run_id="r"))
        made = Run.exchange

        async def changed(run: Run, exchange: Any, **options: Any) -> Any:
            if exchange.dependency == "refund":
                exchange.args = {"order_id": "W1", "amount": 5000}
                exchange.args_digest = digest(exchange.args)
            return await made(run, exchange, **options)

        monkeypatch.setattr(Run, "exchange", changed)
        (result,) = await desk.live().wake()
        assert result.ending is Ending.PARKED and desk.shop.refunds == []
        assert [event.decision for event in await desk.events(ApprovalDecided)] == ["approved", "voided"]

    simulated(main)


def test_two_calls_at_once_wait_for_a_person_each_and_the_one_beside_them_settles(bench: Bench) -> None:
    async def main() -> None:
        steps = [
            [
                call("refund", order_id="W1", amount=80),
                call("refund", order_id="W2", amount=90),
                call("refund", order_id="W2", amount=10),
            ],
            "All done.",
        ]
        desk = Desk(bench, Script(*steps))
        hardened = desk.live()
        result = await hardened.run("Refund all", run_id="r")
        assert result.ending is Ending.PARKED and len(result.waiting_for) == 2
        assert desk.shop.refunds == [("W2", 10)], "the call beside them was made"
        for request in result.waiting_for:
            await hardened.approvals.decide(request.request_id, approve=request.args["amount"] == 80, by="bo")
        (result,) = await desk.live().wake()
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [("W2", 10), ("W1", 80)])
        assert len(await desk.events(ApprovalRequested)) == 2

    simulated(main)


def test_nobody_who_answers_is_a_no(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*LARGE))
        hardened = desk.live()
        assert (await hardened.run("Refund W1", run_id="r")).ending is Ending.PARKED
        await pass_time(601.0)
        (result,) = await hardened.wake()
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [])

    simulated(main)


def test_an_approval_is_for_one_version_of_the_agent(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*LARGE))
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        await decide(hardened, result)
        desk.fingerprint = "v2"
        (result,) = await desk.live().wake()
        assert result.reason.startswith("version") and desk.shop.refunds == []

    simulated(main)


def test_the_kill_switch_stops_a_run_before_its_next_call(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script([call("find_order", order_id="W2")], [call("refund", order_id="W2", amount=20)], "."))
        hardened = desk.live()

        async def throw(args: Any) -> None:
            await hardened.operations.kill(by="ana", reason="it pays too much")

        desk.shop.before["find_order"] = throw
        result = await hardened.run("Refund W2", run_id="r")
        assert result.ending is Ending.HALTED and "it pays too much" in result.reason
        assert desk.shop.refunds == []

    simulated(main)


def test_a_doubt_that_nothing_resolves_waits_for_a_person(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script([call("refund", order_id="W2", amount=20)], "Paid."), verify=False)

        async def lose(args: Any) -> None:
            raise ConnectionResetError("the answer was lost")

        desk.shop.after["refund"] = lose
        hardened = desk.live()
        result = await hardened.run("Refund W2", run_id="r")
        assert result.ending is Ending.PARKED and desk.shop.refunds == [("W2", 20)]
        (key,) = await hardened.operations.doubts("r")
        await hardened.operations.resolve("r", key, happened=True, by="ana", value={"refunded": 20, "order": "W2"})
        (result,) = await desk.live().wake()
        assert (result.ending, result.output, desk.shop.refunds) == (Ending.COMPLETE, "Paid.", [("W2", 20)])

    simulated(main)


@pytest.mark.parametrize("effect", ["write", "idempotent"])
def test_every_effect_is_intended_before_it_is_sent(bench: Bench, effect: Any) -> None:
    async def main() -> None:
        tools = {"refund": replace(contract().tools["refund"], effect=Effect(effect), approval=None)}
        desk = Desk(bench, Script(*LARGE), changes={"tools": tools})
        result = await desk.live().run("Refund W1", run_id="r")
        assert result.ending is Ending.COMPLETE
        (intended,) = await desk.events(CallIntended)
        assert (intended.effect, intended.args) == (effect, {"order_id": "W1", "amount": 80})
        assert desk.shop.ledger[0].idempotency_key == intended.idempotency_key

    simulated(main)
