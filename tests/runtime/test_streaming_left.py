"""Streams that are not received to their end: left by their receiver, by a crash, or by the run itself."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from plimsoll.contract.model import Limits, Model
from plimsoll.core.calls import CallInfo, Ending, Status
from plimsoll.core.errors import ReplayMismatch
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Restarted
from tests.runtime.bench import Crash, Death, pass_time, simulated
from tests.runtime.screens import (
    BROKEN,
    HELLO,
    Part,
    Screen,
    chat,
    desk_of,
    settled,
    streaming,
)

# -- leaving early


def leaving_at(word: str, then: Any = None) -> Any:
    """Reads until the text has `word` in it, and leaves."""

    async def agent(run: Run, request: Any) -> str:
        text = ""
        async with run.stream("hi") as parts:
            async for part in parts:
                text = "" if isinstance(part, Restarted) else text + part
                if word in text:
                    break
        if then is not None:
            await then(run)
        return text

    return agent


def test_a_stream_that_is_left_is_closed_and_settled_as_it_stood() -> None:
    async def main() -> None:
        closed: list[str] = []

        async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
            try:
                for part in ("One", " two", " three", " four"):
                    yield part
            finally:
                await pass_time(0.5)
                closed.append("closed")

        async def look(run: Run) -> None:
            assert closed == ["closed"]
            await run.call("look", {"order": "W1"})

        desk = desk_of(model, leaving_at("two", look))
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "One two"), result.reason
        call = await settled(desk)
        assert (call.outcome.status, call.outcome.value) == (Status.ABANDONED, {"parts": ["One", " two"]})
        assert call.outcome.usage is not None and call.outcome.usage.output_tokens > 0
        assert await desk.events() == ["RunStarted", "CallSettled", "CallSettled", "RunEnded"]
        assert desk.kinds() == []  # nobody failed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    simulated(main)


def test_a_stream_that_is_left_last_of_all_is_settled_too() -> None:
    async def main() -> None:
        desk = desk_of(streaming(["One", " two", " three", ModelReply()]), leaving_at("two"))
        assert (await desk.live().run("hi", run_id="r")).output == "One two"
        assert await desk.events() == ["RunStarted", "CallSettled", "RunEnded"]

    simulated(main)


@pytest.mark.parametrize("by", ["word", "count", "timeout"])
def test_a_stream_that_was_left_is_left_again_on_replay(by: str) -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            text, count = "", 0
            async with run.stream("hi") as parts:
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.5 if by == "timeout" else None):
                        async for part in parts:
                            text = "" if isinstance(part, Restarted) else text + part
                            count += not isinstance(part, Restarted)
                            if (by == "word" and "two" in text) or (by == "count" and count == 2):
                                break
            await run.call("refund", {"order": "W1", "amount": 20.0})
            return text

        crashed: list[str] = []

        async def crash(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund" and not crashed:
                crashed.append(site)
                raise Crash
            return answer

        asked = streaming(["One ", 1.0, "two ", 1.0, "three", ModelReply()])  # for one request
        desk = desk_of(asked, agent, intercept=crash)
        first = desk.live()
        with pytest.raises(Crash):
            await first.run("hi", run_id="r")
        first.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "One two "), result.reason
        assert len(desk.shop.ledger) == 1

    simulated(main)


def test_a_stream_that_was_left_and_is_not_left_again_is_a_mismatch() -> None:
    async def main() -> None:
        async def big(run: Run) -> None:
            await run.call("refund", {"order": "W1", "amount": 500.0})

        desk = desk_of(streaming(["One", " two", " three", ModelReply()]), leaving_at("two", big))
        assert (await desk.live().run("hi", run_id="r")).ending is Ending.PARKED
        desk.agent = leaving_at("four", big)
        with pytest.raises(ReplayMismatch, match="is left where it was left"):
            await desk.live().resume("r")

    simulated(main)


def test_tokens_of_a_stream_that_was_left_count() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> None:
            for _ in range(10):
                async with run.stream("hi") as parts:
                    async for _ in parts:
                        break

        async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
            yield "word " * 100
            yield "word " * 100
            yield ModelReply()

        section = Model(max_output_tokens=200)
        desk = desk_of(model, agent, models={"primary": section}, limits=Limits(tokens=1000))
        result = await desk.live().run("hi", run_id="r")
        assert result.ending is Ending.HALTED
        assert result.reason.startswith("limit 'tokens'")
        assert (await desk.events()).count("CallSettled") == 5

    simulated(main)


# -- the run leaves


def streaming_until(at: str, death: Death) -> Any:
    """Streams; the process dies when it is asked for what comes after `at`, once."""

    async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
        for part in ("One ", "two ", "three"):
            yield part
            if part == at:
                await death.now()
        yield ModelReply()

    return model


def test_a_crash_in_mid_stream_begins_the_call_anew_and_says_so() -> None:
    async def main() -> None:
        screen = Screen()
        death = Death()
        desk = desk_of(streaming_until("two ", death), chat(screen))
        desk.intercept = death.intercept
        first = desk.live()
        with pytest.raises(Crash):
            await first.run("hi", run_id="r")
        first.journal.abandon()
        assert screen.came == ["One ", "two "]
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "One two three")
        assert screen.came == ["One ", "two ", "<resumed>", "One ", "two ", "three"]
        assert (await desk.events()).count("CallSettled") == 1

    simulated(main)


def test_a_recorded_stream_is_shown_in_one_part_and_no_model_is_asked() -> None:
    async def main() -> None:
        screen = Screen()

        async def agent(run: Run, request: Any) -> Any:
            answer = await chat(screen)(run, request)
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return answer

        desk = desk_of(streaming(HELLO), agent)
        parked = await desk.live().run("hi", run_id="r")
        assert parked.ending is Ending.PARKED
        again = desk.live()
        await again.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await again.wake()
        assert result.output == "Hello"
        assert screen.came == ["Hel", "lo", "<resumed>", "Hello"]

    simulated(main)


def test_a_caller_that_gives_the_run_up_in_mid_stream_leaves_it_as_a_crash_would() -> None:
    async def main() -> None:
        screen = Screen()
        desk = desk_of(streaming(["One ", 5.0, "two", ModelReply()], ["Uno ", "due", ModelReply()]), chat(screen))
        task = asyncio.ensure_future(desk.live().run("hi", run_id="r"))
        await pass_time(1.0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await desk.events() == ["RunStarted"]
        (result,) = await desk.live().wake()
        assert result.output == "Uno due"
        assert screen.came == ["One ", "<resumed>", "Uno ", "due"]

    simulated(main)


@pytest.mark.parametrize("together", ["gather", "group"])
def test_a_run_that_parks_beside_a_stream_goes_on_with_both(together: str) -> None:
    async def main() -> None:
        screen = Screen()

        async def agent(run: Run, request: Any) -> Any:
            refund = run.call("refund", {"order": "W1", "amount": 500.0})
            if together == "gather":
                text, _ = await asyncio.gather(chat(screen)(run, request), refund)
                return text
            async with asyncio.TaskGroup() as group:
                shown = group.create_task(chat(screen)(run, request))
                group.create_task(refund)
            return shown.result()

        slow: list[Part] = ["One ", 2.0, "two", ModelReply()]
        desk = desk_of(streaming(slow, slow), agent)
        parked = await desk.live().run("hi", run_id="r")
        assert parked.ending is Ending.PARKED
        await pass_time(1.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        again = desk.live()
        await again.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await again.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "One two"), result.reason
        assert (screen.text, len(desk.shop.ledger)) == ("One two", 1)
        assert (await settled(desk)).outcome.status is Status.OK

    simulated(main)


def test_a_kill_switch_ends_a_run_between_two_attempts_of_a_stream() -> None:
    async def main() -> None:
        screen = Screen()

        async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            try:
                return await send()
            finally:
                await desk.last.operations.kill(by="ana", reason="stop")

        desk = desk_of(streaming(BROKEN, HELLO), chat(screen), intercept=intercept)
        result = await desk.live().run("hi", run_id="r")
        assert result.ending is Ending.HALTED
        assert screen.came == ["He"]

    simulated(main)


def test_a_receiver_that_has_left_does_not_keep_a_run_that_is_halted() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            async with run.stream("hi"):
                await pass_time(3.0)  # the stream halts the run meanwhile
            return "nothing happened"

        desk = desk_of(streaming(["He", ModelReply()]), agent, limits=Limits(tokens=10))
        result = await desk.live().run("hi", run_id="r")
        assert result.ending is Ending.HALTED

    simulated(main)
