"""Runs belong to the version of the agent that began them, until another one replays them and adopts them."""

import asyncio
from typing import Any

import pytest

from plimsoll.contract.model import AgentSection
from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse, RunBusy, UnknownRun
from plimsoll.core.events import RunAdopted, RunParkedEvent
from plimsoll.journal.store import RunState
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, Desk, agent, pass_time, simulated


async def parked(desk: Desk, **request: Any) -> None:
    """A run of version v1 that waits for ana, who has approved it by now."""
    harness = desk.live()
    result = await harness.run({"order": "W1", "amount": 80.0} | request, run_id="r")
    await harness.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")


def test_another_version_leaves_a_run_alone_and_says_so_once() -> None:
    async def main() -> None:
        desk = Desk()
        await parked(desk)
        desk.fingerprint = "v2" * 20
        second = desk.live()
        (result,) = await second.wake()
        assert (result.ending, result.reason.partition(":")[0]) == (Ending.PARKED, "version")
        assert desk.shop.ledger == []
        (finding,) = [finding for _, _, finding in desk.sink.entries if finding.kind == "other_version"]
        assert "v1" in finding.message
        assert "v2v2v2v2v2v2" in finding.message
        length = len(await desk.store.read("r"))
        assert await second.wake() == []
        assert (await second.resume("r")).ending is Ending.PARKED
        assert (await second.run({}, run_id="r")).ending is Ending.PARKED
        assert len(await desk.store.read("r")) == length

    simulated(main)


def test_the_version_that_it_belongs_to_goes_on_with_it_by_itself() -> None:
    async def main() -> None:
        desk = Desk()
        await parked(desk)
        desk.fingerprint = "v2"
        await desk.live().wake()
        desk.fingerprint = "v1"
        (result,) = await desk.live().wake()
        assert (result.ending, len(desk.shop.ledger)) == (Ending.COMPLETE, 1)

    simulated(main)


async def otherwise(run: Run, request: dict[str, Any]) -> str:
    order = await run.call("look", {"order": request["order"]})
    done = await run.call("refund", {"order": request["order"], "amount": order["paid"]})
    return f"{done['refunded']:g} back"


def test_a_version_that_replays_the_run_may_adopt_it() -> None:
    async def main() -> None:
        desk = Desk()
        await parked(desk)
        desk.fingerprint = "v2"
        second = desk.live()
        await second.wake()
        length, alerts, reads = len(await desk.store.read("r")), len(desk.sink.entries), desk.shop.reads
        dry = await second.adopt("r", by="ana", dry_run=True)
        assert (dry.matches, dry.adopted, dry.old, dry.new) == (True, False, "v1", "v2")
        assert len(await desk.store.read("r")) == length
        adopted = await second.adopt("r", by="ana")
        assert (adopted.matches, adopted.adopted) == (True, True)
        assert (len(desk.sink.entries), desk.shop.reads) == (alerts, reads)
        (event,) = [r.event for r in await desk.store.read("r") if isinstance(r.event, RunAdopted)]
        assert (event.by, event.old, event.new) == ("ana", "v1", "v2")
        (result,) = await second.wake()
        assert result.reason.startswith("approval")  # ana approved what another version wanted
        await second.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await second.wake()
        assert (result.ending, len(desk.shop.ledger)) == (Ending.COMPLETE, 1)
        again = await second.adopt("r", by="ana") if result.ending is not Ending.COMPLETE else None
        assert again is None

    simulated(main)


def test_a_version_that_does_something_else_may_not() -> None:
    async def main() -> None:
        desk = Desk()
        await parked(desk)
        desk.fingerprint, desk.agent = "v2", otherwise
        second = desk.live()
        length = len(await desk.store.read("r"))
        adoption = await second.adopt("r", by="ana")
        assert (adoption.matches, adoption.adopted) == (False, False)
        assert "2:primary" in adoption.difference
        assert "2:refund" in adoption.difference
        assert asyncio.get_running_loop().time() == 0.0
        assert len(await desk.store.read("r")) == length
        assert desk.shop.ledger == []

    simulated(main)


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ("ends early", "the end of the run"),
        ("fails", "its code fails: KeyError"),
        ("hangs", "did not come to anything"),
        ("other arguments", "look"),
    ],
)
def test_the_difference_is_told(changed: str, difference: str) -> None:
    async def main() -> None:
        async def other(run: Run, request: dict[str, Any]) -> str:
            await run.call("look", {"order": "W2" if changed == "other arguments" else request["order"]})
            if changed == "fails":
                raise KeyError("paid")
            if changed == "hangs":
                await pass_time(1e5)
            return "early"

        desk = Desk()
        await parked(desk)
        desk.fingerprint, desk.agent = "v2", other
        adoption = await desk.live().adopt("r", by="ana")
        assert difference in adoption.difference
        assert not adoption.adopted

    simulated(main)


def test_a_rehearsal_sends_nothing_wherever_the_run_stands() -> None:
    async def main() -> None:
        whole = Desk()
        await whole.live().run({"order": "W1"}, run_id="r")
        records = await whole.store.read("r")
        for length in range(1, len(records)):
            desk = Desk(verify=False)
            await desk.store.claim("r", owner="life-0", at=0.0)
            await desk.store.append(records[:length])
            desk.fingerprint = "v2"
            adoption = await desk.live().adopt("r", by="ana", dry_run=True)
            assert adoption.matches, (length, adoption)
            assert (desk.shop.reads, desk.shop.ledger, desk.sink.entries) == (0, [], [])
            assert await desk.store.read("r") == records[:length]

    simulated(main)


