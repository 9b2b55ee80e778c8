"""What a run leaves in doubt when it ends: found, and answered by a person, by the id that she knows it by."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from plimsoll.contract.model import Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, Unknown
from plimsoll.core.errors import JournalUnavailable, Misuse, RunParked, UnknownRun
from plimsoll.core.events import DoubtResolved, RunEnded
from plimsoll.journal.audit import audit
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.memory import MemoryStore
from plimsoll.journal.store import InboxEntry, RunHead
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated

KEYS = MasterKeys([bytes(32)])
PAID = {"happened": True, "value": {"paid": 5}, "by": "ana"}


async def pay(to: str) -> None:
    await pass_time(50.0)  # longer than the run that has begun it


async def leaves(run: Run, request: Any) -> Any:
    """Pays in each of its rounds, does not wait for it, and fails at the end."""
    paying = asyncio.create_task(run.call("pay", {"to": "W1"}, key=request.get("key")))
    await pass_time(0.2)
    paying.add_done_callback(lambda done: done.cancelled() or done.exception())
    if request.get("rounds", 1) > 1:
        await run.continue_as_new({**request, "rounds": request["rounds"] - 1})
    if request.get("fails", True):
        raise RuntimeError("boom")
    return "done"


def leaving(store: MemoryStore | None = None) -> Desk:
    desk = Desk(tools={"pay": Tool(effect=Effect.WRITE, timeout_s=60.0, compensate="shop:cancel")})
    desk.agent, desk.tools, desk.verify = leaves, [pay], False
    desk.store = store or MemoryStore()
    return desk


async def answers(desk: Desk, run_id: str) -> list[tuple[str, str, Any]]:
    """What stands in a run's journal behind its ending."""
    events = [record.event for record in await desk.store.read(run_id)]
    over = next(place for place, event in enumerate(events) if isinstance(event, RunEnded))
    return [(event.key, event.answer, event.by) for event in events[over + 1 :] if isinstance(event, DoubtResolved)]


@pytest.mark.parametrize("keys", [None, KEYS], ids=["plain", "encrypted"])
def test_a_doubt_that_a_failed_run_leaves_waits_for_a_person_until_it_is_answered(keys: MasterKeys | None) -> None:
    async def main() -> None:
        desk = leaving(MemoryStore(keys=keys))
        harness = desk.live()
        operations = harness.operations
        assert (await harness.run({}, run_id="r")).ending is Ending.FAILED
        (doubt,) = await operations.in_doubt()
        assert (doubt.run_id, doubt.key, doubt.intent.args, doubt.over) == ("r", "1:pay", {"to": "W1"}, True)
        assert list(await operations.doubts("r")) == ["1:pay"]
        assert await operations.requests() == []

        assert await operations.resolve("r", "1:pay", **PAID)
        assert await operations.in_doubt() == [] and await operations.doubts("r") == {}
        assert await desk.store.asking() == [], "what was answered is not even looked at"
        assert await answers(desk, "r") == [("1:pay", "happened", "ana")]
        assert [call.result for call in (await harness.result("r")).undoable] == [{"paid": 5}]
        assert (await harness.result("r")).ending is Ending.FAILED
        assert not await operations.resolve("r", "1:pay", **PAID), "the same answer twice is one"
        with pytest.raises(Misuse, match="ana has said already that '1:pay' of run r happened; that stands"):
            await operations.resolve("r", "1:pay", happened=False, by="bo")
        assert (await audit(desk.store)).damages == []

    simulated(main)


