"""Two attempts at the same: which wins, in every order of events."""

import asyncio
import itertools
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from tests.policies.playing import Boom, answers, later, pause, played, turns
from tests.policies.racing import (
    AFTER_S,
    Raced,
    answers_all_the_same,
    breaks,
    came,
    grouped,
    raced,
    scoped,
    slow_to_end,
    stubborn,
    timed,
)


def test_what_answers_at_once_needs_no_timer_and_no_spare() -> None:
    async def main() -> int:
        raced = Raced(lambda _: later(1.0))
        assert await raced.race.run(answers("at once"), after_s=AFTER_S) == "at once"
        loop: Any = asyncio.get_running_loop()
        return raced.spares + len(loop._timers)

    assert played(main) == 0


def test_what_fails_at_once_fails() -> None:
    async def fails() -> None:
        raise Boom("no")

    async def main() -> None:
        with pytest.raises(Boom):
            await Raced(None).race.run(fails(), after_s=AFTER_S)

    played(main)


@pytest.mark.parametrize(
    ("first", "spare", "result", "at_s", "ended"),
    [
        ((0.5, "A"), (9.0, "B"), "A", 0.5, ["first answered"]),
        ((1.5, "A"), (9.0, "B"), "A", 1.5, ["first answered", "spare cancelled"]),
        ((9.0, "A"), (1.0, "B"), "B", 2.0, ["spare answered", "first cancelled"]),
        ((0.5, Boom("A")), (9.0, "B"), "A", 0.5, ["first failed"]),  # it was not late: there is no spare
        ((1.5, Boom("A")), (1.0, "B"), "B", 2.0, ["first failed", "spare answered"]),
        ((1.5, Boom("A")), (1.0, Boom("B")), "A", 2.0, ["first failed", "spare failed"]),
        ((5.0, Boom("A")), (1.0, Boom("B")), "A", 5.0, ["spare failed", "first failed"]),
        ((5.0, "A"), (1.0, Boom("B")), "A", 5.0, ["spare failed", "first answered"]),
        ((9.0, Boom("A")), (1.0, "B"), "B", 2.0, ["spare answered", "first cancelled"]),
    ],
)
def test_the_first_good_answer_wins(first: Any, spare: Any, result: str, at_s: float, ended: list[str]) -> None:
    assert raced((later, *first), (later, *spare)) == (result, at_s, ended)


@pytest.mark.parametrize(
    ("first", "spare", "result", "at_s"),
    [
        ((1.5, "bad A"), (1.0, "B"), "B", 2.0),
        ((1.5, "bad A"), (1.0, "bad B"), "bad A", 2.0),
        ((1.5, "bad A"), (1.0, Boom("B")), "bad A", 2.0),
        ((1.5, Boom("A")), (1.0, "bad B"), "A", 2.0),
        ((5.0, "A"), (1.0, "bad B"), "A", 5.0),
        ((0.5, "bad A"), (1.0, "B"), "bad A", 0.5),
    ],
)
def test_an_answer_that_is_none_does_not_win(first: Any, spare: Any, result: str, at_s: float) -> None:
    def is_bad(answer: str) -> bool:
        return answer.startswith("bad")

    assert raced((later, *first), (later, *spare), is_failure=is_bad)[:2] == (result, at_s)


def test_a_spare_that_is_declined_is_not_missed() -> None:
    async def main() -> Any:
        return await came(Raced(None), later(5.0, "A"))

    assert played(main) == ("A", 5.0)


# A contender, by name: what it does with 1 s of work, or when it is cancelled.


@pytest.mark.parametrize(
    ("first", "at_s", "ended"),
    [
        ((stubborn, 5.0, "A"), 5.0, "first answered"),
        ((slow_to_end, 9.0, "A"), 5.0, "first cancelled"),
        ((breaks, 9.0, "A"), 2.0, "first failed"),
        ((answers_all_the_same, 9.0, "A"), 2.0, "first answered"),
        ((timed, 9.0, "A"), 2.0, None),  # its time is up in the very turn in which the spare answers
        ((scoped, 9.0, "A"), 2.0, None),
        ((grouped, 9.0, "A"), 2.0, "first cancelled"),
    ],
)
def test_whatever_the_first_does_when_it_is_told_to_give_up_the_winner_is_the_spare(
    first: Any, at_s: float, ended: str | None
) -> None:
    result, when_s, ends = raced(first, (later, 1.0, "B"))
    assert (result, when_s) == ("B", at_s)
    assert ended is None or ends == ["spare answered", ended]


@pytest.mark.parametrize(
    ("spare", "at_s"),
    [
        ((stubborn, 5.0, "B"), 6.0),
        ((slow_to_end, 9.0, "B"), 4.5),
        ((breaks, 9.0, "B"), 1.5),
        ((answers_all_the_same, 9.0, "B"), 1.5),
        ((grouped, 9.0, "B"), 1.5),
    ],
)
def test_whatever_the_spare_does_when_it_is_told_to_give_up_the_winner_is_the_first(spare: Any, at_s: float) -> None:
    assert raced((later, 1.5, "A"), spare)[:2] == ("A", at_s)


# ------------------------------------------------------------------------------------------------------- in one turn


