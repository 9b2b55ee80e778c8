"""What comes into a run, and what it brings, is JSON: the same before it is recorded as after."""

import datetime
import math
import sqlite3
from typing import Any

import pytest

from plimsoll.contract.model import Tool
from plimsoll.core.calls import Effect, Ending, Happened, Unknown
from plimsoll.core.errors import Misuse
from plimsoll.core.events import DoubtResolved
from plimsoll.journal.store import RunState
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated
from tests.runtime.test_found_by_review import Wrapped

LOST = ConnectionResetError("lost")


class Row:
    """What an ORM returns."""


def sqlite_row() -> Any:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row = connection.execute("SELECT 1 AS a").fetchone()
    connection.close()
    return row


WITHOUT_A_FORM = {
    "object": Row(),
    "key": {1: "a"},
    "surrogate": "\ud800",
    "nan": math.nan,
    "row": sqlite_row(),
    "inside": {"rows": [Row()]},
}


def doubtful(answer: Any) -> Desk:
    """A desk whose one refund is lost, and of which `verify` says `answer`."""

    async def refund(order: str, amount: float) -> Any:
        raise LOST

    async def refunds(run: Run, request: Any) -> Any:
        return await run.call("refund", {"order": "W1", "amount": 20.0})

    desk = Desk(tools={"refund": Tool(effect=Effect.WRITE)})
    desk.agent, desk.tools = refunds, [refund]
    desk.shop.verify = lambda args, key: answer  # type: ignore[method-assign]
    return desk


async def answers(desk: Desk) -> list[DoubtResolved]:
    return [record.event for record in await desk.store.read("r") if isinstance(record.event, DoubtResolved)]


def bringing(output: Any) -> Desk:
    async def brings(run: Run, request: Any) -> Any:
        return output

    desk = Desk()
    desk.agent = brings
    return desk


@pytest.mark.parametrize("result", WITHOUT_A_FORM.values(), ids=WITHOUT_A_FORM)
def test_a_verify_that_tells_a_result_without_a_json_form_has_verified_nothing(result: Any) -> None:
    async def main() -> None:
        desk = doubtful(Happened(result))
        harness = desk.live()
        parked = await harness.run({}, run_id="r")
        assert (parked.ending, parked.reason) == (Ending.PARKED, "doubt: 1:refund")
        said = (await answers(desk))[-1]
        assert "the result that verify told has no JSON form" in said.value
        await harness.operations.resolve("r", "1:refund", happened=True, value={"refunded": 20.0}, by="ana")
        (done,) = await harness.wake()
        assert (done.ending, done.output) == (Ending.COMPLETE, {"refunded": 20.0})

    simulated(main)


def test_of_a_write_that_its_run_leaves_behind_such_a_result_verifies_nothing_either() -> None:
    async def main() -> None:
        desk = doubtful(Unknown("not yet", final=True))
        assert (await desk.live().run({}, run_id="r")).ending is Ending.PARKED
        desk.shop.verify = lambda args, key: Happened(object())  # type: ignore[method-assign]
        harness = desk.live()
        await harness.operations.cancel("r", by="ana")
        (result,) = await harness.wake()
        assert result.ending is Ending.HALTED
        assert "in_doubt_unresolved" in [finding.kind for finding in result.findings]

    simulated(main)


@pytest.mark.parametrize("why", [LOST, None, "\ud800"], ids=["error", "none", "surrogate"])
def test_whatever_a_verify_gives_as_its_reason_is_told(why: Any) -> None:
    async def main() -> None:
        desk = doubtful(Unknown(why, final=True))
        assert (await desk.live().run({}, run_id="r")).ending is Ending.PARKED
        said = (await answers(desk))[-1]
        assert said.value == str(why).encode("utf-8", "backslashreplace").decode()

    simulated(main)


@pytest.mark.parametrize("output", WITHOUT_A_FORM.values(), ids=WITHOUT_A_FORM)
def test_an_agent_that_returns_what_has_no_json_form_has_failed_and_its_result_is_there(output: Any) -> None:
    async def main() -> None:
        harness = bringing(output).live()
        first = await harness.run({}, run_id="r")
        assert first.ending is Ending.FAILED
        assert first.reason.startswith("Misuse: what the agent returned has no JSON form")
        again = await harness.run({}, run_id="r")
        assert (again.ending, again.reason) == (first.ending, first.reason)
        assert await harness.wake() == []

    simulated(main)


def test_an_agent_s_error_whose_words_are_no_text_is_how_its_run_ends() -> None:
    async def main() -> None:
        desk = Desk()

        async def fails(run: Run, request: Any) -> Any:
            raise FileNotFoundError("caf\udce9.txt")

        desk.agent = fails
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.reason) == (Ending.FAILED, "FileNotFoundError: caf\\udce9.txt")

    simulated(main)


@pytest.mark.parametrize("output", [(1, 2), datetime.date(2026, 1, 2), {"b": {3}, "a": (4,)}], ids=str)
def test_a_run_s_output_is_the_same_now_as_when_it_is_asked_for_again(output: Any) -> None:
    async def main() -> None:
        harness = bringing(output).live()
        first = await harness.run({}, run_id="r")
        again = await harness.run({}, run_id="r")
        assert first.ending is Ending.COMPLETE
        assert repr(first.output) == repr(again.output)

    simulated(main)


def test_an_agent_is_handed_its_input_as_a_replay_will_hand_it() -> None:
    async def main() -> None:
        desk = Desk()
        seen: list[str] = []

        async def looks(run: Run, request: Any) -> Any:
            seen.append(repr(request))
            await run.wait_for_signal("go")
            return "went"

        desk.agent = looks
        harness = desk.live()
        await harness.run({"pair": (1, 2), "on": datetime.date(2026, 1, 2)}, run_id="r")
        await harness.operations.signal("r", "go", by="ana")
        (result,) = await harness.wake()
        assert result.output == "went"
        assert seen == [repr({"on": "2026-01-02", "pair": [1, 2]})] * 2

    simulated(main)


@pytest.mark.parametrize("input", WITHOUT_A_FORM.values(), ids=WITHOUT_A_FORM)
def test_an_input_without_a_json_form_is_misuse_and_nothing_is_begun(input: Any) -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        for ask in (harness.run(input, run_id="r"), harness.session("s").run(input)):
            with pytest.raises(Misuse, match="the input of the run has no JSON form"):
                await ask
        assert await desk.store.heads() == []

    simulated(main)


def test_a_run_that_nobody_can_go_on_with_does_not_hold_up_those_behind_it() -> None:
    class Poisoned(Wrapped):
        async def read(self, run_id: str, **options: Any) -> Any:
            if run_id == "bad":
                raise TypeError("something that nobody thought of")
            return await self._inner.read(run_id, **options)

    async def main() -> None:
        desk = Desk()

        async def naps(run: Run, request: Any) -> Any:
            await run.sleep(60.0)
            return "rested"

        desk.agent = naps
        harness = desk.live()
        for run_id in ("bad", "good"):
            await harness.run({}, run_id=run_id)
        harness = desk.live(Poisoned(desk.store))
        await pass_time(61.0)
        assert [(result.run_id, result.ending) for result in await harness.wake()] == [("good", Ending.COMPLETE)]
        head = await desk.store.head("bad")
        assert head is not None and head.state is not RunState.ENDED
        assert ("run_stuck", "bad") in [(finding.kind, run_id) for _, run_id, finding in desk.sink.entries]

    simulated(main)
