"""Parallel calls: whatever order they settle in, a replay takes the same, and nothing is asked for twice."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import Limits, Tool
from plimsoll.core.calls import CallInfo, Effect, Ending
from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import CallSettled, DoubtResolved, Record
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.simulator import many_simulations
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated

# A program is a call, or several programs one after the other or beside each other.
programs = st.recursive(
    st.just("call"),
    lambda inner: st.tuples(
        st.sampled_from(["in turn", "gather", "group", "anyio", "hops"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=10,
)


@dataclass
class World:
    """What the calls see of the outside: each brings another number, after a time of its own."""

    seed: int
    brought: int = 0
    order: list[str] = field(default_factory=list)
    """The calls in the order in which the agent's code went on after them."""

    async def look(self, tag: str) -> int:
        await pass_time(seeded_rng(hash_of(f"{self.seed}/{tag}")).random())
        self.brought += 1
        return self.brought


def hash_of(words: str) -> int:
    return int.from_bytes(words.encode()[-6:], "big") * 31 + len(words)


async def play(run: Run, program: Any, tag: str, world: World) -> Any:
    if program == "call":
        brought = await run.call("look", {"tag": tag})
        world.order.append(tag)
        return [tag, brought]
    how, parts = program
    steps = [play(run, part, f"{tag}{number}", world) for number, part in enumerate(parts)]
    match how:
        case "in turn":
            return [await step for step in steps]
        case "gather":
            return list(await asyncio.gather(*steps))
        case "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(step) for step in steps]
            return [task.result() for task in tasks]
        case "anyio":
            said: dict[int, Any] = {}

            async def one(number: int, step: Any) -> None:
                said[number] = await step

            async with anyio.create_task_group() as nursery:
                for number, step in enumerate(steps):
                    nursery.start_soon(one, number, step)
            return [said[number] for number in range(len(steps))]
    hopped = []
    for step in steps:  # a task of its own for each, inside another: several turns of the loop before it goes on
        hopped.append(await asyncio.ensure_future(asyncio.wait_for(asyncio.gather(step), 1e6)))
    return hopped


def desk_of(program: Any, world: World) -> Desk:
    desk = Desk(tools={"look": Tool(effect=Effect.READ, timeout_s=50.0)}, limits=Limits(steps=100, seconds=3000.0))
    desk.tools = [world.look]

    async def agent(run: Run, request: Any) -> Any:
        return await play(run, program, "", world)

    desk.agent = agent
    return desk


async def filled(records: list[Record]) -> MemoryStore:
    store = MemoryStore()
    await store.claim("r", owner="gone", at=0.0)
    assert not await store.append(records)
    store.kill_owner("gone")
    return store


@settings(max_examples=120, deadline=None)
@given(program=programs, seed=st.integers(0, 1000), cut=st.floats(0, 1))
def test_a_replay_takes_the_same_order(program: Any, seed: int, cut: float) -> None:
    def first() -> tuple[list[Record], Any, list[str]]:
        async def main() -> tuple[list[Record], Any, list[str]]:
            world = World(seed)
            desk = desk_of(program, world)
            result = await desk.live().run("hi", run_id="r")
            assert result.ending is Ending.COMPLETE, result.reason
            return await desk.store.read("r"), result.output, world.order

        return simulated(main)  # type: ignore[no-any-return]

    def again(records: list[Record]) -> tuple[Any, World]:
        async def main() -> tuple[Any, World]:
            await pass_time(3.0)
            world = World(seed + 1)
            desk = desk_of(program, world)
            desk.store = await filled(records)
            result = await desk.live().run("hi", run_id="r")
            assert result.ending is Ending.COMPLETE, result.reason
            return result.output, world

        return simulated(main)  # type: ignore[no-any-return]

    with many_simulations():
        records, output, order = first()
        said, world = again(records[:-1])
        assert (said, world.order, world.brought) == (output, order, 0)
        some = records[: 1 + int(cut * (len(records) - 2))]
        _, world = again(some)
        known = sum(isinstance(record.event, CallSettled) for record in some)
        assert world.order[:known] == order[:known]
        assert world.brought == len(order) - known


def looking(desk: Desk, **took_s: float) -> list[str]:
    """Lets the desk's `look` take so long for each order, and tells which were looked at."""
    seen: list[str] = []

    async def look(order: str) -> str:
        seen.append(order)
        await pass_time(took_s.get(order, 0.0))
        return order

    desk.tools = [look, desk.shop.refund]
    return seen


async def replayed(desk: Desk, records: list[Record], **took_s: float) -> tuple[Any, list[str]]:
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
            result, seen = await replayed(desk, records[:length])
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
        result, seen = await replayed(desk, (await desk.store.read("r"))[:-1])
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
        result, seen = await replayed(desk, (await desk.store.read("r"))[:-1])
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
        result, seen = await replayed(desk, records[:-1])
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


def test_a_limit_that_trips_beside_a_write_lets_it_settle() -> None:
    async def main() -> None:
        async def agent(run: Run, request: Any) -> Any:
            async with asyncio.TaskGroup() as group:
                group.create_task(run.call("refund", {"order": "W1", "amount": 20.0}))
                for number in range(3):
                    group.create_task(run.call("look", {"order": str(number)}))

        desk = Desk(limits=Limits(steps=3))
        desk.agent = agent

        async def slow(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            answer = await send()
            await pass_time(2.0 if site == "refund" else 0.0)
            return answer

        desk.intercept = slow
        result = await desk.live().run("hi", run_id="r")
        assert (result.ending, result.reason.partition(" reached")[0]) == (Ending.HALTED, "limit 'steps'")
        assert len(desk.shop.ledger) == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        kinds = await desk.events()
        assert ("CallIntended" in kinds, kinds[-1]) == (True, "RunEnded")
        doubts = [r.event for r in await desk.store.read("r") if isinstance(r.event, DoubtResolved)]
        settled = [r.event.key for r in await desk.store.read("r") if isinstance(r.event, CallSettled)]
        assert "1:refund" in settled or [doubt.answer for doubt in doubts] == ["happened"]

    simulated(main)
