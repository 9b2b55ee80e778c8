"""No progress: an agent that is busy, and learns and does nothing new."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

from plimsoll.core.calls import CallKind, Effect, Status
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.core.events import ApprovalDecided, CallSettled, Event, Finding, SignalReceived

__all__ = ["ProgressDetector"]

_ROUNDS = 4
_NOTHING, _LITTLE, _NEW = 2, 1, 0
_MAX_KNOWN = 1000
_EMPTY: tuple[Any, ...] = ("", [], {})


class ProgressDetector:
    """Tools are called again and again, in whatever order, and nothing new comes of it.

    A call brings nothing new when this run has made it `k - 1` times before, with the same arguments, and it brought
    the same each time. It brings little, and counts half, where it was made before, but fewer times; where it failed;
    and where it is a read that found nothing at all: to look again, or for many things of which none is there, is work,
    up to a point. Anything else is progress, and starts the count anew: a result that was not there yet (so polling,
    paging and reading are none), an effect that happened, a signal, a person's decision.

    The finding is a loop by fault `no_progress`, after `4 * k` calls in a row that brought nothing new, or twice as
    many of those that count half: more than the longest cycle that `LoopDetector` knows, repeated `k` times. `observed`
    marks it as that of a protection that only observes. The latest 1000 calls and what they brought are remembered.
    """

    reads: frozenset[type[Any]] = frozenset({CallSettled, SignalReceived, ApprovalDecided})

    def __init__(self, k: int, *, observed: bool = False) -> None:
        if k < 2:
            raise Misuse(f"a loop is a thing done at least twice, not {k} time(s)")
        self._most = _ROUNDS * k * _NOTHING
        self._observed = observed
        self._k = k
        self._known: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._idle = 0
        self._keys: deque[str] = deque(maxlen=2 * _ROUNDS * k)

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if not isinstance(event, CallSettled):
            self._idle = 0
            return ()
        if event.kind is CallKind.MODEL:
            return ()
        weight = self._weight(event)
        if not weight:
            self._idle = 0
            return ()
        if not self._idle:
            self._keys.clear()
        before, self._idle = self._idle, self._idle + weight
        self._keys.append(event.key)
        return (self._finding(event),) if before < self._most <= self._idle else ()

    def restore(self, event: Event) -> None:
        self.observe(event, at=0.0)

    def _weight(self, event: CallSettled) -> int:
        """How much this call counts towards no progress."""
        step = (event.dependency, event.args_digest, event.result_digest or _brought(event))
        before = self._known.pop(step, 0)
        self._known[step] = before + 1
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        if before:
            return _NOTHING if before >= self._k - 1 else _LITTLE
        outcome = event.outcome
        if outcome.status is not Status.OK:
            return _LITTLE
        found = outcome.value
        return _LITTLE if event.effect is Effect.READ and (found is None or found in _EMPTY) else _NEW

    def _finding(self, event: CallSettled) -> Finding:
        return Finding(
            kind="loop",
            severity="warning" if self._observed else "critical",
            message=f"no progress: the last {len(self._keys)} calls brought nothing new",
            dependency=event.dependency,
            fault="no_progress",
            evidence=tuple(self._keys),
            observed=self._observed,
        )


def _brought(event: CallSettled) -> str:
    """What tells apart what came of two calls that are not ok. Of an error its class counts and not its message."""
    outcome, error = event.outcome, event.outcome.error
    if error is not None:
        return f"{outcome.status} {error.type} {error.fault}"
    return digest((outcome.status, outcome.value))
