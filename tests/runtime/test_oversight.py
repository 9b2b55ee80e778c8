"""Approvals that bind, and the kill switch."""

from typing import Any

import pytest

from plimsoll.contract.model import Approval, Mode, Protections, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.canonical import digest
from plimsoll.core.errors import DecisionRefused, Misuse, UnknownRequest, UnknownRun
from plimsoll.core.events import ApprovalDecided, ApprovalRequested, CallIntended
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.inbox import decision_entry
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated

BIG = {"order": "W1", "amount": 500.0}


async def parked(desk: Desk, request: dict[str, Any] = BIG) -> tuple[Any, ApprovalRequested]:
    harness = desk.live()
    result = await harness.run(request, run_id="r")
    assert result.ending is Ending.PARKED
    assert desk.shop.ledger == []
    return harness, result.waiting_for[0]


def test_a_risky_call_parks_and_an_approval_lets_exactly_it_happen() -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        assert (asked.dependency, asked.args, asked.rule) == ("refund", BIG, "amount > 50")
        await harness.operations.decide(asked.request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sure: 500 back")
        assert [row[:2] for row in desk.shop.ledger] == [("W1", 500.0)]
        events = [record.event for record in await desk.store.read("r")]
        decided = next(event for event in events if isinstance(event, ApprovalDecided))
        intent = next(event for event in events if isinstance(event, CallIntended))
        assert intent.decision_id == decided.decision_id
        assert decided.by == "ana"

    simulated(main)


def test_a_denial_reaches_the_agent_as_an_outcome() -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        await harness.operations.decide(asked.request_id, approve=False, by="bo", note="too old")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert "denied" in result.output
        assert "too old" in result.output
        assert desk.shop.ledger == []

    simulated(main)


def test_nobody_answering_means_no() -> None:
    async def main() -> None:
        desk = Desk()
        harness, _ = await parked(desk)
        await pass_time(599.0)
        assert await harness.wake() == []
        await pass_time(2.0)
        (result,) = await harness.wake()
        assert "expired" in result.output
        assert desk.shop.ledger == []
        assert "approval_expired" in [kind for kind, _, _ in desk.kinds()]

    simulated(main)


def test_an_approval_not_used_in_time_is_none() -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        await pass_time(590.0)
        await harness.operations.decide(asked.request_id, approve=True, by="ana")
        await pass_time(20.0)
        (result,) = await desk.live().wake()
        assert "expired" in result.output
        assert desk.shop.ledger == []

    simulated(main)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"by": "eve"}, "not one of"),
        ({"args": {"order": "W1", "amount": 5000.0}}, "other arguments"),
    ],
)
def test_a_decision_that_may_not_be_made_is_refused(change: dict[str, Any], why: str) -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        with pytest.raises(DecisionRefused, match=why):
            await harness.operations.decide(asked.request_id, **({"approve": True, "by": "ana"} | change))
        assert await desk.live().wake() == []
        assert desk.shop.ledger == []

    simulated(main)


@pytest.mark.parametrize(("by", "amount"), [("ana", 5000.0), ("eve", 500.0)])
def test_a_forged_decision_in_the_inbox_does_not_bind(by: str, amount: float) -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        forged = decision_entry(
            asked.request_id,
            approve=True,
            args_digest=digest({"order": "W1", "amount": amount}),
            by=by,
            note="",
            at=harness.env.clock.now(),
        )
        await desk.store.post(forged)
        (result,) = await desk.live().wake()
        assert result.ending is Ending.PARKED
        assert desk.shop.ledger == []
        assert "decision_refused" in [kind for kind, _, _ in desk.kinds()]
        assert await desk.live().wake() == []

    simulated(main)


def test_one_decision_submitted_twice_executes_once() -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        assert await harness.operations.decide(asked.request_id, approve=True, by="ana")
        second = await harness.operations.decide(asked.request_id, approve=True, by="ana")
        with pytest.raises(DecisionRefused, match="decided it already"):
            await harness.operations.decide(asked.request_id, approve=False, by="bo")
        await desk.live().wake()
        assert await desk.live().wake() == []
        assert len(desk.shop.ledger) == 1
        assert second in (True, False)
        with pytest.raises(DecisionRefused, match="approved by ana already"):
            await harness.operations.decide(asked.request_id, approve=True, by="ana")

    simulated(main)


def test_a_new_version_of_the_agent_voids_an_open_approval() -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        await harness.operations.decide(asked.request_id, approve=True, by="ana")
        desk.fingerprint = "v2"
        second = desk.live()
        assert (await second.adopt("r", by="ana")).adopted
        (result,) = await second.wake()
        assert result.ending is Ending.PARKED
        assert result.waiting_for[0].request_id != asked.request_id
        assert desk.shop.ledger == []
        assert "approval_voided" in [kind for kind, _, _ in desk.kinds()]

    simulated(main)