@pytest.mark.parametrize("spare_first", [True, False])
@pytest.mark.parametrize("results", list(itertools.product(("A", Boom("A")), ("B", Boom("B")))))
@pytest.mark.parametrize("lag", range(-3, 4))
def test_both_may_end_in_the_same_turn_or_nearly(spare_first: bool, results: tuple[Any, Any], lag: int) -> None:
    """Two futures are set within a turn, or some turns apart, in either order."""

    async def waits(future: "asyncio.Future[Any]") -> Any:
        return await future

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        futures = loop.create_future(), loop.create_future()
        raced = Raced(lambda _: waits(futures[1]))
        task = asyncio.ensure_future(came(raced, waits(futures[0])))
        await pause(2.0)

        async def sets(which: int) -> None:
            await turns(max(0, lag if which else -lag))
            if futures[which].cancelled():
                return
            result = results[which]
            futures[which].set_exception(result) if isinstance(result, Boom) else futures[which].set_result(result)
            if futures[which].exception() is not None:
                futures[which].exception()

        order = (1, 0) if spare_first else (0, 1)
        await asyncio.gather(*(sets(which) for which in order))
        return (await task)[0]

    result = played(main)
    good = [one for one in results if isinstance(one, str)]
    assert result in (good or ["A"])


# --------------------------------------------------------------------------------------------------------- streams


async def leads(raced: Raced, *, is_spare: bool, at_s: float, ends_s: float, result: Any) -> Any:
    """Its answer begins to come after `at_s` seconds, and is whole after `ends_s`."""
    await pause(at_s)
    raced.race.lead(is_spare=is_spare)
    return await later(ends_s - at_s, result)


@pytest.mark.parametrize(
    ("first", "spare", "result", "at_s"),
    [
        ((0.5, 9.0, "A"), (1.0, 2.0, "B"), "A", 9.0),  # before the spare would have joined
        ((1.5, 9.0, "A"), (1.0, 2.0, "B"), "A", 9.0),
        ((5.0, 9.0, "A"), (1.0, 7.0, "B"), "B", 8.0),
        ((5.0, 9.0, "A"), (1.0, 7.0, Boom("B")), "B", 8.0),  # what came of it has been shown
        ((1.5, 9.0, Boom("A")), (1.0, 2.0, "B"), "A", 9.0),
        ((0.5, 0.9, Boom("A")), (1.0, 2.0, "B"), "A", 0.9),
        ((9.0, 9.0, "A"), (1.0, 2.0, Boom("B")), "B", 3.0),
    ],
)
def test_of_streams_whoever_is_first_to_begin_wins(first: Any, spare: Any, result: Any, at_s: float) -> None:
    async def main() -> Any:
        raced = Raced(lambda raced: contender(raced, spare, True))
        return await came(raced, contender(raced, first, False))

    def contender(raced: Raced, times: Any, is_spare: bool) -> Coroutine[Any, Any, Any]:
        return leads(raced, is_spare=is_spare, at_s=times[0], ends_s=times[1], result=times[2])

    assert played(main) == (result, at_s)


def test_where_the_first_failed_and_the_spare_has_begun_the_spares_end_is_the_calls() -> None:
    async def main() -> Any:
        raced = Raced(lambda raced: leads(raced, is_spare=True, at_s=2.0, ends_s=3.0, result=Boom("B")))
        return await came(raced, later(1.5, Boom("A")))

    assert played(main) == ("B", 4.0)


def test_who_was_slower_to_begin_is_told_and_cancelled_at_once() -> None:
    async def main() -> Any:
        raced = Raced(lambda _: later(9.0, "B"))

        async def begins() -> str:
            await pause(1.5)
            assert raced.race.has_spare
            told = raced.race.lead(is_spare=False), raced.race.lead(is_spare=True)
            await pause(1.0)
            return f"{told} {raced.ended}"

        assert not raced.race.has_spare
        return await raced.run(begins())

    assert played(main) == "(True, False) ['spare cancelled']"


def test_a_stream_that_begins_at_once_is_never_asked_twice() -> None:
    """Its timer was set after it had led, so a spare joined it all the same."""

    async def begins_at_once(raced: Raced) -> str:
        raced.race.lead(is_spare=False)
        return await later(9.0, "A")

    async def main() -> Any:
        raced = Raced(lambda _: later(1.0, "B"))
        return *await came(raced, begins_at_once(raced)), raced.spares

    assert played(main) == ("A", 9.0, 0)


def test_a_spare_that_was_told_to_give_up_and_answers_does_not_save_what_was_shown() -> None:
    async def main() -> Any:
        raced = Raced(lambda _: answers_all_the_same(9.0, "B"))
        return await came(raced, leads(raced, is_spare=False, at_s=1.5, ends_s=3.0, result=Boom("A")))

    assert played(main) == ("A", 3.0)


def test_only_the_first_to_lead_leads() -> None:
    async def main() -> Any:
        raced = Raced(lambda raced: leads(raced, is_spare=True, at_s=1.0, ends_s=3.0, result="B"))

        async def late() -> str:
            with suppress(asyncio.CancelledError):
                await pause(9.0)
            raced.race.lead(is_spare=False)
            return "A"

        return await came(raced, late())

    assert played(main) == ("B", 4.0)
