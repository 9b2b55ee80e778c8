"""Cancelling: a run that somebody does not want any more makes no further call, and ends with who said so, and why."""

import asyncio
from functools import partial
from typing import Any

import pytest

from plimsoll.contract.model import AgentSection, Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.errors import Misuse, RunHalted, UnknownRun
from plimsoll.core.events import CancelRequested, DoubtResolved
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, CrashingStore, Desk, contract, pass_time, simulated
from tests.runtime.test_waiting import desk_of, lived_on, now, sleeps


def test_a_running_run_ends_before_its_next_call() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> None:
            for number in range(20):
                await run.call("look", {"order": f"W{number}"})

        async def slow(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            await pass_time(1.0)
            return await send()

        desk = desk_of(agent, intercept=slow)
        harness = desk.live()
        task = asyncio.create_task(harness.run(None, run_id="r"))
        await pass_time(2.5)
        assert await harness.operations.cancel("r", by="ana", reason="the customer hung up")
        result = await task
        assert (result.ending, result.reason) == (Ending.HALTED, "cancelled by ana: the customer hung up")
        assert (desk.shop.reads, now()) == (3, 3.0)
        assert ("cancelled", None, "cancelled") in desk.kinds()
        (asked,) = [r.event for r in await desk.store.read("r") if isinstance(r.event, CancelRequested)]
        assert (asked.by, asked.reason) == ("ana", "the customer hung up")

    simulated(main)


def test_retries_end_too() -> None:
    async def main() -> None:
        async def fails(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            await operations.cancel("r", by="ana")
            raise ConnectionResetError

        desk = Desk(intercept=fails)
        operations = Operations(desk.store)
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert (result.ending, result.reason) == (Ending.HALTED, "cancelled by ana")
        assert desk.shop.reads == 0

    simulated(main)


def test_the_agent_may_tidy_up_but_makes_no_further_call() -> None:
    async def main() -> None:
        tidied = []

        async def agent(run: Run, request: Any) -> None:
            try:
                await run.sleep(0.5)
                await run.call("refund", {"order": "W1", "amount": 1.0})
            finally:
                tidied.append("files")
                with pytest.raises(RunHalted):
                    await run.call("look", {"order": "W1"})

        desk = desk_of(agent)
        harness = desk.live()
        task = asyncio.create_task(harness.run(None, run_id="r"))
        await pass_time(0.25)
        await harness.operations.cancel("r", by="ana")
        assert (await task).ending is Ending.HALTED
        assert (tidied, desk.shop.ledger, desk.shop.reads) == (["files"], [], 0)

    simulated(main)


def test_calls_beside_it_have_a_grace_and_a_write_that_is_late_is_verified() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> None:
            await asyncio.gather(one(run, "quick"), one(run, "late"))

        async def one(run: Run, name: str) -> None:
            await run.call(name, {})
            await run.call("look", {"order": name})

        async def quick() -> str:
            await pass_time(3.0)
            return "quick"

        async def late() -> str:
            await pass_time(30.0)
            return "late"

        tools = {"quick": Tool(effect=Effect.WRITE), "late": Tool(effect=Effect.WRITE, timeout_s=60.0)}
        desk = desk_of(agent, tools=tools, limits=Limits(seconds=100.0))
        desk.tools += [quick, late]
        harness = desk.live()
        task = asyncio.create_task(harness.run(None, run_id="r"))
        await pass_time(1.0)
        await harness.operations.cancel("r", by="ana")
        result = await task
        assert result.ending is Ending.HALTED
        assert desk.shop.reads == 0
        doubts = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtResolved)]
        assert [(doubt.key, doubt.answer) for doubt in doubts] == [("2:late", "unknown")]
        assert ("in_doubt_unresolved", "late", "crash") in desk.kinds()

    simulated(main)


