"""What detectors find in whole runs: no progress halts one, spending warns of one, and a stale answer is none."""

import asyncio
from contextlib import suppress
from typing import Any

from plimsoll.contract.model import Fresh, Limits, Mode, OutputRule, Protections, Retry, Tool
from plimsoll.core.calls import Effect, Ending, Fault, Usage
from plimsoll.core.clock import LoopClock
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, CrashingStore, Desk, pass_time, simulated

FRESH = OutputRule(type="object", fresh=Fresh(field="as_of", max_age_s=600.0))


async def searches(run: Run, request: Any) -> str:
    """Asks for ever other words, and never finds anything."""
    for number in range(40):
        await run.call("search", {"words": f"words {number}"})
    return "nothing there"


async def search(words: str) -> list[str]:
    return []


def searching(**changes: Any) -> Desk:
    desk = Desk(tools={"search": Tool(effect=Effect.READ)}, **changes)
    desk.agent, desk.tools = searches, [search, *desk.tools]
    return desk


def test_a_run_that_gets_nowhere_is_halted() -> None:
    async def main() -> None:
        desk = searching()
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.HALTED
        assert result.reason == "no progress: the last 24 calls brought nothing new"
        assert ("loop", "search", "no_progress") in desk.kinds()

    simulated(main)


def test_one_that_is_only_observed_goes_on() -> None:
    async def main() -> None:
        desk = searching(protections=Protections(loops=Mode.OBSERVE))
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "nothing there")
        assert [finding.observed for finding in result.findings if finding.fault == "no_progress"] == [True]

    simulated(main)


def test_a_replay_counts_on_and_tells_nothing_twice() -> None:
    async def searches_on_and_off(run: Run, request: Any) -> str:
        for number in range(40):
            await run.call("search", {"words": f"words {number}"})
            if number % 10 == 9:
                await run.sleep(3600.0)
        return "nothing there"

    async def main() -> None:
        desk = searching()
        desk.agent = searches_on_and_off
        ending = (await desk.live().run({}, run_id="r")).ending
        for _ in range(2):
            assert ending is Ending.PARKED and desk.kinds() == []
            await LoopClock().sleep(4000.0)
            ending = (await desk.live().resume("r")).ending
        assert ending is Ending.HALTED
        assert (await desk.live().resume("r")).reason.startswith("no progress: the last 24 calls")
        assert desk.kinds() == [("loop", "search", "no_progress")]

    simulated(main)


def test_a_run_on_course_to_pass_its_tokens_is_told_of_and_goes_on() -> None:
    async def dear(prompt: Any) -> ModelReply:
        return ModelReply(text=f"chapter {prompt}", usage=Usage(input_tokens=8_000, output_tokens=1_000))

    async def writes(run: Run, request: Any) -> str:
        for number in range(10):
            await run.model(number)
        return "a book"

    async def main() -> None:
        desk = Desk(limits=Limits(seconds=60.0, tokens=100_000))
        desk.agent, desk.models = writes, {"primary": dear, "backup": dear}
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.COMPLETE
        assert [(finding.kind, finding.fault, finding.severity) for finding in result.findings] == [
            ("spending", "tokens", "warning")
        ]

    simulated(main)


class Feed:
    """A source of prices that may have fallen behind."""

    def __init__(self, *ages_s: float) -> None:
        self.ages_s = list(ages_s)

    async def quote(self) -> dict[str, Any]:
        return {"price": 3, "as_of": LoopClock().now() - self.ages_s.pop(0)}


async def quotes(run: Run, request: Any) -> int:
    return (await run.call("quote", {}))["price"]  # type: ignore[no-any-return]


def quoting(feed: Feed, **changes: Any) -> Desk:
    desk = Desk(tools={"quote": Tool(**{"effect": Effect.READ, "output": FRESH, **changes})})
    desk.agent, desk.tools = quotes, [feed.quote, *desk.tools]
    return desk


def test_a_stale_answer_is_asked_for_again() -> None:
    async def main() -> None:
        desk = quoting(Feed(601.0, 30.0), retry=Retry(on=(Fault.STALE,)))
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, 3)
        assert desk.kinds() == [("silent_failure", "quote", "stale")]

    simulated(main)


def test_one_that_stays_stale_fails_the_call_and_is_no_answer_on_replay_either() -> None:
    async def main() -> None:
        desk = quoting(Feed(601.0))
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.FAILED and "as_of is 601 s old, 600 s are allowed" in result.reason
        assert desk.kinds() == [("silent_failure", "quote", "stale"), ("call_failed", "quote", "stale")]

    simulated(main)


def test_a_recorded_answer_does_not_grow_stale() -> None:
    async def quotes_and_waits(run: Run, request: Any) -> int:
        price = await quotes(run, request)
        await run.sleep(86_400.0)
        return price

    async def main() -> None:
        desk = quoting(Feed(0.0))
        desk.agent = quotes_and_waits
        harness = desk.live()
        assert (await harness.run({}, run_id="r")).ending is Ending.PARKED
        await LoopClock().sleep(90_000.0)
        (result,) = await harness.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, 3)

    simulated(main)


def test_a_stale_answer_to_a_write_is_a_doubt() -> None:
    async def main() -> None:
        desk = quoting(Feed(601.0), effect=Effect.WRITE)
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.PARKED
        assert ("in_doubt", "quote", "stale") in desk.kinds()

    simulated(main)


def test_an_observed_output_check_lets_it_through_and_says_so() -> None:
    async def main() -> None:
        desk = quoting(Feed(601.0))
        desk.contract = Desk(
            tools={"quote": desk.contract.tools["quote"]}, protections=Protections(output_check=Mode.OBSERVE)
        ).contract
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, 3)
        assert [(finding.fault, finding.observed) for finding in result.findings] == [("stale", True)]

    simulated(main)


# ------------------------------------------------------------------------------------- the same answer, and no loop


async def votes(run: Run, request: Any) -> str:
    """Asks five times at once, takes what most say, and sorts its mails one after the other."""
    said = await asyncio.gather(*(run.model("is it spam?") for _ in range(5)))
    return ", ".join([said[0].text, *[(await run.model(f"mail {number}")).text for number in range(20)]])


def test_a_run_that_takes_votes_and_sorts_its_mails_is_no_loop_on_replay_either() -> None:
    async def spam(prompt: Any) -> ModelReply:
        await pass_time(1.0)
        return ModelReply(text="spam")

    async def main() -> None:
        desk = Desk()
        desk.models, desk.agent = {"primary": spam, "backup": spam}, votes
        crashing = CrashingStore(desk.store, at=2, keep=99)
        with suppress(Crash):
            await desk.live(crashing).run({}, run_id="r")
        result = await desk.live().run({}, run_id="r")
        assert (result.ending, str(result.output).count("spam")) == (Ending.COMPLETE, 21), result.reason
        assert not [kind for kind, _, _ in desk.kinds() if kind == "loop"]

    simulated(main)


def test_a_run_that_asks_the_same_and_is_told_the_same_is_one() -> None:
    async def asks_again(run: Run, request: Any) -> str:
        while (await run.model("are you sure?")).text != "no":
            continue
        return "not sure"

    async def sure(prompt: Any) -> ModelReply:
        return ModelReply(text="yes")

    async def main() -> None:
        desk = Desk()
        desk.models, desk.agent = {"primary": sure, "backup": sure}, asks_again
        result = await desk.live().run({}, run_id="r")
        assert result.ending is Ending.HALTED
        assert ("loop", "primary", "repeat") in desk.kinds()

    simulated(main)
