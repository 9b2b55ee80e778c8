"""What a hostile reading of the runtime found: each was wrong once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from plimsoll.contract.model import AgentSection, Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.errors import JournalUnavailable, Misuse, ReplayMismatch, RunBusy, Superseded
from plimsoll.core.events import DoubtResolved, Record, RunStarted
from plimsoll.journal.messages import stored_message
from plimsoll.journal.store import InboxEntry
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, Desk, pass_time, simulated


class Wrapped:
    """A store with one thing changed."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def alongside(desk: Desk, store: Any = None) -> Harness:
    """Another process, beside those that live."""
    harness = desk.live(store)
    desk.store._owners.add(f"life-{desk.lives - 1}")  # `live` buries the one before
    return harness


def test_a_request_that_two_processes_accept_at_once_is_one_run() -> None:
    class Slow(Wrapped):
        async def head(self, run_id: str) -> Any:
            found = await self._inner.head(run_id)
            await pass_time(1.0)  # both have looked before either claims
            return found

    async def main() -> None:
        desk = Desk()
        store = Slow(desk.store)
        one, two = desk.live(store), alongside(desk, store)
        done = await asyncio.gather(
            one.run({"order": "W1"}, run_id="r"), two.run({"order": "W1"}, run_id="r"), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in done) == ["RunBusy", "RunResult"]
        assert len(desk.shop.ledger) == 1
        started = [r for r in await desk.store.read("r") if isinstance(r.event, RunStarted)]
        assert len(started) == 1

    simulated(main)


