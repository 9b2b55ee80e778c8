"""What somebody gives that cannot be meant: told as `Misuse`, with what would be right, and nothing is done."""

import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, simulated

MINUTE = datetime.timedelta(minutes=1)
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


async def no_json() -> Any:
    return object()


ASKED_OF_A_RUN: dict[str, tuple[Callable[[Any], Awaitable[Any]], str]] = {
    "sleep text": (lambda run: run.sleep("5"), "time to sleep is '5'; it is a number of seconds"),
    "sleep timedelta": (lambda run: run.sleep(MINUTE), "it is a number of seconds"),
    "sleep none": (lambda run: run.sleep(None), "time to sleep is None"),
    "sleep until": (lambda run: run.sleep_until(NOON), "time to wake is"),
    "signal empty": (lambda run: run.wait_for_signal(""), "a signal needs a name"),
    "signal number": (lambda run: run.wait_for_signal(5), "5 is none"),
    "signal timeout": (lambda run: run.wait_for_signal("paid", timeout_s="5"), "timeout_s is '5'"),
    "call list": (lambda run: run.call("look", [1]), "look was called with a list"),
    "call number": (lambda run: run.call("look", 5), "look was called with a int"),
    "call text": (lambda run: run.call("look", "W1"), "look was called with a str"),
    "call key": (lambda run: run.call("look", {"order": "W1"}, key=5), "5 is no key of your own: that is a text"),
    "model key": (lambda run: run.model("how much?", key=5), "5 is no key of your own"),
    "value key": (lambda run: run.value("v", no_json, key=""), "'' is no key of your own"),
    "value": (lambda run: run.value("v", no_json), "the value 'v' has no JSON form"),
    "continue": (lambda run: run.continue_as_new(object()), "the input of the next run has no JSON form"),
}


@pytest.mark.parametrize(("ask", "words"), ASKED_OF_A_RUN.values(), ids=ASKED_OF_A_RUN)
def test_what_a_run_cannot_be_asked_is_misuse(ask: Callable[[Run], Awaitable[Any]], words: str) -> None:
    async def main() -> None:
        desk = Desk()

        async def asks(run: Run, request: Any) -> str:
            with pytest.raises(Misuse, match=words):
                await ask(run)
            return "told"

        desk.agent = asks
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "told")
        assert (desk.shop.reads, await desk.events()) == (0, ["RunStarted", "RunEnded"])

    simulated(main)


ASKED_OF_A_HARNESS: dict[str, tuple[Callable[[Any], Awaitable[Any]], str]] = {
    "run number": (lambda harness: harness.run({}, run_id=7), "7 is no id: that is a text"),
    "run empty": (lambda harness: harness.run({}, run_id=""), "'' is no id"),
    "run surrogate": (lambda harness: harness.run({}, run_id="r\ud800"), "is no id: .*surrogates"),
    "resume number": (lambda harness: harness.resume(7), "7 is no id"),
    "session number": (lambda harness: harness.session(5).run({}), "5 is no id"),
    "session empty": (lambda harness: harness.session("").run({}), "'' is no id"),
    "turn true": (lambda harness: harness.session("s").run({}, turn=True), "True is no turn"),
    "turn fraction": (lambda harness: harness.session("s").run({}, turn=1.0), "1.0 is no turn"),
    "signal number": (lambda harness: harness.operations.signal("r", 5, by="ana"), "a signal needs a name"),
}


@pytest.mark.parametrize(("ask", "words"), ASKED_OF_A_HARNESS.values(), ids=ASKED_OF_A_HARNESS)
def test_what_a_harness_cannot_be_asked_is_misuse(ask: Callable[[Harness], Awaitable[Any]], words: str) -> None:
    async def asked(harness: Harness) -> None:
        await ask(harness)

    async def main() -> None:
        desk = Desk()
        with pytest.raises(Misuse, match=words):
            await asked(desk.live())
        assert await desk.store.heads() == []

    simulated(main)
