"""Hedging: when a call is asked once more, how often, and the race between the two in every order of events."""

import asyncio
import itertools
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import HedgeSection
from plimsoll.core.errors import Misuse
from plimsoll.policies.hedge import Hedge, HedgeBook, Race
from tests.policies.playing import Boom, answers, later, now_s, pause, played, turns

AFTER_S = 1.0


# ------------------------------------------------------------------------------------------------ when, and how often


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"quantile": 0.49}, "quantile"),
        ({"quantile": 1.0}, "quantile"),
        ({"quantile": math.nan}, "quantile"),
        ({"min_observations": 0}, "min_observations"),
        ({"max_extra": 0.0}, "max_extra"),
        ({"max_extra": 1.01}, "max_extra"),
        ({"max_extra": math.nan}, "max_extra"),
    ],
)
def test_nonsense_is_refused_when_built(changed: dict[str, Any], names: str) -> None:
    with pytest.raises(Misuse, match=f"hedge.{names}"):
        Hedge(**changed)


def test_it_is_what_the_contract_says() -> None:
    section = HedgeSection(quantile=0.9, min_observations=7, max_extra=0.1)
    assert Hedge.from_contract(section) == Hedge(quantile=0.9, min_observations=7, max_extra=0.1)


def test_the_bounds_themselves_are_allowed() -> None:
    Hedge(quantile=0.5, min_observations=1, max_extra=1.0)


def test_nothing_is_hedged_before_enough_was_seen() -> None:
    book = HedgeBook(Hedge(min_observations=20))
    for _ in range(19):
        assert book.begin() is None
        book.observe(0.1)
    assert book.begin() is None
    book.observe(0.1)
    assert book.begin() == pytest.approx(0.1 * 1.05, rel=0.011)


def test_it_waits_for_the_quantile_of_what_was_seen() -> None:
    book = HedgeBook(Hedge(quantile=0.9, min_observations=100))
    for number in range(100):
        book.observe((number + 1) / 100)
    assert book.begin() == pytest.approx(0.9 * 1.05, rel=0.03)


def test_calls_that_all_take_the_same_time_are_never_late() -> None:
    for seconds in (0.001, 0.1, 0.7, 3.0, 42.0):
        book = HedgeBook(Hedge(min_observations=1))
        book.observe(seconds)
        after_s = book.begin()
        assert after_s is not None and after_s > seconds


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_what_is_no_latency_is_not_counted(seconds: float) -> None:
    book = HedgeBook(Hedge(min_observations=1))
    book.observe(seconds)
    assert book.begin() is None


def test_a_dependency_that_has_become_slower_is_learned_anew() -> None:
    book = HedgeBook(Hedge(quantile=0.5))
    for _ in range(5000):
        book.observe(0.1)
    for _ in range(1500):
        book.observe(2.0)
    assert book.begin() == pytest.approx(2.1, rel=0.02)


def test_what_is_remembered_stays_small() -> None:
    book = HedgeBook(Hedge())
    for number in range(12_345):
        book.observe(0.001 * (number % 1000))
        assert book._old.count <= 1000
        assert number < 500 or book._old.count >= 500


@given(st.sampled_from([0.01, 0.05, 0.3, 1.0]), st.lists(st.booleans(), max_size=400))
def test_the_extra_load_stays_below_its_share(max_extra: float, are_late: list[bool]) -> None:
    """A first extra call is saved up for, and after a long time without any, five may be made at once."""
    book = HedgeBook(Hedge(max_extra=max_extra))
    made = 0
    for is_late in are_late:
        book.begin()
        made += is_late and book.spend()
        assert made <= max_extra * book.asked + 1e-9
    assert (book.asked, book.extra) == (len(are_late), made)


def test_after_a_long_time_without_any_so_many_extra_calls_may_be_made_at_once() -> None:
    book = HedgeBook(Hedge(max_extra=0.05))
    for _ in range(10_000):
        book.begin()
    assert [book.spend() for _ in range(6)] == [True, True, True, True, True, False]
    for _ in range(19):
        book.begin()
    assert not book.spend()
    book.begin()
    book.begin()
    assert book.spend()


# -------------------------------------------------------------------------------------------------------- the race


class Raced:
    """A race that writes down what became of its contenders."""

    def __init__(self, spare: Callable[["Raced"], Coroutine[Any, Any, Any]] | None, **options: Any) -> None:
        self.spares = 0
        self.ended: list[str] = []
        self._spare = spare
        self.race: Race[Any] = Race(self._make, **options)

    def _make(self, race: Race[Any]) -> Coroutine[Any, Any, Any] | None:
        assert race is self.race
        return None if self._spare is None else self._joins(self._spare)

    async def _joins(self, spare: Callable[["Raced"], Coroutine[Any, Any, Any]]) -> Any:
        self.spares += 1
        return await self.noted("spare", spare(self))

    async def noted(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            result = await work
        except asyncio.CancelledError:
            self.ended.append(f"{name} cancelled")
            raise
        except Exception:
            self.ended.append(f"{name} failed")
            raise
        self.ended.append(f"{name} answered")
        return result

    async def run(self, first: Coroutine[Any, Any, Any], *, after_s: float = AFTER_S) -> Any:
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        try:
            return await self.race.run(self.noted("first", first), after_s=after_s)
        finally:
            assert len(self.ended) == 1 + self.spares, "whoever loses is awaited"
            self.balance = task.cancelling() - before


async def came(raced: Raced, first: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """What came of a race that nobody cancels, and when."""
    try:
        result = await raced.run(first)
    except Boom as error:
        result = error.args[0]
    assert raced.balance == 0, "nobody has cancelled the call"
    return result, now_s()


def raced(first: Any, spare: Any, **options: Any) -> Any:
    """What comes of two contenders: each is what it does, for how long, and what it answers."""

    async def main() -> Any:
        race = Raced(lambda _: spare[0](*spare[1:]), **options)
        return *await came(race, first[0](*first[1:])), race.ended

    return played(main)


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


async def stubborn(seconds: float, result: Any) -> Any:
    """Takes no notice of being cancelled."""
    end_s = now_s() + seconds
    while now_s() < end_s:
        with suppress(asyncio.CancelledError):
            await pause(end_s - now_s())
    return await later(0, result)


async def slow_to_end(seconds: float, result: Any) -> Any:
    """Needs 3 s to clean up."""
    try:
        return await later(seconds, result)
    except asyncio.CancelledError:
        await pause(3.0)
        raise


async def breaks(seconds: float, result: Any) -> Any:
    """Fails when it is cancelled."""
    try:
        return await later(seconds, result)
    except asyncio.CancelledError:
        raise Boom("broke when it was cancelled") from None


async def answers_all_the_same(seconds: float, result: Any) -> Any:
    """Answers when it is cancelled."""
    try:
        return await later(seconds, result)
    except asyncio.CancelledError:
        return "all the same"


async def timed(seconds: float, result: Any) -> Any:
    """Has a timeout of its own."""
    try:
        async with asyncio.timeout(2.0):
            return await later(seconds, result)
    except TimeoutError:
        raise Boom("timed out") from None


async def scoped(seconds: float, result: Any) -> Any:
    """The same, by anyio."""
    with anyio.move_on_after(2.0):
        return await later(seconds, result)
    raise Boom("timed out")


async def grouped(seconds: float, result: Any) -> Any:
    """Works in a task of its own."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pause(seconds))
    assert task.done()
    return await later(0, result)


KINDS = (later, stubborn, slow_to_end, breaks, answers_all_the_same, timed, scoped, grouped)


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


# ---------------------------------------------------------------------------------------------- cancelled from outside


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
