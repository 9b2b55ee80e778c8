"""Crashes and resumes: nothing lost, nothing doubled, parallel calls under the same keys."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, BinaryContent, FunctionToolset, ModelRetry, RunContext, ToolReturn
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults

import plimsoll
from plimsoll.adapters.pydantic_ai import harden
from plimsoll.contract.model import Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, Unknown
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import CallIntended, CallSettled, DoubtRaised
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.surroundings import Surroundings
from tests.adapters.bench import Desk, Shop, call, contract, scripted, shop_agent, simulated, tool_results
from tests.runtime.bench import Crash, CrashingStore

STEPS: list[Any] = [
    [call("look", order="W1"), call("look", order="W2")],
    [call("refund", order="W1", amount=20.0), call("refund", order="W2", amount=30.0)],
    "Both are paid back.",
]


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 99])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_crash_at_any_append_neither_loses_nor_doubles(at: int, keep: int) -> None:
    async def main() -> None:
        desk = Desk(*STEPS)
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
        assert sorted(desk.shop.refunds) == [("W1", 20.0), ("W2", 30.0)]
        assert crashed or at > 4

    simulated(main)


def test_a_person_lets_a_run_go_on_that_died_too_often() -> None:
    async def main() -> None:
        async def crash(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if desk.lives < 3:
                raise Crash
            return await send()

        desk = Desk("Done.", intercept=crash, limits=Limits(max_resumes=0))
        for _ in range(2):
            hardened = desk.live()
            try:
                await hardened.run("Look", run_id="r")
            except Crash:
                hardened.harness.journal.abandon()
        assert (await desk.live().resume("r")).reason.startswith("resumes: its process died")
        result = await desk.live().resume("r", forced_by="ana")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason

    simulated(main)


def test_some_run_of_the_crash_test_reaches_every_barrier() -> None:
    async def main() -> None:
        desk = Desk(*STEPS)
        appends = 0

        class Counting(CrashingStore):
            async def append(self, records: Any) -> frozenset[str]:
                nonlocal appends
                appends += 1
                return await super().append(records)

        await desk.live(Counting(desk.store, at=99, keep=0)).run("Refund both", run_id="r")
        assert appends == 4  # the start, two intents, the end

    simulated(main)


def crash_after(site_to_crash: str, *, times: int = 1) -> Any:
    struck: list[str] = []

    async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        answer = await send()
        if site == site_to_crash and len(struck) < times:
            struck.append(site)
            raise Crash
        return answer

    return intercept


def test_a_write_in_doubt_after_a_crash_is_verified_not_repeated() -> None:
    async def main() -> None:
        desk = Desk([call("refund", order="W1", amount=20.0)], "Done.", intercept=crash_after("refund"))
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Refund W1", run_id="r")
        hardened.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done.")
        assert desk.shop.refunds == [("W1", 20.0)]
        (doubt,) = await desk.events(DoubtRaised)
        assert (doubt.dependency, doubt.fault) == ("refund", "crash")

    simulated(main)


def test_without_an_answer_from_verify_the_run_parks_for_a_person() -> None:
    async def main() -> None:
        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise ConnectionResetError("the answer was lost")
            return answer

        desk = Desk([call("refund", "c1", order="W1", amount=20.0)], "Done.", verify=False, intercept=lose)
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "doubt: 1/c1")
        await hardened.operations.resolve("r", "1/c1", happened=True, by="ana", value={"refunded": 20.0})
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done.")
        (told,) = tool_results(result.native.all_messages())
        assert told.content == {"refunded": 20.0}
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_verify_gets_the_dependencies_when_it_asks_for_them() -> None:
    async def main() -> None:
        got: list[Any] = []

        async def verify(args: Any, key: str, *, deps: Shop) -> Any:
            got.append((args, key, deps))
            return Unknown("no idea")

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "refund":
                raise ConnectionResetError("lost")
            return await send()

        desk = Desk([call("refund", "c1", order="W1", amount=20.0)], "Done.", intercept=lose)
        hardened = desk.live()
        hardened._verifiers = {"refund": verify}
        await hardened.run("Refund W1", run_id="r")
        (intended,) = await desk.events(CallIntended)
        assert got[0] == ({"order": "W1", "amount": 20.0}, intended.idempotency_key, desk.shop)

    simulated(main)


def test_parallel_calls_have_the_same_keys_whatever_order_they_settle_in() -> None:
    async def main() -> None:
        keys: list[dict[str, str]] = []
        for delays in ((3.0, 1.0, 2.0), (1.0, 2.0, 3.0)):
            agent: Agent[Shop, Any] = shop_agent()
            waits = dict(zip("abc", delays, strict=True))

            @agent.tool
            async def fetch(ctx: RunContext[Shop], name: str, waits: Any = None, given: Any = waits) -> str:
                await LoopClock().sleep(given[name])
                return name

            batch = [call("fetch", name=name) for name in "abc"]
            desk = Desk(batch, batch, "Done.", agent=agent, tools={"fetch": Tool(effect=Effect.READ)})
            result = await desk.live().run("Fetch", run_id="r")
            assert result.ending is Ending.COMPLETE, result.reason
            settled = [event for event in await desk.events(CallSettled) if event.dependency == "fetch"]
            assert [event.args["name"] for event in settled[:3]] == sorted("abc", key=waits.__getitem__)
            keys.append({event.key: event.args["name"] for event in settled})
        assert keys[0] == keys[1]
        assert len(keys[0]) == 6

    simulated(main)


def test_two_calls_of_one_response_with_the_same_id_are_told_apart() -> None:
    async def main() -> None:
        desk = Desk([call("look", "same", order="W1"), call("look", "same", order="W2")], "Done.")
        result = await desk.live().run("Look", run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason
        assert sorted(desk.shop.reads) == ["W1", "W2"]

    simulated(main)


def test_parallel_calls_replay_in_the_order_in_which_they_settled() -> None:
    async def main() -> None:
        agent: Agent[Shop, Any] = shop_agent()
        delays = {"a": 3.0, "b": 1.0}

        @agent.tool
        async def fetch(ctx: RunContext[Shop], name: str) -> str:
            await LoopClock().sleep(delays[name])
            ctx.deps.reads.append(name)
            return name

        desk = Desk(
            [call("fetch", name="a"), call("fetch", name="b")],
            [call("refund", order="W1", amount=1.0)],
            "Done.",
            agent=agent,
            tools={"fetch": Tool(effect=Effect.READ)},
            intercept=crash_after("refund"),
        )
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Fetch", run_id="r")
        hardened.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert desk.shop.reads == ["b", "a"]  # both once

    simulated(main)


def test_what_a_tool_said_is_replayed_and_not_asked_again() -> None:
    async def main() -> None:
        asked: list[str] = []
        agent = shop_agent()
        picture = BinaryContent(b"\xff\x00", media_type="image/png")

        @agent.tool_plain
        def cancel(order: str) -> str:
            asked.append(f"cancel {order}")
            raise ModelRetry("no such order; did you mean W1?")

        @agent.tool_plain
        def photo(order: str) -> ToolReturn[str]:
            asked.append(f"photo {order}")
            return ToolReturn("taken", content=["Look:", picture])

        desk = Desk(
            [call("cancel", "c1", order="W9"), call("photo", "c2", order="W1")],
            [call("refund", "c3", order="W1", amount=1.0)],
            "Done.",
            agent=agent,
            tools={"photo": Tool(effect=Effect.READ)},
            intercept=crash_after("refund"),
        )
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Cancel it", run_id="r")
        hardened.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert sorted(asked) == ["cancel W9", "photo W1"]
        retried, taken, _ = tool_results(result.native.all_messages())
        assert (retried.outcome, taken.content) == ("retried", "taken")
        assert "did you mean W1?" in str(retried.content)

    simulated(main)


def test_a_tool_result_has_its_keys_in_the_same_order_after_a_crash() -> None:
    async def main() -> None:
        agent = shop_agent()

        @agent.tool_plain
        async def search() -> dict[str, Any]:
            return {"zebra": 1, "ant": {"wing": 2, "leg": 6}}

        told: list[str] = []

        def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            results = tool_results(messages)
            if not results:
                return ModelResponse(parts=[call("search")])
            told.append(json.dumps(results[0].content))
            return ModelResponse(parts=[TextPart("done")])

        desk = Desk(agent=agent, model=FunctionModel(answer), tools={"search": Tool(effect=Effect.READ)})
        with pytest.raises(Crash):
            await desk.live(CrashingStore(desk.store, at=2, keep=2)).run("Search", run_id="r")
        await desk.live().wake()
        assert len(told) == 2 and told[0] == told[1]

    simulated(main)


def test_a_model_is_not_asked_again_for_what_it_has_answered() -> None:
    async def main() -> None:
        asked: list[int] = []

        def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            asked.append(len(messages))
            if len(messages) == 1:
                return ModelResponse(parts=[call("refund", order="W1", amount=1.0)])
            return ModelResponse(parts=[TextPart("Done.")])

        desk = Desk(model=FunctionModel(answer), intercept=crash_after("refund"))
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Refund W1", run_id="r")
        hardened.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert result.output == "Done."
        assert asked == [1, 3]

    simulated(main)


def test_an_agent_that_now_does_something_else_is_parked_and_sends_nothing() -> None:
    async def main() -> None:
        toolset: FunctionToolset[Any] = FunctionToolset()
        desk = Desk(
            [call("refund", order="W1", amount=1.0)],
            "Done.",
            agent=shop_agent(toolsets=[toolset]),
            intercept=crash_after("refund"),
        )
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Refund W1", run_id="r")
        hardened.harness.journal.abandon()
        toolset.add_function(lambda order: order, name="cancel")
        second = desk.live()
        with pytest.raises(ReplayMismatch, match="1:primary"):
            await second.resume("r")
        assert (await second.harness.result("r")).ending is Ending.PARKED
        assert desk.shop.refunds == [("W1", 1.0)]

    simulated(main)


def test_instructions_with_the_time_in_them_do_not_break_a_replay() -> None:
    async def main() -> None:
        agent = shop_agent()

        @agent.instructions
        def now() -> str:
            return f"It is {LoopClock().now()}."

        @agent.system_prompt(dynamic=True)
        def hour() -> str:
            return f"The hour is {LoopClock().now()}."

        desk = Desk([call("refund", order="W1", amount=1.0)], "Done.", agent=agent, intercept=crash_after("refund"))
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Refund W1", run_id="r")
        hardened.harness.journal.abandon()
        await LoopClock().sleep(40.0)
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason

    simulated(main)


def agent_with_a_slow_refund() -> Agent[Shop, Any]:
    agent = shop_agent()

    @agent.tool
    async def slow_refund(ctx: RunContext[Shop], order: str) -> str:
        await LoopClock().sleep(3.0)
        ctx.deps.ledger.append((order, 1.0, ""))
        return "paid"

    return agent


def test_a_sibling_in_flight_settles_before_a_run_that_halts_leaves() -> None:
    async def main() -> None:
        batch = [call("slow_refund", "c1", order="W1"), call("refund", "c2", order="W2", amount=1.0)]
        desk = Desk(batch, "Done.", agent=agent_with_a_slow_refund())

        async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "slow_refund":
                await hardened.operations.kill(by="ana", reason="stop")
            return await send()

        desk.intercept = intercept
        hardened = desk.live()
        result = await hardened.run("Refund W1", run_id="r")
        assert result.ending is Ending.HALTED
        settled = [event.key for event in await desk.events(CallSettled)]
        assert settled == ["1:primary", "1/c1"]  # its outcome is known, although the run was stopped beside it
        assert desk.shop.refunds == [("W1", 1.0)]

    simulated(main)


def test_a_sibling_in_flight_settles_before_a_run_parks() -> None:
    async def main() -> None:
        batch = [call("slow_refund", "c1", order="W1"), call("refund", "c2", order="W2", amount=80.0)]
        desk = Desk(batch, "Done.", agent=agent_with_a_slow_refund())
        before = asyncio.all_tasks()
        result = await desk.live().run("Refund both", run_id="r")
        assert (result.ending, len(result.waiting_for)) == (Ending.PARKED, 1)
        assert [event.key for event in await desk.events(CallSettled)] == ["1:primary", "1/c1"]
        assert len(desk.shop.ledger) == 1
        assert asyncio.all_tasks() == before

    simulated(main)


def test_a_doubt_is_named_before_an_approval_that_waits_beside_it() -> None:
    async def main() -> None:
        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if info.dependency == "refund" and exchange.args["amount"] < 50:
                raise ConnectionResetError("lost")
            return await send()

        batch = [call("refund", "c1", order="W1", amount=80.0), call("refund", "c2", order="W2", amount=1.0)]
        desk = Desk(batch, "Done.", intercept=lose, verify=False)
        result = await desk.live().run("Refund both", run_id="r")
        assert result.reason == "doubt: 1/c2"
        assert [asked.args["order"] for asked in result.waiting_for] == ["W1"]

    simulated(main)


def test_what_a_tool_calls_inside_is_part_of_its_own_call() -> None:
    async def main() -> None:
        paid: list[str] = []

        @plimsoll.tool
        async def pay(order: str) -> str:
            paid.append(order)
            return "paid"

        agent = shop_agent()

        @agent.tool_plain
        async def settle(order: str) -> str:
            return str(await pay(order))

        desk = Desk(
            [call("settle", "c1", order="W1")],
            [call("refund", "c2", order="W1", amount=1.0)],
            "Done.",
            agent=agent,
            intercept=crash_after("refund"),
        )
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Settle W1", run_id="r")
        hardened.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.ending, paid) == (Ending.COMPLETE, ["W1"]), result.reason

    simulated(main)


def test_a_call_that_is_executed_again_within_a_run_has_a_key_of_its_own() -> None:
    async def main() -> None:
        agent: Agent[Shop, Any] = shop_agent(capabilities=[HandleDeferredToolCalls(wave_through)])

        @agent.tool
        def cancel(ctx: RunContext[Shop], order: str) -> str:
            if not ctx.tool_call_approved:
                raise ApprovalRequired
            ctx.deps.ledger.append((order, 0.0, ""))
            return "cancelled"

        desk = Desk(
            [call("cancel", "c1", order="W1")],
            [call("refund", "c2", order="W1", amount=1.0)],
            "Done.",
            agent=agent,
            intercept=crash_after("refund"),
        )
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Cancel W1", run_id="r")
        hardened.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result.reason
        keys = [event.key for event in await desk.events(CallIntended)]
        assert keys == ["1/c1", "1/c1#2", "2/c2"]
        assert [amount for _, amount in desk.shop.refunds] == [0.0, 1.0]

    simulated(main)


def wave_through(ctx: RunContext[Any], requests: DeferredToolRequests) -> DeferredToolResults:
    """A handler that approves whatever it is asked."""
    return DeferredToolResults(approvals={part.tool_call_id: True for part in requests.approvals})


def test_a_run_goes_on_in_another_process_over_sqlite(tmp_path: Path) -> None:
    shop = Shop()
    model = scripted([call("refund", order="W1", amount=80.0)], "Done.")

    def live(owner: str) -> tuple[Any, SQLiteStore]:
        store = SQLiteStore.open(tmp_path / "journal.db", owner=owner)
        surroundings = Surroundings(store=store, owner=owner, sinks=(MemorySink(),))
        backup = scripted("The backup says so.")
        hardened = harden(
            shop_agent(),
            contract(),
            deps=lambda: shop,
            models={"primary": model, "backup": backup},
            verifiers={"refund": shop.verify},
            surroundings=surroundings,
            fingerprint="v1",
        )
        return hardened, store

    async def first() -> None:
        hardened, store = live("one")
        async with hardened:
            result = await hardened.run("Refund W1", run_id="r")
            assert result.ending is Ending.PARKED
        await store.close()

    async def second() -> None:
        hardened, store = live("two")
        async with hardened:
            (request,) = await hardened.approvals.requests()
            await hardened.approvals.decide(request.asked.request_id, approve=True, by="ana")
            (result,) = await hardened.wake()
            assert (result.ending, result.output) == (Ending.COMPLETE, "Done.")
        await store.close()

    asyncio.run(first())
    asyncio.run(second())
    assert shop.refunds == [("W1", 80.0)]
