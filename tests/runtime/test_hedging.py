"""Hedged attempts in a run: who is asked a second time, what is told and charged, and what a receiver is shown."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from plimsoll.contract.model import (
    BulkheadSection,
    CircuitBreakerSection,
    HedgeSection,
    Limits,
    Mode,
    Model,
    Protections,
    Retry,
    Tool,
)
from plimsoll.core.calls import CallInfo, Effect, Ending, Fault, Usage
from plimsoll.core.events import AttemptSettled, CallSettled
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.runtime.bench import ON, Desk, pass_time, simulated

HEDGE = HedgeSection()
QUICK = 1.0
SLOW = 9.0
USED = Usage(input_tokens=10, output_tokens=5)


class Provider:
    """A model that takes as long as it is told to, for each request in turn, and then always a second."""

    def __init__(self) -> None:
        self.next_s: list[float | Exception] = []
        self.began: list[float] = []
        self.broken_off = 0

    async def __call__(self, prompt: Any) -> ModelReply:
        number = len(self.began)
        self.began.append(asyncio.get_running_loop().time())
        takes = self.next_s.pop(0) if self.next_s else QUICK
        try:
            await pass_time(0.5 if isinstance(takes, Exception) else takes)
        except asyncio.CancelledError:
            self.broken_off += 1
            raise
        if isinstance(takes, Exception):
            raise takes
        return ModelReply(text=f"answer {number}", usage=USED)


async def asks(run: Run, request: Any) -> str:
    return (await run.model(request)).text


def desk_of(provider: Any, *, hedge: HedgeSection = HEDGE, **changes: Any) -> Desk:
    settings = changes.pop("primary", {})
    desk = Desk(models={"primary": Model(timeout_s=60.0, slow_s=50.0, hedge=hedge, **settings)}, **changes)
    desk.models, desk.agent = {"primary": provider}, asks
    return desk


async def warmed(desk: Desk, count: int = 40) -> Harness:
    """A harness that has seen so many quick answers."""
    harness = desk.live()
    for _ in range(count):
        await harness.run("hi")
    return harness


async def timed(harness: Harness, run_id: str) -> tuple[Any, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await harness.run("hi", run_id=run_id)
    return result, loop.time() - began


async def events_of(desk: Desk, run_id: str) -> Iterator[Any]:
    return iter([record.event for record in await desk.store.read(run_id)])


async def faults(desk: Desk, run_id: str) -> list[tuple[int, str]]:
    return [(each.attempt, each.fault) for each in await events_of(desk, run_id) if isinstance(each, AttemptSettled)]


def test_what_is_late_is_asked_again_and_the_first_answer_is_taken() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider)
        harness = await warmed(desk)
        provider.next_s = [SLOW, QUICK]
        result, took_s = await timed(harness, "r")
        assert result.output == "answer 41"
        assert took_s == pytest.approx(2 * QUICK, rel=0.1)
        assert provider.broken_off == 1  # and awaited: nothing of it is left
        assert await faults(desk, "r") == [(1, Fault.OUTRUN)]
        (settled,) = [each for each in await events_of(desk, "r") if isinstance(each, CallSettled)]
        assert settled.outcome.attempts == 2
        assert desk.kinds() == []  # nothing is wrong

    simulated(main)


def test_the_first_that_is_only_a_little_late_wins() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider)
        harness = await warmed(desk)
        provider.next_s = [1.5, SLOW]
        result, took_s = await timed(harness, "r")
        assert (result.output, took_s) == ("answer 40", pytest.approx(1.5))
        assert provider.broken_off == 1
        assert await faults(desk, "r") == [(2, Fault.OUTRUN)]

    simulated(main)


def test_nothing_is_asked_twice_before_enough_is_known() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider)
        harness = await warmed(desk, 19)
        provider.next_s = [SLOW]
        _, took_s = await timed(harness, "r")
        assert (took_s, len(provider.began)) == (SLOW, 20)

    simulated(main)


def test_both_are_charged() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider, primary={"usd_per_million_input_tokens": 1000.0})
        harness = await warmed(desk)
        provider.next_s = [SLOW, QUICK]
        await timed(harness, "r")
        (settled,) = [each for each in await events_of(desk, "r") if isinstance(each, CallSettled)]
        prompt = 2  # "hi", cautiously
        assert settled.outcome.usage is not None
        assert settled.outcome.usage.input_tokens == USED.input_tokens + prompt
        assert settled.outcome.usage.usd == pytest.approx((USED.input_tokens + prompt) * 0.001)

    simulated(main)


def test_a_limit_that_has_no_room_for_two_lets_one_be_asked() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider, primary={"max_output_tokens": 100}, limits=Limits(seconds=60.0, tokens=150))
        harness = await warmed(desk)
        provider.next_s = [SLOW]
        result, took_s = await timed(harness, "r")
        assert (result.ending, took_s, len(provider.began)) == (Ending.COMPLETE, SLOW, 41)

    simulated(main)


def test_a_second_one_that_is_not_made_takes_no_room_from_other_calls() -> None:
    """Its worst case stayed reserved although the cap had declined it, and halted a run that was far from its limit."""

    async def asks_two(run: Run, request: Any) -> str:
        async def a_little_later() -> ModelReply:
            await pass_time(3.0)
            return await run.model("and what else?")

        first, other = await asyncio.gather(run.model("hi"), a_little_later())
        return f"{first.text}, {other.text}"

    async def main() -> None:
        provider = Provider()
        hedge, limits = HedgeSection(max_extra=0.001), Limits(seconds=60.0, tokens=250)
        desk = desk_of(provider, hedge=hedge, primary={"max_output_tokens": 100}, limits=limits)
        desk.agent = asks_two
        harness = await warmed(desk)
        provider.next_s = [SLOW]
        result, took_s = await timed(harness, "r")
        assert (result.ending, took_s) == (Ending.COMPLETE, SLOW)

    simulated(main)


def test_the_extra_load_is_capped() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider, hedge=HedgeSection(max_extra=0.05))
        harness = await warmed(desk, 100)
        before = len(provider.began)
        provider.next_s = [SLOW] * 200
        for _ in range(100):
            await harness.run("hi")
        assert len(provider.began) - before - 100 <= 10  # 5 % of all, and no more at once than what was saved up

    simulated(main)


def test_where_both_fail_the_call_is_tried_again() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider, primary={"retry": Retry(on=ON, max_attempts=2)})
        harness = await warmed(desk)
        slow_failure, error = 3.0, ConnectionResetError("gone")

        async def failing(prompt: Any) -> ModelReply:
            provider.began.append(asyncio.get_running_loop().time())
            await pass_time(slow_failure)
            raise error

        replies: list[Callable[[Any], Any]] = [failing, failing, provider]

        async def next_of(prompt: Any) -> Any:
            return await replies.pop(0)(prompt)

        harness.env.models["primary"] = next_of  # type: ignore[index]
        result, _ = await timed(harness, "r")
        assert result.ending is Ending.COMPLETE
        assert sorted(await faults(desk, "r")) == [(2, Fault.CONNECTION), (2, Fault.CONNECTION)]

    simulated(main)


def test_a_spare_that_fails_leaves_the_first_its_time() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider)
        harness = await warmed(desk)
        provider.next_s = [SLOW, ConnectionResetError("gone")]
        result, took_s = await timed(harness, "r")
        assert (result.output, took_s) == ("answer 40", SLOW)
        assert await faults(desk, "r") == [(2, Fault.CONNECTION)]

    simulated(main)


def test_only_what_changes_nothing_is_asked_twice() -> None:
    async def main() -> None:
        sent = 0

        async def intercept(site: str, info: CallInfo, exchange: Any, send: Any) -> Any:
            nonlocal sent
            if site == "refund":
                sent += 1
                await pass_time(SLOW / 3 if sent > 40 else 0.1)
            return await send()

        hedge = HedgeSection()
        desk = Desk(intercept=intercept, tools={"refund": Tool(effect=Effect.WRITE, timeout_s=5.0, hedge=hedge)})
        harness = desk.live()
        for number in range(42):
            await harness.run({"order": f"W{number}"})
        assert (sent, len(desk.shop.ledger)) == (42, 42)

    simulated(main)


def test_a_read_of_a_tool_is_hedged_like_a_model() -> None:
    async def main() -> None:
        asked: list[float] = []

        async def intercept(site: str, info: CallInfo, exchange: Any, send: Any) -> Any:
            if site == "look":
                asked.append(1.0)
                await pass_time(4.0 if len(asked) == 41 else 0.1)
            return await send()

        desk = Desk(intercept=intercept, tools={"look": Tool(effect=Effect.READ, timeout_s=5.0, hedge=HedgeSection())})
        harness = desk.live()
        for number in range(40):
            await harness.run({"order": f"W{number}"})
        _, took_s = await timed_order(harness)
        assert (len(asked), took_s) == (42, pytest.approx(0.2, rel=0.1))

    simulated(main)


async def timed_order(harness: Harness) -> tuple[Any, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    return await harness.run({"order": "W99"}), loop.time() - began


@pytest.mark.parametrize(
    "protection", [{"bulkhead": BulkheadSection(max_concurrent=1)}, {"circuit_breaker": CircuitBreakerSection()}]
)
def test_the_spare_passes_the_other_protections(protection: dict[str, Any]) -> None:
    """Where a bulkhead is full, or a circuit no longer closed, there is none."""

    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider, primary=protection)
        harness = await warmed(desk)
        provider.next_s = [SLOW]
        running = asyncio.create_task(timed(harness, "r"))
        await pass_time(0.5)
        circuit = harness.env.admissions["primary"].circuit
        if circuit is not None:
            circuit.isolate()
        _, took_s = await running
        assert (took_s, len(provider.began)) == (SLOW, 41)

    simulated(main)


def test_one_that_only_observes_tells_what_it_would_have_done() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider, protections=Protections(hedge=Mode.OBSERVE))
        harness = await warmed(desk)
        provider.next_s = [SLOW]
        _, took_s = await timed(harness, "r")
        assert took_s == SLOW
        assert desk.kinds() == [("would_hedge", "primary", Fault.SLOW)]

    simulated(main)


def test_a_run_that_is_stopped_takes_both_with_it() -> None:
    async def main() -> None:
        provider = Provider()
        desk = desk_of(provider)
        harness = await warmed(desk)
        provider.next_s = [SLOW, SLOW]
        running = asyncio.create_task(harness.run("hi"))
        await pass_time(3.0)
        running.cancel()
        await asyncio.wait([running])
        assert provider.broken_off == 2
        assert len(asyncio.all_tasks()) == 1

    simulated(main)


# ------------------------------------------------------------------------------------------------------------- streams


class Streams:
    """A model that streams: for each request, how long until its first part, and until each that follows."""

    def __init__(self) -> None:
        self.next: list[tuple[float, float]] = []
        self.asked = 0
        self.ended = 0

    async def __call__(self, prompt: Any) -> AsyncGenerator[str | ModelReply]:
        self.asked += 1
        name = self.asked
        first_s, further_s = self.next.pop(0) if self.next else (0.2, 0.1)
        try:
            await pass_time(first_s)
            for part in range(3):
                yield f"{name}.{part} "
                await pass_time(further_s)
            yield ModelReply(usage=USED)
        finally:
            self.ended += 1


def chat(shown: list[Any]) -> Any:
    async def agent(run: Run, request: Any) -> str:
        async with run.stream(request) as parts:
            async for part in parts:
                shown.append(part)
        return parts.reply.text

    return agent


def streaming_desk(shown: list[Any]) -> tuple[Streams, Desk]:
    model = Streams()
    desk = desk_of(model)
    desk.agent = chat(shown)
    return model, desk


def test_a_stream_is_hedged_by_its_first_part() -> None:
    async def main() -> None:
        shown: list[Any] = []
        model, desk = streaming_desk(shown)
        harness = await warmed(desk)
        shown.clear()
        model.next = [(5.0, 0.1), (0.2, 0.1)]
        result, took_s = await timed(harness, "r")
        assert shown == ["42.0 ", "42.1 ", "42.2 "]  # of the winner alone, and nothing is void
        assert result.output == "42.0 42.1 42.2 "
        assert took_s < 1.0
        assert (model.asked, model.ended) == (42, 42)

    simulated(main)


def test_a_stream_that_has_begun_is_not_asked_again_however_long_it_takes() -> None:
    async def main() -> None:
        shown: list[Any] = []
        model, desk = streaming_desk(shown)
        harness = await warmed(desk)
        model.next = [(0.2, 5.0)]
        await timed(harness, "r")
        assert model.asked == 41

    simulated(main)


def test_of_two_that_begin_one_after_the_other_the_first_is_shown() -> None:
    async def main() -> None:
        shown: list[Any] = []
        model, desk = streaming_desk(shown)
        harness = await warmed(desk)
        shown.clear()
        model.next = [(0.4, 3.0), (0.19, 0.1)]  # the spare, asked at about 0.21, would begin at about 0.4, too
        result, _ = await timed(harness, "r")
        names = {part.split(".")[0] for part in shown}
        assert len(names) == 1
        assert result.output == "".join(shown)

    simulated(main)


def test_the_spare_of_a_stream_that_breaks_off_after_its_first_part_is_a_failed_attempt() -> None:
    async def main() -> None:
        shown: list[Any] = []
        _, desk = streaming_desk(shown)
        harness = await warmed(desk)
        calls = iter([5.0, 0.1])

        async def broken(prompt: Any) -> AsyncGenerator[str | ModelReply]:
            await pass_time(next(calls))
            yield "He"
            raise ConnectionResetError("gone")

        harness.env.models["primary"] = broken  # type: ignore[index]
        result, _ = await timed(harness, "r")
        assert result.ending is Ending.FAILED
        assert "He" in shown

    simulated(main)
