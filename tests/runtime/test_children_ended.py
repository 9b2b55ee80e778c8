"""Children that do not come to their own end: killed, out of time, left behind, or waiting when their parent ends."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.contract.model import AgentSection, Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.errors import RunBusy
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, CrashingStore, contract, pass_time, simulated
from tests.runtime.firm import Firm, billing


@pytest.mark.parametrize("scope", ["r", "r/2:billing", "*"])
def test_the_kill_switch_on_a_parent_stops_its_child(scope: str) -> None:
    async def main() -> None:
        async def killed(run: Run, request: Any) -> Any:
            await harness.operations.kill(by="ana", reason="enough", scope=scope)
            return await billing(run, request)

        firm = Firm(billing=killed)
        harness = firm.live()
        result = await harness.run({"order": "W1"}, run_id="r")
        child = await harness.result("r/2:billing")
        assert child.ending is Ending.HALTED
        assert result.ending is (Ending.FAILED if scope.endswith("billing") else Ending.HALTED)
        assert firm.shop.ledger == []

    simulated(main)


def test_a_childs_limits_are_its_own() -> None:
    async def main() -> None:
        async def looks_around(run: Run, request: Any) -> Any:
            for order in "ABC":
                await run.call("look", {"order": order})
            return {"refunded": 0}

        few = replace(contract(), limits=Limits(steps=2))
        frugal = Firm(billing=looks_around, limits=Limits(steps=2))
        assert (await frugal.live().run({"order": "W"})).ending is Ending.COMPLETE
        firm = Firm(billing=looks_around, terms=replace(few, agent=AgentSection(name="billing")))
        assert "limit 'steps'" in (await firm.live().run({"order": "W"})).reason

    simulated(main)


@pytest.mark.parametrize("crash", [False, True])
def test_a_child_has_no_more_time_than_its_parent_has_left(crash: bool) -> None:
    async def main() -> None:
        async def dawdles(run: Run, request: Any) -> Any:
            for order in range(100):
                await pass_time(5.0)
                await run.call("look", {"order": str(order)})

        async def late(run: Run, request: Any) -> Any:
            await run.call("look", {"order": "W1"})
            return await run.child("billing", request)

        async def slow_at_first(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if info.run_id == "r":
                await pass_time(40.0)
            return await send()

        tools = {"look": Tool(effect=Effect.READ, timeout_s=50.0)}
        firm = Firm(front=late, billing=dawdles, intercept=slow_at_first, tools=tools)
        if crash:
            with pytest.raises(Crash):
                await firm.live(CrashingStore(firm.store, at=3, keep=99)).run({}, run_id="r")
        result = await firm.live().run({}, run_id="r")
        assert (await firm.began("r/2:billing")).allowed_s == pytest.approx(20.0, abs=0.01)
        child = await firm.live().result("r/2:billing")
        assert (child.ending, result.ending) == (Ending.HALTED, Ending.HALTED)
        assert "limit 'seconds'" in child.reason
        assert "limit 'seconds'" in result.reason

    simulated(main)


@pytest.mark.parametrize(("before_s", "others"), [(40.0, Ending.PARKED), (25.0, Ending.HALTED)])
def test_a_child_that_its_parent_goes_on_with_has_no_more_time_than_is_left_now(
    before_s: float, others: Ending
) -> None:
    async def main() -> None:
        async def late(run: Run, request: Any) -> Any:
            await pass_time(before_s)  # no call, so it takes its time again on every replay
            return await run.child("billing", request)

        async def waits_first(run: Run, request: Any) -> Any:
            done = await billing(run, request)
            await pass_time(15.0)
            await run.call("look", {"order": "W1"})
            return done

        firm = Firm(front=late, billing=waits_first)
        harness = firm.live()
        (request,) = (await harness.run({"order": "W1", "amount": 100}, run_id="r")).waiting_for
        await harness.operations.decide(request.request_id, approve=True, by="ana")
        result = await harness.run({"order": "W1", "amount": 100}, run_id="r")
        assert result.ending is Ending.HALTED
        assert "limit 'seconds'" in result.reason
        assert (await harness.result("r/1:billing")).ending is others

    simulated(main)


def test_a_child_that_goes_on_by_itself_has_what_its_parent_had_left() -> None:
    async def main() -> None:
        async def late(run: Run, request: Any) -> Any:
            await pass_time(40.0)
            return await run.child("billing", request)

        async def dawdles(run: Run, request: Any) -> Any:
            done = await billing(run, request)
            for order in range(5):
                await pass_time(5.0)
                await run.call("look", {"order": str(order)})
            return done

        firm = Firm(front=late, billing=dawdles)
        harness = firm.live()
        (request,) = (await harness.run({"order": "W1", "amount": 100}, run_id="r")).waiting_for
        await harness.operations.decide(request.request_id, approve=True, by="ana")
        child = (await harness.children["billing"].wake())[0]
        assert (child.run_id, child.ending) == ("r/1:billing", Ending.HALTED)
        assert "limit 'seconds'" in child.reason

    simulated(main)


def test_the_kill_switch_reaches_a_child_that_continued_as_new() -> None:
    async def main() -> None:
        async def goes_on(run: Run, request: Any) -> Any:
            if not request.get("again"):
                await run.continue_as_new({**request, "again": True})
            await harness.operations.kill(by="ana", reason="enough", scope="r")
            return await billing(run, request)

        firm = Firm(billing=goes_on)
        harness = firm.live()
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is Ending.HALTED
        assert (await firm.began("r/2:billing~2")).within == ("r",)
        assert firm.shop.ledger == []

    simulated(main)


@pytest.mark.parametrize("how", ["fails", "returns", "is halted", "is cancelled"])
def test_a_child_that_its_parent_leaves_behind_is_cancelled(how: str) -> None:
    async def main() -> None:
        async def leaves(run: Run, request: Any) -> Any:
            asked = asyncio.ensure_future(run.child("billing", request))
            await asyncio.wait([asked], timeout=1.0)
            if how == "fails":
                raise ValueError("no patience")
            if how == "is halted":
                await harness.operations.kill(by="ana", reason="enough", scope="*")
            if how == "is cancelled":
                await harness.operations.cancel("r", by="ana", reason="enough")
            if how != "returns":
                await run.call("look", {"order": "W1"})
            return "without waiting"

        async def dawdles(run: Run, request: Any) -> Any:
            await pass_time(100.0)
            return await billing(run, request)

        firm = Firm(front=leaves, billing=dawdles)
        harness = firm.live()
        ends = {"fails": Ending.FAILED, "returns": Ending.COMPLETE}
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is ends.get(how, Ending.HALTED)
        await harness.operations.release()
        (child,) = await firm.live().wake()
        assert (child.run_id, child.ending) == ("r/1:billing", Ending.HALTED)
        by = "ana: enough" if how == "is cancelled" else "plimsoll: r, which began it, has ended"
        assert child.reason == f"cancelled by {by}"
        assert firm.shop.ledger == []

    simulated(main)


def test_a_child_that_waits_is_cancelled_with_its_parent_and_nobody_is_asked_any_more() -> None:
    async def main() -> None:
        firm = Firm()
        harness = firm.live()
        await harness.run({"order": "W1", "amount": 100}, run_id="r")
        await harness.operations.cancel("r", by="ana", reason="not wanted any more")
        ended = await firm.live().wake()
        assert {(one.run_id, one.ending) for one in ended} >= {("r", Ending.HALTED)}
        await firm.live().wake()
        assert (await harness.result("r/2:billing")).ending is Ending.HALTED
        assert await harness.operations.requests() == []
        assert firm.shop.ledger == []

    simulated(main)


def test_a_parent_that_parks_just_when_its_child_has_ended_elsewhere_is_woken() -> None:
    async def main() -> None:
        async def two(run: Run, request: Any) -> Any:
            async def second() -> Any:
                done = await run.child("billing", {"order": "B", "amount": 20})
                await run.call("look", {"order": "B"})  # by now the first child has ended, and the run has seen so
                return done

            return await asyncio.gather(run.child("billing", {"order": "A", "amount": 100}), second())

        async def elsewhere(run: Run, request: dict[str, Any]) -> Any:
            if request["order"] == "B":
                await pass_time(5.0)  # until the first one waits
                other = firm.live()
                firm.store._owners.add("life-1")  # which goes on
                (asked,) = await other.operations.requests()
                await other.operations.decide(asked.asked.request_id, approve=True, by="ana")
                assert [one.ending for one in await other.children["billing"].wake()] == [Ending.COMPLETE]
            return await billing(run, request)

        firm = Firm(front=two, billing=elsewhere)
        result = await firm.live().run({}, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "child: r/1:billing")
        (result,) = await firm.live().wake()
        assert (result.run_id, result.ending) == ("r", Ending.COMPLETE)
        assert await firm.live().wake() == []

    simulated(main)


def test_with_a_run_its_children_are_taken_from_an_owner_that_is_stuck() -> None:
    async def main() -> None:
        async def stuck(run: Run, request: Any) -> Any:
            if firm.lives == 1:
                await pass_time(1000.0)
            return await billing(run, request)

        firm = Firm(billing=stuck)
        first = asyncio.ensure_future(firm.live().run({"order": "W1"}, run_id="r"))
        await pass_time(1.0)
        second = firm.live()
        await firm.store.claim("another", owner="life-1", at=0.0)  # it lives, and is stuck
        with pytest.raises(RunBusy):
            await second.resume("r")
        result = await second.resume("r", take_over=True)
        assert (result.ending, result.output) == (Ending.COMPLETE, "20 back")
        late = await first
        assert late.reason.startswith("superseded")
        assert len(firm.shop.ledger) == 1

    simulated(main)


def test_a_child_that_somebody_else_advances_is_not_taken_over_with_its_parent() -> None:
    async def main() -> None:
        async def waits(run: Run, request: Any) -> Any:
            await pass_time(1000.0)

        firm = Firm(billing=waits)
        first = asyncio.ensure_future(firm.live().run({"order": "W1"}, run_id="r"))
        await pass_time(1.0)
        await firm.store.claim("r/2:billing", owner="a third", at=0.0)
        second = firm.live()
        await firm.store.claim("another", owner="life-1", at=0.0)
        result = await second.resume("r", take_over=True)
        assert result.reason == "child: r/2:billing"
        first.cancel()
        await asyncio.wait([first])

    simulated(main)
