"""A healthy run, crashes and resumes: nothing lost, nothing doubled, nothing asked twice."""

from typing import Any

import pytest

from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import CallIntended, CallSettled
from plimsoll.runtime.exchange import Exchange, Send
from tests.adapters.conformance.desk import Bench, Desk, Script, call, simulated
from tests.runtime.bench import Crash, CrashingStore

ONE: list[Any] = [[call("find_order", order_id="W2")], [call("refund", order_id="W2", amount=20)], "W2 is paid back."]
BOTH: list[Any] = [
    [call("find_order", order_id="W1"), call("find_order", order_id="W2")],
    [call("refund", order_id="W1", amount=30), call("refund", order_id="W2", amount=20)],
    "Both are paid back.",
]


def dies_before(site: str, nth: int) -> Any:
    """An interceptor: the process dies before its nth call of `site`, once."""
    count = 0

    async def intercept(called: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        nonlocal count
        count += called == site
        if called == site and count == nth:
            raise Crash
        return await send()

    return intercept


def test_a_healthy_run_completes(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*ONE))
        async with desk.live() as hardened:
            result = await hardened.run("Refund W2", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "W2 is paid back."), result.reason
        assert desk.shop.refunds == [("W2", 20)] and desk.shop.reads == ["W2"]
        assert [event.dependency for event in await desk.events(CallSettled)] == [
            "primary", "find_order", "primary", "refund", "primary",
        ]  # fmt: skip
        assert desk.kinds() == set()
        assert desk.script.heard[1].results[0][0] == "find_order" and '"amount": 80' not in desk.told("find_order")[0]

    simulated(main)


def test_the_agent_itself_is_not_changed(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*ONE))
        before = bench.adapter.describe(bench.agent())
        async with desk.live() as hardened:
            await hardened.run("Refund W2", run_id="r")
        assert bench.adapter.describe(bench.agent()) == before
        assert {tool.name for tool in before.tools} == {"find_order", "refund"} and before.name == "desk"

    simulated(main)


def test_a_run_that_ended_is_answered_from_its_journal(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*ONE))
        await desk.live().run("Refund W2", run_id="r")
        asked = desk.script.asked
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "W2 is paid back.")
        assert desk.script.asked == asked and len(desk.shop.ledger) == 1

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 2, 99])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_crash_at_any_append_neither_loses_nor_doubles(bench: Bench, at: int, keep: int) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*BOTH))
        hardened = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        crashed = False
        try:
            await hardened.run("Refund both", run_id="r")
        except Crash:
            crashed = True
        hardened.harness.journal.abandon()
        second = desk.live()
        await second.wake()
        result = await second.run("Refund both", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Both are paid back."), result.reason
        assert sorted(desk.shop.refunds) == [("W1", 30), ("W2", 20)]
        assert crashed or at > 4

    simulated(main)


def test_a_resumed_run_makes_no_call_that_is_recorded(bench: Bench) -> None:
    """Its process dies in the third request to the model: everything before is on disk, as a write came after it."""

    async def main() -> None:
        desk = Desk(bench, Script(*ONE), intercept=dies_before("primary", 3))
        with pytest.raises(Crash):
            await desk.live().run("Refund W2", run_id="r")
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "W2 is paid back.")
        assert desk.script.asked == 3 and desk.shop.reads == ["W2"] and desk.shop.refunds == [("W2", 20)]

    simulated(main)


def test_a_write_whose_answer_is_lost_in_a_crash_is_not_made_again(bench: Bench) -> None:
    async def main() -> None:
        async def crash(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund" and desk.lives == 1:
                raise Crash
            return answer

        desk = Desk(bench, Script(*ONE), intercept=crash)
        with pytest.raises(Crash):
            await desk.live().run("Refund W2", run_id="r")
        (result,) = await desk.live().wake()
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [("W2", 20)])

    simulated(main)


def test_parallel_calls_settle_on_replay_in_the_order_in_which_they_settled(bench: Bench) -> None:
    async def main() -> None:
        async def slowly(args: Any) -> None:
            await LoopClock().sleep(2.0 if args["order_id"] == "W1" else 1.0)

        steps = [*BOTH[:2], [call("refund", order_id="W2", amount=5)], BOTH[2]]
        desk = Desk(bench, Script(*steps), intercept=dies_before("refund", 3))
        desk.shop.before["refund"] = slowly
        with pytest.raises(Crash):
            await desk.live().run("Refund both", run_id="r")
        settled = [event.key for event in await desk.events(CallSettled) if event.dependency == "refund"]
        order_of = {event.key: event.args["order_id"] for event in await desk.events(CallIntended)}
        assert [order_of[key] for key in settled] == ["W2", "W1"]
        (result,) = await desk.live().wake()
        assert sorted(desk.shop.refunds) == [("W1", 30), ("W2", 5), ("W2", 20)]
        assert result.ending is Ending.COMPLETE, "the model is asked the same, in the same order"
        assert [event.key for event in await desk.events(CallSettled) if event.dependency == "refund"][:2] == settled

    simulated(main)


def test_code_that_left_its_recorded_path_parks_and_sends_nothing(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*ONE), intercept=dies_before("primary", 3))
        with pytest.raises(Crash):
            await desk.live().run("Refund W2", run_id="r")
        intended = await desk.events(CallIntended)
        hardened = desk.live()
        encoded = _another_question(hardened)
        with pytest.raises(ReplayMismatch):
            await hardened.resume("r")
        assert (await desk.live().harness.result("r")).reason.startswith("mismatch")
        assert await desk.events(CallIntended) == intended and len(desk.shop.ledger) == 1 and encoded

    simulated(main)


def _another_question(hardened: Any) -> bool:
    """The hardened agent's own code asks something else than it did before."""
    advance = hardened._advance

    async def other(life: Any, run: Any, asked: Any) -> Any:
        return await advance(life, run, "Refund W1 and W2, and be quick")

    hardened._advance = other
    return True