def test_each_call_needs_its_own_approval() -> None:
    async def main() -> None:
        desk = Desk()

        async def greedy(run: Run, request: Any) -> str:
            await run.call("refund", dict(BIG))
            await run.call("refund", dict(BIG))
            return "twice"

        desk.agent = greedy
        harness, asked = await parked(desk)
        await harness.operations.decide(asked.request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.PARKED
        assert len(desk.shop.ledger) == 1

    simulated(main)


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        (Tool(approval=Approval(approvers=())), "nobody is named"),
        (Tool(refuse_when="amount > 100"), "refuse_when"),
        (Tool(refuse_when="colour == 'red'"), "undecided"),
    ],
)
def test_rules_refuse(tool: Tool, why: str) -> None:
    async def main() -> None:
        desk = Desk(tools={"refund": tool})
        result = await desk.live().run(BIG, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert why in result.output
        assert desk.shop.ledger == []

    simulated(main)


def test_a_tool_may_be_called_so_often_in_a_run_and_no_more() -> None:
    async def main() -> None:
        desk = Desk(tools={"refund": Tool(max_per_run=2)})

        async def hammer(run: Run, request: Any) -> list[str]:
            said = []
            for amount in (1.0, 2.0, 3.0):
                try:
                    await run.call("refund", {"order": "W1", "amount": amount})
                except Exception as error:
                    said.append(str(error))
            return said

        desk.agent = hammer
        result = await desk.live().run({}, run_id="r")
        assert len(desk.shop.ledger) == 2
        assert "at most 2" in result.output[0]
        assert ("limit", "refund", "max_per_run") in desk.kinds()

    simulated(main)


def test_observed_approvals_let_the_call_through_and_say_so() -> None:
    async def main() -> None:
        desk = Desk(protections=Protections(approvals=Mode.OBSERVE))
        result = await desk.live().run(BIG, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert [finding.observed for finding in result.findings if finding.kind == "approval_skipped"] == [True]

    simulated(main)


@pytest.mark.parametrize("scope", ["*", "r"])
def test_the_kill_switch_stops_before_the_next_call(scope: str) -> None:
    async def main() -> None:
        desk = Desk()
        sent: list[str] = []

        async def pull(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            sent.append(site)
            if site == "look":
                await harness.operations.kill(by="ana", reason="wrong customer", scope=scope)
            return await send()

        desk.intercept = pull
        harness = desk.live()
        result = await harness.run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.HALTED
        assert "wrong customer" in result.reason
        assert sent == ["look"]
        assert "kill_switch" in [kind for kind, _, _ in desk.kinds()]
        assert await harness.operations.release(scope=scope)
        assert not await harness.operations.release(scope=scope)

    simulated(main)


def test_a_parked_run_that_is_killed_halts_on_waking() -> None:
    async def main() -> None:
        desk = Desk()
        harness, asked = await parked(desk)
        await harness.operations.decide(asked.request_id, approve=True, by="ana")
        await harness.operations.kill(by="ana", reason="stop", scope="r")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.HALTED
        assert desk.shop.ledger == []

    simulated(main)


def test_operations_name_what_they_do_not_know() -> None:
    async def main() -> None:
        desk = Desk()
        harness, _ = await parked(desk)
        operations = harness.operations
        with pytest.raises(UnknownRequest):
            await operations.decide("nobody.a1", approve=True, by="ana")
        with pytest.raises(UnknownRequest):
            await operations.decide("r.a9", approve=True, by="ana")
        with pytest.raises(UnknownRun):
            await operations.kill(by="ana", reason="", scope="nobody")
        with pytest.raises(UnknownRun):
            await operations.result("nobody")
        with pytest.raises(Misuse, match="not in doubt"):
            await operations.resolve("r", "1:look", happened=True, by="ana")
        assert [request.asked.request_id for request in await operations.requests()] == ["r.a1"]
        assert (await operations.result("r")).ending is Ending.PARKED
        assert [head.run_id for head in await operations.runs()] == ["r"]

    simulated(main)


def test_a_read_may_need_approval_too() -> None:
    async def main() -> None:
        look = Tool(effect=Effect.READ, approval=Approval(approvers=("ana",)))
        desk = Desk(tools={"look": look})
        harness, asked = await parked(desk, {"order": "W1"})
        await harness.operations.decide(asked.request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE

    simulated(main)
