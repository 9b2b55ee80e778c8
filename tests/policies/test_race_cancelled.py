"""Two attempts at the same, and the call is cancelled, closed, timed out, or taken off the stack."""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policies.playing import Boom, later, now_s, pause, played, turns
from tests.policies.racing import (
    AFTER_S,
    KINDS,
    Raced,
    answers_all_the_same,
    breaks,
    came,
    grouped,
    scoped,
    slow_to_end,
    stubborn,
    timed,
)


@pytest.mark.parametrize("at_s", [0.5, 1.0, 1.5, 2.5])
@pytest.mark.parametrize("first", [later, slow_to_end])
@pytest.mark.parametrize("spare", [later, slow_to_end])
def test_a_call_that_is_cancelled_ends_when_both_have_ended(first: Any, spare: Any, at_s: float) -> None:
    async def main() -> None:
        raced = Raced(lambda _: spare(9.0, "B"))
        task = asyncio.ensure_future(raced.run(first(9.0, "A")))
        await pause(at_s)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert raced.balance == 1
        assert set(raced.ended) <= {"first cancelled", "spare cancelled"}

    played(main)


def test_no_spare_joins_a_call_that_was_cancelled() -> None:
    async def main() -> int:
        raced = Raced(lambda _: later(9.0, "B"))
        task = asyncio.ensure_future(raced.run(slow_to_end(9.0, "A")))
        await pause(0.5)
        task.cancel()
        await asyncio.wait([task])
        return raced.spares

    assert played(main) == 0


