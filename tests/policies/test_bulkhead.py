"""The bulkhead: who comes in, who waits, who is shed; and that no place is ever lost or given twice."""

import asyncio
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import BulkheadSection
from plimsoll.core.criticality import Criticality
from plimsoll.core.errors import Misuse, Shed
from plimsoll.policies.bulkhead import Bulkhead, Compartment
from tests.policies.playing import now_s, pause, played, turns

SHEDDABLE, DEFAULT, CRITICAL = Criticality


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": -1}, "max_concurrent"),
        ({"max_queue": -1}, "max_queue"),
        ({"max_wait_s": 0.0}, "max_wait_s"),
        ({"max_wait_s": math.inf}, "max_wait_s"),
        ({"max_wait_s": math.nan}, "max_wait_s"),
    ],
)
def test_nonsense_is_refused_when_built(changed: dict[str, Any], names: str) -> None:
    with pytest.raises(Misuse, match=f"bulkhead.{names}"):
        Bulkhead(**{"max_concurrent": 1} | changed)


def test_it_is_what_the_contract_says() -> None:
    section = BulkheadSection(max_concurrent=3, max_queue=4, max_wait_s=5.0)
    assert Bulkhead.from_contract(section) == Bulkhead(max_concurrent=3, max_queue=4, max_wait_s=5.0)


def test_how_many_has_no_default() -> None:
    with pytest.raises(TypeError):
        Bulkhead()  # type: ignore[call-arg]


class Ship:
    """A compartment, and callers that come, stay until they are told to leave, and are written down."""

    def __init__(self, *, max_concurrent: int = 1, max_queue: int = 9, max_wait_s: float = 10.0) -> None:
        policy = Bulkhead(max_concurrent=max_concurrent, max_queue=max_queue, max_wait_s=max_wait_s)
        self.compartment = Compartment(policy, dependency="search")
        self.log: list[str] = []
        self.aboard: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.most = 0

    def comes(self, name: str, criticality: Criticality = DEFAULT, *, at_most_s: float = math.inf) -> None:
        self.tasks[name] = asyncio.create_task(self._call(name, criticality, at_most_s))

    async def _call(self, name: str, criticality: Criticality, at_most_s: float) -> None:
        try:
            await self.compartment.enter(criticality, at_most_s=at_most_s)
        except Shed as shed:
            self.log.append(f"{name} shed at {now_s():g}: {str(shed).removeprefix('search was not asked: ')}")
            return
        except asyncio.CancelledError:
            self.log.append(f"{name} cancelled")
            raise
        self.log.append(f"{name} in")
        self.aboard[name] = asyncio.Event()
        self.most = max(self.most, len(self.aboard))
        try:
            await self.aboard[name].wait()
        finally:
            del self.aboard[name]
            self.compartment.leave()

    async def goes(self, *names: str) -> None:
        for name in names:
            self.aboard[name].set()
            await turns(4)

    async def empties(self) -> None:
        """Everybody leaves who is in, and then who comes in thereby."""
        while self.aboard:
            await self.goes(*self.aboard)
        await asyncio.wait(self.tasks.values())


def test_so_many_come_in_and_the_next_is_shed_where_nobody_may_wait() -> None:
    async def main() -> list[str]:
        ship = Ship(max_concurrent=2, max_queue=0)
        for name in "abc":
            ship.comes(name)
            await turns(2)
        await ship.empties()
        return ship.log

    assert played(main) == ["a in", "b in", "c shed at 0: 2 calls are under way, and 0 wait"]


def test_who_waits_comes_in_in_the_order_in_which_it_came() -> None:
    async def main() -> list[str]:
        ship = Ship()
        for name in "abcd":
            ship.comes(name)
            await turns(2)
        assert (ship.compartment.inside, ship.compartment.waiting, ship.compartment.is_full) == (1, 3, True)
        await ship.empties()
        assert (ship.compartment.inside, ship.compartment.waiting, ship.compartment.is_full) == (0, 0, False)
        return ship.log

    assert played(main) == ["a in", "b in", "c in", "d in"]


def test_the_most_critical_comes_next_and_among_equals_the_first() -> None:
    async def main() -> list[str]:
        ship = Ship()
        ship.comes("inside")
        for name, level in (("s1", SHEDDABLE), ("d1", DEFAULT), ("c1", CRITICAL), ("d2", DEFAULT), ("c2", CRITICAL)):
            ship.comes(name, level)
        await turns(3)
        await ship.empties()
        return ship.log

    assert played(main) == ["inside in", "c1 in", "c2 in", "d1 in", "d2 in", "s1 in"]