def test_a_parked_run_ends_when_it_is_woken_and_none_of_its_code_runs() -> None:
    async def main() -> None:
        executed = []

        async def agent(run: Run, request: Any) -> None:
            executed.append(now())
            await run.sleep(3600.0)
            await run.call("refund", {"order": "W1", "amount": 1.0})

        desk = desk_of(agent)
        await desk.live().run(None, run_id="r")
        await Operations(desk.store).cancel("r", by="ana", reason="no")
        (result,) = await desk.live().wake()
        assert (result.ending, result.reason) == (Ending.HALTED, "cancelled by ana: no")
        assert (len(executed), desk.shop.ledger) == (1, [])
        assert await desk.live().wake() == []
        assert (await desk.live().run(None, run_id="r")).reason == "cancelled by ana: no"

    simulated(main)


@pytest.mark.parametrize(("verify", "answer"), [(True, "happened"), (False, "unknown")])
def test_what_a_crash_left_in_doubt_is_verified_and_told_before_the_run_ends(verify: bool, answer: str) -> None:
    async def main() -> None:
        async def die(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise Crash
            return answer

        desk = Desk(verify=verify, intercept=die)
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run({"order": "W1"}, run_id="r")
        harness.journal.abandon()
        await Operations(desk.store).cancel("r", by="ana")
        desk.intercept = None
        (result,) = await desk.live().wake()
        assert result.ending is Ending.HALTED
        assert len(desk.shop.ledger) == 1
        doubts = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtResolved)]
        assert [doubt.answer for doubt in doubts] == [answer]
        assert (("in_doubt_unresolved", "refund", "crash") in desk.kinds()) is not verify

    simulated(main)


def test_what_a_person_has_said_of_a_doubt_stands_when_the_run_is_cancelled() -> None:
    async def main() -> None:
        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise ConnectionResetError
            return answer

        desk = Desk(verify=False, intercept=lose)
        harness = desk.live()
        assert (await harness.run({"order": "W1"}, run_id="r")).reason == "doubt: 3:refund"
        await harness.operations.resolve("r", "3:refund", happened=True, by="bo", value={"refunded": 20.0})
        await harness.operations.cancel("r", by="ana")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.HALTED
        doubts = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtResolved)]
        assert [(doubt.answer, doubt.by) for doubt in doubts] == [("unknown", "verify"), ("happened", "bo")]
        assert await harness.operations.doubts("r") == {}

    simulated(main)


def test_a_run_of_another_version_can_be_cancelled() -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        await desk.live().run(3600.0, run_id="r")
        desk.fingerprint = "v2"
        await pass_time(3600.0)
        (result,) = await desk.live().wake()
        assert result.reason.startswith("version")
        await Operations(desk.store).cancel("r", by="ana")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.HALTED

    simulated(main)


def test_a_run_is_cancelled_once_and_only_while_it_lasts() -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        harness = desk.live()
        cancel = harness.operations.cancel
        with pytest.raises(UnknownRun):
            await cancel("r", by="ana")
        await harness.run(3600.0, run_id="r")
        assert await cancel("r", by="ana", reason="first")
        assert not await cancel("r", by="bo", reason="second")
        (result,) = await harness.wake()
        assert result.reason == "cancelled by ana: first"
        with pytest.raises(Misuse, match="has ended"):
            await cancel("r", by="bo")

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 6))
def test_a_crash_at_any_append_of_a_cancelled_run_sends_nothing(at: int, keep: int) -> None:
    async def main() -> None:
        desk = desk_of(sleeps)
        await desk.live().run(3600.0, run_id="r")
        await Operations(desk.store).cancel("r", by="ana")
        harness = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        try:
            await harness.wake()
        except BaseException as error:
            assert type(error).__name__ == "Crash"
        harness.journal.abandon()
        result = await lived_on(desk, 3600.0)
        assert (result.ending, result.reason) == (Ending.HALTED, "cancelled by ana")
        assert desk.shop.ledger == []
        events = await desk.events()
        assert (events.count("CancelRequested"), events.count("RunEnded")) == (1, 1)
        assert [kind for kind, _, _ in desk.kinds()].count("cancelled") <= 2

    simulated(main)


