"""Taking back what a run has done: by a person's word, in a run of its own, each call once."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.contract.model import AgentSection, Contract, Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, Happened, NotHappenedAndCannot
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse, RunBusy, UnknownRun
from plimsoll.core.events import CallIntended, DoubtRaised, RunEnded, RunStarted
from plimsoll.runtime.current import current_call
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, simulated
from tests.runtime.lives import Lives


class Refusal(ValueError):
    """The shop says no, and nothing happened."""


class Shop:
    """The world: what was booked, and what was taken back, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.keys: list[str] = []
        self.refuses = ""

    def book(self, what: str) -> dict[str, str]:
        self.log.append(f"+{what}")
        return {"booking": f"b-{what}"}

    async def free(self, asked: Any, result: Any) -> dict[str, str]:
        info = current_call()
        assert info is not None and asked["what"] in result["booking"]
        if asked["what"] == self.refuses:
            raise Refusal("too late")
        self.keys.append(info.idempotency_key)
        self.log.append(f"-{asked['what']}")
        return {"freed": result["booking"]}


def contract(**undoing: Any) -> Contract:
    settings = {"effect": Effect.WRITE, "timeout_s": 5.0, "proves_nothing_happened": ("Refusal",), **undoing}
    return Contract(
        agent=AgentSection(name="desk"),
        limits=Limits(seconds=60.0),
        tools={
            "book": Tool(effect=Effect.IDEMPOTENT, compensate="shop:free"),
            "note": Tool(effect=Effect.IDEMPOTENT),
            "book.compensate": Tool(**settings),
        },
    )


async def agent(run: Run, request: Any) -> Any:
    """Books one thing after the other, and fails at the end."""
    for what in request["book"]:
        await run.call("book", {"what": what})
    await run.call("note", {"text": "done"})
    if request.get("fails", True):
        raise RuntimeError("the train was full")
    return "booked"


class Desk(Lives):
    """A shop, and an agent that books there."""

    def __init__(self, *, intercept: Any = None, verify: Any = None, **undoing: Any) -> None:
        super().__init__(intercept=intercept)
        self.shop = Shop()
        self.contract = contract(**undoing)
        self.verify = verify
        self.agent: Any = agent

    def live(self, store: Any = None) -> Harness:
        async def note(text: str) -> None:
            self.shop.log.append(text)

        return Harness(
            self.contract,
            agent=self.agent,
            surroundings=self.surroundings(store),
            tools=[self.shop.book, note],
            compensators={"book": self.shop.free},
            verifiers={"book.compensate": self.verify} if self.verify else {},
            fingerprint="v1",
        )

    async def failed(self) -> RunResult:
        return await self.live().run({"book": ["train", "room", "car"]}, run_id="trip")


def test_a_failed_run_tells_what_can_be_taken_back_and_takes_nothing_back_itself() -> None:
    async def main() -> None:
        desk = Desk()
        result = await desk.failed()
        assert result.ending is Ending.FAILED
        assert [(call.key, call.tool, call.args["what"], call.result) for call in result.undoable] == [
            ("1:book", "book", "train", {"booking": "b-train"}),
            ("2:book", "book", "room", {"booking": "b-room"}),
            ("3:book", "book", "car", {"booking": "b-car"}),
        ]
        assert (await desk.live().result("trip")).undoable == result.undoable
        assert await desk.live().wake() == []
        assert desk.shop.log == ["+train", "+room", "+car", "done"]

    simulated(main)


def test_what_is_complete_is_not_offered_and_may_be_taken_back_all_the_same() -> None:
    async def main() -> None:
        desk = Desk()
        result = await desk.live().run({"book": ["train"], "fails": False}, run_id="trip")
        assert (result.ending, result.undoable) == (Ending.COMPLETE, ())
        assert (await desk.live().compensate("trip", by="ana")).ending is Ending.COMPLETE
        assert desk.shop.log == ["+train", "done", "-train"]

    simulated(main)


