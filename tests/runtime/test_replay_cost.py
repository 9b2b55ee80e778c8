"""What a replay costs: work in proportion to the run's own journal, counted and not timed."""

import sys
from types import FrameType
from typing import Any

import pytest

from plimsoll.contract.model import Limits
from plimsoll.core.calls import Ending
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, simulated


class Work:
    """Counts the calls of functions, Python's own among them, while it is entered."""

    def __init__(self) -> None:
        self.calls = 0

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")

    def __enter__(self) -> "Work":
        sys.setprofile(self._count)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)


async def looks_and_asks(run: Run, request: dict[str, Any]) -> Any:
    """Goes on as new a few times, looks `looks` times, and asks for what a person must approve."""
    if request.get("before"):
        await run.call("look", {"order": "W0"})
        await run.continue_as_new({**request, "before": request["before"] - 1})
    for number in range(request["looks"]):
        await run.call("look", {"order": str(number)})
    return await run.call("refund", {"order": "W1", "amount": 100.0})


async def parked(request: dict[str, Any]) -> Harness:
    """A new life of a process in which the run waits."""
    desk = Desk(limits=Limits(steps=100_000, seconds=1e6))
    desk.agent = looks_and_asks
    assert (await desk.live().run(request, run_id="r")).ending is Ending.PARKED
    return desk.live()


def work_of_resuming(**request: Any) -> int:
    async def main() -> int:
        harness = await parked(request)
        with Work() as work:
            assert (await harness.resume("r")).ending is Ending.PARKED
        return work.calls

    calls: int = simulated(main)
    return calls


def test_a_replay_is_linear_in_the_runs_own_journal() -> None:
    some, twice, four_times = (work_of_resuming(looks=looks) for looks in (200, 400, 800))
    per_call = (twice - some) / 200
    assert per_call > 10, "it was counted"
    assert (four_times - twice) / 400 == pytest.approx(per_call, rel=0.02)


def test_a_replay_does_not_depend_on_how_long_the_life_has_been() -> None:
    young, old = (work_of_resuming(looks=20, before=before) for before in (8, 64))
    assert old - young < 300, "but for the logarithm: a few heads more are looked up"


def test_what_was_read_is_the_runs_own_journal() -> None:
    async def main() -> None:
        harness = await parked({"looks": 5, "before": 3})
        read: list[str] = []
        real = harness.store.read

        class Watched:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            async def read(self, run_id: str, **options: Any) -> Any:
                read.append(run_id)
                return await real(run_id, **options)

        inner, harness.store = harness.store, Watched()  # type: ignore[assignment]
        await harness.resume("r")
        assert set(read) == {"r~4"}

    simulated(main)