def test_a_doubt_of_an_earlier_run_of_a_chain_is_found_and_answered_by_the_first_id() -> None:
    async def main() -> None:
        desk = leaving()
        harness = desk.live()
        operations = harness.operations
        result = await harness.run({"rounds": 3, "fails": False}, run_id="r")
        assert result.output == "done"
        assert list(await operations.doubts("r")) == ["1:pay~1", "1:pay~2", "1:pay~3"]
        assert {each.run_id for each in await operations.in_doubt()} == {"r"}
        with pytest.raises(Misuse, match="name one of: 1:pay~1, 1:pay~2, 1:pay~3"):
            await operations.resolve("r", "1:pay", **PAID)
        assert await operations.resolve("r", "1:pay~2", **PAID)
        assert not await operations.resolve("r", "1:pay~2", **PAID)
        assert await answers(desk, "r~2") == [("1:pay", "happened", "ana")]
        assert [call.key for call in await operations.undoable("r")] == ["1:pay~2"]
        assert await operations.resolve("r~1", "1:pay~1", happened=False, by="ana")
        assert list(await operations.doubts("r")) == ["1:pay~3"]
        assert await operations.resolve("r", "1:pay", happened=False, by="ana"), "one is left, so it is meant"
        assert await desk.store.asking() == []

    simulated(main)


def test_the_only_doubt_of_a_first_run_needs_no_number() -> None:
    async def main() -> None:
        desk = leaving()

        async def once(run: Run, request: Any) -> Any:
            if request["rounds"] == 2:
                await leaves(run, request)
            return "done"

        desk.agent = once
        harness = desk.live()
        assert (await harness.run({"rounds": 2}, run_id="r")).output == "done"
        assert list(await harness.operations.doubts("r")) == ["1:pay"]
        assert await harness.operations.resolve("r", "1:pay", **PAID)
        assert await harness.operations.doubts("r") == {}

    simulated(main)


def test_of_many_runs_that_have_ended_only_those_are_read_that_left_something() -> None:
    class Watched(MemoryStore):
        __slots__ = ("was_read",)

        async def read(self, run_id: str, **bounds: Any) -> Any:
            self.was_read.add(run_id)
            return await super().read(run_id, **bounds)

    async def main() -> None:
        store = Watched()
        store.was_read = set()
        desk = leaving(store)
        harness = desk.live()
        for run_id in ("first", "second"):
            await harness.run({}, run_id=run_id)
        desk.agent = harness.agent = lambda run, request: pass_time(0.1)
        for number in range(20):
            await harness.run({}, run_id=f"other-{number}")
        store.was_read.clear()
        assert [each.run_id for each in await harness.operations.in_doubt()] == ["first", "second"]
        assert store.was_read == {"first", "second"}
        await harness.operations.resolve("first", "1:pay", **PAID)
        store.was_read.clear()
        assert [each.run_id for each in await harness.operations.in_doubt()] == ["second"]
        assert store.was_read == {"second"}

    simulated(main)


class Meanwhile(MemoryStore):
    """A store where something happens just before a run is claimed, once."""

    __slots__ = ("meanwhile",)

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().claim(run_id, owner=owner, at=at, expected=expected)


def test_of_two_who_answer_at_once_the_first_stands() -> None:
    async def main() -> None:
        store = Meanwhile()
        store.meanwhile = None
        desk = leaving(store)
        await desk.live().run({}, run_id="r")
        ana, bo = Operations(store), Operations(store)

        async def faster() -> None:
            assert await bo.resolve("r", "1:pay", happened=False, by="bo")

        store.meanwhile = faster
        with pytest.raises(Misuse, match="bo has said already that '1:pay' of run r did not happen"):
            await ana.resolve("r", "1:pay", **PAID)
        assert await answers(desk, "r") == [("1:pay", "not_happened", "bo")]

    simulated(main)


class Slow(MemoryStore):
    """A store where something happens just before a message arrives, once."""

    __slots__ = ("meanwhile",)

    async def post(self, entry: InboxEntry, *, among: str | None = None) -> bool:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().post(entry, among=among)


async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
    if site == "pay":
        raise ConnectionResetError("lost")
    return await send()


def test_an_answer_that_comes_too_late_for_the_run_is_written_down() -> None:
    async def main() -> None:
        store = Slow()
        store.meanwhile = None
        desk = leaving(store)
        desk.intercept = lose
        desk.agent = lambda run, request: run.call("pay", {"to": "W1"})
        harness = desk.live()
        assert (await harness.run({}, run_id="r")).reason == "doubt: 1:pay"

        async def ends() -> None:
            await harness.operations.cancel("r", by="bo")
            await harness.wake()

        store.meanwhile = ends
        assert await harness.operations.resolve("r", "1:pay", **PAID)
        assert (await harness.result("r")).ending is Ending.HALTED
        assert await answers(desk, "r") == [("1:pay", "happened", "ana")]
        assert await store.asking() == []

    simulated(main)


