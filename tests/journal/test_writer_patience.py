"""How long a barrier waits: exactly as long as it has patience, whatever the others wait for."""

import asyncio
from collections.abc import Callable

import pytest

from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import JournalUnavailable
from plimsoll.gate.simulator import simulate
from plimsoll.journal import Journal, RunLog
from tests.journal.helpers import TrickyStore, value

PATIENCE_S = 5.0


async def gives_up(log: RunLog, *, begins_s: float) -> float:
    """When, by the loop's clock, a barrier gives up that begins at `begins_s`."""
    loop = asyncio.get_running_loop()
    await LoopClock().sleep(begins_s - loop.time())
    log.append(value(1))
    with pytest.raises(JournalUnavailable, match="This run waited 5 s; its events are kept"):
        await log.durable()
    return loop.time()


async def when_barriers_give_up(store: TrickyStore, *begin_s: float) -> list[float]:
    """When barriers of as many runs give up, that begin at these times."""
    journal = Journal(store, clock=LoopClock(), patience_s=PATIENCE_S)
    logs = [journal.open(await store.claim(f"r{number}", owner="o", at=0.0)) for number in range(len(begin_s))]
    waiting = [gives_up(log, begins_s=at) for log, at in zip(logs, begin_s, strict=True)]
    ends = await asyncio.gather(*waiting)
    journal.abandon()
    return ends


def hanging() -> TrickyStore:
    store = TrickyStore()
    store.gate.clear()
    return store


def failing() -> TrickyStore:
    store = TrickyStore()
    store.failures = 10**6
    return store


@pytest.mark.parametrize("make", [hanging, failing])
def test_each_barrier_gives_up_after_its_own_patience(make: Callable[[], TrickyStore]) -> None:
    async def main() -> None:
        ends = await when_barriers_give_up(make(), 100.0, 102.0, 102.0, 106.5)
        assert ends == pytest.approx([105.0, 107.0, 107.0, 111.5], abs=1e-6)

    simulate(main)
