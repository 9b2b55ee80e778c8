"""Resuming: what is looked at, and written down, before the code of a run is executed again."""

from collections.abc import Awaitable, Callable, Sequence

from plimsoll.core.errors import RunHalted, RunParked
from plimsoll.core.events import Event, RunAdopted, RunResumed, RunStarted
from plimsoll.observability.findings import crash_loop_finding, version_finding
from plimsoll.runtime.heeding import collect
from plimsoll.runtime.inbox import copy_inbox
from plimsoll.runtime.state import RunState, cancellation

__all__ = ["crashes", "go_on", "last_trace", "version_of"]


async def go_on(
    state: RunState,
    events: Sequence[Event],
    *,
    crashed: bool,
    rehearsal: Callable[[], Awaitable[str]],
    forced_by: str = "",
) -> None:
    """Writes down, durable, that the run goes on after `events`, and acts on what was posted to it.

    `rehearsal` tells what this version of the agent does otherwise than the run's journal. Raises `RunHalted` when
    somebody has cancelled the run, and `RunParked` when it belongs to another version of the agent (`version`) or has
    crashed too often (`resumes`): none of its code may be executed then.
    """
    trace = "" if state.teller is None else state.teller.trace
    resumed = RunResumed(crashed=crashed, fingerprint=state.env.fingerprint, forced_by=forced_by, trace=trace)
    state.record(resumed)
    for entry in await collect(state):
        copy_inbox(state, entry)
    state.mailbox.acted_on_all()
    state.replay.resolve(state.doubts)
    if state.continued is None:  # otherwise none of its code is executed any more: the next run begins
        if state.cancelled is not None:
            raise RunHalted(cancellation(state.cancelled))
        await _check_version(state, version_of(events), rehearsal)
    _check_crashes(state, crashes([*events, resumed]))
    await state.commit()


def version_of(events: Sequence[Event]) -> str:
    """The fingerprint of the agent's version that a run belongs to: that with which it began, or that adopted it."""
    version = ""
    for event in events:
        if isinstance(event, RunStarted):
            version = event.fingerprint
        elif isinstance(event, RunAdopted):
            version = event.new
    return version


def last_trace(events: Sequence[Event]) -> str:
    """The trace context of the run's last segment that was told; empty where none was."""
    begins = (event for event in reversed(events) if isinstance(event, (RunStarted, RunResumed)))
    return next((event.trace for event in begins if event.trace), "")


def crashes(events: Sequence[Event]) -> int:
    """How often the run was resumed after a crash, since a person last let it go on all the same."""
    count = 0
    for event in events:
        if isinstance(event, RunResumed):
            count = 0 if event.forced_by else count + event.crashed
    return count


async def _check_version(state: RunState, version: str, rehearsal: Callable[[], Awaitable[str]]) -> None:
    own = state.env.fingerprint
    if version == own:
        return
    why = "adopt it, if this one replays it"
    if state.env.contract.agent.new_version == "replay":
        why = await rehearsal()
        if not why:
            state.record(RunAdopted(by="plimsoll", old=version, new=own))
            return
    state.raise_finding(version_finding(version, own))
    raise RunParked("version", detail=f"it belongs to version {version[:12]}, this is {own[:12]}: {why}")


def _check_crashes(state: RunState, count: int) -> None:
    most = state.env.contract.limits.max_resumes
    if count > most:
        state.raise_finding(crash_loop_finding(count, most))
        raise RunParked("resumes", detail=f"its process died {count} times; limits.max_resumes allows {most}")
