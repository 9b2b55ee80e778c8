"""Waiting: for a time, for a signal, or for whichever comes first. What ended a wait is recorded, so replay knows it.

A wait begins in memory. Once all that the run does for a second is wait, it parks, and costs no memory and no active
time until its time comes or somebody posts something.
"""

import asyncio
import math
from collections.abc import Callable

from plimsoll.core.errors import Misuse, ReplayMismatch, RunParked, Unwind
from plimsoll.core.events import SignalReceived, TimerFired, TimerSet
from plimsoll.runtime.heeding import heed
from plimsoll.runtime.replay import PASSES
from plimsoll.runtime.state import RunState

__all__ = ["GRACE_S", "IN_MEMORY_S", "checked", "grace_left_s", "others_first", "wait"]

IN_MEMORY_S = 1.0
"""How long a run stays in memory although all that it does is wait. So waits of up to a second never park it."""

GRACE_S = 5.0
"""How long what runs beside may go on, from when a call of the run waits for a person, or the run leaves the stack."""

_LOOK_S = 0.1
"""How often a wait in memory looks whether it was signalled or cancelled."""

Ended = TimerFired | SignalReceived


def checked(seconds: float, *, what: str) -> float:
    """A duration or a time in seconds. Raises `Misuse` for what is none."""
    try:
        fits = 0 <= seconds < math.inf
    except TypeError:  # as of a text, or a `timedelta`
        fits = False
    if not fits:
        raise Misuse(f"{what} is {seconds!r}; it is a number of seconds, 0 or more")
    return float(seconds)


async def wait(
    state: RunState, key: str, *, until: Callable[[float], float] | None = None, signal: str | None = None
) -> Ended:
    """Waits at `key` for a time, for the signal of a name, or for whichever comes first, and says which it was.

    `until` tells the time from the one that it is now, both in wall-clock seconds. A timer that was set stays as it
    was set, whatever the code asks for on replay. A signal that is there goes before a time that has come.
    """
    try:
        recorded = await _replayed(state, key)
        if recorded is not None:
            return recorded
        state.guard()
        await heed(state)
        return await _live(state, key, await _timer(state, key, until), signal)
    except Unwind as leaving:
        state.unwind(leaving)
        raise


async def _replayed(state: RunState, key: str) -> Ended | None:
    try:
        return await state.replay.waited(key)
    except ReplayMismatch as mismatch:
        raise RunParked("mismatch", detail=str(mismatch)) from mismatch


async def _timer(state: RunState, key: str, until: Callable[[float], float] | None) -> TimerSet | None:
    """The timer of this wait: as the journal has it, or set now and durable. None where it waits for a signal alone."""
    known = state.replay.timer(key)
    if known is not None or until is None:
        return known
    now = state.env.clock.now()
    timer = TimerSet(key=key, until=until(now))
    if timer.until > now:
        await state.commit(timer)
    else:
        state.record(timer)  # it fires at once
    return timer


async def _live(state: RunState, key: str, timer: TimerSet | None, signal: str | None) -> Ended:
    clock = state.env.clock
    left_s = math.inf if timer is None else timer.until - clock.now()
    ends_at = clock.monotonic() + left_s  # in memory a wall clock that is set makes no difference
    parks_at = clock.monotonic() + IN_MEMORY_S
    state.waits.hold(key)
    try:
        while True:
            if clock.monotonic() >= ends_at or (signal is not None and state.mailbox.has(signal)):
                with state.waits.ending():
                    await _let_others_ask(state)
                    ended = _ended(state, key, signal, due=clock.monotonic() >= ends_at)
                if ended is not None:
                    state.record(ended)
                    break
            if clock.monotonic() >= parks_at:
                until = None if timer is None else timer.until
                raise RunParked("signal" if signal else "timer", detail=signal or key, until=until)
            if not await _rested(state, min(_LOOK_S, min(ends_at, parks_at) - clock.monotonic())):
                parks_at = clock.monotonic() + IN_MEMORY_S
    except asyncio.CancelledError:
        if not state.leaving:
            state.waits.release(key)  # the code gave the wait up, and goes on
        raise
    state.waits.release(key)
    return ended


def _ended(state: RunState, key: str, signal: str | None, *, due: bool) -> Ended | None:
    sent = None if signal is None else state.mailbox.take(signal)
    if sent is not None:
        body = sent.body
        return SignalReceived(
            key=key, name=body["name"], signal_id=body["signal_id"], payload=body["payload"], by=sent.by
        )
    return TimerFired(key=key) if due else None


async def others_first(state: RunState) -> None:
    """Before a run parks for a person: lets what runs beside go on until it rests, for a few seconds at most.

    Otherwise a person who takes her time would hold up every timer of the run. What is still under way then has had its
    grace, or a part of it: `grace_left_s` tells the rest.
    """
    task = asyncio.current_task()
    gives_up_at = state.env.clock.monotonic() + GRACE_S
    if task is not None:
        state.waits.patient.add(task)
    try:
        await _let_others_ask(state)
        while state.waits.end_now or state.inflight - state.waits.patient:
            left_s = gives_up_at - state.env.clock.monotonic()
            if left_s <= 0:
                break
            await state.env.clock.sleep(min(_LOOK_S, left_s))
            state.guard()
        state.grace_ends_at = gives_up_at
    finally:
        if task is not None:
            state.waits.patient.discard(task)


def grace_left_s(state: RunState) -> float:
    """For how many seconds more what runs beside may go on, in a run that leaves the stack now."""
    if state.grace_ends_at is None:
        return GRACE_S
    return max(0.0, state.grace_ends_at - state.env.clock.monotonic())


async def _let_others_ask(state: RunState) -> None:
    """Lets branches beside the wait go as far as they can, as a replay will before it tells this one that it is over.

    Otherwise what they ask for next would have other keys then.
    """
    for _ in range(PASSES):
        await state.env.clock.sleep(0)
    state.guard()


async def _rested(state: RunState, seconds: float) -> bool:
    """Lets `seconds` pass. Whether the run did nothing else in them; then they are no active time."""
    clock = state.env.clock
    began, seq, busy = clock.monotonic(), state.log.seq, bool(state.inflight)
    await clock.sleep(seconds)
    rested = not busy and not state.inflight and state.log.seq == seq
    if rested:
        state.rest(began)
    state.guard()
    await heed(state)
    return rested
