"""The injected sources: time, chance, identifiers."""

import asyncio

import pytest

from plimsoll.core.clock import LoopClock, ManualClock, SystemClock
from plimsoll.core.ids import RandomIds, SequentialIds
from plimsoll.core.rng import seeded_rng, system_rng
from plimsoll.gate.simulator import simulate


def test_the_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(epoch_s=100.0)
    assert (clock.monotonic(), clock.now()) == (0.0, 100.0)
    clock.advance(2.5)
    asyncio.run(clock.sleep(1.5))
    assert (clock.monotonic(), clock.now()) == (4.0, 104.0)


def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    asyncio.run(clock.sleep(0.0))
    assert clock.monotonic() >= before
    assert clock.now() > 1_700_000_000


def test_the_loop_clock_follows_the_loop_and_skews_wall_time_alone() -> None:
    async def main() -> tuple[float, float]:
        clock = LoopClock(epoch_s=1000.0, skew_s=-5.0)
        await clock.sleep(30.0)
        return clock.monotonic(), clock.now()

    assert simulate(main) == (30.0, 1025.0)


def test_a_seed_repeats_itself() -> None:
    one, other = seeded_rng("x"), seeded_rng("x")
    assert [one.random(), one.uniform(1, 2), one.getrandbits(8)] == [
        other.random(),
        other.uniform(1, 2),
        other.getrandbits(8),
    ]
    assert 0 <= system_rng().random() < 1


@pytest.mark.parametrize("kind", ["run", "owner"])
def test_ids_say_what_they_are_of(kind: str) -> None:
    ids = RandomIds()
    assert ids.new(kind).startswith(f"{kind}-")
    assert ids.new(kind) != ids.new(kind)


def test_sequential_ids_count_each_kind() -> None:
    ids = SequentialIds("t")
    assert [ids.new("run"), ids.new("run"), ids.new("owner")] == ["run-t1", "run-t2", "owner-t1"]