def test_it_is_taken_back_in_reverse_order_once_however_often_it_is_asked() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.failed()
        for _ in range(2):
            result = await desk.live().compensate("trip", by="ana")
            assert (result.run_id, result.ending, result.output) == ("trip/undo", Ending.COMPLETE, {"undone": 3})
        assert desk.shop.log[4:] == ["-car", "-room", "-train"]
        assert len(set(desk.shop.keys)) == 3
        assert (await desk.live().result("trip")).undoable == ()
        (started, *_) = [record.event for record in await desk.store.read("trip/undo")]
        assert isinstance(started, RunStarted)
        assert (started.undoes, started.input["by"]) == ("trip", "ana")

    simulated(main)


def test_one_call_may_be_taken_back_and_the_others_later() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.failed()
        await desk.live().compensate("trip", by="ana", keys=["2:book"])
        assert [call.key for call in (await desk.live().result("trip")).undoable] == ["1:book", "3:book"]
        with pytest.raises(Misuse, match="2:book of run trip cannot be taken back; what can: 1:book, 3:book"):
            await desk.live().compensate("trip", by="ana", keys=["2:book"])
        result = await desk.live().compensate("trip", by="bo")
        assert result.run_id == "trip/undo-2"
        assert desk.shop.log[4:] == ["-room", "-car", "-train"]

    simulated(main)


def test_where_one_cannot_be_taken_back_those_before_it_wait_for_another_word() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.failed()
        desk.shop.refuses = "room"
        result = await desk.live().compensate("trip", by="ana")
        assert result.ending is Ending.FAILED and "too late" in result.reason
        assert desk.shop.log[4:] == ["-car"]
        assert [call.key for call in (await desk.live().result("trip")).undoable] == ["1:book", "2:book"]
        desk.shop.refuses = ""
        assert (await desk.live().compensate("trip", by="ana")).ending is Ending.COMPLETE
        assert desk.shop.log[4:] == ["-car", "-room", "-train"]

    simulated(main)


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("effect", [Effect.IDEMPOTENT, Effect.WRITE])
def test_a_crash_in_the_midst_neither_forgets_nor_repeats(effect: Effect, sent: bool) -> None:
    async def main() -> None:
        desk = Desk(effect=effect)
        struck: list[str] = []

        async def die(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            strikes = site == "book.compensate" and "1:book" not in info.key and len(struck) == 0 and "2" in info.key
            if strikes and not sent:
                struck.append(site)
                raise Crash
            answer = await send()
            if strikes:
                struck.append(site)
                raise Crash
            return answer

        desk.intercept = die
        if effect is Effect.WRITE:
            desk.verify = lambda asked, key: (
                Happened({"freed": asked["result"]["booking"]}) if key in desk.shop.keys else NotHappenedAndCannot()
            )
        await desk.failed()
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.compensate("trip", by="ana")
        harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.run_id, result.ending) == ("trip/undo", Ending.COMPLETE)
        again = ["-room"] if effect is Effect.IDEMPOTENT and sent else []  # it deduplicates by key, says the contract
        assert desk.shop.log[4:] == ["-car", "-room", *again, "-train"]
        assert len(set(desk.shop.keys)) == 3

    simulated(main)


def test_what_nobody_knows_waits_for_a_person_and_is_not_tried_twice() -> None:
    async def main() -> None:
        desk = Desk()

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "book.compensate":
                raise ConnectionResetError("the answer was lost")
            return answer

        desk.intercept = lose
        await desk.failed()
        parked = await desk.live().compensate("trip", by="ana", keys=["3:book"])
        assert (parked.ending, parked.reason) == (Ending.PARKED, "doubt: 3:book")
        assert (await desk.live().compensate("trip", by="ana")).ending is Ending.PARKED
        assert (await desk.live().result("trip")).undoable[-1].key == "2:book"
        harness = desk.live()
        await harness.operations.resolve("trip/undo", "3:book", happened=True, by="bo", value={"freed": "b-car"})
        (result,) = await harness.wake()
        assert (result.ending, desk.shop.log[4:]) == (Ending.COMPLETE, ["-car"])

    simulated(main)


