"""Streams: what a receiver is shown, what it is told, and what the journal has of it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest

from plimsoll.contract.model import Limits, Mode, Model, Protections
from plimsoll.core.calls import Ending, Fault, Status
from plimsoll.core.errors import CallFailed, Misuse
from plimsoll.core.events import AttemptSettled, RunEnded
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Restarted
from tests.runtime.bench import pass_time, simulated
from tests.runtime.screens import (
    BROKEN,
    HELLO,
    LADDER,
    Part,
    Screen,
    chat,
    desk_of,
    settled,
    streaming,
)


def test_parts_are_shown_as_they_come_and_the_call_is_settled_once() -> None:
    async def main() -> None:
        screen = Screen()
        desk = desk_of(streaming(HELLO), chat(screen))
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Hello")
        assert screen.came == ["Hel", "lo"]
        call = await settled(desk)
        assert call.outcome.value == {"text": "Hello", "usage": {"input_tokens": 3, "output_tokens": 2}}
        assert (await desk.events()).count("CallSettled") == 1
        assert desk.kinds() == []

    simulated(main)


def test_parts_come_before_the_answer_is_whole() -> None:
    async def main() -> None:
        at: list[float] = []

        async def agent(run: Run, request: Any) -> None:
            async with run.stream("hi") as parts:
                async for _ in parts:
                    at.append(run.state.env.clock.monotonic())

        desk = desk_of(streaming([1.0, "a", 2.0, "b", 3.0, ModelReply()]), agent)
        result = await desk.live().run("hi", run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason
        assert at == [1.0, 3.0]

    simulated(main)


def test_a_retry_begins_anew_and_says_so() -> None:
    async def main() -> None:
        screen = Screen()
        desk = desk_of(streaming(BROKEN, HELLO), chat(screen))
        result = await desk.live().run("hi", run_id="r")
        assert result.output == "Hello"
        assert screen.came == ["He", "<retry>", "Hel", "lo"]
        assert (await settled(desk)).outcome.attempts == 2
        assert ("attempt_failed", "primary", "connection") in desk.kinds()

    simulated(main)


def test_an_attempt_that_showed_nothing_is_not_taken_back() -> None:
    async def main() -> None:
        screen = Screen()
        desk = desk_of(streaming([ConnectionResetError("reset")], HELLO), chat(screen))
        assert (await desk.live().run("hi", run_id="r")).output == "Hello"
        assert screen.came == ["Hel", "lo"]

    simulated(main)


@pytest.mark.parametrize("by", ["stream", "function", "canned"])
def test_a_lower_rung_begins_anew_and_says_so(by: str) -> None:
    async def main() -> None:
        async def at_once(prompt: Any) -> ModelReply:
            return ModelReply(text="Bonjour")

        screen = Screen()
        backup = streaming(["Bon", "jour", ModelReply()]) if by == "stream" else at_once
        models = LADDER | ({"backup": Model(canned="Bonjour")} if by == "canned" else {})
        desk = desk_of({"primary": streaming(BROKEN), "backup": backup}, chat(screen), models=models)
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "Bonjour")
        assert screen.came == ["He", "<fallback>", *(["Bon", "jour"] if by == "stream" else ["Bonjour"])]

    simulated(main)


def test_an_answer_that_does_not_stand_is_taken_back() -> None:
    """The output check looks at the whole: what was shown of an answer that is none is void."""

    async def main() -> None:
        screen = Screen()
        cut: list[Part] = ["Your order", ModelReply(finish_reason="length")]
        desk = desk_of(streaming(cut, HELLO), chat(screen))
        assert (await desk.live().run("hi", run_id="r")).output == "Hello"
        assert screen.came == ["Your order", "<retry>", "Hel", "lo"]
        assert ("silent_failure", "primary", "truncated") in desk.kinds()

    simulated(main)


def test_a_model_that_does_not_stream_is_shown_in_one_part() -> None:
    async def main() -> None:
        async def at_once(prompt: Any) -> ModelReply:
            return ModelReply(text="Hello")

        screen = Screen()
        desk = desk_of(at_once, chat(screen))
        assert (await desk.live().run("hi", run_id="r")).output == "Hello"
        assert screen.came == ["Hello"]

    simulated(main)


def test_a_model_that_streams_answers_those_who_do_not_want_to_be_shown() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            return (await run.model("hi")).text

        desk = desk_of(streaming(BROKEN, HELLO), agent)
        assert (await desk.live().run("hi", run_id="r")).output == "Hello"

    simulated(main)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        (["Hello"], "truncated"),
        ([], "truncated"),
        (["Hello", ModelReply(text="Good bye")], "malformed"),
        (["Hello", 7], "malformed"),
    ],
)
def test_a_stream_that_is_none_is_a_failed_attempt(parts: list[Any], fault: str) -> None:
    async def main() -> None:
        screen = Screen()
        desk = desk_of(streaming(parts, HELLO), chat(screen))
        assert (await desk.live().run("hi", run_id="r")).output == "Hello"
        assert screen.text == "Hello"
        assert ("silent_failure", "primary", fault) in desk.kinds()

    simulated(main)


def test_a_reply_may_tell_its_text_again_or_alone() -> None:
    async def main() -> None:
        told: list[Part] = ["Hel", "lo", ModelReply(text="Hello")]
        empty: list[Part] = ["", "Hello", "", ModelReply(text="")]
        for parts in (told, empty):
            screen = Screen()
            assert (await desk_of(streaming(parts), chat(screen)).live().run("hi", run_id="r")).output == "Hello"
        alone = Screen()
        assert (await desk_of(streaming([ModelReply(text="Hello")]), chat(alone)).live().run("hi")).output == "Hello"
        assert alone.came == ["Hello"]

    simulated(main)


def test_when_no_attempt_brings_an_answer_the_receiver_gets_the_error() -> None:
    async def main() -> None:
        screen = Screen()
        errors: list[Exception] = []

        async def agent(run: Run, request: Any) -> str:
            try:
                async with run.stream("hi") as parts:
                    async for part in parts:
                        screen.show(part)
            except CallFailed as error:
                errors.append(error)
            with suppress(Misuse):
                return str(parts.reply)
            return "sorry"

        desk = desk_of(streaming(BROKEN, BROKEN), agent)
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "sorry")
        assert screen.came == ["He", "<retry>", "He"]
        assert "primary failed (connection) after 2 attempt(s)" in str(errors[0])
        assert (await settled(desk)).outcome.status is Status.FAILED

    simulated(main)


# -- time


def test_a_silence_in_the_middle_of_an_answer_is_given_up() -> None:
    async def main() -> None:
        screen = Screen()
        models = LADDER | {"primary": Model(timeout_s=40.0, idle_timeout_s=2.0, fallback=("backup",))}
        silent = streaming([1.5, "He", 1.5, "l", 30.0, "lo", ModelReply()])
        desk = desk_of({"primary": silent, "backup": streaming(HELLO)}, chat(screen), models=models)
        result = await desk.live().run("hi", run_id="r")
        assert result.output == "Hello"
        assert screen.came == ["He", "l", "<fallback>", "Hel", "lo"]
        (failed,) = [r.event for r in await desk.store.read("r") if isinstance(r.event, AttemptSettled)]
        assert (failed.fault, failed.duration_s) == (Fault.TIMEOUT, 5.0)
        assert "said nothing for 2 s" in failed.message

    simulated(main)


def test_a_model_that_never_begins_is_silent_too() -> None:
    async def main() -> None:
        rungs = LADDER | {"primary": Model(timeout_s=40.0, idle_timeout_s=2.0, fallback=("backup",))}
        models = {"primary": streaming([30.0, *HELLO]), "backup": streaming(HELLO)}
        desk = desk_of(models, chat(Screen()), models=rungs)
        assert (await desk.live().run("hi", run_id="r")).ending is Ending.DEGRADED
        (failed,) = [r.event for r in await desk.store.read("r") if isinstance(r.event, AttemptSettled)]
        assert failed.duration_s == 2.0

    simulated(main)


def test_the_timeout_is_for_the_whole_of_a_stream() -> None:
    async def main() -> None:
        screen = Screen()
        endless: list[Part] = [part for _ in range(30) for part in (1.0, "x")]
        desk = desk_of({"primary": streaming(endless), "backup": streaming(HELLO)}, chat(screen), models=LADDER)
        assert (await desk.live().run("hi", run_id="r")).output == "Hello"
        (failed,) = [r.event for r in await desk.store.read("r") if isinstance(r.event, AttemptSettled)]
        assert (failed.fault, failed.duration_s) == (Fault.TIMEOUT, 10.0)

    simulated(main)


def test_the_time_that_the_receiver_takes_is_not_the_models() -> None:
    async def main() -> None:
        ahead: list[int] = []
        taken: list[str | Restarted] = []

        async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
            for number in range(20):
                await pass_time(0.1)
                ahead.append(number - len(taken))
                yield f"{number} "
            yield ModelReply()

        async def agent(run: Run, request: Any) -> str:
            async with run.stream("hi") as parts:
                async for part in parts:
                    await pass_time(7.0)  # longer in all than any timeout
                    taken.append(part)
            return str(len(taken))

        models = {"primary": Model(timeout_s=5.0, idle_timeout_s=1.0)}
        desk = desk_of(model, agent, models=models, limits=Limits(seconds=3000.0))
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "20"), result.reason
        assert max(ahead) <= 3  # never does the model run on while nobody reads
        assert desk.kinds() == []  # nor is it called slow
        assert desk.last.env.windows["primary"]._window[0] == pytest.approx(2.0)

    simulated(main)


@pytest.mark.parametrize(("pause_s", "words"), [(6.0, "after 5 s"), (2.0, "after a silence of 1 s")])
def test_a_timeout_that_only_observes_says_what_it_would_have_given_up(pause_s: float, words: str) -> None:
    async def main() -> None:
        desk = desk_of(
            streaming(["Hel", pause_s, "lo", ModelReply()]),
            chat(Screen()),
            models={"primary": Model(timeout_s=5.0, idle_timeout_s=1.0)},
            protections=Protections(timeout=Mode.OBSERVE),
        )
        result = await desk.live().run("hi", run_id="r")
        assert result.output == "Hello"
        (would,) = [finding for finding in result.findings if finding.kind == "would_time_out"]
        assert (words in would.message, would.observed) == (True, True)

    simulated(main)


# -- beside other calls


def test_no_call_is_made_on_the_strength_of_provisional_text() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            async with run.stream("hi") as parts:
                async for part in parts:
                    await run.call("look", {"order": part})
            return "done"

        desk = desk_of(streaming(HELLO), agent)
        result = await desk.live().run("hi", run_id="r")
        assert result.ending is Ending.FAILED
        assert "a call was made in the middle of the stream '1:primary'" in result.reason
        assert desk.shop.reads == 0

    simulated(main)


@pytest.mark.parametrize("what", ["now", "stream", "continue_as_new"])
def test_nor_is_anything_else_recorded(what: str) -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> None:
            async with run.stream("hi") as parts:
                async for part in parts:
                    if what == "now":
                        await run.now()
                    elif what == "continue_as_new":
                        await run.continue_as_new(part)
                    else:
                        async with run.stream("again"):
                            pass

        desk = desk_of(streaming(HELLO), agent)
        assert "in the middle of the stream" in (await desk.live().run("hi", run_id="r")).reason
        assert [head.run_id for head in await desk.store.heads()] == ["r"]

    simulated(main)


def test_calls_before_the_first_part_beside_it_and_after_the_last_are_fine() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> str:
            async with run.stream("hi") as parts:
                await run.call("look", {"order": "W1"})
                beside = asyncio.ensure_future(run.call("look", {"order": "W2"}))
                texts = [part async for part in parts]
                await run.call("look", {"order": "W3"})
                await beside
            return "".join(part for part in texts if isinstance(part, str))

        async def crash_at_the_end(run: Run, request: Any) -> str:
            text = await agent(run, request)
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return text

        desk = desk_of(streaming(HELLO), crash_at_the_end)
        parked = await desk.live().run("hi", run_id="r")
        assert parked.ending is Ending.PARKED, parked.reason
        again = desk.live()
        await again.operations.decide(parked.waiting_for[0].request_id, approve=False, by="ana")
        (result,) = await again.wake()
        assert "ApprovalRefused" in result.reason
        assert desk.shop.reads == 3

    simulated(main)


def test_two_streams_beside_each_other() -> None:
    async def main() -> None:
        left, right = Screen(), Screen()

        async def agent(run: Run, request: Any) -> str:
            async with run.stream("left") as one, run.stream("right") as two:
                async for part in one:
                    left.show(part)
                async for part in two:
                    right.show(part)
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return f"{one.reply.text} {two.reply.text}"

        slow: list[Part] = [3.0, "slow", ModelReply()]
        desk = desk_of(streaming(slow, ["fa", "st", ModelReply()]), agent)
        parked = await desk.live().run("hi", run_id="r")
        again = desk.live()
        await again.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await again.wake()
        assert (result.output, left.text, right.text) == ("slow fast", "slow", "fast")
        assert right.came == ["fa", "st", "<resumed>", "fast"]

    simulated(main)


# -- how it is held


def test_a_stream_is_begun_by_async_with_and_once() -> None:
    async def main() -> None:
        said: list[str] = []

        async def agent(run: Run, request: Any) -> None:
            stream = run.stream("hi")
            for wrong in (stream.__anext__(), _entered_twice(stream)):
                try:
                    await wrong
                except Misuse as error:
                    said.append(str(error))
            try:
                _ = run.stream("hi").reply
            except Misuse as error:
                said.append(str(error))

        desk = desk_of(streaming(HELLO, HELLO, HELLO), agent)
        await desk.live().run("hi", run_id="r")
        assert [words.partition(":")[0] for words in said] == [
            "a stream is begun by `async with`",
            "the stream '1",
            "the answer to '2",
        ]

    simulated(main)


async def _entered_twice(stream: Any) -> None:
    async with stream:
        pass
    async with stream:
        pass


def test_its_key_is_the_same_on_every_showing() -> None:
    async def main() -> None:
        keys: list[str] = []

        async def agent(run: Run, request: Any) -> None:
            async with run.stream("hi", key="greeting") as parts:
                keys.append(parts.key)
                async for _ in parts:
                    pass
            await run.call("refund", {"order": "W1", "amount": 500.0})

        desk = desk_of(streaming(HELLO), agent)
        await desk.live().run("hi", run_id="r")
        await desk.live().resume("r")
        assert keys == ["greeting", "greeting"]

    simulated(main)


def test_the_ending_stands_in_the_journal() -> None:
    async def main() -> None:
        desk = desk_of(streaming(HELLO), chat(Screen()))
        await desk.live().run("hi", run_id="r")
        ended = (await desk.store.read("r"))[-1].event
        assert isinstance(ended, RunEnded)
        assert ended.output == "Hello"

    simulated(main)
