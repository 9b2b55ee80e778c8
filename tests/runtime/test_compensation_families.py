"""Taking back what a run has done, with what its children did: in reverse order, and each once."""

from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.contract.model import AgentSection
from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse, UnknownRun
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from tests.runtime.bench import simulated
from tests.runtime.lives import Lives
from tests.runtime.test_compensation import Shop, contract

CARS = replace(contract(), agent=AgentSection(name="cars"))


async def cars(run: Run, request: Any) -> str:
    if request.get("again"):
        await run.call("book", {"what": "bike"})
        await run.continue_as_new({})
    await run.call("book", {"what": "car"})
    return "booked"


async def desk(run: Run, request: Any) -> str:
    """Books a train, has its child book a car, books a room, and fails."""
    await run.call("book", {"what": "train"})
    if request.get("child", True):
        await run.child("cars", {"again": request.get("again", False)}, key=request.get("key"))
    await run.call("book", {"what": "room"})
    raise RuntimeError("the boat was full")


class Agency(Lives):
    """A shop, and an agent that books there with a child."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop()

    def live(self, *, children: bool = True) -> Harness:
        common: dict[str, Any] = {
            "tools": [self.shop.book],
            "compensators": {"book": self.shop.free},
            "fingerprint": "v1",
        }
        kin = {"cars": partial(Harness, CARS, agent=cars, **common)} if children else {}
        return Harness(contract(), agent=desk, surroundings=self.surroundings(), children=kin, **common)


def test_what_a_child_did_is_taken_back_between_what_came_before_and_after_it() -> None:
    async def main() -> None:
        agency = Agency()
        failed = await agency.live().run({}, run_id="trip")
        assert failed.ending is Ending.FAILED
        results = await agency.live().compensate_family("trip", by="ana")
        assert [result.ending for result in results] == [Ending.COMPLETE] * 3
        assert [result.run_id for result in results] == ["trip/undo", "trip/2:cars/undo", "trip/undo-2"]
        assert agency.shop.log == ["+train", "+car", "+room", "-room", "-car", "-train"]

    simulated(main)


def test_asked_again_nothing_is_taken_back_twice() -> None:
    async def main() -> None:
        agency = Agency()
        await agency.live().run({}, run_id="trip")
        await agency.live().compensate_family("trip", by="ana")
        again = await agency.live().compensate_family("trip", by="bo")
        assert {result.ending for result in again} == {Ending.COMPLETE}
        assert agency.shop.log.count("-car") == agency.shop.log.count("-room") == 1

    simulated(main)


def test_the_first_that_cannot_be_taken_back_is_the_last_and_it_goes_on_from_there() -> None:
    async def main() -> None:
        agency = Agency()
        await agency.live().run({}, run_id="trip")
        agency.shop.refuses = "car"
        results = await agency.live().compensate_family("trip", by="ana")
        assert [result.ending for result in results] == [Ending.COMPLETE, Ending.FAILED]
        assert agency.shop.log[3:] == ["-room"]
        agency.shop.refuses = ""
        results = await agency.live().compensate_family("trip", by="ana")
        assert [result.ending for result in results] == [Ending.COMPLETE] * 2
        assert agency.shop.log[3:] == ["-room", "-car", "-train"]

    simulated(main)


def test_a_child_that_continued_as_new_is_taken_back_whole() -> None:
    async def main() -> None:
        agency = Agency()
        await agency.live().run({"again": True}, run_id="trip")
        await agency.live().compensate_family("trip", by="ana")
        assert agency.shop.log[4:] == ["-room", "-car", "-bike", "-train"]

    simulated(main)


def test_of_one_run_alone_its_children_keep_what_they_did() -> None:
    async def main() -> None:
        agency = Agency()
        await agency.live().run({}, run_id="trip")
        await agency.live().compensate("trip", by="ana")
        assert agency.shop.log[3:] == ["-room", "-train"]

    simulated(main)


@pytest.mark.parametrize("key", ["undo", "undo-2"])
def test_a_child_is_not_taken_for_the_run_that_takes_things_back_whatever_its_key(key: str) -> None:
    async def main() -> None:
        agency = Agency()
        result = await agency.live().run({"key": key}, run_id="trip")
        assert [call.key for call in result.undoable] == ["1:book", "2:book"]
        results = await agency.live().compensate_family("trip", by="ana")
        assert [result.ending for result in results] == [Ending.COMPLETE] * 3
        assert agency.shop.log[3:] == ["-room", "-car", "-train"]

    simulated(main)


def test_what_makes_no_sense_is_told() -> None:
    async def main() -> None:
        agency = Agency()
        await agency.live().run({}, run_id="trip")
        with pytest.raises(Misuse, match="a child 'cars' did a part of it, and desk has none here"):
            await agency.live(children=False).compensate_family("trip", by="ana")
        with pytest.raises(UnknownRun):
            await agency.live().compensate_family("nobody", by="ana")

    simulated(main)