def test_in_a_full_queue_the_latest_of_what_matters_least_is_shed_for_what_matters_more() -> None:
    async def main() -> list[str]:
        ship = Ship(max_queue=3)
        for name, level in (("inside", DEFAULT), ("s1", SHEDDABLE), ("s2", SHEDDABLE), ("d1", DEFAULT)):
            ship.comes(name, level)
        await turns(3)
        ship.comes("c1", CRITICAL)
        await turns(3)
        ship.comes("s3", SHEDDABLE)
        await turns(3)
        ship.comes("c2", CRITICAL)
        await turns(3)
        ship.comes("d2", DEFAULT)
        await turns(3)
        await ship.empties()
        return ship.log

    took = "something more critical took its place in the queue"
    assert played(main) == [
        "inside in",
        f"s2 shed at 0: {took}",
        "s3 shed at 0: 1 calls are under way, and 3 wait",
        f"s1 shed at 0: {took}",
        "d2 shed at 0: 1 calls are under way, and 3 wait",  # its like is not shed for it
        "c1 in",
        "c2 in",
        "d1 in",
    ]


def test_who_has_waited_for_too_long_is_shed_and_the_next_is_not_kept_waiting() -> None:
    async def main() -> list[str]:
        ship = Ship(max_wait_s=10.0)
        ship.comes("a")
        ship.comes("b")
        await pause(9.0)
        ship.comes("c")
        await pause(1.5)
        await ship.empties()
        return ship.log

    assert played(main) == ["a in", "b shed at 10: it waited for 10 s in the queue", "c in"]


@pytest.mark.parametrize(("at_most_s", "shed_at"), [(2.5, 2.5), (1e9, 10)])
def test_it_waits_no_longer_than_it_may(at_most_s: float, shed_at: float) -> None:
    async def main() -> list[str]:
        ship = Ship()
        ship.comes("a")
        ship.comes("b", at_most_s=at_most_s)
        await pause(20.0)
        await ship.empties()
        return ship.log

    assert played(main) == ["a in", f"b shed at {shed_at:g}: it waited for {shed_at:g} s in the queue"]


@pytest.mark.parametrize("at_most_s", [0.0, -1.0])
def test_nobody_is_shed_for_one_that_has_no_time_to_wait(at_most_s: float) -> None:
    async def main() -> list[str]:
        ship = Ship(max_queue=1)
        ship.comes("a")
        ship.comes("s", SHEDDABLE)
        ship.comes("c", CRITICAL, at_most_s=at_most_s)
        await turns(3)
        await ship.empties()
        ship.comes("d", at_most_s=at_most_s)
        await turns(3)
        await ship.empties()
        return ship.log

    no_time = "c shed at 0: 1 calls are under way, and there is no time to wait"
    assert played(main) == ["a in", no_time, "s in", "d in"]  # where there is room, nobody has to wait


def test_who_is_cancelled_while_it_waits_leaves_the_queue() -> None:
    async def main() -> list[str]:
        ship = Ship()
        for name in "abc":
            ship.comes(name)
        await turns(2)
        ship.tasks["b"].cancel()
        await turns(2)
        assert ship.compartment.waiting == 1
        await ship.empties()
        return ship.log

    assert played(main) == ["a in", "b cancelled", "c in"]


def test_a_turn_that_came_together_with_a_cancellation_is_handed_on() -> None:
    async def main() -> list[str]:
        ship = Ship()
        for name in "abc":
            ship.comes(name)
        await turns(2)
        ship.compartment.inside += 1  # as if another had been inside: its place goes to b
        ship.compartment.leave()
        ship.tasks["b"].cancel()
        await turns(4)
        assert list(ship.aboard) == ["a", "c"]
        ship.compartment.inside -= 1
        await ship.empties()
        return ship.log

    assert played(main) == ["a in", "b cancelled", "c in"]


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_turn_that_came_together_with_the_end_of_its_wait_is_handed_on(leaves_first: bool) -> None:
    async def main() -> list[str]:
        ship = Ship()
        await ship.compartment.enter()
        if leaves_first:
            asyncio.get_running_loop().call_at(5.0, ship.compartment.leave)
        ship.comes("b", at_most_s=5.0)
        ship.comes("c")
        await turns(2)
        if not leaves_first:
            asyncio.get_running_loop().call_at(5.0, ship.compartment.leave)
        await pause(5.0)
        await turns(4)
        await ship.empties()
        assert ship.compartment.inside == 0
        return ship.log

    assert played(main) == ["b shed at 5: it waited for 5 s in the queue", "c in"]


def test_one_that_was_just_cancelled_cannot_be_shed_any_more() -> None:
    """It was taken for one that waits, and whoever came for its place got an InvalidStateError."""

    async def main() -> list[str]:
        ship = Ship(max_queue=1)
        ship.comes("a")
        ship.comes("s", SHEDDABLE)
        await turns(2)
        ship.tasks["s"].cancel()
        waiting = ship.compartment.enter(CRITICAL)
        waiting.send(None)  # in the very turn in which it was cancelled
        assert ship.compartment.waiting == 1
        waiting.close()
        await turns(3)
        await ship.empties()
        return ship.log

    assert played(main) == ["a in", "s cancelled"]


