"""Parallel calls: whatever order they settle in, a replay takes the same, and nothing is asked for twice."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import Approval, Limits, Tool
from plimsoll.core.calls import CallInfo, Ending
from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import CallSettled, DoubtRaised, DoubtResolved, Record
from plimsoll.gate.simulator import many_simulations
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated
from tests.runtime.branches import WAYS, World, desk_of, filled, played, replayed

# A program is a call, or several programs one after the other or beside each other.
programs = st.recursive(
    st.just("call"),
    lambda inner: st.tuples(st.sampled_from(WAYS), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=10,
)


@settings(max_examples=120, deadline=None)
@given(program=programs, seed=st.integers(0, 1000), cut=st.floats(0, 1))
def test_a_replay_takes_the_same_order(program: Any, seed: int, cut: float) -> None:
    with many_simulations():
        whole = played(program, seed=seed)
        said, world = simulated(lambda: later(program, whole.records[:-1], seed=seed + 1))
        assert (said, world.order, world.brought) == (whole.output, whole.order, 0)
        some = whole.records[: 1 + int(cut * (len(whole.records) - 2))]
        _, world = simulated(lambda: later(program, some, seed=seed + 1))
        known = sum(isinstance(record.event, CallSettled) for record in some)
        assert world.order[:known] == whole.order[:known]
        assert world.brought == len(whole.order) - known


async def later(program: Any, records: list[Record], *, seed: int) -> tuple[Any, World]:
    await pass_time(3.0)
    return await replayed(program, records, seed=seed)


def test_it_does_so_on_a_real_loop_and_under_another_hash_seed(tmp_path: Path) -> None:
    for what, hash_seed in (("record", "1"), ("replay", "2")):
        done = subprocess.run(
            [sys.executable, "-m", "tests.runtime.branches", what, str(tmp_path / "journals")],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr


def looking(desk: Desk, **took_s: float) -> list[str]:
    """Lets the desk's `look` take so long for each order, and tells which were looked at."""
    seen: list[str] = []

    async def look(order: str) -> str:
        seen.append(order)
        await pass_time(took_s.get(order, 0.0))
        return order

    desk.tools = [look, desk.shop.refund]
    return seen


async def going_on(desk: Desk, records: list[Record], **took_s: float) -> tuple[Any, list[str]]:
    """What the desk's agent says when it goes on from `records`, and which orders were looked at once more."""
    desk.store = await filled(records)
    seen = looking(desk, **took_s)
    return await desk.live().run("hi", run_id="r"), seen


def test_a_branch_whose_call_is_recorded_waits_until_the_others_have_asked() -> None:
    """It used to be handed its outcome at once, and took the key of a branch that had not begun."""

    async def main() -> None:
        async def twice(run: Run) -> list[Any]:
            return [await run.call("look", {"order": order}) for order in ("b", "d")]

        async def agent(run: Run, request: Any) -> Any:
            one = run.call("look", {"order": "a"})
            return await asyncio.gather(one, twice(run), run.call("look", {"order": "c"}))

        desk = Desk()
        desk.agent = agent
        looking(desk, a=1.5, b=0.5, c=1.0, d=2.0)
        first = await desk.live().run("hi", run_id="r")
        records = await desk.store.read("r")
        for length in range(1, len(records)):
            result, seen = await going_on(desk, records[:length])
            assert result.output == first.output == ["a", ["b", "d"], "c"], result.reason
            assert len(seen) == len(records) - 1 - length

    simulated(main)


def test_a_branch_goes_as_far_as_it_had_before_the_next_is_let_go() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            log: list[str] = []

            async def deep(run: Run) -> None:
                async with asyncio.TaskGroup() as outer:
                    outer.create_task(asyncio.wait_for(asyncio.gather(run.call("look", {"order": "a"})), 100.0))
                log.append("deep")

            async def flat(run: Run) -> None:
                await run.call("look", {"order": "b"})
                log.append("flat")

            await asyncio.gather(flat(run), deep(run))
            return log

        desk = Desk()
        desk.agent = agent
        looking(desk, a=1.0, b=2.0)
        assert (await desk.live().run("hi", run_id="r")).output == ["deep", "flat"]
        result, seen = await going_on(desk, (await desk.store.read("r"))[:-1])
        assert (result.output, seen) == (["deep", "flat"], [])

    simulated(main)


def test_a_branch_that_rests_before_it_asks_again_is_waited_for() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            async def rests() -> Any:
                await run.call("look", {"order": "a"})
                await pass_time(0.5)
                return await run.call("look", {"order": "c"})

            async def does_not() -> Any:
                await run.call("look", {"order": "b"})
                return await run.call("look", {"order": "d"})

            return await asyncio.gather(rests(), does_not())

        desk = Desk()
        desk.agent = agent
        looking(desk, a=1.0, b=2.0, c=2.0, d=1.0)
        await desk.live().run("hi", run_id="r")
        result, seen = await going_on(desk, (await desk.store.read("r"))[:-1])
        assert (result.output, seen) == (["c", "d"], []), result.reason

    simulated(main)


