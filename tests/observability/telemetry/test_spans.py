"""What a run does, as spans: which there are, what they lie in, what they link to, and what they never tell again."""

import asyncio
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.propagate import inject
from opentelemetry.trace import StatusCode, get_current_span

from plimsoll.contract.model import AgentSection, Limits, Model
from plimsoll.core.calls import Ending
from plimsoll.core.events import CallSettled, RunEnded, RunResumed, RunStarted
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.observability.telemetry.heard import Heard, ToldDesk, ToldFirm
from tests.runtime.bench import ON, Crash, CrashingStore, Retry, contract, pass_time, simulated, sure
from tests.runtime.firm import front

HEALTHY = [
    "invoke_agent desk",
    "invoke_agent desk > execute_tool look",
    "invoke_agent desk > chat primary",
    "invoke_agent desk > execute_tool refund",
]


def attributes(span: Any) -> dict[str, Any]:
    return dict(span.attributes)


def linked(span: Any) -> list[int]:
    return [link.context.span_id for link in span.links]


def test_a_healthy_run_is_one_span_for_itself_and_one_for_each_call(heard: Heard) -> None:
    simulated(lambda: ToldDesk(heard).live().run({"order": "W1"}, run_id="r"))
    assert heard.tree() == HEALTHY
    assert attributes(heard.one("invoke_agent desk")) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "desk",
        "gen_ai.agent.version": "v1",
        "plimsoll.run.id": "r",
        "plimsoll.run.resumed": False,
        "plimsoll.run.ending": "complete",
    }
    assert attributes(heard.one("chat primary")) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "_OTHER",
        "gen_ai.request.model": "primary",
        "gen_ai.response.model": "primary",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "plimsoll.run.id": "r",
        "plimsoll.call.key": "2:primary",
        "plimsoll.call.status": "ok",
        "plimsoll.call.attempts": 1,
        "plimsoll.call.rung": 0,
    }
    assert attributes(heard.one("execute_tool refund")) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "refund",
        "gen_ai.tool.type": "function",
        "plimsoll.run.id": "r",
        "plimsoll.call.key": "3:refund",
        "plimsoll.call.effect": "write",
        "plimsoll.call.status": "ok",
        "plimsoll.call.attempts": 1,
    }
    assert {span.status.status_code for span in heard.spans} == {StatusCode.UNSET}
    assert {span.instrumentation_scope.schema_url for span in heard.spans if span.instrumentation_scope} == {
        "https://opentelemetry.io/schemas/1.41.0"
    }


def test_a_model_is_told_by_its_own_name_and_its_provider(heard: Heard) -> None:
    models = {"primary": Model(id="google-gla:gemini-9"), "other": Model(id="openai:gpt-9")}

    async def main() -> None:
        await ToldDesk(heard, models=models).live().run({"order": "W1"}, run_id="r")

    simulated(main)
    told = attributes(heard.one("chat gemini-9"))
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("gcp.gemini", "gemini-9")


def test_attempts_that_failed_are_children_with_their_time_and_the_ladder_is_told(heard: Heard) -> None:
    async def hangs(prompt: Any) -> Any:
        await pass_time(1000)

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.models["primary"] = hangs
        await desk.live().run({"order": "W1"}, run_id="r")

    simulated(main)
    first, second = heard.named("attempt primary")
    call = heard.one("chat primary")
    for number, attempt in enumerate((first, second), 1):
        assert attempt.parent is not None and attempt.parent.span_id == call.context.span_id
        assert (attempt.end_time - attempt.start_time) / 1e9 == pytest.approx(10.0)
        told = attributes(attempt)
        assert (told["plimsoll.attempt"], told["plimsoll.call.rung"], told["error.type"]) == (number, 0, "timeout")
        assert attempt.status.status_code is StatusCode.ERROR
    told = attributes(call)
    assert (told["plimsoll.call.attempts"], told["plimsoll.call.rung"]) == (3, 1)
    assert (told["gen_ai.request.model"], told["gen_ai.response.model"]) == ("primary", "backup")
    assert call.status.status_code is StatusCode.UNSET
    assert attributes(heard.one("invoke_agent desk"))["plimsoll.run.ending"] == "degraded"


def test_the_model_that_answered_is_told_where_ladders_lie_within_ladders(heard: Heard) -> None:
    async def fails(prompt: Any) -> Any:
        raise ConnectionError

    async def main() -> None:
        models = {
            "primary": Model(fallback=("second", "canned")),
            "second": Model(fallback=("third",)),
            "third": Model(id="openai:small"),
            "canned": Model(canned="I cannot say now."),
        }
        desk = ToldDesk(heard, models=models)
        desk.models = {"primary": fails, "second": fails, "third": sure}
        await desk.live().run({"order": "W1"}, run_id="r")

    simulated(main)
    told = attributes(heard.one("chat primary"))
    assert (told["gen_ai.response.model"], told["plimsoll.call.rung"]) == ("small", 2)
    (tokens, _) = [each for _, each, _ in heard.points("gen_ai.client.token.usage")]
    assert tokens["gen_ai.response.model"] == "small"


