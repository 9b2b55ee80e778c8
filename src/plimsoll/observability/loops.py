"""Loops: an agent that does the same over and over, and gets the same for it."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from plimsoll.core.calls import CallKind, Status
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallSettled, Event, Finding

__all__ = ["ROUNDS", "LoopDetector"]

_MAX_PERIOD = 4
ROUNDS = 4
"""In a conversation that goes on, a model may say the same so many times as often as to the very same request."""

Step = tuple[str, str, str]
"""What makes two calls the same: dependency, digest of the arguments, digest of the result."""


class LoopDetector:
    """The same call with the same result `k` times in a row, and cycles of two to four calls repeated `k` times.

    Looks at tools (and whatever is no model): a call repeated without a break is a loop by fault `repeat`, a cycle one
    by fault `cycle`. A result that changes breaks it, so polling is none. Of a model it is the same answer, with no
    other call between: `k` times to the very same request, or `4 * k` times to ever longer ones, as those of a
    conversation are. To other requests it is none: whoever sorts a hundred mails says the same of many. Nor is it
    where the answers were asked for side by side, as votes are. `observed` marks the findings as those of a protection
    that only observes.
    """

    reads: frozenset[type[Any]] = frozenset({CallSettled})

    def __init__(self, k: int, *, observed: bool = False) -> None:
        if k < 2:
            raise Misuse(f"a loop is a thing done at least twice, not {k} time(s)")
        self._k = k
        self._observed = observed
        self._steps: deque[Step] = deque(maxlen=_MAX_PERIOD)
        self._keys: deque[str] = deque(maxlen=_MAX_PERIOD * k)
        # For each period: how many steps in a row equalled the one that many steps before.
        self._matches = [0] * (_MAX_PERIOD + 1)
        self._model: tuple[str, str] | None = None
        self._model_keys: deque[str] = deque(maxlen=ROUNDS * k)
        self._beside = 0
        self._asked = ""
        self._length = 0
        self._again = 0  # how often in a row it has now given this answer to the very same request,
        self._longer = 0  # and to requests of which each was longer than the one before

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if not isinstance(event, CallSettled):
            return ()
        was_beside, self._beside = self._beside, event.beside
        if event.kind is CallKind.MODEL:
            return self._observe_model(event, asked_since=event.beside >= was_beside)
        self._model = None
        return self._observe_step(event)

    def restore(self, event: Event) -> None:
        self.observe(event, at=0.0)

    def _observe_step(self, event: CallSettled) -> Sequence[Finding]:
        step = (event.dependency, event.args_digest, _result(event))
        known = step in self._steps
        for period in range(1, _MAX_PERIOD + 1) if known else ():
            same = len(self._steps) >= period and self._steps[-period] == step
            self._matches[period] = self._matches[period] + 1 if same else 0
        self._steps.append(step)
        self._keys.append(event.key)
        if not known:
            self._matches = [0] * (_MAX_PERIOD + 1)
            return ()
        if self._matches[1] == self._k - 1:
            return (self._finding(event, "repeat", f"the same call with the same result {self._k} times in a row", 1),)
        for period in range(2, _MAX_PERIOD + 1):
            if self._matches[period] == period * (self._k - 1) and not self._has_shorter(period):
                words = f"a cycle of {period} calls, {self._k} times in a row"
                return (self._finding(event, "cycle", words, period),)
        return ()

    def _has_shorter(self, period: int) -> bool:
        """Whether the steps that repeat with `period` repeat with a shorter one as well, which has been reported."""
        length = period * self._k
        return any(self._matches[shorter] >= length - shorter for shorter in range(1, period))

    def _observe_model(self, event: CallSettled, *, asked_since: bool) -> Sequence[Finding]:
        """`asked_since`: the run has asked for something since the call before this one had its outcome."""
        if event.outcome.status is not Status.OK:
            self._model = None
            return ()
        usage = event.outcome.usage
        length = 0 if usage is None else usage.input_tokens
        answer = (event.dependency, _result(event))
        if answer != self._model:
            self._model, self._again, self._longer = answer, 0, 0
            self._model_keys.clear()
        elif not asked_since:
            return ()
        self._again = self._again + 1 if event.args_digest == self._asked else 1
        self._longer = self._longer + 1 if length > self._length else 1
        self._asked, self._length = event.args_digest, length
        self._model_keys.append(event.key)
        if self._again == self._k:
            return (self._of_model(event, f"the same answer to the same request {self._k} times in a row", self._k),)
        if self._longer == ROUNDS * self._k:
            words = f"the same answer {self._longer} times in a row, in a conversation that goes on"
            return (self._of_model(event, words, self._longer),)
        return ()

    def _of_model(self, event: CallSettled, words: str, count: int) -> Finding:
        return self._found(event.dependency, "repeat", words, tuple(self._model_keys)[-count:])

    def _finding(self, event: CallSettled, fault: str, words: str, period: int) -> Finding:
        return self._found(event.dependency, fault, words, tuple(self._keys)[-period * self._k :])

    def _found(self, dependency: str, fault: str, words: str, evidence: tuple[str, ...]) -> Finding:
        return Finding(
            kind="loop",
            severity="warning" if self._observed else "critical",
            message=f"{dependency}: {words}",
            dependency=dependency,
            fault=fault,
            evidence=evidence,
            observed=self._observed,
        )


def _result(event: CallSettled) -> str:
    """What a call brought. Of an error its class counts and not its message, which may hold a number or a date."""
    if event.result_digest:
        return event.result_digest
    outcome, error = event.outcome, event.outcome.error
    return digest((outcome.status, outcome.value, None if error is None else (error.type, error.fault)))
