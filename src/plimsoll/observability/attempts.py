"""Detectors of what went wrong with a dependency, and of what was done about it."""

from collections.abc import Sequence
from typing import Any

from plimsoll.core.calls import CallKind, Effect, Fault, Status
from plimsoll.core.events import AttemptSettled, CallSettled, Event, Finding, RungChanged, RunResumed

__all__ = ["SILENT_FAULTS", "UNSENT_FAULTS", "AttemptDetector", "RecoveryDetector"]

SILENT_FAULTS = frozenset(
    {
        Fault.EMPTY,
        Fault.WHITESPACE,
        Fault.TRUNCATED,
        Fault.FILTERED,
        Fault.MALFORMED,
        Fault.WRONG_SHAPE,
        Fault.ERROR_IN_SUCCESS,
        Fault.STALE,
    }
)
"""Faults of an answer that came in time and without an error, and is none."""


UNSENT_FAULTS = frozenset({Fault.CIRCUIT_OPEN, Fault.SHED, Fault.THROTTLED})
"""Faults of an attempt that a policy of ours did not let through."""


class AttemptDetector:
    """Failed and slow attempts, answers that are none, and calls that failed for good.

    A call that failed is critical where nothing below it can make up for it: a model after its last rung, and whatever
    has an effect. A read that failed is a warning, since the agent goes on and knows. A dependency that refused, for a
    reason of its trade, did its work: no finding.
    """

    reads: frozenset[type[Any]] = frozenset({AttemptSettled, CallSettled})

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if isinstance(event, AttemptSettled):
            return self._attempt(event)
        if isinstance(event, CallSettled) and event.outcome.status is Status.FAILED:
            return self._failed(event)
        return ()

    def restore(self, event: Event) -> None:
        """Nothing to rebuild: it keeps no state."""

    def _attempt(self, event: AttemptSettled) -> Sequence[Finding]:
        if event.fault in (Fault.REFUSED, Fault.OUTRUN):
            return ()
        if event.fault in UNSENT_FAULTS:
            kind, words = "not_asked", f"was not asked ({event.fault})"
        elif event.fault is Fault.SLOW:
            kind, words = "slow", "answered slowly"
        elif event.fault in SILENT_FAULTS:
            kind, words = "silent_failure", f"gave an answer that is none ({event.fault})"
        else:
            kind, words = "attempt_failed", f"failed ({event.fault})"
        return (
            Finding(
                kind=kind,
                severity="warning",
                message=f"{event.dependency} {words}, attempt {event.attempt}, {event.duration_s:.3g} s",
                dependency=event.dependency,
                fault=event.fault,
                evidence=(event.key,),
            ),
        )

    def _failed(self, event: CallSettled) -> Sequence[Finding]:
        error = event.outcome.error
        fault = error.fault if error is not None else Fault.EXCEPTION
        if fault is Fault.REFUSED:
            return ()
        final = event.kind is CallKind.MODEL or event.effect is not Effect.READ
        failed = Finding(
            kind="call_failed",
            severity="critical" if final else "warning",
            message=f"{event.dependency} failed ({fault}) after {event.outcome.attempts} attempt(s)",
            dependency=event.dependency,
            fault=fault,
            evidence=(event.key,),
        )
        if fault not in SILENT_FAULTS:
            return (failed,)
        silent = Finding(
            kind="silent_failure",
            severity="warning",
            message=f"{event.dependency} gave an answer that is none ({fault})",
            dependency=event.dependency,
            fault=fault,
            evidence=(event.key,),
        )
        return (silent, failed)


class RecoveryDetector:
    """What saved a run: going on after a crash, each time, and rungs of a ladder."""

    reads: frozenset[type[Any]] = frozenset({RunResumed, RungChanged})

    def __init__(self) -> None:
        self._crashes = 0

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if isinstance(event, RunResumed) and event.crashed:
            self._crashes += 1
            finding = Finding(
                kind="recovered_after_crash",
                severity="warning",
                message="the run goes on after its process died",
                fault=Fault.CRASH,
                evidence=(f"crash {self._crashes}",),
            )
            return (finding,)
        if isinstance(event, RungChanged):
            finding = Finding(
                kind="fallback",
                severity="warning",
                message=f"{event.dependency} could not answer ({event.fault}): falling back to {event.to}",
                dependency=event.dependency,
                fault=event.fault,
                evidence=(event.key,),
            )
            return (finding,)
        return ()

    def restore(self, event: Event) -> None:
        self._crashes += isinstance(event, RunResumed) and event.crashed