def test_a_call_that_the_code_gives_up_is_given_up_on_replay() -> None:
    """The sibling that lost the race is cancelled: it has no outcome, and is not waited for."""

    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            calls = [asyncio.ensure_future(run.call("look", {"order": order})) for order in ("slow", "fast")]
            done, late = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in late:
                call.cancel()
            await asyncio.wait(calls)
            won = [call.result() for call in done]
            await run.call("refund", {"order": "W1", "amount": 500.0})
            return won

        desk = Desk()
        desk.agent = agent
        looking(desk, slow=4.0, fast=1.0)
        parked = await desk.live().run("hi", run_id="r")
        assert parked.ending is Ending.PARKED, parked.reason
        desk.tools[0] = desk.shop.look  # nobody should look again: this one takes another argument
        again = desk.live()
        await again.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await again.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, ["fast"]), result.reason
        assert (desk.shop.reads, len(desk.shop.ledger)) == (0, 1)

    simulated(main)


def test_a_recorded_outcome_that_the_code_does_not_wait_for_is_passed_over() -> None:
    """Two settled at the same time, and the one that was seen first had the other cancelled."""

    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            calls = [asyncio.ensure_future(run.call("look", {"order": order})) for order in ("a", "b")]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            return await run.call("look", {"order": "c"})

        desk = Desk()
        desk.agent = agent
        looking(desk, a=1.0, b=1.0)
        assert (await desk.live().run("hi", run_id="r")).output == "c"
        records = await desk.store.read("r")
        assert sum(isinstance(record.event, CallSettled) for record in records) == 3
        result, seen = await going_on(desk, records[:-1])
        assert (result.output, seen) == ("c", []), result.reason

    simulated(main)


def test_branches_that_ask_in_another_order_are_told_to_name_their_calls() -> None:
    async def main() -> None:
        def asking(*rests_s: float, named: bool) -> Any:
            async def one(run: Run, order: str, rest_s: float) -> Any:
                await pass_time(rest_s)
                return await run.call("look", {"order": order}, key=f"look at {order}" if named else None)

            async def agent(run: Run, request: Any) -> Any:
                looks = await asyncio.gather(*(one(run, order, s) for order, s in zip("ab", rests_s, strict=True)))
                await run.call("refund", {"order": "W1", "amount": 500.0})
                return looks

            return agent

        desk = Desk()
        looking(desk)
        desk.agent = asking(1.0, 2.0, named=False)
        await desk.live().run("hi", run_id="r")
        desk.agent = asking(2.0, 1.0, named=False)
        try:
            await desk.live().resume("r")
        except ReplayMismatch as mismatch:
            assert "which it has as 2:look" in str(mismatch)
            assert "each call needs a `key` of its own" in str(mismatch)
        else:
            raise AssertionError("it was not noticed")

        named = Desk()
        looking(named)
        named.agent = asking(1.0, 2.0, named=True)
        parked = await named.live().run("hi", run_id="r")
        named.agent = asking(2.0, 1.0, named=True)
        again = named.live()
        await again.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await again.wake()
        assert result.output == ["a", "b"], result.reason

    simulated(main)


async def together(how: str, *steps: Any) -> list[Any]:
    """The results of what is done beside each other, as people do that."""
    match how:
        case "gather":
            return list(await asyncio.gather(*steps))
        case "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(step) for step in steps]
            return [task.result() for task in tasks]
    said: dict[int, Any] = {}

    async def one(number: int, step: Any) -> None:
        said[number] = await step

    async with anyio.create_task_group() as nursery:
        for number, step in enumerate(steps):
            nursery.start_soon(one, number, step)
    return [said[number] for number in range(len(steps))]


WAYS_TOGETHER = ("gather", "group", "anyio")


def slowly(**took_s: float) -> Any:
    """Each answer takes so long to come back, by dependency. What was done was done at once."""

    async def intercept(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        answer = await send()
        await pass_time(took_s.get(site, 0.0))
        return answer

    return intercept


@pytest.mark.parametrize(("takes_s", "doubts"), [(2.0, 0), (4.9, 0), (5.1, 1), (30.0, 1)])
@pytest.mark.parametrize("how", WAYS_TOGETHER)
def test_a_write_beside_a_call_that_parks_settles_or_is_in_doubt(how: str, takes_s: float, doubts: int) -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            small = run.call("refund", {"order": "W1", "amount": 20.0})
            big = run.call("refund", {"order": "W2", "amount": 500.0})
            return [done["refunded"] for done in await together(how, small, big)]

        refund = Tool(timeout_s=40.0, approval=Approval(when="amount > 50", approvers=("ana",)))
        desk = Desk(intercept=slowly(refund=takes_s), tools={"refund": refund}, limits=Limits(seconds=3000.0))
        desk.agent = agent
        parked = await desk.live().run("hi", run_id="r")
        assert (parked.ending, len(parked.waiting_for)) == (Ending.PARKED, 1), parked.reason
        assert asyncio.all_tasks() == {asyncio.current_task()}
        again = desk.live()
        await again.operations.decide(parked.waiting_for[0].request_id, approve=True, by="ana")
        (result,) = await again.wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, [20.0, 500.0]), result.reason
        assert sorted(row[1] for row in desk.shop.ledger) == [20.0, 500.0]
        raised = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtRaised)]
        assert len(raised) == doubts

    simulated(main)


