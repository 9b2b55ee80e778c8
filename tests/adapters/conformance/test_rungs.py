"""What no model says: an answer that was given before, a person's; and a tool's answer that is too old."""

from typing import Any

import pytest

from plimsoll.contract.model import Fresh, Model, OutputRule, Retry, Tool
from plimsoll.core.calls import Effect, Ending, Fault
from plimsoll.core.clock import LoopClock
from plimsoll.core.events import CallSettled, RungChanged
from tests.adapters.conformance.desk import Bench, Desk, Script, call, simulated
from tests.runtime.bench import pass_time

CANNED = Model(canned="I cannot say now.", may_write=False)
REMEMBERED = Model(cached_for_s=600.0, may_write=False)
COLLEAGUE = Model(hand_over=("ana",), answer_within_s=900.0)
LOOK: list[Any] = [[call("find_order", order_id="W2")], "It is on its way."]


class Down:
    """Whether the provider is down."""

    is_down = False

    async def __call__(self, n: int) -> None:
        if self.is_down:
            raise ConnectionResetError("gone")


def desk_of(bench: Bench, *steps: Any, **below: Model) -> tuple[Desk, Down]:
    """A desk whose model may go down, and the rungs below it."""
    down = Down()
    models = {"primary": Model(timeout_s=10.0, fallback=tuple(below)), **below, "backup": Model(id="backup")}
    return Desk(bench, Script(*steps, before=down), changes={"models": models}), down


def test_the_same_request_gets_the_answer_that_it_got_before(bench: Bench) -> None:
    async def main() -> None:
        desk, down = desk_of(bench, *LOOK, remembered=REMEMBERED, canned=CANNED)
        hardened = desk.live()
        assert (await hardened.run("Where is W2?", run_id="before")).ending is Ending.COMPLETE
        down.is_down = True
        result = await hardened.run("Where is W2?", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "It is on its way."), result.reason
        assert "'remembered'" in result.reason and desk.shop.reads == ["W2", "W2"], "tools are called all the same"
        assert [event.outcome.rung for event in await desk.events(CallSettled)] == [1, 0, 1]
        assert (await hardened.run("Where is W1?", run_id="other")).output == CANNED.canned
        await pass_time(601.0)
        assert (await hardened.run("Where is W2?", run_id="late")).output == CANNED.canned

    simulated(main)


def test_a_person_answers_in_the_models_place(bench: Bench) -> None:
    async def main() -> None:
        desk, down = desk_of(bench, "never", colleague=COLLEAGUE, canned=CANNED)
        down.is_down = True
        parked = await desk.live().run("Where is W2?", run_id="r")
        assert parked.ending is Ending.PARKED, parked.reason
        (asked,) = parked.waiting_for
        assert (asked.dependency, asked.answers) == ("colleague", True)
        hardened = desk.live()
        await hardened.approvals.decide(asked.request_id, approve=True, by="ana", note="It left Graz today.")
        (result,) = await hardened.wake()
        assert (result.ending, result.output) == (Ending.DEGRADED, "It left Graz today."), result.reason
        assert [event.to for event in await desk.events(RungChanged)] == ["colleague"]
        assert (await desk.live().run("Where is W2?", run_id="r")).output == "It left Graz today."

    simulated(main)


@pytest.mark.parametrize("how", ["denied", "expired"])
def test_where_nobody_answers_the_rung_below_does(bench: Bench, how: str) -> None:
    async def main() -> None:
        desk, down = desk_of(bench, "never", colleague=COLLEAGUE, canned=CANNED)
        down.is_down = True
        hardened = desk.live()
        parked = await hardened.run("Where is W2?", run_id="r")
        if how == "denied":
            await hardened.approvals.decide(parked.waiting_for[0].request_id, approve=False, by="ana")
        else:
            await pass_time(901.0)
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.DEGRADED, CANNED.canned), result.reason

    simulated(main)


def test_a_person_is_asked_and_answers_while_somebody_watches(bench: Bench) -> None:
    async def main() -> None:
        desk, down = desk_of(bench, *LOOK, colleague=COLLEAGUE)
        down.is_down = True
        hardened = desk.live()
        async with hardened.run_stream("Where is W2?", run_id="r") as stream:
            assert [each async for each in stream] == []
        (asked,) = stream.result.waiting_for
        await hardened.approvals.decide(asked.request_id, approve=True, by="ana", note="It left Graz today.")
        async with desk.live().run_stream("Where is W2?", run_id="r") as stream:
            seen = [each async for each in (stream.stream_text() if bench.name == "pydantic_ai" else stream)]
        assert seen[-1] == "It left Graz today." and stream.result.ending is Ending.DEGRADED

    simulated(main)


def test_a_tools_answer_that_is_too_old_is_asked_for_again(bench: Bench) -> None:
    async def main() -> None:
        ages_s = [601.0, 599.0]
        look = Tool(
            effect=Effect.READ,
            output=OutputRule(fresh=Fresh(field="as_of", max_age_s=600.0)),
            retry=Retry(on=(Fault.STALE,), max_attempts=2),
        )
        desk = Desk(bench, Script(*LOOK), changes={"tools": {"find_order": look}})

        async def aged(args: Any) -> None:
            desk.shop.orders["W2"]["as_of"] = LoopClock().now() - ages_s.pop(0)

        desk.shop.before["find_order"] = aged
        result = await desk.live().run("Where is W2?", run_id="r")
        assert (result.ending, ages_s) == (Ending.COMPLETE, [])
        assert desk.kinds() == {("silent_failure", "find_order", "stale")}

    simulated(main)
