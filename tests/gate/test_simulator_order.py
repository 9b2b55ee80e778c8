# ruff: noqa: TID251 (every sleep here is virtual)
"""The same trial takes the same order: in a warm process, and in other processes with other hash seeds."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import pytest

from plimsoll.gate.simulator import simulate

CROWD = 12


class Log(list[str]):
    async def wait_for_cancellation(self, name: str) -> None:
        self.append(f"start {name}")
        try:
            await asyncio.sleep(1000)
        finally:
            self.append(f"cancelled {name}")

    async def count_up(self, name: str) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            self.append(f"closed {name}")


async def wait_over_sets(log: Log) -> None:
    tasks = {asyncio.create_task(asyncio.sleep(i % 3, i)) for i in range(CROWD)}
    done, pending = await asyncio.wait(tasks, timeout=1.5)
    log.extend(f"done {task.result()}" for task in done)
    for task in pending:
        log.append(f"pending {task.get_name()}")
        task.cancel()


async def wait_over_futures(log: Log) -> None:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(CROWD)]
    for number, future in enumerate(futures):
        loop.call_later(number % 2, future.set_result, number)
    done, _ = await asyncio.wait(set(futures))
    log.extend(f"done {future.result()}" for future in done)


async def abort_a_task_group(log: Log) -> None:
    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for number in range(CROWD):
                group.create_task(log.wait_for_cancellation(str(number)))
            await asyncio.sleep(1)
            raise LookupError


async def abort_nested_anyio_groups(log: Log) -> None:
    async def branch(name: str) -> None:
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(log.wait_for_cancellation, f"{name}.{number}")

    with anyio.move_on_after(1):
        async with anyio.create_task_group() as group:
            for number in range(CROWD):
                group.start_soon(branch, str(number))


async def keep_anyio_objects_in_sets(log: Log) -> None:
    scopes = [anyio.CancelScope() for _ in range(CROWD)]
    groups = [anyio.create_task_group() for _ in range(CROWD)]
    log.extend(f"scope {scopes.index(scope)}" for scope in set(scopes))
    log.extend(f"group {groups.index(group)}" for group in set(groups))


async def take_as_completed(log: Log) -> None:
    async def work(number: int) -> int:
        log.append(f"start {number}")
        await asyncio.sleep(number % 3)
        return number

    for next_one in asyncio.as_completed([work(number) for number in range(CROWD)]):
        log.append(f"completed {await next_one}")


async def leave_generators_and_tasks_behind(log: Log) -> None:
    loop: Any = asyncio.get_running_loop()
    loop.kept = [log.count_up(str(number)) for number in range(CROWD)]
    for generator in loop.kept:
        await anext(generator)
    loop.tasks = [asyncio.create_task(log.wait_for_cancellation(str(number))) for number in range(CROWD)]
    await asyncio.sleep(1)


SCENARIOS: list[Callable[[Log], Awaitable[None]]] = [
    wait_over_sets,
    wait_over_futures,
    abort_a_task_group,
    abort_nested_anyio_groups,
    keep_anyio_objects_in_sets,
    take_as_completed,
    leave_generators_and_tasks_behind,
]


def trial(scenario: Callable[[Log], Awaitable[None]]) -> list[str]:
    log = Log()

    async def main() -> None:
        await scenario(log)

    simulate(main)
    return log


def trials() -> dict[str, list[str]]:
    return {scenario.__name__: trial(scenario) for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_twenty_trials_in_a_warm_process_take_one_order(scenario: Callable[[Log], Awaitable[None]]) -> None:
    litter: list[object] = []
    orders: list[list[str]] = []
    for number in range(20):
        # Other addresses for every trial.
        litter.append([bytearray(64 * (i % 9 + 1)) for i in range(17 * number)])
        litter.append(asyncio.Event())
        orders.append(trial(scenario))
    assert len(orders[0]) >= CROWD
    assert orders == [orders[0]] * 20


def test_other_processes_with_other_hash_seeds_take_the_same_order() -> None:
    for seed in ("1", "20260"):
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == trials()


def test_what_was_first_is_first() -> None:
    orders = trials()
    everyone = list(range(CROWD))
    assert orders["take_as_completed"][:CROWD] == [f"start {number}" for number in everyone]
    assert orders["abort_a_task_group"][CROWD:] == [f"cancelled {number}" for number in everyone]
    left = orders["leave_generators_and_tasks_behind"][CROWD:]
    assert left == [f"cancelled {n}" for n in everyone] + [f"closed {n}" for n in everyone]


def test_tasks_are_named_alike_in_every_trial() -> None:
    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(3)]
        tasks.append(asyncio.create_task(asyncio.sleep(1), name="mine"))
        await asyncio.wait(tasks)
        return [task.get_name() for task in tasks]

    names = simulate(main)
    assert names[3] == "mine"
    assert all(name.startswith("Task-") for name in names[:3])
    assert len(set(names)) == 4
    assert simulate(main) == names


if __name__ == "__main__":
    print(json.dumps(trials()))
