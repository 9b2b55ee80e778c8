"""Agents that do things beside each other, in every way that Python has, and journals of what they did.

PYTHONHASHSEED=1 python -m tests.runtime.branches record FILE
PYTHONHASHSEED=2 python -m tests.runtime.branches replay FILE
"""

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio
import msgspec

from plimsoll.contract.model import Limits, Tool
from plimsoll.core.calls import Effect, Ending
from plimsoll.core.events import Record
from plimsoll.core.rng import seeded_rng
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, pass_time, simulated

WAYS = ("in turn", "gather", "group", "anyio", "hops")
"""How the parts of a program follow one another, or run beside each other."""


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


class Played(msgspec.Struct, frozen=True):
    """A program, the journal of a run of it, and what came of that."""

    program: Any
    records: list[Record]
    output: Any
    order: list[str]


def played(program: Any, *, seed: int) -> Played:
    """Plays a program in virtual time, in which each call takes a time of its own."""

    async def main() -> Played:
        world = World(seed)
        desk = desk_of(program, world)
        result = await desk.live().run("hi", run_id="r")
        assert result.ending is Ending.COMPLETE, result.reason
        return Played(program, await desk.store.read("r"), result.output, world.order)

    return simulated(main)  # type: ignore[no-any-return]


async def replayed(program: Any, records: list[Record], *, seed: int) -> tuple[Any, World]:
    """Goes on from `records`, in a world where calls take other times."""
    world = World(seed)
    desk = desk_of(program, world)
    desk.store = await filled(records)
    result = await desk.live().run("hi", run_id="r")
    assert result.ending is Ending.COMPLETE, result.reason
    return result.output, world


def program_of(random: Random, leaves: int) -> Any:
    """Some program of about so many calls."""
    if leaves <= 1:
        return "call"
    parts = random.randint(1, 3)
    return [random.choice(WAYS), [program_of(random, leaves // parts) for _ in range(parts)]]


def record(file: Path) -> None:
    random = Random(7)
    file.write_bytes(msgspec.json.encode([played(program_of(random, 9), seed=number) for number in range(60)]))


def replay(file: Path) -> None:
    """Raises `AssertionError` where a replay, on a real event loop, does not agree."""
    for number, each in enumerate(msgspec.json.decode(file.read_bytes(), type=list[Played])):
        output, world = asyncio.run(replayed(each.program, each.records[:-1], seed=number + 1))
        assert (output, world.order, world.brought) == (each.output, each.order, 0), each.program


if __name__ == "__main__":
    {"record": record, "replay": replay}[sys.argv[1]](Path(sys.argv[2]))
