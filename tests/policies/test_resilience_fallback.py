"""What is answered where a call through a `ResiliencePipeline` has failed for good."""

import asyncio
from typing import Any

import pytest

from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse
from plimsoll.policies.circuit_breaker import CircuitBreaker
from plimsoll.policies.output_check import OutputProblem
from tests.policies.asking import AGAIN, Script, pipeline
from tests.policies.playing import Boom, later, now_s, pause, played

PROBLEM = OutputProblem(Fault.EMPTY, "there is no text")


async def second(words: str, *, more: str = "") -> Any:
    return await later(1.0, f"second: {words}{more}")


async def instead(*args: Any, **options: Any) -> str:
    return "instead"


async def typed_boom(words: str, *, more: str) -> str:
    raise Boom(words + more)


def test_what_failed_for_good_falls_back_with_the_same_arguments() -> None:
    async def main() -> Any:
        script = Script((0, Boom("1")), (0, Boom("2")), (0, Boom("3")))
        answer = await pipeline(retry=AGAIN, fallback=second).call(script, "maps")
        named = await pipeline(fallback=second).call(typed_boom, "maps", more="!")
        return answer, len(script.asked_at), named, now_s()

    assert played(main) == ("second: maps", 3, "second: maps!", 4.0)


@pytest.mark.parametrize("policies", [{"timeout_s": 0.5}, {"check": lambda answer: PROBLEM}], ids=["late", "none"])
def test_an_answer_that_is_late_or_none_falls_back(policies: dict[str, Any]) -> None:
    async def main() -> Any:
        return await pipeline(fallback=instead, **policies).call(later, 1.0, "maps")

    assert played(main) == "instead"


def test_what_was_not_let_through_falls_back_at_once() -> None:
    async def main() -> Any:
        ask = pipeline(circuit_breaker=CircuitBreaker(), fallback=instead)
        assert ask.admission.circuit is not None
        ask.admission.circuit.isolate()
        return await ask.call(later, 1.0), now_s()

    assert played(main) == ("instead", 0.0)


def test_fallbacks_may_have_fallbacks_and_the_last_error_is_raised_with_what_led_to_it() -> None:
    async def fails(*args: Any, **options: Any) -> str:
        raise ValueError("the second is down as well")

    async def main() -> Any:
        below: Any = pipeline(fallback=instead)(fails)
        answer = await pipeline(fallback=below).call(typed_boom, "maps", more="!")
        with pytest.raises(ValueError, match="the second is down as well") as caught:
            await pipeline(fallback=fails).call(later, 0.0, Boom("the first"))
        return answer, str(caught.value.__context__)

    assert played(main) == ("instead", "the first")


def test_a_call_that_is_given_up_or_wrongly_made_does_not_fall_back() -> None:
    async def main() -> float:
        waits = asyncio.ensure_future(pipeline(fallback=instead).call(later, 5.0))
        await pause(1.0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        with pytest.raises(Misuse, match="is to be called"):
            await pipeline(fallback=instead).call(lambda: "at once")  # type: ignore[arg-type,return-value]
        with pytest.raises(Misuse, match="is to be called"):
            await pipeline(fallback=lambda *args: "at once").call(later, 0.0, Boom("no"))
        return now_s()

    assert played(main) == 1.0
