"""Crashes, doubts and replay: nothing lost, nothing doubled."""

from collections.abc import Sequence
from typing import Any

import pytest

from plimsoll.contract.model import Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, Unknown
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import JournalUnavailable, ReplayMismatch
from plimsoll.core.events import CallSettled, DoubtResolved, Record
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, CrashingStore, Desk, simulated


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_crash_at_any_append_neither_loses_nor_doubles(at: int, keep: int) -> None:
    async def main() -> None:
        desk = Desk()
        with pytest.raises(Crash):
            await desk.live(CrashingStore(desk.store, at=at, keep=keep)).run({"order": "W1"}, run_id="r")
        second = desk.live()
        await second.wake()
        result = await second.run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert [row[:2] for row in desk.shop.ledger] == [("W1", 20.0)]

    simulated(main)


def crash_after(dependency: str) -> Any:
    struck: list[str] = []

    async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        answer = await send()
        if site == dependency and not struck:
            struck.append(site)
            raise Crash
        return answer

    return intercept


def test_a_write_in_doubt_after_a_crash_is_verified_not_repeated() -> None:
    async def main() -> None:
        desk = Desk(intercept=crash_after("refund"))
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run({"order": "W1"}, run_id="r")
        harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert result.output == "Sure: 20 back"
        assert len(desk.shop.ledger) == 1
        assert ("in_doubt", "refund", "crash") in desk.kinds()
        assert "recovered_after_crash" in [kind for kind, _, _ in desk.kinds()]

    simulated(main)


def test_without_verify_the_run_parks_until_a_person_says() -> None:
    async def main() -> None:
        desk = Desk(verify=False, intercept=crash_after("refund"))
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run({"order": "W1"}, run_id="r")
        harness.journal.abandon()
        second = desk.live()
        (result,) = await second.wake()
        assert (result.ending, result.reason) == (Ending.PARKED, "doubt: 3:refund")
        assert await second.wake() == []
        assert list(await second.operations.doubts("r")) == ["3:refund"]
        await second.operations.resolve("r", "3:refund", happened=True, by="ana", value={"refunded": 20.0})
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sure: 20 back")
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_without_verify_nobody_waits_for_its_answer() -> None:
    async def main() -> None:
        desk = Desk(verify=False)

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "refund":
                raise ConnectionResetError("lost")
            return await send()

        desk.intercept = lose
        began_s = LoopClock().monotonic()
        assert (await desk.live().run({"order": "W1"}, run_id="r")).ending is Ending.PARKED
        assert LoopClock().monotonic() == began_s

    simulated(main)


def test_a_person_who_says_it_did_not_happen_lets_it_be_sent_again() -> None:
    async def main() -> None:
        desk = Desk(verify=False)

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "refund" and desk.lives == 1:
                raise ConnectionResetError("lost before it arrived")
            return await send()

        desk.intercept = lose
        harness = desk.live()
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is Ending.PARKED
        await harness.operations.resolve("r", "3:refund", happened=False, by="ana")
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_a_lost_response_is_verified_within_the_run() -> None:
    async def main() -> None:
        desk = Desk()

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund":
                raise ConnectionResetError("the answer was lost")
            return answer

        desk.intercept = lose
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert len(desk.shop.ledger) == 1
        assert ("in_doubt", "refund", "connection") in desk.kinds()

    simulated(main)