def test_what_nobody_knew_when_the_run_parked_is_asked_about_once_more_before_it_ends() -> None:
    async def main() -> None:
        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise ConnectionResetError("lost")
            return answer

        desk = Desk(intercept=lose)
        knows = desk.shop.verify
        desk.shop.verify = lambda args, key: Unknown("it may be on its way")  # type: ignore[method-assign]
        parked = await desk.live().run({"order": "W1"}, run_id="r")
        assert (parked.ending, parked.reason) == (Ending.PARKED, "doubt: 3:refund")
        desk.shop.verify = knows  # type: ignore[method-assign]
        harness = desk.live()
        await harness.operations.cancel("r", by="ana", reason="enough")
        (over,) = await harness.wake()
        assert over.ending is Ending.HALTED
        events = [record.event for record in await desk.store.read("r")]
        assert [each.answer for each in events if isinstance(each, DoubtResolved)] == ["unknown", "happened"]
        assert await harness.operations.in_doubt() == []

    simulated(main)


def test_an_answer_that_comes_while_the_run_ends_is_heard() -> None:
    async def main() -> None:
        desk = leaving()
        desk.intercept = lose

        async def holds_on(run: Run, request: Any) -> Any:
            paying = asyncio.create_task(run.call("pay", {"to": "W1"}))
            await pass_time(1.0)
            with suppress(RunParked):
                await paying
            raise RuntimeError("boom")

        desk.agent = holds_on
        harness = desk.live()
        running = asyncio.create_task(harness.run({}, run_id="r"))
        await pass_time(0.5)
        assert await harness.operations.resolve("r", "1:pay", **PAID)
        assert (await running).ending is Ending.FAILED
        events = [record.event for record in await desk.store.read("r")]
        (said,) = [event for event in events if isinstance(event, DoubtResolved) and event.by == "ana"]
        assert isinstance(events[-1], RunEnded) and events.index(said) < len(events) - 1
        assert await desk.store.asking() == []

    simulated(main)


def test_an_answer_that_cannot_be_written_is_not_given_and_may_be_given_again() -> None:
    class Full(MemoryStore):
        __slots__ = ("full",)

        async def append(self, records: Any) -> frozenset[str]:
            if self.full:
                raise JournalUnavailable("no space left on device")
            return await super().append(records)

    async def main() -> None:
        store = Full()
        store.full = False
        desk = leaving(store)
        harness = desk.live()
        await harness.run({}, run_id="r")
        store.full = True
        with pytest.raises(JournalUnavailable):
            await harness.operations.resolve("r", "1:pay", **PAID)
        store.full = False
        assert list(await harness.operations.doubts("r")) == ["1:pay"]
        assert await harness.operations.resolve("r", "1:pay", happened=False, by="bo")
        assert await answers(desk, "r") == [("1:pay", "not_happened", "bo")]

    simulated(main)


def test_a_turn_whose_doubt_was_answered_is_still_a_turn_that_ended() -> None:
    async def main() -> None:
        desk = leaving()
        harness = desk.live()
        session = harness.session("s")
        await session.run({}, turn="one")
        await harness.operations.resolve("s/1", "1:pay", **PAID)
        assert [(turn.number, turn.ending) for turn in await session.history()] == [(1, Ending.FAILED)]
        assert (await session.run({"fails": False}, turn="two")).output == "done"

    simulated(main)


def test_what_was_erased_asks_nobody() -> None:
    async def main() -> None:
        desk = leaving(MemoryStore(keys=KEYS))
        harness = desk.live()
        await harness.run({}, run_id="r")
        await desk.store.erase("r", by="ana", reason="asked", at=1.0)
        assert await harness.operations.in_doubt() == [] and await harness.operations.doubts("r") == {}
        with pytest.raises(Misuse, match="is not in doubt"):
            await harness.operations.resolve("r", "1:pay", **PAID)
        with pytest.raises(UnknownRun):
            await harness.operations.doubts("nobody")

    simulated(main)
