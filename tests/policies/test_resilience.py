"""All policies around any async function: each alone, and what they are together."""

import asyncio
import math
from typing import Any

import pytest

from plimsoll.core.calls import Fault
from plimsoll.core.criticality import Criticality, criticality
from plimsoll.core.errors import CallTimeout, CircuitOpen, Misuse, OutputRejected, RateLimited, Shed
from plimsoll.policies.bulkhead import Bulkhead
from plimsoll.policies.circuit_breaker import CircuitBreaker, CircuitChanged, CircuitState
from plimsoll.policies.hedge import Hedge
from plimsoll.policies.output_check import OutputProblem, check_text
from plimsoll.policies.rate_limit import RateLimit
from plimsoll.policies.resilience import ResiliencePipeline
from plimsoll.policies.retry import RetryBudget, RetryPolicy
from tests.policies.asking import AGAIN, EAGER, Script, outcomes, pipeline, typed
from tests.policies.playing import Boom, answers, later, now_s, pause, played


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_timeout_is_a_positive_number(seconds: float) -> None:
    with pytest.raises(Misuse, match="timeout_s"):
        ResiliencePipeline("search", timeout_s=seconds)


def test_a_limit_of_tokens_needs_somebody_who_counts_them() -> None:
    with pytest.raises(Misuse, match="nobody says how many a call takes: set tokens"):
        ResiliencePipeline("search", rate_limit=RateLimit(tokens_per_minute=100))


def test_without_any_policy_it_is_the_function() -> None:
    async def main() -> None:
        ask = pipeline()
        assert await ask.call(later, 2.0, result="A") == "A"
        assert await ask.call(answers) == "at once"
        with pytest.raises(Boom, match="no"):
            await ask.call(later, 1.0, Boom("no"))

    played(main)


def test_it_needs_neither_clock_nor_rng() -> None:
    assert asyncio.run(ResiliencePipeline("search", retry=AGAIN, hedge=Hedge()).call(answers)) == "at once"


def test_as_a_decorator_it_keeps_the_functions_name_and_arguments() -> None:
    @pipeline(timeout_s=5.0)
    async def search(query: str, *, limit: int = 3) -> str:
        """Finds things."""
        return await later(1.0, f"{query} {limit}")

    assert (search.__name__, search.__doc__) == ("search", "Finds things.")
    assert played(lambda: search("maps", limit=1)) == "maps 1"


# ---------------------------------------------------------------------------------------------------- each one alone


def test_retry_alone() -> None:
    async def main() -> Any:
        script = Script((0, Boom("1")), (0, Boom("2")), (0, "A"))
        return await pipeline(retry=AGAIN).call(script), script.asked_at

    assert played(main) == ("A", [0.0, 1.0, 2.0])


@pytest.mark.parametrize(("error", "asked"), [(Boom("no"), 3), (ValueError("our own"), 1)])
def test_the_last_error_is_raised_when_all_attempts_failed_or_none_is_worth_it(error: Exception, asked: int) -> None:
    async def main() -> int:
        script = Script((0, error))
        with pytest.raises(type(error)) as caught:
            await pipeline(retry=AGAIN).call(script)
        assert caught.value is error
        return len(script.asked_at)

    assert played(main) == asked


def test_a_dependency_that_says_when_to_come_back_is_not_asked_before() -> None:
    error = Boom("busy")
    error.retry_after_s = 7.0  # type: ignore[attr-defined]

    async def main() -> list[float]:
        script = Script((0, error), (0, "A"))
        await pipeline(retry=AGAIN).call(script)
        return script.asked_at

    assert played(main) == [0.0, 7.0]


def test_a_date_to_come_back_at_is_one_of_the_clocks() -> None:
    error = Boom("busy")
    error.headers = {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}  # type: ignore[attr-defined]

    async def main() -> list[float]:
        script = Script((0, error), (0, "A"))
        await pause(10.0)
        await pipeline(retry=AGAIN).call(script)
        return script.asked_at

    assert played(main) == [10.0, 30.0]


def test_the_budget_stops_retries_where_most_calls_fail() -> None:
    async def main() -> list[int]:
        ask, script, asked = pipeline(retry=AGAIN), Script((0, Boom("no"))), []
        for _ in range(4):
            before = len(script.asked_at)
            await outcomes(ask, script, 1)
            asked.append(len(script.asked_at) - before)
        return asked

    assert played(main) == [3, 2, 1, 1]  # the fifth failure of ten is the last that is followed by another try


def test_a_budget_may_be_shared() -> None:
    async def main() -> int:
        budget = RetryBudget()
        for _ in range(5):
            budget.failed()
        script = Script((0, Boom("no")))
        await outcomes(pipeline(retry=AGAIN, budget=budget), script, 1)
        return len(script.asked_at)

    assert played(main) == 1


