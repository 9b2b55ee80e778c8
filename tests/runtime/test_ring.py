"""The ring of protections, met by real trouble: retry, timeout, ladder, output check, and their observe modes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from plimsoll.contract.model import Limits, Mode, Model, OutputRule, Protections, Retry, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending, Fault, Usage
from plimsoll.core.events import CallSettled
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import tool
from tests.runtime.bench import ON, Crash, Desk, pass_time, simulated


class Status(Exception):
    """What an HTTP client raises."""

    def __init__(self, status_code: int, retry_after_s: float | None = None) -> None:
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        super().__init__(f"HTTP {status_code}")


def trouble(site: str, times: int, what: Callable[[], Any]) -> Any:
    """Strikes the first `times` attempts at `site`."""
    struck: list[float] = []

    async def intercept(at: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        if at == site and len(struck) < times:
            struck.append(asyncio.get_running_loop().time())
            made = what()
            return await made if asyncio.iscoroutine(made) else made
        return await send()

    intercept.struck = struck  # type: ignore[attr-defined]
    return intercept


def raising(error: Exception) -> Callable[[], Any]:
    def strike() -> Any:
        raise error

    return strike


def hang() -> Any:
    return pass_time(1e9)


@pytest.mark.parametrize(
    ("strike", "fault"),
    [
        (raising(Status(429)), "rate_limited"),
        (raising(Status(503)), "server_error"),
        (raising(ConnectionResetError("gone")), "connection"),
        (hang, "timeout"),
        (raising(TimeoutError("its own")), "timeout"),
        (lambda: ModelReply(text=""), "empty"),
    ],
)
def test_a_model_in_trouble_once_is_tried_again(strike: Callable[[], Any], fault: str) -> None:
    async def main() -> None:
        desk = Desk(intercept=trouble("primary", 1, strike))
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert any(dependency == "primary" and seen == fault for _, dependency, seen in desk.kinds())

    simulated(main)


@pytest.mark.parametrize("strike", [raising(Status(503)), hang])
def test_a_model_that_stays_down_is_replaced_and_the_answer_says_so(strike: Callable[[], Any]) -> None:
    async def main() -> None:
        desk = Desk(intercept=trouble("primary", 99, strike))
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.DEGRADED
        assert "'backup'" in result.reason
        assert ("fallback", "primary") in [(kind, dependency) for kind, dependency, _ in desk.kinds()]

    simulated(main)


def test_a_hung_primary_cannot_eat_its_fallbacks_time() -> None:
    async def main() -> None:
        models = {"primary": Model(timeout_s=60.0, fallback=("backup",)), "backup": Model(timeout_s=10.0)}
        desk = Desk(intercept=trouble("primary", 99, hang), models=models, limits=Limits(seconds=20.0))
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.DEGRADED

    simulated(main)


def test_the_last_rung_may_be_an_honest_canned_answer() -> None:
    async def main() -> None:
        desk = Desk()

        async def down(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site in ("primary", "backup"):
                raise Status(500)
            return await send()

        async def ask(run: Run, request: Any) -> str:
            return (await run.model("?")).text

        desk.intercept, desk.agent = down, ask
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "I cannot say now.")

    simulated(main)


def test_a_rung_that_may_not_write_cannot() -> None:
    async def main() -> None:
        models = {"primary": Model(fallback=("backup",)), "backup": Model(may_write=False)}
        desk = Desk(intercept=trouble("primary", 99, raising(Status(500))), models=models)
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.DEGRADED
        assert "may not write" in result.output
        assert desk.shop.ledger == []

    simulated(main)


def test_when_every_rung_is_down_the_run_fails_and_says_why() -> None:
    async def main() -> None:
        desk = Desk(intercept=trouble("primary", 99, raising(Status(500))), models={"primary": Model()})
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.FAILED
        assert "server_error" in result.reason

    simulated(main)


def test_retry_after_is_honoured() -> None:
    async def main() -> None:
        strike = trouble("look", 1, raising(Status(429, retry_after_s=7.0)))
        desk = Desk(intercept=strike)
        await desk.live().run({"order": "W1"}, run_id="r")
        assert asyncio.get_running_loop().time() >= 7.0

    simulated(main)


def test_a_tool_that_stays_down_is_told_to_the_agent() -> None:
    async def main() -> None:
        desk = Desk(intercept=trouble("look", 99, raising(Status(500))))

        async def frank(run: Run, request: Any) -> str:
            try:
                await run.call("look", {"order": "W1"})
            except Exception as error:
                return f"sorry: {error}"
            return "seen"

        desk.agent = frank
        result = await desk.live().run({}, run_id="r")
        assert "server_error" in result.output
        assert "3 attempt" in result.output

    simulated(main)


def test_an_answer_of_the_wrong_shape_is_a_failure() -> None:
    async def main() -> None:
        look = Tool(effect=Effect.READ, retry=Retry(on=(Fault.WRONG_SHAPE,)), output=OutputRule(required=("paid",)))
        desk = Desk(tools={"look": look}, intercept=trouble("look", 1, lambda: {"order": "W1"}))
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert ("silent_failure", "look", "wrong_shape") in desk.kinds()

    simulated(main)


def test_a_malformed_answer_to_a_write_is_a_doubt() -> None:
    async def main() -> None:
        desk = Desk()

        async def garble(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            return "" if site == "refund" else answer

        desk.intercept = garble
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sure: 20 back")
        assert len(desk.shop.ledger) == 1
        assert ("in_doubt", "refund", "empty") in desk.kinds()

    simulated(main)


def test_a_slow_answer_is_reported() -> None:
    async def main() -> None:
        desk = Desk()

        async def drag(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "look":
                await pass_time(4.0)
            return await send()

        desk.intercept = drag
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert ("slow", "look", "slow") in desk.kinds()

    simulated(main)


def test_observe_lets_a_bad_answer_through_and_says_so() -> None:
    async def main() -> None:
        desk = Desk(
            protections=Protections(output_check=Mode.OBSERVE),
            intercept=trouble("primary", 1, lambda: ModelReply(text=" ")),
        )
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.output == "  20 back"
        assert [(finding.fault, finding.observed) for finding in result.findings] == [("whitespace", True)]

    simulated(main)


def test_observe_turns_retries_and_fallbacks_off() -> None:
    async def main() -> None:
        off = Protections(retry=Mode.OBSERVE, fallback=Mode.OBSERVE)
        desk = Desk(protections=off, intercept=trouble("primary", 1, raising(Status(500))))
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.FAILED

    simulated(main)


def test_observe_on_limits_only_reports() -> None:
    async def main() -> None:
        desk = Desk(limits=Limits(steps=1), protections=Protections(limits=Mode.OBSERVE))
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert ("limit", True) in [(finding.kind, finding.observed) for finding in result.findings]

    simulated(main)


def test_an_answer_that_claims_what_was_not_done_is_withheld() -> None:
    async def main() -> None:
        desk = Desk(tools={"refund": Tool(claims=("has been refunded",))})

        async def liar(run: Run, request: Any) -> str:
            return "Your money has been refunded."

        desk.agent = liar
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.HALTED, None)
        assert ("claimed_not_done", "refund") in [(kind, dependency) for kind, dependency, _ in desk.kinds()]

    simulated(main)


def test_tokens_of_failed_attempts_count_too() -> None:
    async def main() -> None:
        spent = ModelReply(text="", usage=Usage(input_tokens=1000, output_tokens=500))
        desk = Desk(intercept=trouble("primary", 1, lambda: spent))
        await desk.live().run({"order": "W1"}, run_id="r")
        settled = [r.event for r in await desk.store.read("r") if isinstance(r.event, CallSettled)]
        assert settled[1].outcome.usage == Usage(input_tokens=1010, output_tokens=505)

    simulated(main)


def test_a_decorated_tool_is_a_call_inside_a_run_and_a_function_outside() -> None:
    @tool
    async def double(n: int) -> int:
        return 2 * n

    async def main() -> None:
        desk = Desk()
        desk.tools = [double]

        async def counting(run: Run, request: Any) -> int:
            return await double(21)

        desk.agent = counting
        result = await desk.live().run({}, run_id="r")
        assert result.output == 42
        assert "CallIntended" in await desk.events()
        assert await double(n=4) == 8

    simulated(main)


def test_an_agent_that_swallows_everything_cannot_go_on_after_parking() -> None:
    async def main() -> None:
        desk = Desk()

        async def deaf(run: Run, request: Any) -> str:
            for amount in (500.0, 20.0):
                try:
                    await run.call("refund", {"order": "W1", "amount": amount})
                except BaseException:
                    continue
            return "done"

        desk.agent = deaf
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.PARKED
        assert desk.shop.ledger == []

    simulated(main)


def test_loops_that_are_only_observed_may_repeat() -> None:
    async def main() -> None:
        desk = Desk(protections=Protections(loops=Mode.OBSERVE), limits=Limits(steps=9))

        async def looping(run: Run, request: Any) -> None:
            while True:
                await run.call("look", {"order": "W1"})

        desk.agent = looping
        result = await desk.live().run({}, run_id="r")
        assert desk.shop.reads == 9
        assert "steps" in result.reason
        assert ("loop", True) in [(finding.kind, finding.observed) for finding in result.findings]

    simulated(main)


def test_a_tool_that_calls_a_tool_is_one_call() -> None:
    @tool
    async def inner(n: int) -> int:
        return n + 1

    @tool
    async def outer(n: int) -> int:
        return await inner(n) * 2

    async def main() -> None:
        desk = Desk(verify=False)
        desk.tools = [inner, outer, desk.shop.refund]

        async def nested(run: Run, request: Any) -> int:
            made = await outer(20)
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return made

        desk.agent = nested
        harness = desk.live()
        parked = await harness.run({}, run_id="r")
        await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.output == 42

    simulated(main)


def test_time_used_up_before_a_crash_counts_after_it() -> None:
    async def main() -> None:
        desk = Desk(limits=Limits(seconds=25.0), models={"primary": Model(timeout_s=10.0, retry=Retry(on=ON))})

        async def hang_then_die(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if site == "primary" and info.attempt == 1:
                await pass_time(1e9)
            if site == "primary":
                raise Crash
            return await send()

        desk.intercept = hang_then_die
        for _ in range(2):
            harness = desk.live()
            with pytest.raises(Crash):
                await (harness.run({"order": "W1"}, run_id="r") if desk.lives == 1 else harness.wake())
            harness.journal.abandon()
        (result,) = await desk.live().wake()
        assert result.ending is Ending.HALTED
        assert "seconds" in result.reason
        assert asyncio.get_running_loop().time() < 40.0

    simulated(main)


def test_the_kill_switch_stops_retries_too() -> None:
    async def main() -> None:
        desk = Desk()
        sent: list[str] = []

        async def pull(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            sent.append(site)
            await harness.operations.kill(by="ana", reason="stop")
            raise ConnectionResetError("gone")

        desk.intercept = pull
        harness = desk.live()
        assert (await harness.run({"order": "W1"}, run_id="r")).ending is Ending.HALTED
        assert sent == ["look"]

    simulated(main)


def test_parallel_calls_replay_in_their_recorded_order() -> None:
    async def main() -> None:
        desk = Desk()
        orders: list[list[str]] = []

        async def branch(run: Run, name: str, seen: list[str]) -> None:
            await run.call("look", {"order": name})
            seen.append(name)

        async def parallel(run: Run, request: Any) -> list[str]:
            seen: list[str] = []
            orders.append(seen)
            async with asyncio.TaskGroup() as group:
                for name in ("slow", "quick"):
                    group.create_task(branch(run, name, seen))
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return seen

        async def drag(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            if exchange.args == {"order": "slow"}:
                await pass_time(1.0)
            return await send()

        desk.agent, desk.intercept = parallel, drag
        harness = desk.live()
        parked = await harness.run({}, run_id="r")
        await harness.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await desk.live().wake()
        assert result.output == ["quick", "slow"]
        assert orders == [["quick", "slow"], ["quick", "slow"]]
        assert desk.shop.reads == 2

    simulated(main)
