"""What all runs of an agent together may use up in a day: in every process, across crashes, and for each attempt."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from plimsoll.contract.model import (
    AgentSection,
    Contract,
    DayLimits,
    HedgeSection,
    Limits,
    Mode,
    Model,
    Protections,
    Retry,
)
from plimsoll.core.calls import Ending, Fault, Usage
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import DayLimitExceeded, JournalUnavailable, Rejected
from plimsoll.core.ids import SequentialIds
from plimsoll.journal import MemoryStore
from plimsoll.journal.spending import Spend
from plimsoll.runtime.daily import DAY_S, NANOS, day_of
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.runtime.bench import CrashingStore, Desk, pass_time, simulated

FULL = Usage(output_tokens=1000)
TENTH = Usage(output_tokens=100)
DEAR = Model(max_output_tokens=1000, usd_per_million_output_tokens=1000.0)
"""One call costs a dollar at its worst."""
CANNED = Model(canned="Later, please.")
EPOCH = day_of(1_767_225_600.0)


async def ask(run: Run, request: Any) -> str:
    return (await run.model("hi")).text


class Office(Desk):
    """An agent that only asks its models; each of them counts how often, and bills `used`."""

    def __init__(self, day: DayLimits, *, used: Usage = FULL, canned: bool = True, **settings: Any) -> None:
        super().__init__()
        primary = settings.pop("primary", DEAR)
        models = {"primary": replace(primary, fallback=("canned",) if canned else ()), "canned": CANNED}
        self.contract = Contract(
            agent=AgentSection(name="office"),
            limits=Limits(usd=50.0, day=day),
            models=models if canned else {"primary": models["primary"]},
            **settings,
        )
        self.used = used
        self.asked = 0
        self.models, self.agent, self.tools, self.verify = {"primary": self.model}, ask, [], False
        self.fails = 0
        self.takes_s: list[float] = []

    async def model(self, prompt: Any) -> ModelReply:
        self.asked += 1
        await pass_time(self.takes_s.pop(0) if self.takes_s else 1.0)
        if self.fails:
            self.fails -= 1
            raise ConnectionError("down")
        return ModelReply(text="Here you are.", usage=self.used)

    async def usd(self, day: int = EPOCH) -> float:
        return (await self.store.drawn("office", day)).nanos / NANOS


async def endings(harness: Harness, count: int) -> list[str]:
    return [(await harness.run({})).ending for _ in range(count)]


def test_a_rung_that_would_pass_the_day_is_not_asked_and_the_next_one_is() -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=3.0))
        harness = office.live()
        assert await endings(harness, 5) == [Ending.COMPLETE] * 3 + [Ending.DEGRADED] * 2
        assert office.asked == 3
        assert ("limit", "primary", "day_usd") in office.kinds()
        await harness.close()

    simulated(main)


@pytest.mark.parametrize(("day", "name"), [(DayLimits(usd=3.0), "day_usd"), (DayLimits(tokens=3200), "day_tokens")])
def test_where_no_rung_is_left_the_run_is_halted(day: DayLimits, name: str) -> None:
    async def main() -> None:
        office = Office(day, canned=False)
        harness = office.live()
        assert await endings(harness, 3) == [Ending.COMPLETE] * 3
        result = await harness.run({}, run_id="r")
        assert (result.ending, office.asked) == (Ending.HALTED, 3)
        assert name in result.reason and f"raise limits.{name.replace('_', '.')}" in result.reason
        assert [(one.kind, one.fault) for one in result.findings][-1] == ("limit", name)
        await harness.close()

    simulated(main)


def test_what_a_call_really_used_takes_the_place_of_its_worst_case() -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=3.0), used=TENTH)
        harness = office.live()
        assert await endings(harness, 23) == [Ending.COMPLETE] * 21 + [Ending.DEGRADED] * 2
        await harness.close()
        assert await office.usd() == pytest.approx(2.1)

    simulated(main)


def test_a_provider_that_bills_more_than_the_worst_case_is_written_down() -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=3.0), used=Usage(output_tokens=2500))
        harness = office.live()
        assert await endings(harness, 3) == [Ending.COMPLETE, Ending.DEGRADED, Ending.DEGRADED]
        assert await office.usd() == pytest.approx(2.5)
        await harness.close()

    simulated(main)


def test_a_day_begins_at_midnight_utc() -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=1.0))
        harness = office.live()
        assert await endings(harness, 2) == [Ending.COMPLETE, Ending.DEGRADED]
        await pass_time(DAY_S - 10.0)
        assert await endings(harness, 1) == [Ending.DEGRADED], "not yet"
        await pass_time(20.0)
        assert await endings(harness, 2) == [Ending.COMPLETE, Ending.DEGRADED]
        assert [await office.usd(EPOCH), await office.usd(EPOCH + 1)] == [1.0, 1.0]
        await harness.close()

    simulated(main)


def test_processes_that_run_at_the_same_time_share_the_day() -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=4.0))
        harnesses = [beside(office, name) for name in ("one", "two", "three")]
        results = await asyncio.gather(
            *(harness.run({}, run_id=f"{harness.owner}-{number}") for harness in harnesses for number in range(3))
        )
        assert sorted(result.ending for result in results) == [Ending.COMPLETE] * 4 + [Ending.DEGRADED] * 5
        assert office.asked == 4
        for harness in harnesses:
            await harness.close()
        assert await office.usd() == 4.0

    simulated(main)


def beside(office: Office, owner: str) -> Harness:
    """A process that lives beside others."""
    surroundings = Surroundings(store=office.store, owner=owner, clock=LoopClock(), ids=SequentialIds())
    return Harness(office.contract, agent=ask, surroundings=surroundings, models=office.models, fingerprint="v1")


def test_a_retry_that_would_pass_the_day_is_not_made_and_the_ladder_goes_on() -> None:
    async def main() -> None:
        again = Retry(on=(Fault.CONNECTION, Fault.EMPTY), max_attempts=4)
        office = Office(DayLimits(usd=2.5), primary=replace(DEAR, retry=again), used=FULL)

        async def empty(prompt: Any) -> ModelReply:
            office.asked += 1
            return ModelReply(text="", usage=FULL)

        office.models["primary"] = empty
        harness = office.live()
        assert (await harness.run({}, run_id="r")).ending is Ending.DEGRADED
        assert office.asked == 2, "each was paid for"
        await harness.close()
        assert await office.usd() == pytest.approx(2.0)

    simulated(main)


@pytest.mark.parametrize(("usd", "asked"), [(200.0, 42), (41.5, 41)])
def test_a_hedge_is_made_only_from_what_is_in_hand(usd: float, asked: int) -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=usd), primary=replace(DEAR, timeout_s=60.0, slow_s=50.0, hedge=HedgeSection()))
        harness = office.live()
        assert set(await endings(harness, 40)) == {Ending.COMPLETE}
        office.takes_s = [9.0]
        assert (await harness.run({})).ending is Ending.COMPLETE
        assert office.asked == asked
        await harness.close()

    simulated(main)


def test_limits_that_observe_refuse_nothing_and_count_all_the_same() -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=2.0, runs=2), protections=Protections(limits=Mode.OBSERVE))
        harness = office.live()
        results = [await harness.run({}) for _ in range(4)]
        assert {result.ending for result in results} == {Ending.COMPLETE}
        seen = [[(one.fault, one.observed) for one in result.findings] for result in results]
        assert seen == [[], []] + [[("day_runs", True), ("day_usd", True)]] * 2
        await harness.close()
        assert await office.store.drawn("office", EPOCH) == Spend(4 * NANOS, 0, 4)

    simulated(main)


def test_a_run_beyond_the_days_is_refused_and_nothing_is_recorded() -> None:
    async def main() -> None:
        office = Office(DayLimits(runs=2))
        harness = office.live()
        for run_id in ("a", "b"):
            await harness.run({}, run_id=run_id)
        with pytest.raises(DayLimitExceeded, match=r"raise limits\.day\.runs") as caught:
            await harness.run({}, run_id="c")
        assert (caught.value.limit, caught.value.allowed, caught.value.needed) == ("day_runs", 2, 3)
        assert await office.store.head("c") is None
        assert (await harness.run({}, run_id="a")).ending is Ending.COMPLETE, "it is there, and answered"
        second = office.live()
        with pytest.raises(DayLimitExceeded):
            await second.run({}, run_id="c")
        await pass_time(DAY_S)
        assert (await second.run({}, run_id="c")).ending is Ending.COMPLETE
        for each in (harness, second):
            await each.close()

    simulated(main)


def test_a_run_that_is_there_or_cannot_be_recorded_is_not_counted() -> None:
    async def main() -> None:
        office = Office(DayLimits(runs=2))
        harness = office.live(Broken(office.store))
        for _ in range(3):
            with pytest.raises(JournalUnavailable):
                await harness.run({}, run_id="a")
        await harness.close()
        harness = office.live()
        for _ in range(3):
            await harness.run({}, run_id="a")
        await harness.run({}, run_id="b")
        await harness.close()
        assert (await office.store.drawn("office", EPOCH)).runs == 2

    simulated(main)


class Broken:
    """A store that begins no run."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def begin(self, run_id: str, *, owner: str, at: float) -> Any:
        raise JournalUnavailable("the disk is full")