def test_timeout_alone() -> None:
    async def main() -> tuple[str, float, int]:
        script = Script((9.0, "late"))
        with pytest.raises(CallTimeout) as caught:
            await pipeline(timeout_s=2.0).call(script)
        return str(caught.value), now_s(), script.cancelled

    assert played(main) == ("search gave no answer within 2 s", 2.0, 1)


def test_a_timeout_is_a_failure_to_the_breaker() -> None:
    async def main() -> None:
        ask = pipeline(timeout_s=2.0, circuit_breaker=CircuitBreaker(window=1, min_calls=1))
        with pytest.raises(CallTimeout):
            await ask.call(later, 9.0, "late")
        with pytest.raises(CircuitOpen):
            await ask.call(later, 0.0, "at once")

    played(main)


def test_a_timeout_that_the_function_reports_is_its_own_error() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError, match="the socket's"):
            await pipeline(timeout_s=2.0).call(later, 1.0, TimeoutError("the socket's"))

    played(main)


def test_each_attempt_has_the_timeout_for_itself() -> None:
    async def main() -> Any:
        script = Script((9.0, "late"), (1.5, "A"))
        return await pipeline(timeout_s=2.0, retry=AGAIN).call(script), now_s()

    assert played(main) == ("A", 4.5)


def text_check(answer: str) -> OutputProblem | None:
    return check_text(answer, finish_reason=None, has_tool_calls=False)


def test_output_check_alone() -> None:
    async def main() -> tuple[str, str, str]:
        with pytest.raises(OutputRejected) as caught:
            await pipeline(check=text_check).call(later, 1.0, "  ")
        return caught.value.dependency, caught.value.fault, caught.value.detail

    assert played(main) == ("search", "whitespace", "there is nothing but white space")


def test_an_answer_that_is_none_is_a_failure_for_retry_and_breaker() -> None:
    async def main() -> Any:
        script = Script((0, ""), (0, ""), (0, "A"))
        ask = pipeline(
            check=text_check,
            retry=RetryPolicy(on=(Fault.EMPTY,), base_s=1.0, cap_s=1.0),
            circuit_breaker=CircuitBreaker(min_calls=3, failure_ratio=0.6),
        )
        answer = await ask.call(script)
        assert ask.admission.circuit is not None
        return answer, ask.admission.circuit.failure_ratio

    assert played(main) == ("A", pytest.approx(2 / 3))


def test_circuit_breaker_alone() -> None:
    told: list[CircuitChanged] = []

    async def main() -> tuple[list[Any], int]:
        ask = pipeline(circuit_breaker=CircuitBreaker(min_calls=2), on_change=told.append)
        script = Script((0, Boom("no")), (0, Boom("no")), (0, "A"))
        before = await outcomes(ask, script, 3)
        await pause(15.0)
        return before + await outcomes(ask, script, 1), len(script.asked_at)

    assert played(main) == (["Boom", "Boom", "CircuitOpen", "A"], 3)
    assert [change.after for change in told] == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED]


def test_slow_answers_and_timeouts_count_for_the_breaker() -> None:
    async def main() -> tuple[float, str]:
        ask = pipeline(circuit_breaker=CircuitBreaker(min_calls=2, slow_s=1.0, slow_ratio=1.0), timeout_s=3.0)
        await ask.call(later, 1.0)
        assert ask.admission.circuit is not None
        assert ask.admission.circuit.failure_ratio == 0.0
        await outcomes(ask, Script((9.0, "late")), 1)
        return now_s(), ask.admission.circuit.state

    assert played(main) == (4.0, "open")


@pytest.mark.parametrize(
    ("error", "seconds", "state"),
    [
        (Boom("no"), 0.5, "open"),
        (type("NotFoundError", (Exception,), {})("ours"), 0.5, "closed"),
        (type("NotFoundError", (Exception,), {})("ours, and slow"), 1.0, "open"),
        ("an answer", 0.5, "closed"),
        ("a slow answer", 1.0, "open"),
    ],
)
def test_the_breaker_is_told_what_failed_and_how_long_it_took(error: Any, seconds: float, state: str) -> None:
    async def main() -> str:
        await pause(100.0)
        ask = pipeline(circuit_breaker=CircuitBreaker(min_calls=1, slow_s=1.0))
        await outcomes(ask, Script((seconds, error)), 1)
        assert ask.admission.circuit is not None
        return ask.admission.circuit.state

    assert played(main) == state


