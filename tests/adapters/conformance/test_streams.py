"""What the model says, shown as it comes."""

from typing import Any

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import RunBusy
from tests.adapters.conformance.desk import Bench, Desk, Script, call, simulated

STEPS: list[Any] = [[call("find_order", order_id="W2")], "It is on its way."]


def texts_of(bench: Bench, stream: Any) -> Any:
    return stream.stream_text() if bench.name == "pydantic_ai" else stream


def test_the_answer_is_shown_as_it_comes(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*STEPS))
        seen: list[str] = []
        async with desk.live().run_stream("Where is W2?", run_id="r") as stream:
            async for text in texts_of(bench, stream):
                seen.append(text)
        assert seen == ["It ", "It is ", "It is on ", "It is on its ", "It is on its way."]
        assert (stream.result.ending, stream.result.output) == (Ending.COMPLETE, "It is on its way.")
        assert desk.shop.reads == ["W2"]

    simulated(main)


def test_a_run_that_has_ended_shows_its_answer_and_asks_nothing(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*STEPS))
        await desk.live().run("Where is W2?", run_id="r")
        asked = desk.script.asked
        async with desk.live().run_stream("Where is W2?", run_id="r") as stream:
            assert [text async for text in texts_of(bench, stream)] == ["It is on its way."]
        assert desk.script.asked == asked

    simulated(main)


def test_what_was_shown_of_an_answer_that_fails_is_taken_back(bench: Bench) -> None:
    async def main() -> None:
        async def down(n: int) -> None:
            raise ConnectionResetError("reset")

        desk = Desk(bench, Script("Here.", before=down), Script("The backup says so."))
        async with desk.live().run_stream("Hello", run_id="r") as stream:
            seen = [text async for text in texts_of(bench, stream)]
        assert seen[-1] == "The backup says so." and stream.result.ending is Ending.DEGRADED

    simulated(main)


def test_a_run_that_is_left_early_is_gone_on_with(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script([call("refund", order_id="W2", amount=20)], "It is paid back."))
        hardened = desk.live()
        async with hardened.run_stream("Refund W2", run_id="r") as stream:
            async for _ in texts_of(bench, stream):
                break
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "It is paid back.")
        assert desk.shop.refunds == [("W2", 20)]

    simulated(main)


def test_a_watched_run_parks_as_any_other(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script([call("refund", order_id="W1", amount=80)], "It is paid back."))
        async with desk.live().run_stream("Refund W1", run_id="r") as stream:
            assert [text async for text in texts_of(bench, stream)] == []
        assert stream.result.ending is Ending.PARKED and len(stream.result.waiting_for) == 1

    simulated(main)


def test_who_comes_later_and_leaves_does_not_hold_a_watched_run_up(bench: Bench) -> None:
    async def main() -> None:
        async def slowly(n: int) -> None:
            await LoopClock().sleep(2.0)

        desk = Desk(bench, Script(*STEPS, before=slowly))
        hardened, seen = desk.live(), []
        async with hardened.run_stream("Where is W2?", run_id="r") as first:
            async with hardened.run_stream("Where is W2?", run_id="r") as second:
                with pytest.raises(RunBusy):
                    assert [text async for text in texts_of(bench, second)] == []
            async for text in texts_of(bench, first):
                seen.append(text)
        assert seen[0] == "It " and seen[-1] == "It is on its way."
        assert first.result.ending is Ending.COMPLETE

    simulated(main)


def test_a_stream_is_begun_once(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*STEPS))
        stream = desk.live().run_stream("Where is W2?", run_id="r")
        with pytest.raises(Exception, match="iterate"):
            _ = stream.result
        async with stream:
            async for _ in texts_of(bench, stream):
                pass
        with pytest.raises(Exception, match="begun already"):
            await stream.__aenter__()

    simulated(main)