# ---------------------------------------------------------------------------------------------------------- children


class Family(Desk):
    """A parent whose child works for it."""

    def __init__(self, child: Any) -> None:
        super().__init__()
        self.child = child

        async def parent(run: Run, request: Any) -> Any:
            return await run.child("worker", request)

        self.agent = parent

    def children(self) -> dict[str, Any]:
        terms = contract(agent=AgentSection(name="worker"))
        return {"worker": partial(Harness, terms, agent=self.child, fingerprint="w1", **self.means())}


def test_a_child_ends_before_its_next_call_when_its_parent_is_cancelled() -> None:
    async def main() -> None:
        async def child(run: Run, request: Any) -> None:
            for number in range(20):
                await run.call("look", {"order": f"W{number}"})

        async def slow(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            await pass_time(1.0)
            return await send()

        family = Family(child)
        family.intercept = slow
        harness = family.live()
        task = asyncio.create_task(harness.run(None, run_id="r"))
        await pass_time(2.5)
        await harness.operations.cancel("r", by="ana", reason="no")
        result = await task
        assert (result.ending, result.reason) == (Ending.HALTED, "cancelled by ana: no")
        assert family.shop.reads == 3
        head = await family.store.head("r/1:worker")
        assert head is not None
        assert (head.ending, head.reason) == (Ending.HALTED, "cancelled by ana: no")

    simulated(main)


def test_a_parked_child_is_cancelled_with_its_parent() -> None:
    async def main() -> None:
        family = Family(sleeps)
        harness = family.live()
        result = await harness.run(3600.0, run_id="r")
        assert result.ending is Ending.PARKED
        await harness.operations.cancel("r", by="ana")
        for _ in range(3):
            await harness.wake()
        heads = {head.run_id: head for head in await family.store.heads()}
        assert {head.ending for head in heads.values()} == {Ending.HALTED}
        assert "DoubtRaised" not in await family.events("r")
        assert family.shop.ledger == []

    simulated(main)


# ------------------------------------------------------------------------------------------------- continuing as new


@pytest.mark.parametrize("at", range(1, 9))
def test_what_was_sent_to_a_run_reaches_the_one_that_it_goes_on_as(at: int) -> None:
    async def main() -> None:
        async def counts(run: Run, got: list[int]) -> list[int]:
            if len(got) == 3:
                return got
            await run.call("look", {"order": f"W{len(got)}"})
            await run.continue_as_new([*got, await run.wait_for_signal("next")])

        desk = desk_of(counts)
        await desk.live().run([], run_id="r")
        operations = Operations(desk.store)
        for number in range(3):
            await operations.signal("r", "next", number, by="ana", signal_id=f"s{number}")
        harness = desk.live(CrashingStore(desk.store, at=at, keep=0))
        try:
            await harness.wake()
        except BaseException as error:
            assert type(error).__name__ == "Crash"
        harness.journal.abandon()
        result = await lived_on(desk, [])
        assert (result.ending, result.output) == (Ending.COMPLETE, [0, 1, 2])

    simulated(main)


def test_a_cancellation_reaches_the_latest_of_a_chain() -> None:
    async def main() -> None:
        async def goes_on(run: Run, number: int) -> None:
            if number == 0:
                await run.continue_as_new(1)
            await run.sleep(3600.0)
            await run.call("refund", {"order": "W1", "amount": 1.0})

        desk = desk_of(goes_on)
        await desk.live().run(0, run_id="r")
        await Operations(desk.store).cancel("r", by="ana")
        await desk.live().wake()
        result = await desk.live().run(0, run_id="r")
        assert (result.ending, result.reason) == (Ending.HALTED, "cancelled by ana")

    simulated(main)