def test_bulkhead_alone() -> None:
    async def main() -> list[Any]:
        ask = pipeline(bulkhead=Bulkhead(max_concurrent=1, max_queue=1))
        calls = [ask.call(later, 1.0, number) for number in range(3)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    first, second, third = played(main)
    assert (first, second) == (0, 1)
    assert isinstance(third, Shed)


def test_what_matters_least_is_shed_first() -> None:
    async def main() -> list[Any]:
        ask = pipeline(bulkhead=Bulkhead(max_concurrent=1, max_queue=1))

        async def call(level: Criticality) -> Any:
            with criticality(level):
                return await ask.call(later, 1.0, level.name)

        calls = [call(level) for level in (Criticality.DEFAULT, Criticality.SHEDDABLE, Criticality.CRITICAL)]
        return [str(one) for one in await asyncio.gather(*calls, return_exceptions=True)]

    assert played(main) == [
        "DEFAULT",
        "search was not asked: something more critical took its place in the queue",
        "CRITICAL",
    ]


def test_rate_limit_alone() -> None:
    async def main() -> list[float]:
        script = Script((0, "A"))
        await outcomes(pipeline(rate_limit=RateLimit(calls_per_minute=60, burst_s=2.0)), script, 4)
        return script.asked_at

    assert played(main) == [0.0, 0.0, 1.0, 2.0]


def test_rate_limit_of_tokens_by_the_calls_arguments() -> None:
    async def main() -> list[float]:
        script = Script((0, "A"))
        ask = pipeline(rate_limit=RateLimit(tokens_per_minute=60, burst_s=5.0), tokens=len)
        for prompt in ("five!", "two", "x"):
            await ask.call(script, prompt)
        return script.asked_at

    assert played(main) == [0.0, 3.0, 4.0]


def test_tokens_are_counted_by_all_arguments() -> None:
    async def main() -> float:
        limit = RateLimit(tokens_per_minute=60, burst_s=5.0)
        ask = pipeline(rate_limit=limit, tokens=lambda prompt, *, more: len(prompt + more))
        for _ in range(2):
            assert await ask.call(typed, "abc", more="de") == "abcde"
        return now_s()

    assert played(main) == 5.0


def test_what_is_held_back_for_too_long_is_refused() -> None:
    async def main() -> None:
        ask = pipeline(rate_limit=RateLimit(calls_per_minute=1, burst_s=0.0, max_wait_s=30.0))
        await ask.call(answers)
        with pytest.raises(RateLimited) as caught:
            await ask.call(answers)
        assert caught.value.retry_after_s == 60.0

    played(main)


def test_hedge_alone() -> None:
    async def main() -> Any:
        await pause(100.0)
        ask = pipeline(hedge=EAGER)
        await ask.call(later, 1.0)
        script = Script((50.0, "slow"), (1.0, "A"))
        began_s = now_s()
        answer = await ask.call(script)
        assert ask.hedging is not None
        return answer, now_s() - began_s, script.cancelled, ask.hedging.extra

    answer, seconds, cancelled, extra = played(main)
    assert (answer, cancelled, extra) == ("A", 1, 1)
    assert 2.0 < seconds < 2.1


def test_the_time_of_a_call_that_failed_tells_nothing_of_how_long_an_answer_takes() -> None:
    async def main() -> float | None:
        ask = pipeline(hedge=EAGER)
        await outcomes(ask, Script((9.0, Boom("no"))), 1)
        assert ask.hedging is not None
        return ask.hedging.begin()

    assert played(main) is None


# --------------------------------------------------------------------------------------- what is no async function


def test_what_is_awaited_need_be_no_coroutine() -> None:
    def soon() -> asyncio.Future[str]:
        made: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, made.set_result, "A")
        return made

    class Asks:
        async def __call__(self, words: str) -> Any:
            return await later(1.0, words)

        async def method(self, words: str) -> Any:
            return await later(1.0, words)

    async def main() -> list[Any]:
        ask: Any = pipeline(timeout_s=5.0, hedge=EAGER, retry=AGAIN)
        return [
            await ask.call(soon),
            await ask.call(Asks(), "B"),
            await ask.call(Asks().method, "C"),
            await ask(Asks())("D"),
        ]

    assert played(main) == ["A", "B", "C", "D"]


async def streams() -> Any:
    yield "a part"


@pytest.mark.parametrize("function", [lambda: "at once", streams], ids=["sync", "generator"])
def test_what_cannot_be_awaited_is_refused_in_words_and_says_nothing_of_the_dependency(function: Any) -> None:
    """It was an AttributeError, taken for a failure of the dependency, and retried."""
    on_all = RetryPolicy(on=tuple(Fault), max_attempts=3)
    breaker = CircuitBreaker(window=1, min_calls=1)

    async def main() -> Any:
        ask: Any = pipeline(retry=on_all, circuit_breaker=breaker, bulkhead=Bulkhead(max_concurrent=1), timeout_s=5.0)
        with pytest.raises(Misuse, match="search was not protected: an async function is to be called, and this one"):
            await ask.call(function)
        assert ask.admission.circuit.state is CircuitState.CLOSED
        return now_s(), ask.admission.compartment.inside

    assert played(main) == (0.0, 0)


def test_our_own_mistakes_use_up_no_retries() -> None:
    """A client that asked wrongly took the retries of all others."""

    class Wrong(Exception):
        status_code = 400

    async def main() -> int:
        ask = pipeline(retry=AGAIN)
        await outcomes(ask, Script((0, Wrong("no such field"))), 100)
        script = Script((0, Boom("no")), (0, "A"))
        assert await ask.call(script) == "A"
        return len(script.asked_at)

    assert played(main) == 2
