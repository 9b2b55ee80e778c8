"""A hardened agent that streams: what reaches whoever is shown it, what is told, and what a crash leaves."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import RunContext
from pydantic_ai.capabilities import ProcessEventStream
from pydantic_ai.messages import (
    AgentStreamEvent,
    FinalResultEvent,
    FunctionToolCallEvent,
    ModelMessage,
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    ToolCallPart,
)
from pydantic_ai.models import Model as PydanticModel
from pydantic_ai.models.function import AgentInfo, FunctionModel

from plimsoll.adapters.pydantic_ai import harden, hardened_subject
from plimsoll.contract.model import Limits, Model
from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse
from plimsoll.gate.scenario import EffectRow, Scenario
from plimsoll.gate.stage import Stage
from plimsoll.gate.trial import Plan, try_plan
from plimsoll.gate.verdict import Injection, Reach
from plimsoll.runtime.exchange import Exchange, Send
from tests.adapters.bench import Shop, contract, shop_agent, simulated
from tests.adapters.streamed import BROKEN, DONE, LOOK, REFUND, Audience, calls, desk_of, streamed, tool
from tests.runtime.bench import Crash, CrashingStore, Death


def test_events_come_as_the_model_speaks() -> None:
    async def main() -> None:
        at: list[tuple[float, str]] = []

        async def watch(ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
            async for event in events:
                at.append((LoopClock().monotonic(), type(event).__name__))

        desk = desk_of(streamed([1.0, "All ", 2.0, "done."]))
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=watch)
        assert (result.ending, result.output) == (Ending.COMPLETE, "All done."), result.reason
        assert at == [
            (1.0, "PartStartEvent"),
            (1.0, "FinalResultEvent"),
            (3.0, "PartDeltaEvent"),
            (3.0, "PartEndEvent"),
        ]
        assert await calls(desk) == ["1:primary"]

    simulated(main)


def test_tools_are_called_between_streamed_responses_and_keep_their_ids() -> None:
    async def main() -> None:
        audience = Audience()
        without_id = tool("look", '{"order": "W1"}')
        desk = desk_of(streamed(without_id, REFUND, DONE))
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=audience)
        assert result.output == "All done.", result.reason
        assert audience.came == ["look(", ")", "refund(", ")", "All ", "done."]
        ids = [event.part.tool_call_id for event in audience.events if isinstance(event, (PartStartEvent, PartEndEvent))
               and isinstance(event.part, ToolCallPart)]  # fmt: skip
        called = [event.part.tool_call_id for event in audience.events if isinstance(event, FunctionToolCallEvent)]
        assert ids == [called[0], called[0], called[1], called[1]]
        assert (await calls(desk))[1] == f"1/{called[0]}"
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_a_retry_and_a_fallback_begin_anew_and_say_so() -> None:
    async def main() -> None:
        audience = Audience()
        desk = desk_of(streamed((BROKEN, BROKEN)))
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=audience)
        assert (result.ending, result.output) == (Ending.DEGRADED, "The backup says so.")
        assert audience.came == ["Your ord", "<retry>", "Your ord", "<fallback>", "The backup", " says so."]
        assert audience.text == "The backup says so."

    simulated(main)


def test_a_canned_answer_is_shown_as_what_it_is() -> None:
    async def main() -> None:
        audience = Audience()
        desk = desk_of(streamed((BROKEN, BROKEN)), backup=streamed((BROKEN,)))
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=audience)
        assert (result.ending, result.output) == (Ending.DEGRADED, "I cannot say now.")
        assert audience.came[-2:] == ["<fallback>", "I cannot say now."]

    simulated(main)


def test_a_rung_that_cannot_stream_answers_in_one_part() -> None:
    async def main() -> None:
        class Plain(PydanticModel):
            model_name = system = "plain"

            async def request(self, *args: Any) -> ModelResponse:
                return ModelResponse(parts=[TextPart("At once.")])

        audience = Audience()
        desk = desk_of(streamed((BROKEN, BROKEN)), backup=Plain())
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=audience)
        assert result.output == "At once.", result.reason
        assert audience.came[-2:] == ["<fallback>", "At once."]

    simulated(main)


def test_a_response_that_changes_its_kind_when_it_begins_anew_is_taken_as_it_ends() -> None:
    """The first attempt was going to be text, and the second calls a tool."""

    async def main() -> None:
        audience = Audience()
        desk = desk_of(streamed((BROKEN, REFUND), DONE))
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=audience)
        assert result.output == "All done.", result.reason
        assert audience.came == ["Your ord", "<retry>", "refund(", ")", "All ", "done."]
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_a_stream_that_falls_silent_is_given_up() -> None:
    async def main() -> None:
        audience = Audience()
        models = {
            "primary": Model(timeout_s=40.0, idle_timeout_s=3.0, fallback=("backup",)),
            "backup": Model(id="test", timeout_s=40.0, idle_timeout_s=3.0),
        }
        desk = desk_of(streamed([2.0, "Your", 2.0, " ord", 30.0, "er"]), models=models)
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=audience)
        assert result.output == "The backup says so."
        assert audience.came == ["Your", " ord", "<fallback>", "The backup", " says so."]
        assert LoopClock().monotonic() == pytest.approx(7.0)

    simulated(main)


def test_a_stream_that_ends_before_the_response_does_is_no_answer() -> None:
    async def main() -> None:
        class Cut(FunctionModel):
            def request_stream(self, *args: Any, **options: Any) -> Any:
                opening = super().request_stream(*args, **options)

                class Opened:
                    async def __aenter__(self) -> Any:
                        stream = await opening.__aenter__()
                        stream.state = "incomplete"  # as a provider tells of a stream that had no terminal event
                        return stream

                    async def __aexit__(self, *exc: Any) -> Any:
                        return await opening.__aexit__(*exc)

                return Opened()

        async def half(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
            yield "Your ord"

        audience = Audience()
        desk = desk_of(Cut(stream_function=half))
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=audience)
        assert result.output == "The backup says so.", result.reason
        assert ("silent_failure", "primary", "truncated") in desk.kinds()
        assert audience.text == "The backup says so."

    simulated(main)


def test_an_agent_that_shows_its_events_by_itself_goes_on_doing_so() -> None:
    async def main() -> None:
        audience = Audience()
        agent = shop_agent(capabilities=[ProcessEventStream(audience)])
        desk = desk_of(streamed(LOOK, DONE), agent=agent)
        assert (await desk.live().run("Look", run_id="r")).output == "All done."
        assert audience.came == ["look(", ")", "All ", "done."]

    simulated(main)


class ScreenClosed(ConnectionError):
    """Whoever was shown the run has gone."""


async def closing(ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
    async for event in events:
        if isinstance(event, FunctionToolCallEvent) and event.part.tool_name == "refund":
            raise ScreenClosed("the browser was closed")


def test_a_handler_that_raises_gives_the_run_up_and_does_not_end_it() -> None:
    async def main() -> None:
        desk = desk_of(streamed(LOOK, REFUND, DONE))
        hardened = desk.live()
        with pytest.raises(ScreenClosed):
            await hardened.run("Refund", run_id="r", event_stream_handler=closing)
        result = await hardened.run("Refund", run_id="r", event_stream_handler=Audience())
        assert (result.ending, result.output) == (Ending.COMPLETE, "All done."), result.reason
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_a_handler_that_raises_gives_a_resumed_run_and_a_turn_up_alike() -> None:
    async def main() -> None:
        desk = desk_of(streamed(LOOK, REFUND, DONE))
        hardened = desk.live()
        session = hardened.session("s")
        with pytest.raises(ScreenClosed):
            await session.run("Refund", turn="m1", event_stream_handler=closing)
        with pytest.raises(ScreenClosed):
            await hardened.resume("s/1", event_stream_handler=closing)
        result = await session.run("Refund", turn="m1", event_stream_handler=Audience())
        assert (result.ending, result.output) == (Ending.COMPLETE, "All done."), result.reason

    simulated(main)


def test_a_run_that_fails_while_it_is_shown_fails_as_it_would_unseen() -> None:
    async def main() -> None:
        models = {"primary": Model(timeout_s=5.0), "backup": Model(id="test", timeout_s=5.0)}
        desk = desk_of(streamed(BROKEN), models=models)
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=Audience())
        assert (result.ending, result.reason.partition(":")[0]) == (Ending.FAILED, "CallFailed")

    simulated(main)


def test_a_caller_that_gives_up_a_run_which_is_shown_is_cancelled_as_ever() -> None:
    async def main() -> None:
        desk = desk_of(streamed([5.0, *DONE]))
        hardened = desk.live()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await hardened.run("Refund", run_id="r", event_stream_handler=Audience())
        assert LoopClock().monotonic() == pytest.approx(1.0)
        assert (await hardened.run("Refund", run_id="r", event_stream_handler=Audience())).output == "All done."

    simulated(main)


# -- crashes


def streaming_until(at: int, death: Death) -> FunctionModel:
    """Streams two tool calls and an answer; the process dies when chunk number `at` is asked for, once."""
    steps: list[list[Any]] = [[*LOOK], [*REFUND], [*DONE]]
    count = 0

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        nonlocal count
        for chunk in steps[sum(isinstance(message, ModelResponse) for message in messages)]:
            count += 1
            if count == at:
                await death.now()
            yield chunk

    return FunctionModel(stream_function=stream)


@pytest.mark.parametrize("at", range(1, 9))
def test_a_crash_at_any_part_of_a_stream_neither_loses_nor_doubles(at: int) -> None:
    async def main() -> None:
        audience = Audience()
        death = Death()
        desk = desk_of(streaming_until(at, death))
        desk.intercept = death.intercept
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Refund", run_id="r", event_stream_handler=audience)
        hardened.harness.journal.abandon()
        again = Audience()
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=again)
        assert (result.ending, result.output) == (Ending.COMPLETE, "All done."), result.reason
        assert desk.shop.refunds == [("W1", 20.0)]
        assert (again.came[0], again.text) == ("<resumed>", "All done.")
        assert [key.partition(":")[0] for key in await calls(desk)] == ["1", "1/c1", "2", "2/c2", "3"]

    simulated(main)


@pytest.mark.parametrize("keep", [0, 1, 99])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_crash_at_any_append_of_a_streamed_run(at: int, keep: int) -> None:
    async def main() -> None:
        desk = desk_of(streamed(LOOK, REFUND, DONE))
        hardened = desk.live(CrashingStore(desk.store, at=at, keep=keep))
        try:
            await hardened.run("Refund", run_id="r", event_stream_handler=Audience())
        except Crash:
            hardened.harness.journal.abandon()
        else:
            assert at > 3
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=Audience())
        assert (result.ending, result.output) == (Ending.COMPLETE, "All done."), result.reason
        assert desk.shop.refunds == [("W1", 20.0)]

    simulated(main)


def test_a_run_that_was_streamed_goes_on_without_anybody_watching() -> None:
    async def main() -> None:
        answers = streamed(LOOK, REFUND)

        def last(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            return ModelResponse(parts=[TextPart("All done.")])

        async def crash(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            if site == "refund" and desk.lives == 1:
                raise Crash
            return answer

        assert answers.stream_function is not None
        model = FunctionModel(last, stream_function=answers.stream_function)
        desk = desk_of(model, intercept=crash)
        hardened = desk.live()
        with pytest.raises(Crash):
            await hardened.run("Refund", run_id="r", event_stream_handler=Audience())
        hardened.harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert (result.output, desk.shop.refunds) == ("All done.", [("W1", 20.0)]), result.reason

    simulated(main)


def test_what_is_replayed_is_shown_as_it_was_and_no_model_is_asked() -> None:
    async def main() -> None:
        big = tool("refund", '{"order": "W1", "amount": 80}', call_id="c2")
        desk = desk_of(streamed(LOOK, big, DONE))
        hardened = desk.live()
        parked = await hardened.run("Refund", run_id="r", event_stream_handler=Audience())
        assert parked.ending is Ending.PARKED
        await hardened.approvals.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        audience = Audience()
        desk.models["primary"] = streamed((), (), (DONE,))  # what is recorded is not asked for
        result = await desk.live().resume("r", event_stream_handler=audience)
        assert result.output == "All done.", result.reason
        assert audience.came == ["<resumed>", "look(", ")", "<resumed>", "refund(", ")", "<resumed>", "All ", "done."]
        assert desk.shop.reads == ["W1"]

    simulated(main)


# -- the natural methods


def test_run_stream_gives_events_and_then_the_result() -> None:
    async def main() -> None:
        audience = Audience()
        desk = desk_of(streamed(LOOK, DONE))
        async with desk.live() as hardened, hardened.run_stream_events("Look", run_id="r") as stream:
            with pytest.raises(Misuse, match="has not come to its end"):
                _ = stream.result
            async for event in stream:
                audience.show(event)
        assert (stream.result.ending, stream.result.output) == (Ending.COMPLETE, "All done.")
        assert audience.came == ["look(", ")", "All ", "done."]

    simulated(main)


def test_the_text_alone_takes_back_what_is_void_by_itself() -> None:
    async def main() -> None:
        shown: list[str] = []
        desk = desk_of(streamed(LOOK, (BROKEN, DONE)))
        async with desk.live().run_stream("Look", run_id="r") as stream:
            async for text in stream.stream_text():
                shown.append(text)
        assert shown == ["Your ord", "", "All ", "All done."]
        assert stream.result.output == "All done."

    simulated(main)


def test_a_run_that_parks_ends_its_stream_and_says_so() -> None:
    async def main() -> None:
        big = tool("refund", '{"order": "W1", "amount": 80}')
        desk = desk_of(streamed(big, DONE))
        hardened = desk.live()
        async with hardened.run_stream("Refund", run_id="r") as stream:
            assert [text async for text in stream.stream_text()] == []
        assert stream.result.ending is Ending.PARKED
        await hardened.approvals.decide(stream.result.waiting_for[0].request_id, approve=True, by="ana")
        async with desk.live().run_stream("Refund", run_id="r") as stream:
            assert [text async for text in stream.stream_text()][-1] == "All done."
        assert desk.shop.refunds == [("W1", 80.0)]
        async with desk.live().run_stream("Refund", run_id="r") as stream:  # it has ended: nothing to be shown
            assert [event async for event in stream] == []
        async with desk.live().run_stream("Refund", run_id="r") as stream:
            assert [text async for text in stream.stream_text()] == ["All done."], "the last text is the answer"
        assert stream.result.output == "All done."

    simulated(main)


def test_whoever_leaves_gives_the_run_up_and_it_is_gone_on_with() -> None:
    async def main() -> None:
        desk = desk_of(streamed((["All ", 5.0, "gone."], DONE)))
        async with desk.live().run_stream("Refund", run_id="r") as stream:
            async for _ in stream.stream_text():
                break
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(Misuse):
            _ = stream.result
        assert await calls(desk) == []
        result = await desk.live().run("Refund", run_id="r", event_stream_handler=Audience())
        assert result.output == "All done."

    simulated(main)


def test_a_run_waits_for_whoever_is_shown_it() -> None:
    async def main() -> None:
        spoken: list[str] = []

        async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
            for number in range(10):
                spoken.append(f"{number} ")
                yield spoken[-1]

        desk = desk_of(FunctionModel(stream_function=stream))
        ahead: list[int] = []
        async with desk.live().run_stream("Refund", run_id="r") as watched:
            count = 0
            async for event in watched:
                count += isinstance(event, (PartStartEvent, PartDeltaEvent))
                ahead.append(len(spoken) - count)
                await LoopClock().sleep(5.0)  # longer in all than any timeout
        assert watched.result.ending is Ending.COMPLETE, watched.result.reason
        assert max(ahead) <= 4
        assert desk.kinds() == []

    simulated(main)


def test_an_error_of_the_run_comes_out_of_its_stream() -> None:
    async def main() -> None:
        desk = desk_of(streamed(DONE))
        hardened = desk.live()
        held = asyncio.ensure_future(hardened.run("Refund", run_id="r", event_stream_handler=_slow))
        await LoopClock().sleep(1.0)
        with pytest.raises(Exception, match="being advanced"):
            async with hardened.run_stream("Refund", run_id="r") as stream:
                async for _ in stream:
                    pass
        assert (await held).output == "All done."

    simulated(main)


async def _slow(ctx: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
    async for _ in events:
        await LoopClock().sleep(3.0)


class Answer(BaseModel):
    order: str
    amount: float


def test_structured_output_streams_too() -> None:
    async def main() -> None:
        audience = Audience()
        answer = tool("final_result", '{"order": "W1"', ', "amount": 20}')
        desk = desk_of(streamed(answer), agent=shop_agent(output_type=Answer))
        result = await desk.live().run("How much?", run_id="r", event_stream_handler=audience)
        assert result.output == {"order": "W1", "amount": 20.0}
        (final,) = [event for event in audience.events if isinstance(event, FinalResultEvent)]
        (started,) = [event.part for event in audience.events if isinstance(event, PartStartEvent)]
        assert isinstance(started, ToolCallPart)
        assert final.tool_call_id == started.tool_call_id

    simulated(main)


def test_a_limit_is_held_in_a_streamed_run() -> None:
    async def main() -> None:
        desk = desk_of(streamed(LOOK, DONE), limits=Limits(steps=2))
        async with desk.live().run_stream("Look", run_id="r") as stream:
            events = [event async for event in stream]
        assert (stream.result.ending, bool(events)) == (Ending.HALTED, True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    simulated(main)


def test_the_gate_breaks_a_stream_off_in_the_middle() -> None:
    audience = Audience()
    agent = shop_agent(capabilities=[ProcessEventStream(audience)])
    subject = hardened_subject(harden(agent, contract(), fingerprint="v1"))
    scenario = Scenario(
        name="look",
        input="Where is W1?",
        world=World,
        models=lambda world: {"primary": streamed(LOOK, (DONE, DONE)), "backup": streamed(DONE)},
        goal=lambda world, output: None if output == "All done." else "it did not answer",
    )
    stage = Stage(subject=subject, scenario=scenario, contract=contract())
    injection = Injection(kind="truncated_stream", site="primary@2:primary", variant="")
    played = try_plan(stage, Plan(injections=(injection,), seed=1))
    assert played.sites()["primary@2:primary"].streamed
    assert (played.trial.fired, played.inapplicable, played.trial.reach) == (True, False, Reach.REACHED)
    assert audience.came[-4:] == ["All ", "<retry>", "All ", "done."]


class World(Shop):
    """A shop in which nothing is ever done."""

    def effects(self) -> list[EffectRow]:
        return []