def test_two_processes_that_wake_at_once_go_on_with_a_run_once() -> None:
    async def main() -> None:
        desk = Desk()

        async def die(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if desk.lives == 1:
                raise Crash
            await pass_time(3.0)
            return await send()

        desk.intercept = die
        with pytest.raises(Crash):
            await desk.live().run({"order": "W1"}, run_id="r")
        one, two = desk.live(), alongside(desk)
        woken = await asyncio.gather(one.wake(), two.wake())
        assert sorted(len(results) for results in woken) == [0, 1]
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_a_run_that_lives_elsewhere_is_not_taken_over() -> None:
    async def main() -> None:
        desk = Desk()

        async def slowly(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            await pass_time(1.0)
            return await send()

        desk.intercept = slowly
        one = desk.live()
        running = asyncio.create_task(one.run({"order": "W1"}, run_id="r"))
        await pass_time(1.5)
        two = alongside(desk)
        for ask in (two.run({"order": "W1"}, run_id="r"), two.resume("r")):
            with pytest.raises(RunBusy):
                await ask
        assert await two.wake() == []
        assert (await running).ending is Ending.COMPLETE
        assert (await two.run({"order": "W1"}, run_id="r")).ending is Ending.COMPLETE
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_harnesses_that_share_their_surroundings_share_what_is_under_way() -> None:
    async def main() -> None:
        desk = Desk()

        async def slowly(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            await pass_time(1.0)
            return await send()

        desk.intercept = slowly
        one = desk.live()
        two = Harness(
            desk.contract,
            agent=desk.agent,
            surroundings=one.env.surroundings,
            tools=desk.tools,
            models=desk.models,
            fingerprint="v1",
        )
        running = asyncio.create_task(one.run({"order": "W1"}, run_id="r"))
        await pass_time(1.5)
        assert await two.wake() == []
        assert (await running).ending is Ending.COMPLETE
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_an_answer_to_a_doubt_does_not_answer_the_next_one() -> None:
    async def main() -> None:
        desk = Desk(verify=False)

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site != "refund":
                return await send()
            if desk.lives > 1:
                await send()
            raise ConnectionResetError("lost")

        desk.intercept = lose
        harness = desk.live()
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is Ending.PARKED
        await harness.operations.resolve("r", "3:refund", happened=False, by="ana")
        (again,) = await desk.live().wake()
        assert (again.ending, len(desk.shop.ledger)) == (Ending.PARKED, 1)
        third = desk.live()
        assert await third.wake() == []
        assert (await third.resume("r")).ending is Ending.PARKED
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_an_idempotent_call_that_a_person_settled_is_not_sent_again() -> None:
    async def main() -> None:
        desk = Desk(verify=False, tools={"refund": Tool(effect=Effect.IDEMPOTENT)})

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise ValueError("lost")
            return answer

        desk.intercept = lose
        harness = desk.live()
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is Ending.PARKED
        sent = len(desk.shop.ledger)
        await harness.operations.resolve("r", "3:refund", happened=True, by="ana", value={"refunded": 20.0})
        (result,) = await desk.live().wake()
        assert (result.ending, len(desk.shop.ledger)) == (Ending.COMPLETE, sent)

    simulated(main)


def test_a_key_is_one_calls() -> None:
    async def main() -> None:
        desk = Desk()

        async def twice(run: Run, request: Any) -> str:
            await run.call("refund", {"order": "W1", "amount": 1.0}, key="pay")
            await run.call("refund", {"order": "W1", "amount": 1.0}, key="pay")
            return "paid"

        desk.agent = twice
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.FAILED
        assert Misuse.__name__ in result.reason
        assert len(desk.shop.ledger) == 1

    simulated(main)


@pytest.mark.parametrize(("verify", "answer"), [(True, "happened"), (False, "unknown")])
def test_a_write_under_way_when_its_run_fails_is_not_forgotten(verify: bool, answer: str) -> None:
    async def main() -> None:
        desk = Desk(verify=verify)

        async def never(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            made = await send()
            await pass_time(1e6 if site == "refund" else 0.0)
            return made

        async def fails(run: Run, request: Any) -> str:
            asyncio.get_running_loop().create_task(run.call("refund", {"order": "W1", "amount": 1.0}))
            await pass_time(1.0)
            raise KeyError("order")

        desk.intercept, desk.agent = never, fails
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.FAILED
        doubts = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtResolved)]
        assert [event.answer for event in doubts] == [answer]
        assert ("in_doubt", "refund") in [(kind, dependency) for kind, dependency, _ in desk.kinds()]

    simulated(main)


@pytest.mark.parametrize("other", [("refund", {"order": "W2", "amount": 20.0}), ("look", {"order": "W1"})])
def test_code_that_leaves_a_write_in_doubt_behind_does_not_replay(other: tuple[str, dict[str, Any]]) -> None:
    async def main() -> None:
        desk = Desk()

        async def first(run: Run, request: Any) -> Any:
            return await run.call("refund", {"order": "W1", "amount": 20.0})

        async def changed(run: Run, request: Any) -> Any:
            return await run.call(*other, key="another")

        async def die(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            raise Crash

        desk.agent, desk.intercept = first, die
        with pytest.raises(Crash):
            await desk.live().run({}, run_id="r")
        desk.agent, desk.intercept = changed, None
        with pytest.raises(ReplayMismatch, match="refund"):
            await desk.live().resume("r")
        assert desk.shop.ledger == []
        assert desk.shop.reads == 0

    simulated(main)


def test_an_outcome_is_not_handed_to_another_dependency() -> None:
    async def main() -> None:
        desk = Desk()

        async def first(run: Run, request: Any) -> Any:
            await run.call("look", {"order": "W1"}, key="step")
            return await run.call("refund", {"order": "W1", "amount": 500.0})

        async def changed(run: Run, request: Any) -> Any:
            return await run.call("cancel", {"order": "W1"}, key="step")

        def cancel(order: str) -> str:
            desk.shop.ledger.append((order, 0.0, "cancel"))
            return order

        desk.tools.append(cancel)
        desk.agent = first
        await desk.live().run({}, run_id="r")
        desk.agent = changed
        with pytest.raises(ReplayMismatch, match="look"):
            await desk.live().resume("r")
        assert desk.shop.ledger == []

    simulated(main)


def test_another_agents_runs_are_left_alone() -> None:
    async def main() -> None:
        desk = Desk()

        async def die(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            raise Crash

        desk.intercept = die
        with pytest.raises(Crash):
            await desk.live().run({"order": "W1"}, run_id="r")
        desk.intercept = None
        desk.contract = msgspec.structs.replace(desk.contract, agent=AgentSection(name="cleaner"))
        other = desk.live()
        assert await other.wake() == []
        with pytest.raises(Misuse, match="'desk'"):
            await other.resume("r")
        assert desk.shop.ledger == []

    simulated(main)


def test_nothing_is_done_after_the_end() -> None:
    async def main() -> None:
        desk = Desk()
        left: list[asyncio.Task[Any]] = []

        async def leaves(run: Run, request: Any) -> str:
            async def later() -> None:
                await pass_time(60.0)
                await run.call("refund", {"order": "W1", "amount": 1.0})

            left.append(asyncio.get_running_loop().create_task(later()))
            return "done"

        desk.agent = leaves
        assert (await desk.live().run({}, run_id="r")).ending is Ending.COMPLETE
        await asyncio.wait(left)
        assert left[0].exception() is not None or left[0].cancelled()
        assert desk.shop.ledger == []
        assert (await desk.events())[-1] == "RunEnded"

    simulated(main)


def test_a_run_that_could_not_be_accepted_is_never_begun() -> None:
    class Down(Wrapped):
        down = True

        async def append(self, records: Sequence[Record]) -> frozenset[str]:
            if self.down:
                raise JournalUnavailable("disk full")
            refused: frozenset[str] = await self._inner.append(records)
            return refused

    async def main() -> None:
        desk = Desk()
        store = Down(desk.store)
        harness = desk.live(store)
        with pytest.raises(JournalUnavailable):
            await harness.run({"order": "W1"}, run_id="r")
        store.down = False
        assert (await harness.run({"order": "W2"}, run_id="other")).ending is Ending.COMPLETE
        assert await harness.wake() == []
        assert [row[0] for row in desk.shop.ledger] == ["W2"]
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is Ending.COMPLETE

    simulated(main)


def test_a_task_group_with_a_call_that_waits_parks() -> None:
    async def main() -> None:
        desk = Desk()

        async def grouped(run: Run, request: Any) -> str:
            async with asyncio.TaskGroup() as group:
                group.create_task(run.call("look", {"order": "W1"}))
                group.create_task(run.call("refund", {"order": "W1", "amount": 500.0}))
            return "done"

        desk.agent = grouped
        harness = desk.live()
        parked = await harness.run({}, run_id="r")
        assert parked.ending is Ending.PARKED
        await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert (result.ending, len(desk.shop.ledger)) == (Ending.COMPLETE, 1)

    simulated(main)


def test_a_branch_that_takes_its_time_does_replay() -> None:
    async def main() -> None:
        desk = Desk(limits=Limits(seconds=200.0))

        async def slow_branch(run: Run) -> None:
            await pass_time(30.0)
            await run.call("look", {"order": "late"})

        async def parallel(run: Run, request: Any) -> str:
            async with asyncio.TaskGroup() as group:
                group.create_task(slow_branch(run))
                group.create_task(pass_time(0.0))
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return "done"

        desk.agent = parallel
        harness = desk.live()
        parked = await harness.run({}, run_id="r")
        await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE

    simulated(main)


def test_a_run_that_its_caller_gave_up_leaves_no_call_under_way() -> None:
    async def main() -> None:
        desk = Desk()
        begun: list[str] = []
        over: list[str] = []

        async def slowly(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            begun.append(site)
            try:
                await pass_time(100.0)
            finally:
                over.append(site)
            return await send()

        async def gathering(run: Run, request: Any) -> Any:
            return await asyncio.gather(*(run.call("look", {"order": order}) for order in "abc"))

        desk.intercept, desk.agent = slowly, gathering
        harness = desk.live()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(harness.run({}, run_id="r"), timeout=1.0)
        assert begun == over == ["look"] * 3
        desk.intercept = None
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE

    simulated(main)


def test_a_tool_that_raises_a_cancellation_has_failed() -> None:
    async def main() -> None:
        desk = Desk()

        async def cancels(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "look":
                raise asyncio.CancelledError
            return await send()

        desk.intercept = cancels
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.FAILED
        assert ("call_failed", "look", "exception") in desk.kinds()

    simulated(main)


def test_a_damaged_run_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        for run_id in ("bad", "good"):
            parked = await harness.run({"order": "W1", "amount": 500.0}, run_id=run_id)
            await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        records = desk.store._records["bad"]
        records[1] = msgspec.structs.replace(records[1], body=records[1].body.replace(b"W1", b"W9"))
        results = await desk.live().wake()
        assert [result.run_id for result in results] == ["good"]
        assert ("run_stuck", "journal", "JournalCorrupt") in desk.kinds()

    simulated(main)


def test_a_decision_that_was_changed_in_the_inbox_does_not_hold() -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        parked = await harness.run({"order": "W1", "amount": 500.0}, run_id="r")
        request_id = parked.waiting_for[0].request_id
        await harness.operations.decide(request_id, approve=False, by="ana")
        (entry,) = await desk.store.inbox("r")
        forged: InboxEntry = msgspec.structs.replace(entry, body=entry.body | {"approve": True})
        desk.store._inbox["r"] = [(entry.position, stored_message(forged, None))]
        (result,) = await desk.live().wake()
        assert result.ending is Ending.PARKED
        assert desk.shop.ledger == []
        assert [request.asked.request_id for request in await harness.operations.requests()] == [request_id]
        assert await harness.operations.decide(request_id, approve=True, by="bo")

    simulated(main)


def test_a_claim_made_on_an_old_look_is_refused() -> None:
    async def main() -> None:
        desk = Desk()
        first = await desk.store.claim("r", owner="one", at=0.0, expected=0)
        with pytest.raises(Superseded):
            await desk.store.claim("r", owner="two", at=0.0, expected=0)
        assert (await desk.store.claim("r", owner="two", at=0.0, expected=first.epoch)).epoch == 2

    simulated(main)