def test_a_write_that_never_arrived_is_sent_again_with_the_same_key() -> None:
    async def main() -> None:
        desk = Desk()
        keys: list[str] = []

        async def drop(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "refund":
                keys.append(info.idempotency_key)
                if len(keys) == 1:
                    raise ConnectionResetError("it never left")
            return await send()

        desk.intercept = drop
        assert (await desk.live().run({"order": "W1"}, run_id="r")).ending is Ending.COMPLETE
        assert len(keys) == 2
        assert len(set(keys)) == 1
        assert len(desk.shop.ledger) == 1

    simulated(main)


@pytest.mark.parametrize("answer", [Unknown("no idea"), "perhaps", RuntimeError("verify is down")])
def test_a_verify_that_cannot_tell_parks(answer: Any) -> None:
    async def main() -> None:
        desk = Desk()

        def verify(args: Any, key: str) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def lose(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "refund":
                raise ConnectionResetError("lost")
            return await send()

        desk.shop.verify = verify  # type: ignore[method-assign]
        desk.intercept = lose
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert (result.ending, result.reason) == (Ending.PARKED, "doubt: 3:refund")
        assert desk.shop.ledger == []

    simulated(main)


def test_verify_is_asked_again_when_it_fails_once() -> None:
    async def main() -> None:
        desk = Desk()
        asked: list[str] = []

        async def stumble(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "refund.verify":
                asked.append(site)
                if len(asked) == 1:
                    raise ConnectionResetError("verify stumbled")
            answer = await send()
            if site == "refund":
                raise ConnectionResetError("lost")
            return answer

        desk.intercept = stumble
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_a_refusal_proves_that_nothing_happened() -> None:
    async def main() -> None:
        desk = Desk()
        result = await desk.live().run({"order": "W1", "amount": -1}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert str(result.output).startswith("not done: ")
        assert "DoubtRaised" not in await desk.events()

    simulated(main)


def test_an_idempotent_call_is_sent_again_after_a_crash_without_asking() -> None:
    async def main() -> None:
        desk = Desk(verify=False, intercept=crash_after("refund"), tools={"refund": Tool(effect=Effect.IDEMPOTENT)})
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run({"order": "W1"}, run_id="r")
        harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert len({key for _, _, key in desk.shop.ledger}) == 1

    simulated(main)


def test_code_that_changed_does_not_replay_and_sends_nothing() -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        assert (await harness.run({"order": "W1", "amount": 500}, run_id="r")).ending is Ending.PARKED

        async def changed(run: Run, request: Any) -> Any:
            return await run.call("refund", {"order": "W1", "amount": 1.0})

        desk.agent = changed
        with pytest.raises(ReplayMismatch) as caught:
            await desk.live().resume("r")
        assert "look" in caught.value.expected
        assert "refund" in caught.value.actual
        assert desk.shop.ledger == []
        head = await desk.store.head("r")
        assert head is not None
        assert head.reason.startswith("mismatch")

    simulated(main)


def test_other_arguments_for_a_recorded_call_are_a_mismatch() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.live().run({"order": "W1", "amount": 500}, run_id="r")

        async def changed(run: Run, request: Any) -> Any:
            return await run.call("look", {"order": "W2"})

        desk.agent = changed
        with pytest.raises(ReplayMismatch):
            await desk.live().resume("r")

    simulated(main)


def test_code_that_stops_early_on_replay_is_a_mismatch() -> None:
    async def main() -> None:
        desk = Desk()
        await desk.live().run({"order": "W1", "amount": 500}, run_id="r")

        async def shorter(run: Run, request: Any) -> str:
            await run.call("look", {"order": "W1"})
            return "done"

        desk.agent = shorter
        with pytest.raises(ReplayMismatch, match="the end of the run"):
            await desk.live().resume("r")

    simulated(main)


def test_the_journal_going_away_parks_the_run_and_coming_back_goes_on() -> None:
    class Outage:
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self.out = False

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        async def append(self, records: Sequence[Record]) -> frozenset[str]:
            if self.out:
                raise JournalUnavailable("disk full")
            refused: frozenset[str] = await self._inner.append(records)
            return refused

    async def main() -> None:
        desk = Desk()
        store = Outage(desk.store)

        async def fail(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            store.out = site == "primary"
            return await send()

        desk.intercept = fail
        harness = desk.live(store)
        result = await harness.run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.PARKED
        assert result.reason.startswith("journal")
        assert desk.shop.ledger == []
        assert "journal" in [kind for kind, _, _ in desk.kinds()]
        desk.intercept = None
        (result,) = await desk.live().wake()
        assert result.ending is Ending.COMPLETE
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_every_prefix_of_a_journal_can_be_gone_on_with() -> None:
    async def main() -> None:
        whole = Desk()
        await whole.live().run({"order": "W1"}, run_id="r")
        records = await whole.store.read("r")
        for length in range(1, len(records) + 1):
            desk = Desk()
            await desk.store.claim("r", owner="life-0", at=0.0)
            await desk.store.append(records[:length])
            if any(
                isinstance(record.event, CallSettled) and record.event.key == "3:refund" for record in records[:length]
            ):
                desk.shop.ledger.append(("W1", 20.0, "recorded"))
            result = await desk.live().run({"order": "W1"}, run_id="r")
            assert result.ending is Ending.COMPLETE, length
            assert result.output == "Sure: 20 back"
            assert len(desk.shop.ledger) == 1, length

    simulated(main)


def test_doubt_events_say_who_resolved_them() -> None:
    async def main() -> None:
        desk = Desk(intercept=crash_after("refund"))
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run({"order": "W1"}, run_id="r")
        harness.journal.abandon()
        await desk.live().wake()
        resolved = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtResolved)]
        assert [(event.answer, event.by) for event in resolved] == [("happened", "verify")]

    simulated(main)