def test_a_slow_attempt_is_told_and_is_no_error(heard: Heard) -> None:
    async def slow(prompt: Any) -> Any:
        await pass_time(7)
        return await sure(prompt)

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.models["primary"] = slow
        await desk.live().run({"order": "W1"}, run_id="r")

    simulated(main)
    attempt = heard.one("attempt primary")
    assert attributes(attempt)["plimsoll.attempt.slow"] is True
    assert "error.type" not in attributes(attempt) and attempt.status.status_code is StatusCode.UNSET


def test_a_call_that_failed_tells_its_fault(heard: Heard) -> None:
    async def agent(run: Run, request: Any) -> str:
        await run.call("refund", {"order": "W1", "amount": -1.0})
        return "done"

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.agent = agent
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.FAILED

    simulated(main)
    call, run = heard.one("execute_tool refund"), heard.one("invoke_agent desk")
    assert (attributes(call)["error.type"], attributes(call)["plimsoll.call.status"]) == ("refused", "failed")
    assert (attributes(run)["error.type"], attributes(run)["plimsoll.run.ending"]) == ("CallFailed", "failed")
    assert call.status.status_code is run.status.status_code is StatusCode.ERROR
    assert call.status.description is run.status.description is None


def test_a_run_that_is_halted_is_an_error_and_so_is_its_span(heard: Heard) -> None:
    simulated(lambda: ToldDesk(heard, limits=Limits(steps=1)).live().run({"order": "W1"}, run_id="r"))
    run = heard.one("invoke_agent desk")
    assert (attributes(run)["plimsoll.run.ending"], attributes(run)["error.type"]) == ("halted", "halted")
    assert attributes(heard.one("chat primary"))["plimsoll.call.status"] == "halted"
    assert heard.one("chat primary").status.status_code is StatusCode.UNSET


def test_inside_a_tool_the_current_span_is_the_tools_and_a_client_would_send_it_on(heard: Heard) -> None:
    seen: dict[str, tuple[int, str]] = {}

    def note(name: str) -> None:
        carrier: dict[str, str] = {}
        inject(carrier)
        seen[name] = (get_current_span().get_span_context().span_id, carrier["traceparent"])

    async def asked(order: str) -> dict[str, Any]:
        note("asked")
        return {"order": order}

    def in_a_thread(order: str) -> dict[str, Any]:
        note("in_a_thread")
        return {"order": order}

    async def answers(prompt: Any) -> Any:
        note("primary")
        return await sure(prompt)

    async def agent(run: Run, request: Any) -> str:
        await asyncio.gather(*(run.call(name, {"order": "W1"}, key=name) for name in ("asked", "in_a_thread")))
        await run.model("?")
        note("agent")
        return "done"

    async def main() -> None:
        terms = contract()
        surroundings = Surroundings(store=MemoryStore(), owner="p", sinks=(), telemetry=heard.telemetry)
        tools, models = [asked, in_a_thread], {"primary": answers, "backup": sure}
        async with Harness(terms, agent=agent, surroundings=surroundings, tools=tools, models=models) as harness:
            assert (await harness.run({}, run_id="r")).ending is Ending.COMPLETE
        assert not get_current_span().get_span_context().is_valid

    asyncio.run(main())
    spans = {
        "asked": heard.one("execute_tool asked"),
        "in_a_thread": heard.one("execute_tool in_a_thread"),
        "primary": heard.one("chat primary"),
        "agent": heard.one("invoke_agent desk"),
    }
    for name, span in spans.items():
        context = span.get_span_context()
        assert context is not None
        traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        assert seen[name] == (context.span_id, traceparent)


def test_a_run_lies_in_the_span_of_whoever_asks_for_it_and_baggage_is_left_as_it_is(heard: Heard) -> None:
    seen: list[Any] = []

    async def agent(run: Run, request: Any) -> str:
        seen.append(baggage.get_all())
        return "done"

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.agent = agent
        with heard.tracers.get_tracer("web").start_as_current_span("POST /ask"):
            await desk.live().run({"secret": "s3cr3t"}, run_id="r")

    simulated(main)
    assert heard.tree() == ["POST /ask", "POST /ask > invoke_agent desk"]
    assert seen == [{}]


