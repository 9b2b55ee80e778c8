"""Telling: what a run does is told to a listener, as it happens. Where nobody listens, nothing is done.

A listener that fails breaks no run: what it raises is logged, and the run goes on untold.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self, TypeVar

from plimsoll.core.calls import Outcome
from plimsoll.core.events import Event, Finding, RunStarted
from plimsoll.observability.listening import CallBegan, CallTold, Segment, SegmentBegan, SegmentEnded
from plimsoll.oversight.approvals import Request
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.result import RunResult

__all__ = ["Told", "ToldCall", "tell_waiting", "telling", "telling_failure", "told"]

T = TypeVar("T")
_log = logging.getLogger("plimsoll.telemetry")


def telling(
    env: Environment, run_id: str, started: RunStarted, *, came_from: str, crashed: bool | None = None
) -> "Told | None":
    """Tells that a segment of a run begins now; None where nobody listens.

    `came_from` is the trace context of the segment before; `crashed` is None for a run's first.
    """
    if env.listener is None:
        return None
    began = SegmentBegan(
        run_id=run_id,
        version=env.fingerprint,
        session=started.session,
        parent=started.parent,
        came_from=came_from,
        resumed=crashed is not None,
        crashed=bool(crashed),
        input=started.input,
    )
    segment = safely(env.listener.segment, began)
    return None if segment is None else Told(segment)


def told(teller: "Told | None", work: Coroutine[Any, Any, RunResult]) -> Coroutine[Any, Any, RunResult]:
    """Does the last of a segment, within its context, and tells how it ended."""
    return work if teller is None else _told(teller, work)


async def _told(teller: "Told", work: Coroutine[Any, Any, RunResult]) -> RunResult:
    with teller.current():
        try:
            result = await work
        except BaseException as error:
            teller.ended(error)
            raise
    teller.ended(SegmentEnded(ending=result.ending, reason=result.reason, output=result.output))
    return result


def telling_failure(teller: "Told | None") -> AbstractContextManager[None]:
    """Tells that a segment is over where what happens inside, before any of its code runs, fails."""
    return _UNTOLD if teller is None else _telling_failure(teller)


_UNTOLD = nullcontext()


@contextmanager
def _telling_failure(teller: "Told") -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        teller.ended(error)
        raise


async def tell_waiting(env: Environment, look: Callable[..., Awaitable[Sequence[Request]]]) -> None:
    """Tells whoever listens what waits for a person in the runs of this agent. Breaks nothing where it cannot.

    `look` finds the requests of an agent's runs.
    """
    if env.listener is None:
        return
    try:
        env.listener.asked([request.asked for request in await look(agent=env.contract.agent.name)])
    except Exception as error:  # a journal that cannot be read now is told by whoever needs it
        _failed(error)


class Told:
    """A segment that somebody listens to. It is a detector of its run, too, and raises no finding."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._over = False
        self.reads = segment.reads
        self.trace = safely(lambda: segment.trace) or ""

    @contextmanager
    def current(self) -> Iterator[None]:
        """What happens inside happens within the segment's context."""
        inside = safely(self._segment.current)
        if inside is not None:
            safely(inside.__enter__)
        try:
            yield
        finally:
            if inside is not None:
                safely(inside.__exit__, None, None, None)

    def call(self, began: CallBegan) -> "ToldCall":
        """What happens inside is a call; its outcome is told by what this yields."""
        return ToldCall(safely(self._segment.call, began))

    def waited(self, seconds: float) -> None:
        """The run has waited so long for the disk."""
        safely(self._segment.waited, seconds)

    def observe(self, event: Event, *, at: float) -> Iterable[Finding]:
        return safely(lambda: self._segment.observe(event, at=at)) or ()

    def restore(self, event: Event) -> None:
        """Nothing: on a replay nothing is told again."""

    def ended(self, ended: SegmentEnded | BaseException) -> None:
        """The segment is over. Told once: the first is how."""
        if not self._over:
            self._over = True
            safely(self._segment.ended, ended)


class ToldCall:
    """A call that somebody listens to. No generator: it is entered for every call."""

    __slots__ = ("_call", "_inside")

    def __init__(self, call: AbstractContextManager[CallTold] | None) -> None:
        self._call = call
        self._inside: CallTold | None = None

    def __enter__(self) -> Self:
        if self._call is not None:
            self._inside = safely(self._call.__enter__)
        return self

    def settled(self, outcome: Outcome) -> None:
        """The call has this outcome."""
        if self._inside is not None:
            safely(self._inside.settled, outcome)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._call is not None and self._inside is not None:
            safely(self._call.__exit__, kind, error, None)


def safely(do: Callable[..., T], *args: Any) -> T | None:
    """What `do` returns; None where it fails."""
    try:
        return do(*args)
    except Exception as error:  # telemetry is not worth a run
        _failed(error)
        return None


def _failed(error: Exception) -> None:
    _log.warning("telemetry failed: %s", type(error).__name__)