def test_what_continues_a_run_is_no_new_run() -> None:
    async def main() -> None:
        async def goes_on(run: Run, request: Any) -> Any:
            if request < 3:
                await run.continue_as_new(request + 1)
            return request

        office = Office(DayLimits(runs=1))
        office.agent = goes_on
        harness = office.live()
        assert (await harness.run(0, run_id="r")).output == 3
        await harness.close()

    simulated(main)


def test_a_child_counts_for_its_own_agent_and_one_too_many_is_a_rejected_call() -> None:
    async def main() -> None:
        said: list[str] = []

        async def parent(run: Run, request: Any) -> list[Any]:
            answers = []
            for _ in range(3):
                try:
                    answers.append(await run.child("office", {}))
                except Rejected as error:
                    said.append(str(error))
            return answers

        office = Office(DayLimits(runs=2, usd=1.0))
        surroundings = office.surroundings()
        child = Harness(office.contract, agent=ask, surroundings=surroundings, models=office.models)
        contract = Contract(agent=AgentSection(name="front"), limits=Limits(day=DayLimits(runs=1, usd=0.5)))
        front = Harness(contract, agent=parent, surroundings=surroundings, children={"office": child})
        result = await front.run({}, run_id="r")
        assert result.output == ["Here you are.", "Later, please."]
        assert len(said) == 1 and "day_runs" in said[0]
        assert await office.store.drawn("front", EPOCH) == Spend(runs=1)
        for harness in (front, child):
            await harness.close()

    simulated(main)


