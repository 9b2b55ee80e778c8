"""What fails is retried, passed down the ladder, or told; what is no answer is none; what goes on and on is halted."""

from typing import Any

import msgspec
import pytest

from plimsoll.contract.model import Fresh, Limits, Model, OutputRule, Retry
from plimsoll.core.calls import Ending, Fault
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import CallSettled
from tests.adapters.conformance.desk import Answer, Bench, Desk, Script, call, contract, hang, simulated

ON_STALE = Retry(on=(Fault.STALE,), max_attempts=2)
LOOK: list[Any] = [[call("find_order", order_id="W2")], "It is on its way."]
PAY: list[Any] = [[call("refund", order_id="W2", amount=20)], "Paid."]


class Unavailable(Exception):
    """What an HTTP client raises."""

    status_code = 503


def failing(times: int, error: Any = Unavailable) -> Any:
    """Fails as often, and hangs where `error` is None."""

    async def before(n: int) -> None:
        if n <= times:
            if error is None:
                await hang()
            raise error("it is down")

    return before


def test_a_model_that_fails_once_is_asked_again(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script("Here.", before=failing(1)))
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output, desk.script.asked) == (Ending.COMPLETE, "Here.", 2)

    simulated(main)


@pytest.mark.parametrize("error", [Unavailable, None, ConnectionResetError], ids=["down", "hangs", "reset"])
def test_the_rung_below_answers_and_the_run_says_so(bench: Bench, error: Any) -> None:
    async def main() -> None:
        desk = Desk(bench, Script("Here.", before=failing(99, error)))
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "The backup says so.")
        assert "'primary' could not" in result.reason
        assert "primary" in {dependency for _, dependency, _ in desk.kinds()}

    simulated(main)


def test_the_last_rung_says_honestly_that_it_cannot(bench: Bench) -> None:
    async def main() -> None:
        down = failing(99)
        desk = Desk(bench, Script("Here.", before=down), Script("Here.", before=down))
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output) == (
            Ending.DEGRADED,
            "I cannot help at the moment. A colleague will call you.",
        )

    simulated(main)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(""), Fault.EMPTY),
        (Answer("  \n "), Fault.WHITESPACE),
        (Answer("The order is", finish="length"), Fault.TRUNCATED),
        (Answer(calls=[call("find_order", order_id="W2")], finish="length"), Fault.TRUNCATED),
        (Answer("", finish="content_filter"), Fault.FILTERED),
        (Answer(calls=[call("find_order", order_id="W2")], broken=True), Fault.MALFORMED),
        (Answer('{"error": {"message": "The server is overloaded", "code": 503}}'), Fault.ERROR_IN_SUCCESS),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_an_answer_that_is_none_is_a_failure_of_the_model(bench: Bench, answer: Answer, fault: Fault) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(answer))
        result = await desk.live().run("Hello", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "The backup says so.")
        assert ("primary", str(fault)) in {(dependency, found) for _, dependency, found in desk.kinds()}

    simulated(main)


def test_a_model_that_reports_no_usage_is_charged_by_an_estimate(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(Answer("It is on its way.", tokens=None)))
        await desk.live().run("Where is it?", run_id="r")
        (settled,) = await desk.events(CallSettled)
        assert settled.outcome.usage.input_tokens > 0 and settled.outcome.usage.output_tokens > 0

    simulated(main)


def test_a_read_that_fails_is_made_again(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*LOOK))

        async def reset(args: Any) -> None:
            if len(desk.shop.reads) == 1:
                raise ConnectionResetError("reset")

        desk.shop.before["find_order"] = reset
        result = await desk.live().run("Where is W2?", run_id="r")
        assert (result.ending, desk.shop.reads) == (Ending.COMPLETE, ["W2", "W2"])

    simulated(main)


