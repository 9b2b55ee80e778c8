"""Rungs that ask no model: an answer that was given before, and a person."""

from typing import Any

import pytest

from plimsoll.contract.model import Model
from plimsoll.core.calls import Ending, Fault
from plimsoll.core.errors import DecisionRefused
from plimsoll.core.events import ApprovalRequested, CallSettled, RungChanged
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.runtime.bench import CrashingStore, Desk, pass_time, simulated

CANNED = Model(canned="I cannot say now.", may_write=False)
REMEMBERED = Model(cached_for_s=600.0, may_write=False)
COLLEAGUE = Model(hand_over=("ana", "bo"), answer_within_s=900.0)


class Provider:
    def __init__(self) -> None:
        self.is_down = False
        self.asked = 0

    async def __call__(self, prompt: Any) -> ModelReply:
        self.asked += 1
        if self.is_down:
            raise ConnectionResetError("gone")
        return ModelReply(text=f"answer {self.asked}")


async def asks(run: Run, request: Any) -> str:
    return (await run.model(request)).text


def desk_of(**below: Model) -> tuple[Desk, Provider]:
    desk = Desk(models={"primary": Model(fallback=tuple(below)), **below})
    provider = Provider()
    desk.models, desk.agent = {"primary": provider}, asks
    return desk, provider


async def of_kind(desk: Desk, kind: Any, run_id: str = "r") -> list[Any]:
    return [record.event for record in await desk.store.read(run_id) if isinstance(record.event, kind)]


# --------------------------------------------------------------------------------------------------------- remembered


def test_the_same_request_gets_the_answer_that_it_got_before_and_says_so() -> None:
    async def main() -> None:
        desk, provider = desk_of(remembered=REMEMBERED, canned=CANNED)
        harness = desk.live()
        assert (await harness.run("where is W1?")).output == "answer 1"
        provider.is_down = True
        result = await harness.run("where is W1?", run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "answer 1")
        assert "'remembered'" in result.reason
        (settled,) = await of_kind(desk, CallSettled)
        assert (settled.outcome.rung, settled.outcome.attempts) == (1, 1)

    simulated(main)


@pytest.mark.parametrize(("request_", "later_s"), [("where is W2?", 0.0), ("where is W1?", 601.0)])
def test_another_request_or_an_old_answer_goes_on_below(request_: str, later_s: float) -> None:
    async def main() -> None:
        desk, provider = desk_of(remembered=REMEMBERED, canned=CANNED)
        harness = desk.live()
        await harness.run("where is W1?")
        provider.is_down = True
        await pass_time(later_s)
        result = await harness.run(request_, run_id="r")
        assert (result.ending, result.output) == (Ending.DEGRADED, CANNED.canned)
        assert [(each.to, each.fault) for each in await of_kind(desk, RungChanged)] == [
            ("remembered", Fault.CONNECTION),
            ("canned", Fault.CONNECTION),
        ]

    simulated(main)


def test_what_no_model_said_is_not_remembered() -> None:
    async def main() -> None:
        desk, provider = desk_of(remembered=REMEMBERED, canned=CANNED)
        provider.is_down = True
        harness = desk.live()
        await harness.run("hi")
        result = await harness.run("hi", run_id="r")
        assert [each.to for each in await of_kind(desk, RungChanged)] == ["remembered", "canned"]
        assert result.output == CANNED.canned

    simulated(main)


def test_what_an_agent_does_to_an_answer_changes_nothing_of_what_is_remembered() -> None:
    """The calls in it were handed out as they were kept: what one run changed of them, the next was given."""

    async def main() -> None:
        desk, provider = desk_of(remembered=REMEMBERED, canned=CANNED)
        call = {"name": "refund", "args": {"order": "W1", "amount": 20}}

        async def answers(prompt: Any) -> ModelReply:
            await provider(prompt)
            return ModelReply(tool_calls=(call,))

        async def changes(run: Run, request: Any) -> Any:
            reply = await run.model(request)
            amount = reply.tool_calls[0]["args"]["amount"]
            reply.tool_calls[0]["args"]["amount"] = 5000
            return amount

        desk.models, desk.agent = {"primary": answers}, changes
        harness = desk.live()
        await harness.run("what now?")
        provider.is_down = True
        assert [(await harness.run("what now?")).output for _ in range(2)] == [20, 20]

    simulated(main)


# -------------------------------------------------------------------------------------------------------- handed over


def test_a_person_answers_in_the_models_place_once_and_for_all() -> None:
    async def main() -> None:
        desk, provider = desk_of(colleague=COLLEAGUE, canned=CANNED)
        provider.is_down = True
        parked = await desk.live().run("where is W1?", run_id="r")
        assert parked.ending is Ending.PARKED
        (asked,) = parked.waiting_for
        assert (asked.dependency, asked.answers, asked.approvers) == ("colleague", True, ("ana", "bo"))
        assert ("approval_pending", "colleague", None) in [(k, d, None) for k, d, _ in desk.kinds()]

        provider.is_down = False  # by now; the person has the call all the same
        harness = desk.live()
        await harness.operations.decide(asked.request_id, approve=True, by="ana", note="It left Graz today.")
        result = await harness.resume("r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "It left Graz today.")
        assert "'colleague'" in result.reason
        assert provider.asked == 1
        assert [each.to for each in await of_kind(desk, RungChanged)] == ["colleague"]
        assert (await desk.live().resume("r")).output == "It left Graz today."

    simulated(main)


@pytest.mark.parametrize("how", ["denied", "expired"])
def test_where_no_person_answers_the_rung_below_does(how: str) -> None:
    async def main() -> None:
        desk, provider = desk_of(colleague=COLLEAGUE, canned=CANNED)
        provider.is_down = True
        parked = await desk.live().run("hi", run_id="r")
        harness = desk.live()
        if how == "denied":
            await harness.operations.decide(parked.waiting_for[0].request_id, approve=False, by="bo")
        else:
            await pass_time(901.0)
        (result,) = await harness.wake()
        assert (result.ending, result.output) == (Ending.DEGRADED, CANNED.canned)

    simulated(main)


def test_only_who_is_named_answers_and_with_words() -> None:
    async def main() -> None:
        desk, provider = desk_of(colleague=COLLEAGUE)
        provider.is_down = True
        harness = desk.live()
        request_id = (await harness.run("hi", run_id="r")).waiting_for[0].request_id
        with pytest.raises(DecisionRefused, match="eve is not one of ana, bo"):
            await harness.operations.decide(request_id, approve=True, by="eve", note="hi")
        with pytest.raises(DecisionRefused, match="wants an answer"):
            await harness.operations.decide(request_id, approve=True, by="ana", note="  ")

    simulated(main)


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("keep", [0, 1, 9])
def test_whatever_crashes_one_person_is_asked_once(at: int, keep: int) -> None:
    async def main() -> None:
        desk, provider = desk_of(colleague=COLLEAGUE, canned=CANNED)
        provider.is_down = True
        try:
            await desk.live(CrashingStore(desk.store, at=at, keep=keep)).run("hi", run_id="r")
        except BaseException as crash:
            assert type(crash).__name__ in ("Crash", "RunParked"), crash
        result = await desk.live().run("hi", run_id="r")
        if result.ending is Ending.PARKED:
            harness = desk.live()
            await harness.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana", note="Soon.")
            result = await harness.resume("r")
        assert (result.ending, result.output) == (Ending.DEGRADED, "Soon.")
        assert len(await of_kind(desk, ApprovalRequested)) == 1

    simulated(main)