@pytest.mark.parametrize(("spare", "at_s"), [(slow_to_end, 2.0), (stubborn, 10.0)])
def test_cancelled_again_while_it_waits_for_the_loser_it_still_leaves_nobody_behind(spare: Any, at_s: float) -> None:
    """The second cancellation ended the waiting, and the loser went on alone."""

    async def main() -> float:
        raced = Raced(lambda _: spare(9.0, "B"))
        task = asyncio.ensure_future(raced.run(later(1.5, "A")))
        await pause(2.0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return now_s()

    assert played(main) == at_s


def test_cancelled_while_it_waits_for_the_spare_that_should_save_it() -> None:
    async def main() -> list[str]:
        raced = Raced(lambda _: later(9.0, "B"))
        task = asyncio.ensure_future(raced.run(later(1.5, Boom("A"))))
        await pause(2.0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return raced.ended

    assert played(main) == ["first failed", "spare cancelled"]


@pytest.mark.parametrize("lag", range(-3, 4))
def test_cancelled_in_the_turn_in_which_the_spare_wins_it_is_cancelled(lag: int) -> None:
    async def main() -> bool:
        wins = asyncio.get_running_loop().create_future()

        async def waits() -> Any:
            return await wins

        raced = Raced(lambda _: waits())
        task = asyncio.ensure_future(raced.run(later(9.0, "A")))
        await pause(2.0)

        async def cancels() -> None:
            await turns(max(0, lag))
            task.cancel()

        async def answers_then() -> None:
            await turns(max(0, -lag))
            if not wins.done():
                wins.set_result("B")

        await asyncio.gather(cancels(), answers_then())
        await asyncio.wait([task])
        # Either it was cancelled, or it was over by then.
        assert task.cancelled() or (lag > 0 and task.result() == "B")
        assert task.cancelled() == (raced.balance == 1)
        return True

    assert played(main)


class Unwound(BaseException):
    """As a run is taken off the stack."""


@pytest.mark.parametrize("at_s", [0.5, 1.5])
def test_what_takes_the_call_off_the_stack_leaves_nobody_behind(at_s: float) -> None:
    """The spare went on, or even joined later, when the first had raised what is no Exception."""

    async def main() -> int:
        raced = Raced(lambda _: slow_to_end(9.0, "B"))

        async def unwinds() -> None:
            await pause(at_s)
            raise Unwound

        with pytest.raises(Unwound):
            await raced.race.run(unwinds(), after_s=AFTER_S)
        await pause(9.0)
        return raced.spares

    assert played(main) == (at_s > AFTER_S)


def test_one_that_is_closed_takes_its_spare_with_it() -> None:
    async def main() -> list[str]:
        raced = Raced(lambda _: later(9.0, "B"))
        running = raced.race.run(later(9.0, "A"), after_s=AFTER_S)
        running.send(None)
        await pause(1.5)
        running.close()
        await turns(3)
        return raced.ended

    assert played(main) == ["spare cancelled"]


@pytest.mark.parametrize("spare", [later, slow_to_end, stubborn])
@pytest.mark.parametrize("first", KINDS)
def test_a_timeout_around_it_holds_and_takes_both_with_it(first: Any, spare: Any) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        raced = Raced(lambda _: spare(9.0, "B"))
        if first in (stubborn, answers_all_the_same):  # it takes no notice, here as anywhere
            async with asyncio.timeout(1.5):
                await raced.run(first(9.0, "A"))
        elif first is breaks:
            with pytest.raises(Boom):
                async with asyncio.timeout(1.5):
                    await raced.run(first(9.0, "A"))
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await raced.run(first(9.0, "A"))
        assert task.cancelling() == 0

    played(main)


@pytest.mark.parametrize("spare", [later, slow_to_end, breaks])
@pytest.mark.parametrize("first", [later, slow_to_end, timed, scoped, grouped])
@pytest.mark.parametrize("shield", [False, True])
def test_an_anyio_scope_around_it_holds_and_takes_both_with_it(first: Any, spare: Any, shield: bool) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        raced = Raced(lambda _: spare(6.0, "B"))
        with anyio.move_on_after(1.5) as scope:
            with anyio.CancelScope(shield=shield):
                await raced.run(first(9.0, "A"))
            if shield:
                await pause(0)
        assert scope.cancelled_caught or first in (timed, scoped)
        assert task.cancelling() == 0

    async def tolerant() -> None:
        if shield and first in (timed, scoped):
            with suppress(Boom):
                await main()
        else:
            await main()

    played(tolerant)


def test_the_spare_sees_the_calls_own_context() -> None:
    who: ContextVar[str] = ContextVar("who")

    async def names() -> str:
        return await later(0.5, who.get())

    async def main() -> Any:
        who.set("caller")
        return await came(Raced(lambda _: names()), later(9.0, "A"))

    assert played(main) == ("caller", 1.5)


INSTANTS = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
KIND = st.sampled_from(range(len(KINDS)))
RESULT = st.booleans()


@settings(max_examples=400)
@given(KIND, KIND, INSTANTS, INSTANTS, RESULT, RESULT, st.lists(INSTANTS, max_size=3), st.integers(0, 2))
def test_in_every_order_of_events_nothing_is_left_and_the_books_balance(
    first: int,
    spare: int,
    first_s: float,
    spare_s: float,
    first_ok: bool,
    spare_ok: bool,
    cancels: list[float],
    lag: int,
) -> None:
    async def main() -> None:
        raced = Raced(lambda _: KINDS[spare](spare_s, "B" if spare_ok else Boom("B")))
        task = asyncio.ensure_future(raced.run(KINDS[first](first_s, "A" if first_ok else Boom("A"))))

        async def cancel_at(seconds: float) -> None:
            await pause(seconds)
            await turns(lag)
            task.cancel()

        requested = [asyncio.ensure_future(cancel_at(seconds)) for seconds in cancels]
        await asyncio.wait([task])
        asked = task.cancelling()
        await asyncio.gather(*requested)
        assert raced.balance == asked, "what it counts is what others asked for"
        if not cancels:
            good = {"A"} if first_ok else set()
            good |= {"B"} if spare_ok and raced.spares else set()
            if task.exception() is None:
                assert task.result() in good | {"all the same"}
            else:
                assert isinstance(task.exception(), Boom)

    played(main)