class Flickering(MemoryStore):
    """A store that cannot be drawn on for the first `failures` times."""

    failures = 0

    async def draw(self, *args: Any, **options: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise JournalUnavailable("no space left on device")
        return await super().draw(*args, **options)


@pytest.mark.parametrize(("failures", "ending"), [(3, Ending.COMPLETE), (10_000, Ending.PARKED)])
def test_a_store_that_cannot_be_drawn_on_is_waited_for_and_then_the_run_parks(failures: int, ending: Ending) -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=2.0))
        office.store = store = Flickering()
        store.failures = failures
        harness = office.live()
        result = await harness.run({}, run_id="r")
        assert result.ending is ending
        assert office.asked == (ending is Ending.COMPLETE)
        store.failures = 0
        assert (await harness.resume("r")).ending is Ending.COMPLETE
        await harness.close()
        assert await office.usd() == 1.0

    simulated(main)


def test_a_call_that_is_given_up_counts_at_its_worst() -> None:
    async def main() -> None:
        office = Office(DayLimits(usd=3.0), used=TENTH)
        office.takes_s = [20.0]
        harness = office.live()
        given_up = asyncio.ensure_future(harness.run({}, run_id="r"))
        await pass_time(5.0)
        given_up.cancel()
        await asyncio.wait([given_up])
        await harness.close()
        assert await office.usd() == 1.0

    simulated(main)


lives = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=4)


@given(lives=lives, together=st.integers(1, 3), hedged=st.booleans(), fails=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_no_crash_retry_hedge_or_replay_takes_a_day_beyond_its_limit(
    lives: list[tuple[int, int]], together: int, hedged: bool, fails: int
) -> None:
    async def main() -> None:
        async def thrice(run: Run, request: Any) -> list[str]:
            return [(await run.model(f"question {number}")).text for number in range(3)]

        primary = replace(
            DEAR,
            retry=Retry(on=(Fault.CONNECTION,), max_attempts=3),
            hedge=HedgeSection(min_observations=1, max_extra=1.0) if hedged else None,
        )
        office = Office(DayLimits(usd=5.0), primary=primary)
        office.agent, office.fails, office.takes_s = thrice, fails, [1.0, 1.0, 9.0]
        run_ids = [f"r{number}" for number in range(together)]
        for at, keep in lives:
            harness = office.live(CrashingStore(office.store, at=at, keep=keep))
            ran = [asyncio.ensure_future(harness.run({}, run_id=run_id)) for run_id in run_ids]
            await asyncio.wait(ran, return_when=asyncio.FIRST_EXCEPTION)
            for each in ran:
                each.cancel()
            await asyncio.gather(*ran, return_exceptions=True)
            assert office.asked <= 5 + fails, "one that failed without an answer was not billed"
        harness = office.live()
        results = await asyncio.gather(*(harness.run({}, run_id=run_id) for run_id in run_ids))
        asked = office.asked
        assert asked <= 5 + fails and await office.usd() <= 5.0
        drawn = await office.usd()
        again = await asyncio.gather(*(harness.run({}, run_id=run_id) for run_id in run_ids))
        assert [result.output for result in again] == [result.output for result in results]
        assert (office.asked, await office.usd()) == (asked, drawn), "what is replayed draws nothing"
        await harness.close()

    simulated(main)
