"""What leaves by telemetry: the same of every framework, counted and priced, and nothing of what was said."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.events import CallSettled
from tests.adapters.conformance.desk import Answer, Bench, Desk, Script, call, simulated
from tests.observability.telemetry.heard import Heard

SECRET = "s3cr3t-4929"


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    made.close()


class ToldDesk(Desk):
    """A desk that tells what it does."""

    heard: Any = None

    def surroundings(self, store: Any = None) -> Any:
        return replace(super().surroundings(store), telemetry=self.heard.telemetry)


def desk_of(bench: Bench, heard: Heard, *steps: Any, **options: Any) -> ToldDesk:
    desk = ToldDesk(bench, Script(*steps), **options)
    desk.heard = heard
    desk.shop.orders["W2"]["card"] = f"{SECRET}-result"
    return desk


@pytest.mark.parametrize("watched", [False, True], ids=["run", "watched"])
def test_a_run_is_told_in_spans_without_a_word_of_it(bench: Bench, heard: Heard, watched: bool) -> None:
    async def main() -> None:
        steps = [[call("find_order", "c1", order_id="W2")], [call("refund", "c2", order_id=SECRET, amount=20)]]
        desk = desk_of(bench, heard, *steps, f"{SECRET}-answer")

        async def lose(args: Any) -> None:
            raise ConnectionResetError(f"{SECRET}-exception")

        desk.shop.after["refund"] = lose
        hardened = desk.live()
        if watched:
            async with hardened.run_stream(f"{SECRET}-input", run_id="r") as stream:
                assert [part async for part in stream]
            result = stream.result
        else:
            result = await hardened.run(f"{SECRET}-input", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, f"{SECRET}-answer"), result.reason

    simulated(main)
    assert heard.tree() == [
        "invoke_agent desk",
        "invoke_agent desk > chat primary",
        "invoke_agent desk > execute_tool find_order",
        "invoke_agent desk > chat primary",
        "invoke_agent desk > execute_tool refund",
        "invoke_agent desk > execute_tool refund > attempt refund",
        "invoke_agent desk > chat primary",
    ]
    assert SECRET not in heard.everything()


@pytest.mark.parametrize("watched", [False, True], ids=["run", "watched"])
def test_what_a_model_has_used_is_counted_and_priced(bench: Bench, heard: Heard, watched: bool) -> None:
    async def main() -> None:
        desk = desk_of(bench, heard, Answer("Hello.", tokens=(1000, 200)))
        hardened = desk.live()
        if watched:
            async with hardened.run_stream("Hello", run_id="r") as stream:
                assert [part async for part in stream]
        else:
            await hardened.run("Hello", run_id="r")
        (settled,) = await desk.events(CallSettled)
        used.append(settled.outcome.usage)

    used: list[Any] = []
    simulated(main)
    ((into, out, usd),) = [(each.input_tokens, each.output_tokens, each.usd) for each in used]
    if not (watched and bench.name == "pydantic_ai"):  # its model for tests counts for itself where it streams
        assert (into, out) == (1000, 200)
    assert usd == pytest.approx((into + 5 * out) / 1e6)
    assert [value for _, _, value in heard.points("plimsoll.cost")] == [pytest.approx(usd)]
    assert [value for _, _, value in heard.points("gen_ai.client.token.usage")] == [(1, into), (1, out)]