def test_a_read_that_is_stale_is_made_again(bench: Bench) -> None:
    fresh = OutputRule(type="object", fresh=Fresh(field="as_of", max_age_s=600.0))
    tools = {"find_order": msgspec.structs.replace(contract().tool("find_order"), output=fresh, retry=ON_STALE)}

    async def main() -> None:
        desk = Desk(bench, Script(*LOOK), changes={"tools": tools})

        async def age(args: Any) -> None:
            desk.shop.orders["W2"]["as_of"] = LoopClock().now() - (601.0 if len(desk.shop.reads) == 1 else 599.0)

        desk.shop.before["find_order"] = age
        result = await desk.live().run("Where is W2?", run_id="r")
        assert (result.ending, desk.shop.reads) == (Ending.COMPLETE, ["W2", "W2"])
        assert desk.kinds() == {("silent_failure", "find_order", "stale")}

    simulated(main)


def test_a_read_that_hangs_is_timed_out_and_the_model_is_told(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*LOOK))

        async def never(args: Any) -> None:
            await hang()

        desk.shop.before["find_order"] = never
        result = await desk.live().run("Where is W2?", run_id="r")
        assert result.ending is Ending.COMPLETE and len(desk.shop.reads) == 3
        assert "find_order failed (timeout) after 3 attempt(s)" in desk.told("find_order")[0]

    simulated(main)


def test_a_tool_that_raises_does_not_end_the_run(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script([call("find_order", order_id="W9")], "There is no such order."))
        result = await desk.live().run("Where is W9?", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "There is no such order.")
        assert "find_order failed" in desk.told("find_order")[0] and "W9" in desk.told("find_order")[0]

    simulated(main)


def test_a_write_that_raised_is_verified_and_never_made_twice(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(*PAY))

        async def lose(args: Any) -> None:
            raise ConnectionResetError("the answer was lost")

        desk.shop.after["refund"] = lose
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [("W2", 20)])
        assert '"refunded"' in desk.told("refund")[0] or "'refunded'" in desk.told("refund")[0]

    simulated(main)


def test_an_error_that_proves_that_nothing_happened_is_told_at_once(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script([call("refund", order_id="W2", amount=0)], "I cannot."))
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [])
        assert "an amount is above 0" in desk.told("refund")[0]

    simulated(main)


def test_arguments_of_the_wrong_type_never_reach_the_tool(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script([call("refund", order_id="W2", amount="a lot")], "I cannot."))
        result = await desk.live().run("Refund W2", run_id="r")
        unchecked = "check arguments before people are asked" in bench.cannot
        assert result.ending is (Ending.PARKED if unchecked else Ending.COMPLETE), result.reason
        assert desk.shop.refunds == [] and not [
            event for event in await desk.events(CallSettled) if event.dependency == "refund"
        ]

    simulated(main)


def test_a_loop_is_halted(bench: Bench) -> None:
    async def main() -> None:
        desk = Desk(bench, Script(lambda heard: Answer(calls=[call("find_order", f"c{heard.turn}", order_id="W2")])))
        result = await desk.live().run("Where is W2?", run_id="r")
        assert result.ending is Ending.HALTED and len(desk.shop.reads) == contract().limits.repeats

    simulated(main)


def test_a_run_that_has_used_up_its_steps_is_halted(bench: Bench) -> None:
    async def main() -> None:
        def think(heard: Any) -> Answer:
            order = "W1" if heard.turn % 2 else "W2"
            return Answer(calls=[call("find_order", f"c{heard.turn}", order_id=order)])

        desk = Desk(bench, Script(think), changes={"limits": Limits(steps=5, repeats=50)})
        result = await desk.live().run("Where is it?", run_id="r")
        assert result.ending is Ending.HALTED and "steps" in result.reason
        assert len(await desk.events(CallSettled)) == 5

    simulated(main)


def test_a_rung_that_may_not_write_does_not(bench: Bench) -> None:
    async def main() -> None:
        models = {**contract().models, "backup": Model(id="backup", may_write=False)}
        desk = Desk(bench, Script("Here.", before=failing(99)), Script(*PAY), changes={"models": models})
        result = await desk.live().run("Refund W2", run_id="r")
        assert (result.ending, desk.shop.refunds) == (Ending.DEGRADED, [])

    simulated(main)