def test_a_call_that_the_code_gave_up_waiting_for_takes_nothing_from_the_five_seconds_of_another() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            small = asyncio.ensure_future(run.call("refund", {"order": "W1", "amount": 20.0}))
            with suppress(TimeoutError):
                async with asyncio.timeout(3.0):
                    await run.call("refund", {"order": "W2", "amount": 500.0})
            big = await run.call("refund", {"order": "W3", "amount": 600.0})
            return [(await small)["refunded"], big["refunded"]]

        refund = Tool(timeout_s=40.0, approval=Approval(when="amount > 50", approvers=("ana",)))
        desk = Desk(intercept=slowly(refund=7.9), tools={"refund": refund}, limits=Limits(seconds=3000.0))
        desk.agent = agent
        parked = await desk.live().run("hi", run_id="r")
        assert (parked.ending, parked.reason[:8]) == (Ending.PARKED, "approval")
        assert [row[1] for row in desk.shop.ledger] == [20.0]
        assert not [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtRaised)]

    simulated(main)


@pytest.mark.parametrize("how", WAYS_TOGETHER)
def test_several_approvals_asked_for_together_resume_together(how: str) -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            amounts = (100.0, 200.0, 300.0)
            return await together(how, *(run.call("refund", {"order": "W", "amount": amount}) for amount in amounts))

        desk = Desk()
        desk.agent = agent
        result = await desk.live().run("hi", run_id="r")
        asked = 0
        while result.ending is Ending.PARKED:
            again = desk.live()
            for request in result.waiting_for:
                asked += 1
                await again.operations.decide(request.request_id, approve=True, by="ana")
            (result,) = await again.wake()
        assert (result.ending, asked) == (Ending.COMPLETE, 3), result.reason
        assert sorted(row[1] for row in desk.shop.ledger) == [100.0, 200.0, 300.0]

    simulated(main)


@pytest.mark.parametrize("how", WAYS_TOGETHER)
def test_a_write_that_the_agent_itself_cancels_is_looked_up_at_the_end(how: str) -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            async def hasty() -> str:
                try:
                    async with asyncio.timeout(1.0):
                        await run.call("refund", {"order": "W1", "amount": 20.0})
                except TimeoutError:
                    return "given up"
                return "done"

            return await together(how, hasty(), run.call("look", {"order": "W1"}))

        desk = Desk(intercept=slowly(refund=3.0))
        desk.agent = agent
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.output[0]) == (Ending.COMPLETE, "given up"), result.reason
        assert asyncio.all_tasks() == {asyncio.current_task()}
        resolved = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtResolved)]
        assert [(event.key, event.answer) for event in resolved] == [("1:refund", "happened")]

    simulated(main)


def test_a_limit_that_trips_beside_a_write_lets_it_settle() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            async def look(number: int) -> Any:
                await pass_time(0.5)
                return await run.call("look", {"order": str(number)})

            refund = run.call("refund", {"order": "W1", "amount": 20.0})
            return await together("group", refund, *map(look, range(3)))

        desk = Desk(limits=Limits(steps=3), intercept=slowly(refund=2.0))
        desk.agent = agent
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.reason.partition(" reached")[0]) == (Ending.HALTED, "limit 'steps'")
        assert len(desk.shop.ledger) == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        kinds = await desk.events()
        assert ("CallIntended" in kinds, kinds[-1]) == (True, "RunEnded")
        settled = [r.event.key for r in await desk.store.read("r") if isinstance(r.event, CallSettled)]
        assert "1:refund" in settled

    simulated(main)


def test_values_beside_calls_keep_their_places() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> list[Any]:
            return list(await asyncio.gather(dated(run), run.call("look", {"tag": "b"}), dated(run)))

        async def dated(run: Run) -> Any:
            number = await run.random()
            return await run.call("look", {"tag": f"{number}/{await run.now()}"})

        world = World(seed=1)
        desk = desk_of("call", world)
        desk.agent = agent
        result = await desk.live().run(None, run_id="r")
        records = await desk.store.read("r")
        for length in range(1, len(records)):
            again = desk_of("call", World(seed=1))
            again.agent = agent
            await again.store.claim("r", owner="life-0", at=0.0)
            await again.store.append(records[:length])
            assert (await again.live().resume("r")).ending is result.ending is Ending.COMPLETE, length

    simulated(main)
