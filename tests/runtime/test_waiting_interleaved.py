"""Timers, signals, crashes and cancellation in any order: nothing early, nothing twice, nothing lost, nothing after."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.contract.model import Limits
from plimsoll.core.calls import Ending
from plimsoll.core.errors import Misuse, SignalTimeout
from plimsoll.core.events import SignalReceived, TimerFired, TimerSet
from plimsoll.gate.simulator import many_simulations
from plimsoll.journal.store import RunState
from plimsoll.runtime.operations import Operations
from plimsoll.runtime.run import Run
from tests.runtime.bench import CrashingStore, Desk, pass_time, simulated
from tests.runtime.test_waiting import desk_of, now

NAMES = ("a", "b")
sleeping = st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.5, 5.0, 50.0]))
waiting = st.tuples(st.just("wait"), st.sampled_from(NAMES), st.sampled_from([None, 5.0, 50.0]))
branches = st.lists(st.lists(st.one_of(sleeping, waiting), min_size=1, max_size=3), min_size=1, max_size=2)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("time"), st.sampled_from([0.5, 3.0, 20.0, 60.0])),
        st.tuples(st.just("signal"), st.sampled_from(NAMES), st.integers(0, 4)),
        st.tuples(st.just("wake"), st.sampled_from([0, 1, 2, 3, 5]), st.sampled_from([0, 1, 99])),
        st.tuples(st.just("cancel")),
    ),
    max_size=12,
)


async def branch(run: Run, number: int, steps: list[Any]) -> list[Any]:
    """Takes its steps, and pays once after each."""
    got: list[Any] = []
    for place, step in enumerate(steps):
        if step[0] == "sleep":
            await run.sleep(step[1])
            got.append("slept")
        else:
            try:
                got.append(await run.wait_for_signal(step[1], timeout_s=step[2]))
            except SignalTimeout:
                got.append("late")
        await run.call("refund", {"order": f"{number}/{place}", "amount": 1.0}, key=f"pay {number}/{place}")
    return got


async def agent(run: Run, program: list[list[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(branch(run, number, steps) for number, steps in enumerate(program))))


@settings(max_examples=150, deadline=None)
@given(program=branches, events=happenings)
def test_whatever_happens_in_whatever_order(program: list[list[Any]], events: list[tuple[Any, ...]]) -> None:
    with many_simulations():
        simulated(lambda: play(program, events))


async def play(program: list[list[Any]], events: list[tuple[Any, ...]]) -> None:
    desk = desk_of(agent, limits=Limits(seconds=1e6, max_resumes=1000, repeats=100))
    operations = Operations(desk.store)
    sent: list[tuple[str, str]] = []
    paid_when_cancelled: int | None = None
    await desk.live().run(program, run_id="r")
    for event in events:
        if event[0] == "time":
            await pass_time(event[1])
        elif event[0] == "signal":
            await signalled(operations, sent, event[1], f"{event[1]}{event[2]}")
        elif event[0] == "cancel" and not await over(desk):
            await operations.cancel("r", by="ana")
            paid_when_cancelled = len(desk.shop.ledger) if paid_when_cancelled is None else paid_when_cancelled
        elif event[0] == "wake":
            await woken(desk, at=event[1], keep=event[2])
    await brought_to_an_end(desk, operations, sent)
    await judged(desk, program, sent, paid_when_cancelled)


async def over(desk: Desk) -> bool:
    head = await desk.store.head("r")
    return head is not None and head.state is RunState.ENDED


async def signalled(operations: Operations, sent: list[tuple[str, str]], name: str, signal_id: str) -> None:
    try:
        new = await operations.signal("r", name, signal_id, by="ana", signal_id=signal_id)
    except Misuse:  # it has ended
        return
    assert new == ((name, signal_id) not in sent)
    if new:
        sent.append((name, signal_id))


async def woken(desk: Desk, *, at: int, keep: int) -> None:
    """A life that wakes what is due, and dies at its append number `at` (0: it does not)."""
    harness = desk.live(CrashingStore(desk.store, at=at, keep=keep) if at else None)
    try:
        await harness.wake()
    except BaseException as error:
        assert type(error).__name__ == "Crash", error
    harness.journal.abandon()


async def brought_to_an_end(desk: Desk, operations: Operations, sent: list[tuple[str, str]]) -> None:
    for number in range(10, 40):
        if await over(desk):
            return
        for name in NAMES:
            await signalled(operations, sent, name, f"{name}{number}")
        await pass_time(60.0)
        await woken(desk, at=0, keep=0)
    raise AssertionError("it never ends")


async def judged(
    desk: Desk, program: list[list[Any]], sent: list[tuple[str, str]], paid_when_cancelled: int | None
) -> None:
    records = await desk.store.read("r")
    received = [record.event for record in records if isinstance(record.event, SignalReceived)]
    for name in NAMES:
        ids = [signal_id for each, signal_id in sent if each == name]
        taken = [event.signal_id for event in received if event.name == name]
        assert taken == ids[: len(taken)], "each once, in the order in which they came"
    timers = {record.event.key: record.event.until for record in records if isinstance(record.event, TimerSet)}
    for record in records:
        if isinstance(record.event, TimerFired):
            assert record.at >= timers[record.event.key] - 1e-6, "never early"
    keys = Counter(record.event.key for record in records if isinstance(record.event, (TimerFired, SignalReceived)))
    assert set(keys.values()) <= {1}, "a wait ends once"
    paid = Counter(row[0] for row in desk.shop.ledger)
    assert set(paid.values()) <= {1}, "and what follows it happens once"
    result = await desk.live().result("r")
    if result.ending is Ending.COMPLETE:
        assert len(paid) == sum(map(len, program))
    else:
        assert (result.ending, result.reason) == (Ending.HALTED, "cancelled by ana")
        assert paid_when_cancelled is not None
        assert len(paid) == paid_when_cancelled, "nothing after the cancellation"
    assert now() < 1e5
