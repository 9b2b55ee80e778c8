"""A run whose dependencies cannot be made waits: nothing was done, and nothing is wrong with it."""

import asyncio
import gc
import weakref
from typing import Any

from plimsoll.adapters.common.dependencies import AGAIN_S
from plimsoll.adapters.pydantic_ai import harden
from plimsoll.core.calls import Ending
from plimsoll.core.events import RunEnded
from tests.adapters.bench import Desk, Shop, call, simulated
from tests.runtime.bench import pass_time


class Opening:
    """Opens the shop, unless its database is down."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.is_down = True
        self.asked = 0

    def __call__(self) -> Shop:
        return self.open()

    def open(self) -> Shop:
        self.asked += 1
        if self.is_down:
            raise ConnectionRefusedError("no route to the shop")
        return self.shop

    async def open_async(self) -> Shop:
        return self.open()


def live(desk: Desk, deps: Any) -> Any:
    hardened = desk.live()
    return harden(
        hardened.agent, hardened.contract, deps=deps, models=desk.models,
        surroundings=hardened._surroundings, fingerprint="v1",
    )  # fmt: skip


def test_it_waits_until_they_can_be_made() -> None:
    async def main() -> None:
        desk = Desk([call("refund", "c1", order="W1", amount=5.0)], "Done.")
        opening = Opening(desk.shop)
        hardened = live(desk, opening.open_async)
        parked = await hardened.run("Refund W1", run_id="r")
        assert parked.ending is Ending.PARKED
        assert parked.reason.startswith("dependencies: the agent's dependencies could not be made (ConnectionRefused")
        assert "no route to the shop); nothing was done" in parked.reason
        assert ("no_dependencies", "deps", "ConnectionRefusedError") in desk.kinds()
        assert await hardened.wake() == []
        opening.is_down = False
        await pass_time(AGAIN_S + 1)
        (result,) = await hardened.wake()
        assert (result.ending, result.output, desk.shop.refunds) == (Ending.COMPLETE, "Done.", [("W1", 5.0)])

    simulated(main)


def test_a_resumed_run_keeps_what_it_has_when_they_cannot_be_made() -> None:
    async def main() -> None:
        desk = Desk([call("refund", "c1", order="W1", amount=500.0)], "Done.")
        opening = Opening(desk.shop)
        opening.is_down = False
        hardened = live(desk, opening.open)
        waiting = await hardened.run("Refund W1", run_id="r")
        await hardened.operations.decide(waiting.waiting_for[0].request_id, approve=True, by="ana")
        opening.is_down = True
        (parked,) = await hardened.wake()
        assert parked.reason.startswith("dependencies")
        assert await desk.events(RunEnded) == []
        opening.is_down = False
        result = await hardened.resume("r")
        assert (result.ending, desk.shop.refunds) == (Ending.COMPLETE, [("W1", 500.0)])

    simulated(main)


def test_what_is_no_function_is_taken_as_it_is() -> None:
    async def main() -> None:
        desk = Desk("Hello.")
        opening = Opening(desk.shop)  # has a __call__, and is an object all the same
        result = await live(desk, opening).run("Hello", run_id="r")
        assert (result.ending, opening.asked) == (Ending.COMPLETE, 0)

    simulated(main)


def waiting_desk() -> Desk:
    return Desk([call("refund", "c1", order="W1", amount=500.0)], "Done.")


async def approved(desk: Desk, hardened: Any, deps: Any) -> None:
    """Runs it with dependencies of its own up to where it waits for a person, who says yes."""
    waiting = await hardened.run("Refund W1", run_id="r", deps=deps)
    assert waiting.ending is Ending.PARKED
    await hardened.operations.decide(waiting.waiting_for[0].request_id, approve=True, by="ana")


def test_those_of_a_parked_run_are_not_kept_in_memory() -> None:
    async def main() -> None:
        desk, own = waiting_desk(), Shop()
        kept = weakref.ref(own)
        hardened = live(desk, None)
        await approved(desk, hardened, own)
        del own
        for _ in range(3):  # the generators of a stack that was left close themselves in the loop
            gc.collect()
            await pass_time(0)
        assert kept() is None

    asyncio.run(main())  # a loop that is simulated keeps what was left in it


def test_a_run_whose_caller_took_its_dependencies_along_waits_for_others() -> None:
    async def main() -> None:
        desk, again = waiting_desk(), Shop()
        hardened = live(desk, None)
        await approved(desk, hardened, Shop())
        (parked,) = await hardened.wake()
        assert parked.reason.startswith("dependencies: its caller gave the run dependencies of its own, and is gone")
        assert ("no_dependencies", "deps", None) in desk.kinds()
        await pass_time(AGAIN_S + 1)
        assert await hardened.wake() == [], "time alone brings none"
        done = await hardened.resume("r", deps=again)
        assert (done.ending, again.refunds, desk.shop.refunds) == (Ending.COMPLETE, [("W1", 500.0)], [])

    simulated(main)


def test_what_harden_was_given_goes_on_with_a_run_that_had_its_own() -> None:
    async def main() -> None:
        desk, own = waiting_desk(), Shop()
        hardened = live(desk, lambda: desk.shop)
        await approved(desk, hardened, own)
        (done,) = await hardened.wake()
        assert (done.ending, own.refunds, desk.shop.refunds) == (Ending.COMPLETE, [], [("W1", 500.0)])

    simulated(main)