def test_waits_are_rehearsed_too() -> None:
    async def main() -> None:
        async def waits(run: Run, request: Any) -> Any:
            await run.sleep(50.0)
            return await run.wait_for_signal("go")

        async def works(run: Run, request: Any) -> Any:
            return await run.call("look", {"order": "W1"})

        desk = Desk()
        desk.agent = waits
        first = desk.live()
        await first.run(None, run_id="r")
        await pass_time(50.0)
        await first.wake()
        desk.fingerprint, desk.agent = "v2", works
        second = desk.live()
        adoption = await second.adopt("r", by="ana")
        assert "wait 1:sleep" in adoption.difference
        second.agent = waits
        assert (await second.adopt("r", by="ana")).adopted
        await second.operations.signal("r", "go", 1, by="ana")
        (result,) = await second.wake()
        assert result.output == 1

    simulated(main)


def test_what_cannot_be_adopted_is_refused() -> None:
    async def main() -> None:
        desk = Desk()
        harness = desk.live()
        with pytest.raises(UnknownRun):
            await harness.adopt("r", by="ana")
        await harness.run({"order": "W1"}, run_id="r")
        with pytest.raises(Misuse, match="has ended"):
            await harness.adopt("r", by="ana")
        await parked_for("s", desk)
        second = Desk(agent=AgentSection(name="another"))
        second.store = desk.store
        with pytest.raises(Misuse, match="another"):
            await second.live().adopt("s", by="ana")

    simulated(main)


async def parked_for(run_id: str, desk: Desk) -> None:
    await desk.live().run({"order": "W1", "amount": 80.0}, run_id=run_id)


def test_a_run_that_somebody_advances_is_not_taken_away() -> None:
    async def main() -> None:
        desk = Desk()
        task = asyncio.create_task(sleeping(desk).run(None, run_id="r"))
        await pass_time(0.5)
        other = Desk()
        other.store, other.fingerprint, other.lives = desk.store, "v2", 100
        harness = other.live()
        with pytest.raises(RunBusy):
            await harness.adopt("r", by="ana")
        assert not (await harness.adopt("r", by="ana", dry_run=True)).matches
        await task

    simulated(main)


def sleeping(desk: Desk) -> Any:
    async def sleeps(run: Run, request: Any) -> None:
        await run.sleep(0.9)

    desk.agent = sleeps
    return desk.live()


def test_a_crashed_run_of_another_version_parks_with_its_doubts_untouched() -> None:
    async def main() -> None:
        async def die(site: str, info: Any, exchange: Any, send: Any) -> Any:
            if site == "refund":
                raise Crash
            return await send()

        desk = Desk(intercept=die)
        first = desk.live()
        with pytest.raises(Crash):
            await first.run({"order": "W1"}, run_id="r")
        first.journal.abandon()
        desk.fingerprint, desk.intercept = "v2", None
        second = desk.live()
        (result,) = await second.wake()
        assert result.reason.startswith("version")
        assert "DoubtRaised" not in await desk.events()
        assert (await second.adopt("r", by="ana")).adopted
        (result,) = await second.wake()
        assert (result.ending, len(desk.shop.ledger)) == (Ending.COMPLETE, 1)

    simulated(main)


def test_news_for_a_run_of_another_version_is_there_for_its_own() -> None:
    async def main() -> None:
        async def waits(run: Run, request: Any) -> Any:
            return await run.wait_for_signal("go")

        desk = Desk()
        desk.agent = waits
        await desk.live().run(None, run_id="r")
        desk.fingerprint = "v2"
        other = desk.live()
        await Operations(desk.store).signal("r", "go", 7, by="ana")
        for _ in range(3):
            await other.wake()
        parked_events = [r for r in await desk.store.read("r") if isinstance(r.event, RunParkedEvent)]
        assert len(parked_events) == 2
        desk.fingerprint = "v1"
        (result,) = await desk.live().wake()
        assert result.output == 7

    simulated(main)


@pytest.mark.parametrize(("changed", "ending"), [(agent, Ending.COMPLETE), (otherwise, Ending.PARKED)])
def test_the_contract_may_let_a_version_go_on_that_replays(changed: Any, ending: Ending) -> None:
    async def main() -> None:
        desk = Desk(agent=AgentSection(name="desk", new_version="replay"))
        await desk.live().run({"order": "W1", "amount": 80.0}, run_id="r")
        desk.fingerprint, desk.agent = "v2", changed
        second = desk.live()
        (head,) = await desk.store.heads(state=RunState.PARKED)
        (request,) = await second.operations.requests()
        await second.operations.decide(request.asked.request_id, approve=True, by="ana")
        (result,) = await second.wake()
        if ending is Ending.PARKED:
            assert result.reason.startswith("version")
            assert "2:refund" in result.reason
            return
        assert "RunAdopted" in await desk.events()
        await second.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await second.wake()
        assert (result.ending, len(desk.shop.ledger)) == (Ending.COMPLETE, 1)
        assert head.fingerprint == "v1"

    simulated(main)


def test_those_of_other_versions_are_found() -> None:
    async def main() -> None:
        desk = Desk()
        for run_id in ("a", "b"):
            await parked_for(run_id, desk)
        await desk.live().run({"order": "W1"}, run_id="over")
        desk.fingerprint = "v2"
        second = desk.live()
        await second.run({"order": "W1", "amount": 80.0}, run_id="new")
        assert [head.run_id for head in await second.of_other_versions()] == ["a", "b"]

    simulated(main)
