"""Continuing as new: a long life is a chain of runs with short journals, and looks like one run from outside."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from plimsoll.contract.model import Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.errors import JournalUnavailable, Misuse, RunBusy, UnknownRun
from plimsoll.core.events import RunContinuedEvent, RunEnded, RunStarted
from plimsoll.journal.memory import MemoryStore
from plimsoll.journal.store import RunState
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.lineage import child_id, latest_link, link_id, link_of
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, CrashingStore, Desk, pass_time, simulated


async def counts_down(run: Run, request: dict[str, Any]) -> Any:
    """Refunds a little, and goes on as new until nothing is left."""
    done = await run.call("refund", {"order": str(request["left"]), "amount": float(request.get("amount", 1.0))})
    if request["left"] > 1:
        await run.continue_as_new({**request, "left": request["left"] - 1, "paid": request.get("paid", 0) + 1})
    return {"paid": request.get("paid", 0) + done["refunded"]}


def desk(agent: Any = counts_down, **changes: Any) -> Desk:
    made = Desk(**changes)
    made.agent = agent
    return made


async def states(store: MemoryStore) -> dict[str, str]:
    """How each run of the store stands."""
    return {head.run_id: str(head.ending or head.state) for head in await store.heads()}


def test_the_caller_sees_the_last_ones_result_under_the_first_id() -> None:
    async def main() -> None:
        one = desk()
        harness = one.live()
        result = await harness.run({"left": 3}, run_id="r")
        assert (result.run_id, result.ending, result.output) == ("r", Ending.COMPLETE, {"paid": 3.0})
        assert await states(one.store) == {"r": "continued", "r~2": "continued", "r~3": "complete"}
        for again in (
            await harness.run({"left": 3}, run_id="r"),
            await harness.resume("r"),
            await harness.result("r"),
            await harness.result("r~2"),
            await harness.operations.result("r~3"),
        ):
            assert (again.run_id, again.ending, again.output) == ("r", Ending.COMPLETE, {"paid": 3.0})
        assert await harness.wake() == []
        assert [row[0] for row in one.shop.ledger] == ["3", "2", "1"]
        assert len({row[2] for row in one.shop.ledger}) == 3, "each link has idempotency keys of its own"

    simulated(main)


def test_each_run_of_a_chain_has_a_journal_of_its_own() -> None:
    async def main() -> None:
        one = desk()
        await one.live().run({"left": 2}, run_id="r")
        first, second = [[record.event for record in await one.store.read(run_id)] for run_id in ("r", "r~2")]
        assert first[-2] == RunContinuedEvent(following="r~2", input={"left": 1, "paid": 1})
        assert isinstance(first[-1], RunEnded)
        assert (first[-1].ending, first[-1].output) == (Ending.CONTINUED, None)
        assert isinstance(second[0], RunStarted)
        assert (second[0].input, second[0].did) == ({"left": 1, "paid": 1}, ("refund",))
        assert len(second) == 4

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 12))
def test_a_crash_at_any_append_neither_loses_nor_doubles(at: int, keep: int) -> None:
    async def main() -> None:
        one = desk()
        with pytest.raises(Crash):
            await one.live(CrashingStore(one.store, at=at, keep=keep)).run({"left": 3}, run_id="r")
        harness = one.live()
        woken = await harness.wake()
        result = await harness.run({"left": 3}, run_id="r")
        assert (result.run_id, result.output) == ("r", {"paid": 3.0})
        assert [row[0] for row in one.shop.ledger] == ["3", "2", "1"]
        assert await states(one.store) == {"r": "continued", "r~2": "continued", "r~3": "complete"}
        assert {each.run_id for each in woken} <= {"r"}

    simulated(main)


@pytest.mark.parametrize("at", range(2, 12))
def test_wake_alone_brings_a_crashed_chain_to_its_end(at: int) -> None:
    async def main() -> None:
        one = desk()
        with pytest.raises(Crash):
            await one.live(CrashingStore(one.store, at=at, keep=99)).run({"left": 3}, run_id="r")
        harness = one.live()
        await harness.wake()
        assert (await harness.result("r")).output == {"paid": 3.0}
        assert await harness.wake() == []
        assert [row[0] for row in one.shop.ledger] == ["3", "2", "1"]

    simulated(main)


def test_a_new_version_makes_a_crash_between_two_runs_good_and_begins_the_next() -> None:
    async def main() -> None:
        between = 0
        for at in range(1, 12):
            one = desk()
            with pytest.raises(Crash):
                await one.live(CrashingStore(one.store, at=at, keep=99)).run({"left": 3}, run_id="r")
            stands = await states(one.store)
            last = [(await one.store.read(run_id))[-1].event for run_id, state in stands.items() if state == "running"]
            if any(isinstance(event, RunContinuedEvent) and event.following not in stands for event in last):
                between += 1
                one.fingerprint = "v2"
                await one.live().wake()
                result = await one.live().result("r")
                assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 3.0}), result.reason
                assert [row[0] for row in one.shop.ledger] == ["3", "2", "1"]
        assert between == 2

    simulated(main)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2)), max_size=8), st.booleans())
def test_any_number_of_crashes_at_any_place(crashes: list[tuple[int, int]], wakes: bool) -> None:
    async def main() -> None:
        one = desk()
        for at, keep in crashes:
            harness = one.live(CrashingStore(one.store, at=at, keep=keep))
            try:
                if wakes:
                    await harness.wake()
                await harness.run({"left": 4}, run_id="r")
            except Crash:
                pass
        result = await one.live().run({"left": 4}, run_id="r")
        assert result.output == {"paid": 4.0}
        assert [row[0] for row in one.shop.ledger] == ["4", "3", "2", "1"]
        assert sorted(await states(one.store)) == ["r", "r~2", "r~3", "r~4"]

    simulated(main)


def test_after_it_is_recorded_the_code_is_not_replayed() -> None:
    async def main() -> None:
        one = desk()
        with pytest.raises(Crash):  # the third append says how it goes on; the fourth would begin that
            await one.live(CrashingStore(one.store, at=4, keep=0)).run({"left": 2}, run_id="r")
        assert [type(record.event).__name__ for record in await one.store.read("r")][-1] == "RunContinuedEvent"
        seen: list[Any] = []

        async def another(run: Run, request: Any) -> Any:
            seen.append(request)
            return "other code"

        one.agent = another
        (result,) = await one.live().wake()
        assert (result.run_id, result.output) == ("r", "other code")
        assert seen == [{"left": 1, "paid": 1}]

    simulated(main)


def test_a_run_of_a_chain_parks_and_goes_on_under_the_first_id() -> None:
    async def main() -> None:
        one = desk()

        async def dearer(run: Run, request: dict[str, Any]) -> Any:
            return await counts_down(run, {**request, "amount": 100 if request["left"] == 1 else 1})

        one.agent = dearer
        harness = one.live()
        parked = await harness.run({"left": 2}, run_id="r")
        assert (parked.run_id, parked.ending) == ("r", Ending.PARKED)
        (request,) = parked.waiting_for
        assert (await harness.result("r")).waiting_for == (request,)
        await harness.operations.decide(request.request_id, approve=True, by="ana")
        (result,) = await one.live().wake()
        assert (result.run_id, result.ending) == ("r", Ending.COMPLETE)

    simulated(main)


def test_a_doubt_in_a_later_run_is_answered_by_the_first_id() -> None:
    async def main() -> None:
        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if info.run_id == "r~2":
                raise ConnectionResetError("lost")
            return await send()

        one = desk(verify=False, intercept=lose)
        harness = one.live()
        assert (await harness.run({"left": 2}, run_id="r")).reason == "doubt: 1:refund"
        assert list(await harness.operations.doubts("r")) == ["1:refund~2"]
        await harness.operations.resolve("r", "1:refund", happened=True, by="ana", value={"refunded": 1.0})
        (result,) = await one.live().wake()
        assert result.output == {"paid": 2.0}

    simulated(main)


@pytest.mark.parametrize("scope", ["r", "*"])
def test_the_kill_switch_on_the_first_id_stops_the_whole_chain(scope: str) -> None:
    async def main() -> None:
        one = desk()
        harness = one.live()

        async def killed(run: Run, request: dict[str, Any]) -> Any:
            if request["left"] == 2:
                await harness.operations.kill(by="ana", reason="enough", scope=scope)
            return await counts_down(run, request)

        harness.agent = killed
        result = await harness.run({"left": 5}, run_id="r")
        assert (result.run_id, result.ending) == ("r", Ending.HALTED)
        assert [row[0] for row in one.shop.ledger] == ["5", "4", "3"]

    simulated(main)


def test_limits_count_anew_and_seconds_count_on() -> None:
    async def main() -> None:
        assert (await desk(limits=Limits(steps=1)).live().run({"left": 5}, run_id="r")).ending is Ending.COMPLETE

        async def slow(run: Run, request: dict[str, Any]) -> Any:
            await pass_time(10.0)
            return await counts_down(run, request)

        one = desk(slow, limits=Limits(seconds=35.0))
        result = await one.live().run({"left": 9}, run_id="r")
        assert result.ending is Ending.HALTED
        assert "limit 'seconds'" in result.reason
        assert [row[0] for row in one.shop.ledger] == ["9", "8", "7"]

    simulated(main)


def test_seconds_count_on_over_a_crash_too() -> None:
    async def main() -> None:
        async def slow(run: Run, request: dict[str, Any]) -> Any:
            await pass_time(10.0)
            return await counts_down(run, request)

        one = desk(slow, limits=Limits(seconds=35.0))
        with pytest.raises(Crash):
            await one.live(CrashingStore(one.store, at=9, keep=99)).run({"left": 9}, run_id="r")
        (result,) = await one.live().wake()
        assert "limit 'seconds'" in result.reason
        assert len(one.shop.ledger) == 3

    simulated(main)


def test_what_an_earlier_run_of_the_chain_did_may_be_claimed() -> None:
    async def main() -> None:
        async def tells(run: Run, request: dict[str, Any]) -> str:
            if "done" not in request:
                await run.call("refund", {"order": "W1", "amount": 1.0})
                await run.continue_as_new({"done": True})
            return "It has been refunded."

        claims = Tool(effect=Effect.WRITE, claims=("has been refunded",))
        assert (await desk(tells, tools={"refund": claims}).live().run({})).ending is Ending.COMPLETE
        assert (await desk(tells, tools={"refund": claims}).live().run({"done": 1})).ending is Ending.HALTED

    simulated(main)


def test_a_turn_of_a_session_may_continue_as_new() -> None:
    async def main() -> None:
        one = desk()
        session = one.live().session("ticket")
        first = await session.run({"left": 3})
        assert (first.run_id, first.output) == ("ticket/1", {"paid": 3.0})
        second = await session.run({"left": 1})
        assert second.run_id == "ticket/2"
        assert [(turn.number, turn.input, turn.output) for turn in await session.history()] == [
            (1, {"left": 3}, {"paid": 3.0}),
            (2, {"left": 1}, {"paid": 1.0}),
        ]

    simulated(main)


def test_two_callers_of_a_chain_are_one_run() -> None:
    async def main() -> None:
        one = desk()
        harness = one.live()
        busy: list[type[BaseException]] = []

        async def asks_for_itself(run: Run, request: dict[str, Any]) -> Any:
            for name in ("r", "r~2"):
                try:
                    await harness.resume(name)
                except (RunBusy, UnknownRun) as error:
                    busy.append(type(error))
            return await counts_down(run, request)

        harness.agent = asks_for_itself
        assert (await harness.run({"left": 2}, run_id="r")).output == {"paid": 2.0}
        assert busy == [RunBusy] * 4

    simulated(main)


def test_a_journal_that_goes_away_between_two_runs_of_a_chain_parks_it() -> None:
    class Outage:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.left = 4

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def append(self, records: Any) -> frozenset[str]:
            self.left -= 1
            if self.left <= 0:
                raise JournalUnavailable("disk full")
            refused: frozenset[str] = await self._inner.append(records)
            return refused

    async def main(left: int) -> None:
        one = desk()
        store = Outage(one.store)
        store.left = left
        result = await one.live(store).run({"left": 2}, run_id="r")
        assert (result.run_id, result.ending) == ("r", Ending.PARKED)
        assert result.reason.startswith("journal: ")
        harness = one.live()
        await harness.wake()
        assert (await harness.result("r")).output == {"paid": 2.0}
        assert len(one.shop.ledger) == 2

    for left in range(2, 8):
        simulated(lambda left=left: main(left))


def test_an_id_of_ones_own_is_no_chains() -> None:
    async def main() -> None:
        with pytest.raises(Misuse, match="chain"):
            await desk().live().run({"left": 1}, run_id="r~2")
        with pytest.raises(UnknownRun):
            await desk().live().resume("r~2")

    simulated(main)


@given(st.text(max_size=12).filter(lambda name: link_of(name)[1] == 1), st.integers(1, 10_000))
def test_the_ids_of_a_chain_tell_their_place(first: str, number: int) -> None:
    assert link_of(link_id(first, number)) == (first, number)


NAMES = st.text(st.sampled_from("ab/~2:%"), max_size=6)


@given(NAMES, NAMES, NAMES, NAMES)
def test_no_two_calls_share_a_child(parent: str, key: str, other: str, other_key: str) -> None:
    assert (child_id(parent, key) == child_id(other, other_key)) == ((parent, key) == (other, other_key))
    assert link_of(child_id(parent, key)) == (child_id(parent, key), 1)


class Counting:
    """Counts the heads that are looked up."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.looked_up = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def head(self, run_id: str) -> Any:
        self.looked_up += 1
        return await self._inner.head(run_id)


@given(st.integers(1, 300), st.data())
def test_the_latest_run_of_a_chain_is_found_from_any(length: int, data: st.DataObject) -> None:
    async def main() -> None:
        store = MemoryStore()
        for number in range(1, length + 1):
            head = await store.claim(link_id("r", number), owner="one", at=0.0)
            over = number < length
            store._heads[head.run_id] = replace(
                head, seq=1, ending=Ending.CONTINUED if over else None, state=RunState.ENDED if over else head.state
            )
        asked = await store.head(link_id("r", data.draw(st.integers(1, length))))
        assert asked is not None
        counting = Counting(store)
        assert (await latest_link(counting, asked)).run_id == link_id("r", length)
        assert counting.looked_up <= 2 * length.bit_length() + 1

    simulated(main)
