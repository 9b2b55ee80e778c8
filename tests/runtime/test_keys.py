"""Keys: what names a thing that a run asks for, so that a replay finds it again."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse, SignalTimeout
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, simulated


async def five() -> int:
    return 5


ASKED: dict[str, Callable[[Run], Awaitable[Any]]] = {
    "call": lambda run: run.call("look", {"order": "W1"}, key="k"),
    "model": lambda run: run.model("how much?", key="k"),
    "value": lambda run: run.value("five", five, key="k"),
    "sleep": lambda run: run.sleep(0.1, key="k"),
    "sleep_until": lambda run: run.sleep_until(0.0, key="k"),
    "signal": lambda run: run.wait_for_signal("paid", key="k"),
}


async def asks_for(run: Run, what: str) -> None:
    if what == "signal":
        with pytest.raises(SignalTimeout):
            await run.wait_for_signal("paid", timeout_s=0.1, key="k")
    else:
        await ASKED[what](run)


@pytest.mark.parametrize("second", ASKED)
@pytest.mark.parametrize("first", ASKED)
def test_a_key_is_given_once_whatever_it_names(first: str, second: str) -> None:
    async def main() -> None:
        desk = Desk()

        async def asks(run: Run, request: Any) -> str:
            await asks_for(run, first)
            with pytest.raises(Misuse, match="two things under the key 'k'"):
                await ASKED[second](run)
            await run.wait_for_signal("go")
            return "went"

        desk.agent = asks
        harness = desk.live()
        assert (await harness.run({}, run_id="r")).reason == "signal: go"
        await harness.operations.signal("r", "go", by="ana")
        (result,) = await harness.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, "went")

    simulated(main)


def test_a_value_s_key_cannot_be_that_of_another_call() -> None:
    async def main() -> None:
        desk = Desk()

        async def asks(run: Run, request: Any) -> None:
            await run.value("five", five, key="2:look")

        desk.agent = asks
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.reason[:28]) == (Ending.FAILED, "Misuse: '2:look' is no key o")

    simulated(main)


def test_a_value_that_could_not_be_made_may_be_made_again_under_its_key() -> None:
    async def main() -> None:
        desk = Desk()
        made: list[int] = []

        async def fails_once() -> int:
            made.append(1)
            if len(made) == 1:
                raise ConnectionError("down")
            return 5

        async def asks(run: Run, request: Any) -> Any:
            try:
                return await run.value("rate", fails_once, key="rate")
            except ConnectionError:
                return await run.value("rate", fails_once, key="rate")

        desk.agent = asks
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.output, len(made)) == (Ending.COMPLETE, 5, 2)

    simulated(main)