def test_a_resumed_run_is_a_new_span_that_links_to_the_one_before_across_a_restart(heard: Heard) -> None:
    later = Heard()

    async def main() -> None:
        desk = ToldDesk(heard)
        result = await desk.live().run({"order": "W1", "amount": 80}, run_id="r")
        desk.heard = later  # another process, with providers of its own
        live = desk.live()
        await live.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        assert (await live.resume("r")).ending is Ending.COMPLETE
        records = [record.event for record in await desk.store.read("r")]
        traces = [event.trace for event in records if isinstance(event, (RunStarted, RunResumed))]
        assert len(set(traces)) == 2 and all(len(trace) == 55 for trace in traces)

    simulated(main)
    before, after = heard.one("invoke_agent desk"), later.one("invoke_agent desk")
    assert attributes(before)["plimsoll.run.parked_for"] == "approval"
    assert attributes(heard.one("execute_tool refund"))["plimsoll.call.status"] == "parked"
    assert linked(after) == [before.context.span_id] and after.context.trace_id != before.context.trace_id
    assert attributes(after)["plimsoll.run.resumed"] is True
    assert later.tree() == ["invoke_agent desk", "invoke_agent desk > execute_tool refund"]  # of the replay nothing
    later.close()


@pytest.mark.parametrize("keep", [0, 99])
@pytest.mark.parametrize("at", range(1, 4))
def test_after_a_crash_only_what_is_made_again_is_told_again(heard: Heard, at: int, keep: int) -> None:
    later = Heard()

    async def main() -> None:
        desk = ToldDesk(heard)
        with pytest.raises(Crash):
            await desk.live(CrashingStore(desk.store, at=at, keep=keep)).run({"order": "W1"}, run_id="r")
        events = [record.event for record in await desk.store.read("r")]
        recorded = {event.key for event in events if isinstance(event, CallSettled)}
        over = any(isinstance(event, RunEnded) for event in events)
        desk.heard = later
        live = desk.live()
        assert (await live.run({"order": "W1"}, run_id="r")).ending is Ending.COMPLETE
        told = {attributes(span)["plimsoll.call.key"] for span in later.spans if "plimsoll.call.key" in span.attributes}
        assert told == (set() if over else {"1:look", "2:primary", "3:refund"} - recorded)

    simulated(main)
    later.close()


def test_a_crash_is_told_when_the_run_goes_on(heard: Heard) -> None:
    async def main() -> None:
        desk = ToldDesk(heard)
        with pytest.raises(Crash):
            await desk.live(CrashingStore(desk.store, at=2, keep=99)).run({"order": "W1"}, run_id="r")
        await desk.live().wake()

    simulated(main)
    crashed, after = heard.named("invoke_agent desk")
    assert attributes(crashed)["error.type"] == "Crash"
    assert attributes(after)["plimsoll.run.crashed"] is True and linked(after) == [crashed.context.span_id]


def test_a_run_that_ended_is_answered_without_a_word(heard: Heard) -> None:
    async def main() -> None:
        desk = ToldDesk(heard)
        for _ in range(3):
            await desk.live().run({"order": "W1"}, run_id="r")

    simulated(main)
    assert heard.tree() == HEALTHY


def test_a_childs_run_lies_in_its_parents_and_woken_alone_links_to_where_it_came_from(heard: Heard) -> None:
    async def main() -> None:
        firm = ToldFirm(heard)
        result = await firm.live().run({"order": "W1", "amount": 80.0}, run_id="r")
        assert result.ending is Ending.PARKED
        live = firm.live()
        await live.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        await live.children["billing"].wake()
        assert (await live.resume("r")).ending is Ending.COMPLETE

    simulated(main)
    assert heard.tree() == [
        "invoke_agent desk",
        "invoke_agent desk > execute_tool look",
        "invoke_agent desk > invoke_agent billing",
        "invoke_agent desk > invoke_agent billing > execute_tool refund",
        "invoke_agent billing",
        "invoke_agent billing > execute_tool refund",
        "invoke_agent desk",
    ]
    first, alone = heard.named("invoke_agent billing")
    assert attributes(first)["plimsoll.run.parent"] == "r"
    assert linked(alone) == [first.context.span_id]


def test_a_run_that_continues_as_new_links_to_the_one_that_it_was(heard: Heard) -> None:
    async def agent(run: Run, left: int) -> str:
        if left:
            await run.continue_as_new(left - 1)
        return "done"

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.agent = agent
        assert (await desk.live().run(2, run_id="r")).output == "done"

    simulated(main)
    first, second, third = heard.named("invoke_agent desk")
    assert [attributes(span)["plimsoll.run.ending"] for span in (first, second, third)] == [
        "continued",
        "continued",
        "complete",
    ]
    assert linked(first) == [] and linked(second) == [first.context.span_id]
    assert linked(third) == [second.context.span_id]


