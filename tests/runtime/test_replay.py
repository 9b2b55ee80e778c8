"""Replay by itself: what is asked for where the journal has something else."""

import asyncio

import pytest

from plimsoll.core.errors import ReplayMismatch
from plimsoll.core.events import Event, SignalReceived, TimerFired, TimerSet, ValueRecorded
from plimsoll.runtime.replay import Replay
from tests.runtime.bench import pass_time, simulated

SET = TimerSet(key="1:sleep", until=9.0)
FIRED = TimerFired(key="1:sleep")
RECEIVED = SignalReceived(key="2:signal", name="paid", signal_id="s1", payload=3, by="ana")


def replay(*events: Event) -> Replay:
    return Replay("r", events, patience_s=30.0)


def test_another_thing_in_the_same_place_is_told_at_once() -> None:
    async def main() -> None:
        for recorded in (ValueRecorded(key="1:now", value=1.0), FIRED, SET):
            with pytest.raises(ReplayMismatch) as caught:
                await replay(recorded).settled("1:refund", dependency="refund", args_digest="d")
            assert "refund" in caught.value.actual
            assert recorded.key in caught.value.expected
        assert asyncio.get_running_loop().time() == 0.0

    simulated(main)


def test_a_wait_that_is_over_is_over_on_replay() -> None:
    async def main() -> None:
        recorded = replay(SET, FIRED, RECEIVED)
        assert await recorded.waited("1:sleep") == FIRED
        assert recorded.active
        assert await recorded.waited("2:signal") == RECEIVED
        assert not recorded.active
        assert await recorded.waited("3:sleep") is None

    simulated(main)


def test_a_timer_that_was_set_is_asked_for_before_anything_goes_live() -> None:
    async def main() -> None:
        recorded = replay(ValueRecorded(key="2:now", value=1.0), SET)
        order = []

        async def live() -> None:
            assert await recorded.settled("3:look", dependency="look", args_digest="d") is None
            order.append("live")

        async def rest() -> None:
            assert await recorded.value("2:now") is not None
            await pass_time(1.0)
            order.append("wait")
            assert await recorded.waited("1:sleep") is None
            assert recorded.timer("1:sleep") == SET

        await asyncio.gather(live(), rest())
        assert order == ["wait", "live"]

    simulated(main)


def test_a_timer_that_nobody_asks_for_is_a_mismatch() -> None:
    async def main() -> None:
        recorded = replay(SET)
        assert recorded.unasked() == "wait 1:sleep"
        assert recorded.unasked_intents() == []
        with pytest.raises(ReplayMismatch, match="wait 1:sleep"):
            await recorded.settled("mine", dependency="look", args_digest="d")
        with pytest.raises(ReplayMismatch, match="value 1:sleep"):
            await recorded.value("1:sleep")

    simulated(main)
