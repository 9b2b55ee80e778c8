"""Streams: what a receiver is shown, what it is told, and what the journal has of it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from plimsoll.contract.model import Limits, Mode, Model, Protections, Retry
from plimsoll.core.calls import CallInfo, Ending, Fault, Status, Usage
from plimsoll.core.errors import CallFailed, Misuse, ReplayMismatch
from plimsoll.core.events import AttemptSettled, CallSettled, RunEnded
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.showing import Restarted
from tests.runtime.bench import ON, Crash, Desk, pass_time, simulated

RETRY = Model(timeout_s=10.0, retry=Retry(on=(*ON, Fault.TRUNCATED, Fault.MALFORMED), max_attempts=2))
LADDER = {"primary": Model(timeout_s=10.0, fallback=("backup",)), "backup": Model(timeout_s=10.0)}

Part = str | float | Exception | ModelReply


def streaming(*tries: list[Part]) -> Callable[[Any], AsyncIterator[str | ModelReply]]:
    """A model that streams: for each request the next of `tries`. A number is a pause, an error breaks it off."""
    asked = iter(tries)

    async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
        for part in next(asked):
            if isinstance(part, Exception):
                raise part
            if isinstance(part, float):
                await pass_time(part)
            else:
                yield part

    return model


HELLO: list[Part] = ["Hel", "lo", ModelReply(usage=Usage(input_tokens=3, output_tokens=2))]
BROKEN: list[Part] = ["He", ConnectionResetError("reset by peer")]


class Screen:
    """Somebody who is shown a stream: everything that came, and the text since it last began."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.text = ""

    def show(self, part: str | Restarted) -> None:
        self.came.append(part if isinstance(part, str) else f"<{part.why}>")
        self.text = "" if isinstance(part, Restarted) else self.text + part


def chat(screen: Screen, *, slow_s: float = 0.0) -> Any:
    async def agent(run: Run, request: Any) -> Any:
        async with run.stream({"ask": request}) as parts:
            async for part in parts:
                screen.show(part)
                await pass_time(slow_s)
        reply: ModelReply = parts.reply
        return reply.text

    return agent


class StreamingDesk(Desk):
    """A desk that remembers its last life."""

    last: Harness

    def live(self, store: Any = None) -> Harness:
        self.last = super().live(store)
        return self.last


async def settled(desk: Desk, key: str = "1:primary") -> CallSettled:
    (found,) = [
        record.event
        for record in await desk.store.read("r")
        if isinstance(record.event, CallSettled) and record.event.key == key
    ]
    return found


def desk_of(model: Any, agent: Any, **changes: Any) -> StreamingDesk:
    desk = StreamingDesk(models=changes.pop("models", {"primary": RETRY}), **changes)
    desk.models = model if isinstance(model, dict) else {"primary": model}
    desk.agent = agent
    return desk


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


def crashing_model(at: str) -> Any:
    """Streams; the process dies when it is asked for what comes after `at`, once."""
    crashed: list[str] = []

    async def model(prompt: Any) -> AsyncGenerator[str | ModelReply]:
        for part in ("One ", "two ", "three"):
            yield part
            if part == at and not crashed:
                crashed.append(part)
                raise Crash
        yield ModelReply()

    return model


def test_a_crash_in_mid_stream_begins_the_call_anew_and_says_so() -> None:
    async def main() -> None:
        screen = Screen()
        desk = desk_of(crashing_model("two "), chat(screen))
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


@pytest.mark.parametrize("what", ["now", "stream"])
def test_nor_is_anything_else_recorded(what: str) -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> None:
            async with run.stream("hi") as parts:
                async for _ in parts:
                    if what == "now":
                        await run.now()
                    else:
                        async with run.stream("again"):
                            pass

        desk = desk_of(streaming(HELLO), agent)
        assert "in the middle of the stream" in (await desk.live().run("hi", run_id="r")).reason

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