def test_the_turns_of_a_session_share_a_conversation(heard: Heard) -> None:
    async def main() -> None:
        session = ToldDesk(heard).live().session("s-1")
        for _ in range(2):
            await session.run({"order": "W1"})

    simulated(main)
    assert [attributes(span)["gen_ai.conversation.id"] for span in heard.named("invoke_agent desk")] == ["s-1"] * 2


def test_a_run_that_is_given_up_ends_its_spans(heard: Heard) -> None:
    async def never(prompt: Any) -> Any:
        await pass_time(1000)

    async def main() -> None:
        desk = ToldDesk(heard, models={"primary": Model(timeout_s=50.0, retry=Retry(on=ON))})
        desk.models["primary"] = never
        task = asyncio.ensure_future(desk.live().run({"order": "W1"}, run_id="r"))
        await pass_time(1)
        task.cancel()
        await asyncio.wait([task])

    simulated(main)
    assert attributes(heard.one("chat primary"))["plimsoll.call.status"] == "cancelled"
    assert attributes(heard.one("invoke_agent desk"))["error.type"] == "CancelledError"


def test_a_streamed_answer_is_a_call_like_any_other(heard: Heard) -> None:
    async def agent(run: Run, request: Any) -> str:
        async with run.stream("?") as parts:
            async for _ in parts:
                pass
        await run.model("?")
        return parts.reply.text

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.agent = agent
        await desk.live().run({}, run_id="r")

    simulated(main)
    assert heard.tree() == ["invoke_agent desk", *["invoke_agent desk > chat primary"] * 2]


def test_a_write_in_doubt_says_so(heard: Heard) -> None:
    async def main() -> None:
        desk = ToldDesk(heard, verify=False)

        async def lost(site: str, info: Any, exchange: Any, send: Any) -> Any:
            answer = await send()
            if site == "refund":
                raise ConnectionError("lost")
            return answer

        desk.intercept = lost
        await desk.live().run({"order": "W1"}, run_id="r")

    simulated(main)
    told = attributes(heard.one("execute_tool refund"))
    assert told["plimsoll.call.in_doubt"] is True and told["plimsoll.call.status"] == "parked"


def test_another_version_that_only_rehearses_a_run_tells_nothing_of_what_is_in_it(heard: Heard) -> None:
    async def main() -> None:
        desk = ToldDesk(heard, agent=AgentSection(name="desk", new_version="replay"))
        result = await desk.live().run({"order": "W1", "amount": 80}, run_id="r")
        desk.fingerprint = "v2"
        live = desk.live()
        await live.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        assert (await live.resume("r")).ending is Ending.PARKED  # the new version asks anew

    simulated(main)
    assert len(heard.named("execute_tool look")) == len(heard.named("chat primary")) == 1


def test_the_front_of_the_firm_is_healthy(heard: Heard) -> None:
    simulated(lambda: ToldFirm(heard, front=front).live().run({"order": "W1"}, run_id="r"))
    assert heard.tree()[-1].startswith("invoke_agent desk > invoke_agent billing")


def test_a_run_that_crashed_between_two_of_its_chain_ends_its_span_and_links_on(heard: Heard) -> None:
    async def agent(run: Run, left: int) -> str:
        if left:
            await run.continue_as_new(left - 1)
        return "done"

    async def main() -> None:
        desk = ToldDesk(heard)
        desk.agent = agent
        with pytest.raises(Crash):
            await desk.live(CrashingStore(desk.store, at=3, keep=0)).run(1, run_id="r")
        assert [result.output for result in await desk.live().wake()] == ["done"]

    simulated(main)
    endings = [attributes(span).get("plimsoll.run.ending") for span in heard.named("invoke_agent desk")]
    assert endings == ["continued", None, "continued", "complete"]
    *_, again, last = heard.named("invoke_agent desk")
    assert linked(last) == [again.context.span_id]


@pytest.mark.parametrize("why", ["unavailable", "given up", "taken"])
def test_a_run_that_is_never_accepted_leaves_nothing_open(heard: Heard, why: str) -> None:
    class Store(MemoryStore):
        inline = False

        async def append(self, records: Any) -> frozenset[str]:
            if why == "unavailable":
                raise OSError("full")
            if why == "taken":
                return frozenset(record.run_id for record in records)
            await pass_time(1000)
            return frozenset()

    async def main() -> None:
        desk = ToldDesk(heard, limits=Limits(seconds=60.0))
        desk.store = Store()
        live = desk.live()
        task = asyncio.ensure_future(live.run({"order": "W1"}, run_id="r"))
        await pass_time(2 if why == "given up" else 100)
        task.cancel()
        await asyncio.wait([task])
        live.journal.abandon()

    simulated(main)
    expected = {"unavailable": "JournalUnavailable", "given up": "CancelledError", "taken": "RunBusy"}
    assert attributes(heard.one("invoke_agent desk"))["error.type"] == expected[why]
