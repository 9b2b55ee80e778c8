"""All policies together around a function: each attempt passes each, and no budget is spent twice."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.core.calls import Fault
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import CallTimeout, CircuitOpen, RateLimited, Shed
from plimsoll.core.rng import seeded_rng
from plimsoll.policies.bulkhead import Bulkhead
from plimsoll.policies.circuit_breaker import CircuitBreaker, CircuitState
from plimsoll.policies.hedge import Hedge
from plimsoll.policies.rate_limit import RateLimit
from plimsoll.policies.resilience import ResiliencePipeline
from plimsoll.policies.retry import RetryBudget, RetryPolicy
from tests.policies.asking import AGAIN, EAGER, Script, outcomes, pipeline, turned
from tests.policies.playing import Boom, answers, later, now_s, pause, played, turns


def test_every_attempt_and_every_spare_passes_the_breaker_and_the_bulkhead() -> None:
    async def main() -> list[int]:
        ask = pipeline(hedge=EAGER, bulkhead=Bulkhead(max_concurrent=2))
        assert ask.admission.compartment is not None
        await ask.call(later, 1.0)
        task = asyncio.ensure_future(ask.call(Script((50.0, "slow"), (1.0, "A"))))
        inside = []
        for _ in range(3):
            await pause(0.9)
            inside.append(ask.admission.compartment.inside)
        await task
        return inside

    assert played(main) == [1, 2, 0]


def test_a_spare_that_there_is_no_room_for_is_not_made() -> None:
    async def main() -> Any:
        ask = pipeline(hedge=EAGER, bulkhead=Bulkhead(max_concurrent=1, max_queue=9))
        await ask.call(later, 1.0)
        assert ask.hedging is not None
        return await ask.call(later, 5.0, "A"), now_s(), ask.hedging.extra

    assert played(main) == ("A", 6.0, 0)


def test_a_dependency_that_is_not_asked_any_more_is_asked_no_second_time() -> None:
    async def main() -> Any:
        ask = pipeline(hedge=EAGER, circuit_breaker=CircuitBreaker())
        await ask.call(later, 1.0)
        assert ask.hedging is not None and ask.admission.circuit is not None
        asyncio.get_running_loop().call_later(1.0, ask.admission.circuit.isolate)
        return await ask.call(later, 5.0, "A"), now_s(), ask.hedging.extra

    assert played(main) == ("A", 6.0, 0)


def test_a_spare_that_is_not_let_in_leaves_the_first_alone() -> None:
    async def main() -> Any:
        limit = RateLimit(calls_per_minute=60, burst_s=1.0, max_wait_s=0.0)
        ask = pipeline(hedge=EAGER, rate_limit=limit)
        await ask.call(later, 0.5)
        await pause(0.5)
        return await ask.call(later, 5.0, "A"), now_s()

    assert played(main) == ("A", 6.0)


def test_a_loser_says_nothing_of_the_dependencys_health() -> None:
    async def main() -> tuple[float, str]:
        ask = pipeline(hedge=EAGER, circuit_breaker=CircuitBreaker(min_calls=1, window=1))
        await ask.call(later, 1.0)
        await ask.call(Script((50.0, "slow"), (1.0, "A")))
        assert ask.admission.circuit is not None
        return ask.admission.circuit.failure_ratio, ask.admission.circuit.state

    assert played(main) == (0.0, "closed")


def test_a_call_that_its_spare_saved_costs_the_budget_nothing() -> None:
    async def main() -> float:
        budget = RetryBudget()
        ask = pipeline(hedge=EAGER, retry=AGAIN, budget=budget)
        await ask.call(later, 1.0)
        assert await ask.call(Script((1.5, Boom("no")), (1.0, "A"))) == "A"
        return budget.tokens

    assert played(main) == 10.0


def test_a_call_that_failed_twice_costs_the_budget_one() -> None:
    async def main() -> tuple[float, int]:
        budget = RetryBudget()
        ask = pipeline(hedge=EAGER, retry=RetryPolicy(on=()), budget=budget)
        await ask.call(later, 1.0)
        script = Script((1.5, Boom("no")))
        await outcomes(ask, script, 1)
        return budget.tokens, len(script.asked_at)

    assert played(main) == (9.0, 2)


def test_hedged_and_retried_the_dependency_is_asked_no_more_than_both_budgets_allow() -> None:
    """A brown-out: every answer fails, late. Without budgets each call would be six."""

    async def main() -> int:
        ask = pipeline(hedge=Hedge(min_observations=1, max_extra=0.05), retry=AGAIN)
        for _ in range(20):
            await ask.call(later, 1.0)
        script = Script((5.0, Boom("no")))
        await outcomes(ask, script, 100)
        return len(script.asked_at)

    assert played(main) <= 100 + 4 + 6  # by the retry budget, and 5 % of 120 calls


def test_what_was_refused_costs_the_budget_nothing_and_may_be_retried_when_it_may_pass() -> None:
    async def main() -> Any:
        budget = RetryBudget()
        ask = pipeline(
            retry=RetryPolicy(on=(Fault.CIRCUIT_OPEN,), max_attempts=2, base_s=1.0, cap_s=1.0),
            circuit_breaker=CircuitBreaker(min_calls=1, window=1, open_s=15.0),
            budget=budget,
        )
        script = Script((0, Boom("no")), (0, "A"))
        before = await outcomes(ask, script, 1)
        return before, await ask.call(script), now_s(), budget.tokens

    assert played(main) == (["Boom"], "A", 15.0, 9.1)


def test_isolated_it_is_not_waited_for() -> None:
    async def main() -> float:
        ask = pipeline(
            retry=RetryPolicy(on=(Fault.CIRCUIT_OPEN,), max_attempts=2, base_s=1.0, cap_s=1.0),
            circuit_breaker=CircuitBreaker(),
        )
        assert ask.admission.circuit is not None
        ask.admission.circuit.isolate()
        with pytest.raises(CircuitOpen):
            await ask.call(answers)
        return now_s()

    assert played(main) <= 1.0


def test_cancelled_in_a_pause_between_attempts_it_ends() -> None:
    async def main() -> int:
        script = Script((0, Boom("no")))
        task = asyncio.ensure_future(pipeline(retry=AGAIN).call(script))
        await pause(0.5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return len(script.asked_at)

    assert played(main) == 1


def test_an_argument_that_does_not_fit_is_the_callers_error_and_takes_no_place() -> None:
    async def main() -> int:
        ask = pipeline(bulkhead=Bulkhead(max_concurrent=1), hedge=EAGER)
        wrong: Any = later
        for _ in range(3):
            with pytest.raises(TypeError):
                await ask.call(wrong, 1.0, 2.0, 3.0)
        assert ask.admission.compartment is not None
        return ask.admission.compartment.inside

    assert played(main) == 0


CALLS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.5, 2.0]),  # seconds since the one before
        st.sampled_from([0.0, 0.3, 0.3, 0.3, 4.0]),  # what the first attempt takes
        st.booleans(),  # whether it answers
        st.one_of(st.none(), st.sampled_from([0.0, 0.2, 0.4, 1.0, 3.0])),  # cancelled after so many seconds
        st.integers(0, 4),  # and so many turns
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(CALLS, st.integers(0, 9))
def test_whatever_is_asked_and_cancelled_in_the_end_all_is_as_before(calls: list[Any], seed: int) -> None:
    async def main() -> None:
        ask = ResiliencePipeline(
            "search", clock=LoopClock(), rng=seeded_rng(seed), timeout_s=2.5, retry=AGAIN,
            hedge=Hedge(min_observations=2, max_extra=0.3), circuit_breaker=CircuitBreaker(min_calls=4, open_s=1.0),
            rate_limit=RateLimit(calls_per_minute=120, burst_s=2.0), bulkhead=Bulkhead(max_concurrent=2, max_queue=2),
        )  # fmt: skip
        assert ask.admission.compartment is not None and ask.hedging is not None
        inside = most = 0

        async def dependency(seconds: float, result: Any) -> Any:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            try:
                return await (later(seconds, result) if seconds else turned(result))
            finally:
                inside -= 1

        async def cancel(task: "asyncio.Task[Any]", after_s: float, count: int) -> None:
            await pause(after_s)
            await turns(count)
            task.cancel()

        tasks: list[asyncio.Task[Any]] = []
        for pause_s, seconds, ok, cancel_s, count in calls:
            await pause(pause_s)
            task: asyncio.Task[Any] = asyncio.ensure_future(ask.call(dependency, seconds, "A" if ok else Boom("no")))
            tasks.append(task)
            if cancel_s is not None:
                tasks.append(asyncio.ensure_future(cancel(task, cancel_s, count)))
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= 2
        assert (inside, ask.admission.compartment.inside, ask.admission.compartment.waiting) == (0, 0, 0)
        assert ask.hedging.extra <= 0.3 * ask.hedging.asked + 1e-9
        for task in tasks:
            assert task.cancelled() or isinstance(
                task.exception(), type(None) | Boom | CallTimeout | CircuitOpen | RateLimited | Shed
            )
        circuit = ask.admission.circuit
        assert circuit is not None
        await pause(20.0)
        for _ in range(2):  # no probe's place was lost
            assert await ask.call(answers) == "at once"
        assert circuit.state is CircuitState.CLOSED

    played(main)