def test_what_was_in_doubt_when_it_was_stopped_is_not_tried_again() -> None:
    async def main() -> None:
        desk = Desk()

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "book.compensate":
                raise ConnectionResetError("the answer was lost")
            return answer

        desk.intercept = lose
        await desk.failed()
        harness = desk.live()
        await harness.compensate("trip", by="ana", keys=["3:book"])
        await harness.operations.kill(by="ana", reason="enough", scope="trip/undo")
        assert (await harness.resume("trip/undo")).ending is Ending.HALTED
        assert [call.key for call in (await harness.result("trip")).undoable] == ["1:book", "2:book"]
        assert desk.shop.log[4:] == ["-car"]

    simulated(main)


def test_what_the_runs_of_a_chain_did_is_told_apart() -> None:
    async def main() -> None:
        desk = Desk()

        async def in_two(run: Run, request: Any) -> Any:
            await run.call("book", {"what": request["book"][0]})
            if request["book"][1:]:
                await run.continue_as_new({"book": request["book"][1:]})
            raise RuntimeError("no room")

        desk.agent = in_two
        result = await desk.live().run({"book": ["train", "room"]}, run_id="trip")
        assert (result.run_id, result.ending) == ("trip", Ending.FAILED)
        assert [(call.key, call.args["what"]) for call in result.undoable] == [
            ("1:book", "train"),
            ("1:book~2", "room"),
        ]
        await desk.live().compensate("trip", by="ana", keys=["1:book"])
        assert desk.shop.log[2:] == ["-train"]
        await desk.live().compensate("trip", by="ana")
        assert desk.shop.log[2:] == ["-train", "-room"]

    simulated(main)