def test_two_that_were_just_cancelled_do_not_stand_before_one_that_can_be_shed() -> None:
    async def main() -> list[str]:
        ship = Ship(max_queue=2)
        ship.comes("a")
        ship.comes("s1", SHEDDABLE)
        ship.comes("s2", SHEDDABLE)
        await turns(2)
        ship.tasks["s2"].cancel()
        for name in "cd":
            ship.comes(name, CRITICAL)
        await turns(3)
        await ship.empties()
        return ship.log

    assert sorted(played(main)) == [
        "a in",
        "c in",
        "d in",
        "s1 shed at 0: something more critical took its place in the queue",
        "s2 cancelled",
    ]


def test_one_that_is_closed_while_it_waits_leaves_the_queue() -> None:
    async def main() -> int:
        compartment = Compartment(Bulkhead(max_concurrent=1, max_queue=1), dependency="search")
        await compartment.enter()
        waits = compartment.enter()
        waits.send(None)
        waits.close()
        compartment.leave()
        return compartment.inside + compartment.waiting

    assert played(main) == 0


# ------------------------------------------------------------------------------------------------- against a model


@dataclass
class Model:
    """What should become of callers when everybody has time to notice what happened: lists, and nothing clever."""

    max_concurrent: int
    max_queue: int
    inside: list[str] = field(default_factory=list)
    waiting: list[tuple[Criticality, str]] = field(default_factory=list)
    shed: set[str] = field(default_factory=set)

    def comes(self, name: str, criticality: Criticality) -> None:
        if len(self.inside) < self.max_concurrent:
            self.inside.append(name)
            return
        if len(self.waiting) >= self.max_queue:
            less = [one for one in self.waiting if one[0] < criticality]
            if not less:
                self.shed.add(name)
                return
            least = min(level for level, _ in less)
            victim = [one for one in less if one[0] == least][-1]
            self.waiting.remove(victim)
            self.shed.add(victim[1])
        self.waiting.append((criticality, name))

    def leaves(self, name: str) -> None:
        self.inside.remove(name)
        if self.waiting:
            following = max(self.waiting, key=lambda one: one[0])  # of equals, max takes the first
            self.waiting.remove(following)
            self.inside.append(following[1])

    def gives_up(self, name: str) -> None:
        self.waiting = [one for one in self.waiting if one[1] != name]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("comes"), st.sampled_from(Criticality)),
        st.tuples(st.just("leaves"), st.integers(0, 9)),
        st.tuples(st.just("cancelled"), st.integers(0, 9)),
        st.tuples(st.just("turn"), st.integers(1, 3)),
    ),
    max_size=40,
)


@given(st.integers(1, 3), st.integers(0, 4), STEPS)
def test_it_does_what_a_plain_model_does(max_concurrent: int, max_queue: int, steps: list[Any]) -> None:
    async def main() -> None:
        ship, model = Ship(max_concurrent=max_concurrent, max_queue=max_queue), Model(max_concurrent, max_queue)
        for number, (what, which) in enumerate(steps):
            if what == "comes":
                ship.comes(str(number), which)
                model.comes(str(number), which)
            elif what == "leaves" and model.inside:
                name = model.inside[which % len(model.inside)]
                ship.aboard[name].set()
                model.leaves(name)
            elif what == "cancelled" and model.waiting:
                name = model.waiting[which % len(model.waiting)][1]
                ship.tasks[name].cancel()
                model.gives_up(name)
            await turns(5)
            assert set(ship.aboard) == set(model.inside)
            assert ship.compartment.inside == len(model.inside)
            assert ship.compartment.waiting == len(model.waiting)
            assert {line.split()[0] for line in ship.log if " shed " in line} == model.shed
        await ship.empties() if ship.tasks else None

    played(main)


@settings(max_examples=300)
@given(st.integers(1, 3), st.integers(0, 4), STEPS)
def test_whoever_is_cancelled_at_whatever_instant_no_place_is_lost_or_given_twice(
    max_concurrent: int, max_queue: int, steps: list[Any]
) -> None:
    async def main() -> None:
        ship = Ship(max_concurrent=max_concurrent, max_queue=max_queue)
        compartment = ship.compartment
        for number, (what, which) in enumerate(steps):
            alive = [task for task in ship.tasks.values() if not task.done()]
            if what == "comes":
                ship.comes(str(number), which)
            elif what == "leaves" and ship.aboard:
                list(ship.aboard.values())[which % len(ship.aboard)].set()
            elif what == "cancelled" and alive:
                alive[which % len(alive)].cancel()
            elif what == "turn":
                await turns(which)
            assert len(ship.aboard) <= compartment.inside <= max_concurrent
            assert compartment.waiting <= max_queue
        await turns(5)
        assert len(ship.aboard) == compartment.inside
        assert not compartment.waiting or compartment.is_full
        if ship.tasks:
            await ship.empties()
        assert (compartment.inside, compartment.waiting, ship.most <= max_concurrent) == (0, 0, True)
        for task in ship.tasks.values():
            assert task.cancelled() or task.exception() is None

    played(main)
