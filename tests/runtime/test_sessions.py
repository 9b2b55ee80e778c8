"""Sessions: turns one after another, each once, each with what was said before."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.errors import Misuse, RunBusy, SessionBusy
from plimsoll.core.events import RunStarted
from plimsoll.journal.encryption import MasterKeys
from plimsoll.journal.memory import MemoryStore
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.runtime.bench import Crash, CrashingStore, Desk, simulated


async def chat(run: Run, said: str) -> dict[str, Any]:
    """Says what it heard so far, and does what it is told."""
    heard = [(turn.number, turn.input, turn.output) for turn in await run.history()]
    if said.startswith("refund"):
        await run.call("refund", {"order": said.split()[1], "amount": float([*said.split(), "20"][2])})
    return {"before": len(heard), "heard": [one[1] for one in heard], "said": said}


def desk(**changes: Any) -> Desk:
    made = Desk(**changes)
    made.agent = chat
    return made


def test_turns_are_runs_that_know_what_was_said_before() -> None:
    async def main() -> None:
        one = desk()
        session = one.live().session("ticket")
        for said in ("hello", "refund W1", "thanks"):
            result = await session.run(said)
            assert result.ending is Ending.COMPLETE
        assert result.run_id == "ticket/3"
        assert result.output == {"before": 2, "heard": ["hello", "refund W1"], "said": "thanks"}
        turns = await session.history()
        assert [(turn.number, turn.run_id, turn.input, turn.ending) for turn in turns] == [
            (1, "ticket/1", "hello", Ending.COMPLETE),
            (2, "ticket/2", "refund W1", Ending.COMPLETE),
            (3, "ticket/3", "thanks", Ending.COMPLETE),
        ]
        began = (await one.store.read("ticket/2"))[0].event
        assert isinstance(began, RunStarted)
        assert (began.session, began.turn, began.within) == ("ticket", "", ("ticket",))

    simulated(main)


@pytest.mark.parametrize("turn", [1, "message-1"])
def test_a_turn_asked_for_again_is_answered_from_the_journal(turn: int | str) -> None:
    async def main() -> None:
        one = desk()
        first = await one.live().session("ticket").run("refund W1", turn=turn)
        again = await one.live().session("ticket").run("refund W1", turn=turn)
        assert (again.run_id, again.output) == (first.run_id, first.output) == ("ticket/1", first.output)
        assert len(one.shop.ledger) == 1
        await one.live().session("ticket").run("more", turn="message-2")
        old = await one.live().session("ticket").run("refund W1", turn=turn)
        assert old.output == first.output

    simulated(main)


def test_names_and_numbers_of_turns() -> None:
    async def main() -> None:
        session = desk().live().session("ticket")
        await session.run("a", turn="message-1")
        await session.run("b")
        await session.run("c", turn=3)
        assert (await session.run("a", turn=1)).output["said"] == "a"
        with pytest.raises(Misuse, match="4 is the next, and not 6"):
            await session.run("f", turn=6)
        with pytest.raises(Misuse, match="4 is the next, and not 0"):
            await session.run("f", turn=0)
        for name in ("7713", ""):
            with pytest.raises(Misuse, match="message-"):
                await session.run("d", turn=name)
        assert [turn.input for turn in await session.history()] == ["a", "b", "c"]

    simulated(main)


@pytest.mark.parametrize("name", ["", "ticket~2"])
def test_a_session_has_a_name_that_is_no_chains(name: str) -> None:
    async def main() -> None:
        with pytest.raises(Misuse):
            desk().live().session(name)

    simulated(main)


def test_one_turn_at_a_time_while_it_runs_in_this_process() -> None:
    async def main() -> None:
        one = desk()
        begun, gate = asyncio.Event(), asyncio.Event()

        async def wait(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            begun.set()
            await gate.wait()
            return await send()

        one.intercept = wait
        session = one.live().session("ticket")
        first = asyncio.create_task(session.run("refund W1", turn="message-1"))
        await begun.wait()
        for turn in (None, "message-2", 2):
            with pytest.raises(SessionBusy, match="ticket/1 is running"):
                await session.run("and now?", turn=turn)
        gate.set()
        assert (await first).ending is Ending.COMPLETE
        assert (await session.run("and now?", turn="message-2")).run_id == "ticket/2"

    simulated(main)


def test_a_parked_turn_says_what_it_waits_for() -> None:
    async def main() -> None:
        one = desk()
        harness = one.live()
        session = harness.session("ticket")
        parked = await session.run("refund W1 100", turn="message-1")
        assert parked.ending is Ending.PARKED
        (request,) = parked.waiting_for
        with pytest.raises(SessionBusy, match=rf"waits: approval {request.request_id}"):
            await session.run("hurry up")
        await harness.operations.decide(request.request_id, approve=True, by="ana")
        await harness.wake()
        assert (await session.run("thanks")).output["heard"] == ["refund W1 100"]

    simulated(main)


def test_a_turn_left_by_a_crash_is_gone_on_with_first() -> None:
    async def main() -> None:
        one = desk()
        with pytest.raises(Crash):
            await one.live(CrashingStore(one.store, at=2, keep=99)).session("ticket").run("refund W1", turn="message-1")
        second = one.live()
        with pytest.raises(SessionBusy, match="process that died"):
            await second.session("ticket").run("hello?", turn="message-2")
        await second.wake()
        assert (await second.session("ticket").run("hello?", turn="message-2")).output["before"] == 1
        assert len(one.shop.ledger) == 1

    simulated(main)


def test_what_failed_is_part_of_the_history() -> None:
    async def main() -> None:
        one = desk()

        async def fail(run: Run, said: str) -> Any:
            raise ValueError("no idea")

        one.agent = fail
        assert (await one.live().session("ticket").run("a")).ending is Ending.FAILED
        one.agent = chat
        session = one.live().session("ticket")
        assert (await session.run("b")).output["heard"] == ["a"]
        failed, _ = await session.history()
        assert (failed.answered, failed.output, failed.reason) == (False, None, "ValueError: no idea")

    simulated(main)


def test_a_run_that_is_no_turn_is_not_taken_for_one() -> None:
    async def main() -> None:
        one = desk()
        harness = one.live()
        await harness.run("a", run_id="ticket/1")
        with pytest.raises(Misuse, match="no turn of the session"):
            await harness.session("ticket").run("b")

    simulated(main)


def test_what_was_done_in_an_earlier_turn_may_be_said_in_a_later_one() -> None:
    async def main() -> None:
        claims = Tool(effect=Effect.WRITE, proves_nothing_happened=("Refusal",), claims=("has been refunded",))
        one = desk(tools={"refund": claims})

        async def talk(run: Run, said: str) -> str:
            if said == "refund":
                await run.call("refund", {"order": "W1", "amount": 20.0})
                return "Done."
            return "Your order has been refunded."

        one.agent = talk
        session = one.live().session("ticket")
        assert (await session.run("hello")).ending is Ending.HALTED, "it has not"
        assert (await session.run("refund")).ending is Ending.COMPLETE
        assert (await session.run("and?")).ending is Ending.COMPLETE

    simulated(main)


@pytest.mark.parametrize(("scope", "others"), [("ticket", Ending.COMPLETE), ("*", Ending.HALTED)])
def test_the_kill_switch_on_a_session_stops_its_turns(scope: str, others: Ending) -> None:
    async def main() -> None:
        one = desk()
        harness = one.live()
        session = harness.session("ticket")
        await session.run("hello")
        await harness.operations.kill(by="ana", reason="enough", scope=scope)
        assert (await session.run("refund W1")).ending is Ending.HALTED
        assert (await harness.session("other").run("refund W2")).ending is others
        assert len(one.shop.ledger) == (others is Ending.COMPLETE)

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", range(1, 6))
def test_a_crash_at_any_append_of_a_turn_neither_loses_nor_doubles(at: int, keep: int) -> None:
    async def main() -> None:
        one = desk()
        await one.live().session("ticket").run("hello", turn="message-0")
        crashing = CrashingStore(one.store, at=at, keep=keep)
        try:
            session = one.live(crashing).session("ticket")
            await session.run("refund W1", turn="message-1")
            await session.run("thanks", turn="message-2")
        except Crash:
            pass
        session = one.live().session("ticket")
        result = await session.run("refund W1", turn="message-1")
        assert (result.run_id, result.output["heard"]) == ("ticket/2", ["hello"])
        result = await session.run("thanks", turn="message-2")
        assert (result.run_id, result.output["heard"]) == ("ticket/3", ["hello", "refund W1"])
        assert [row[:2] for row in one.shop.ledger] == [("W1", 20.0)]

    simulated(main)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["go", "crash", "twice"])), max_size=8))
def test_any_delivery_of_messages_makes_each_a_turn_once(deliveries: list[tuple[int, str]]) -> None:
    """Messages come in any order, again and again, at once from two sides, and processes die."""

    async def main() -> None:
        one = desk()
        order: list[str] = []
        for number, how in deliveries:
            name = f"message-{number}"
            if name not in order:
                order.append(name)
            store = CrashingStore(one.store, at=2, keep=1) if how == "crash" else None
            harness = one.live(store)
            asked = [harness.session("ticket").run(f"refund {number}", turn=name) for _ in range(1 + (how == "twice"))]
            results = await asyncio.gather(*asked, return_exceptions=True)
            for result in results:
                assert isinstance(result, (RunResult, Crash, RunBusy, SessionBusy)), result
            if how == "crash":
                await one.live().wake()
        harness = one.live()
        await harness.wake()
        for name in order:
            await harness.session("ticket").run(f"refund {name.removeprefix('message-')}", turn=name)
        turns = await harness.session("ticket").history()
        assert [turn.input for turn in turns] == [f"refund {name.removeprefix('message-')}" for name in order]
        assert sorted(row[0] for row in one.shop.ledger) == sorted(name.removeprefix("message-") for name in order)

    simulated(main)


def test_a_conversation_goes_on_in_another_process(tmp_path: Path) -> None:
    async def life(owner: str, said: str) -> Any:
        store = SQLiteStore.open(tmp_path / "journal.db", owner=owner)
        one = desk()
        one.store = store  # type: ignore[assignment]
        surroundings = Surroundings(store=store, owner=owner)
        harness = Harness(one.contract, agent=chat, surroundings=surroundings, tools=one.tools, fingerprint="v1")
        try:
            return (await harness.session("ticket").run(said)).output
        finally:
            await harness.close()
            await store.close()

    async def main() -> None:
        assert (await life("one", "hello"))["heard"] == []
        assert (await life("two", "still there?"))["heard"] == ["hello"]

    asyncio.run(main())


def test_of_an_erased_turn_its_place_is_left() -> None:
    async def main() -> None:
        one = desk()
        one.store = MemoryStore(keys=MasterKeys([bytes(range(32))]))
        session = one.live().session("ticket")
        await session.run("my name is Ana", turn="message-1")
        await one.store.erase("ticket/1", by="bo", reason="asked for it", at=1.0)
        result = await one.live().session("ticket").run("who am I?", turn="message-2")
        assert result.output["heard"] == ["[erased]"]
        first, _ = await session.history()
        assert (first.number, first.input, first.output) == (1, "[erased]", "[erased]")

    simulated(main)