def test_a_doubt_that_a_person_settled_after_the_end_can_be_taken_back() -> None:
    async def main() -> None:
        desk = Desk()
        desk.contract = replace(
            desk.contract, tools={**desk.contract.tools, "book": Tool(effect=Effect.WRITE, compensate="shop:free")}
        )
        beside: list[Any] = []

        async def booking(run: Run, request: Any) -> Any:
            async def lost() -> None:
                await run.call("book", {"what": "car"})

            beside.append(asyncio.ensure_future(lost()))
            await LoopClock().sleep(1.0)
            raise RuntimeError("no room")

        async def hang(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "book":
                await LoopClock().sleep(1000.0)
            return answer

        desk.agent, desk.intercept = booking, hang
        harness = desk.live()
        result = await harness.run({}, run_id="trip")
        assert (result.ending, result.undoable) == (Ending.FAILED, ())
        assert [type(record.event) for record in await desk.store.read("trip")].count(DoubtRaised) == 1
        await harness.operations.resolve("trip", "1:book", happened=True, by="bo", value={"booking": "b-car"})
        assert [call.key for call in (await harness.result("trip")).undoable] == ["1:book"]
        await harness.compensate("trip", by="bo")
        assert desk.shop.log == ["+car", "-car"]

    simulated(main)


def test_a_compensation_has_rules_of_its_own() -> None:
    async def main() -> None:
        desk = Desk(effect=Effect.IDEMPOTENT)
        await desk.failed()
        await desk.live().compensate("trip", by="ana", keys=["1:book"])
        (intent,) = [e for r in await desk.store.read("trip/undo") if isinstance(e := r.event, CallIntended)]
        assert (intent.dependency, intent.effect) == ("book.compensate", Effect.IDEMPOTENT)
        assert intent.args == {"args": {"what": "train"}, "result": {"booking": "b-train"}}

    simulated(main)


def test_nothing_is_taken_back_from_a_run_that_may_still_do_something() -> None:
    async def main() -> None:
        desk = Desk()
        with pytest.raises(UnknownRun):
            await desk.live().compensate("trip", by="ana")
        gate = asyncio.Event()

        async def slow(run: Run, request: Any) -> Any:
            await run.call("book", {"what": "train"})
            await gate.wait()
            raise RuntimeError("no room")

        desk.agent = slow
        harness = desk.live()
        task = asyncio.ensure_future(harness.run({}, run_id="trip"))
        await LoopClock().sleep(1.0)
        with pytest.raises(Misuse, match="has not ended"):
            await harness.compensate("trip", by="ana")
        gate.set()
        await task
        assert (await harness.compensate("trip", by="ana")).ending is Ending.COMPLETE

    simulated(main)


def test_two_that_ask_at_once_are_one() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.failed()
        harness = desk.live()
        both = await asyncio.gather(
            *(harness.compensate("trip", by=who) for who in ("ana", "bo")), return_exceptions=True
        )
        assert [type(one) for one in both] in ([RunResult, RunBusy], [RunResult, RunResult])
        assert desk.shop.log[4:] == ["-car", "-room", "-train"]

    simulated(main)


def test_an_id_of_ones_own_does_not_name_a_run_that_takes_something_back() -> None:
    async def main() -> None:
        for run_id in ("trip/undo", "trip/undo-2"):
            with pytest.raises(Misuse, match="takes back"):
                await Desk().live().run({}, run_id=run_id)

    simulated(main)


def test_a_run_that_did_nothing_of_the_kind_is_told_so() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.live().run({"book": []}, run_id="trip")
        with pytest.raises(Misuse, match="has done nothing that can be taken back"):
            await desk.live().compensate("trip", by="ana")

    simulated(main)


@pytest.mark.parametrize("happened", [False, True])
def test_what_a_compensation_left_in_doubt_is_taken_back_again_where_it_did_not_happen(happened: bool) -> None:
    async def main() -> None:
        lost: list[str] = []

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "book.compensate" and not lost:
                lost.append(info.key)
                if happened:
                    await send()
                raise ConnectionResetError("lost")
            return await send()

        desk = Desk(intercept=lose)
        await desk.failed()
        harness = desk.live()
        assert (await harness.compensate("trip", by="ana")).reason == "doubt: 3:book"
        await harness.operations.cancel("trip/undo", by="ana")
        assert [result.ending for result in await harness.wake()] == [Ending.HALTED]
        left = [call.key for call in await harness.operations.undoable("trip")]
        assert left == ["1:book", "2:book"], "what may have been taken back is not taken back again"
        value = {"freed": "b-car"} if happened else None
        await harness.operations.resolve("trip/undo", "3:book", happened=happened, value=value, by="bo")
        left = [call.key for call in await harness.operations.undoable("trip")]
        assert left == (["1:book", "2:book"] if happened else ["1:book", "2:book", "3:book"])
        result = await harness.compensate("trip", by="ana")
        assert (result.run_id, result.output) == ("trip/undo-2", {"undone": len(left)})
        assert desk.shop.log[4:] == ["-car", "-room", "-train"]
        assert await harness.operations.undoable("trip") == ()

    simulated(main)


@pytest.mark.parametrize(("keys", "did"), [(["1:book"], ("book", "note")), (None, ("note",))])
def test_a_later_turn_does_not_count_as_done_what_was_taken_back(keys: list[str] | None, did: tuple[str, ...]) -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        session = harness.session("s")
        await session.run({"book": ["train", "room"]})
        assert (await harness.compensate("s/1", by="ana", keys=keys)).ending is Ending.COMPLETE
        await session.run({"book": [], "fails": False})
        await session.run({"book": ["car"], "fails": False})
        started = (await desk.store.read("s/2"))[0].event
        assert isinstance(started, RunStarted) and started.did == did
        last = (await desk.store.read("s/3"))[-1].event
        assert isinstance(last, RunEnded) and set(last.did) == {"book", "note"}

    simulated(main)


def test_a_compensator_that_is_handed_over_needs_no_word_in_the_contract() -> None:
    async def main() -> None:
        desk = Desk()
        tools = {name: replace(tool, compensate=None) for name, tool in desk.contract.tools.items()}
        desk.contract = replace(desk.contract, tools=tools)
        result = await desk.failed()
        assert [call.key for call in result.undoable] == ["1:book", "2:book", "3:book"]
        assert (await desk.live().compensate("trip", by="ana")).output == {"undone": 3}
        assert desk.shop.log[4:] == ["-car", "-room", "-train"]

    simulated(main)
