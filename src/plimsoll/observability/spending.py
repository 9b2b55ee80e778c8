"""Spending slope: a run that is on course to pass a limit of tokens or money, told before it does."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from plimsoll.contract.model import Limits
from plimsoll.core.events import CallSettled, Event, Finding

__all__ = ["SpendingDetector"]

_PACE = 4
"""The pace is the mean of so many model calls: one long answer is none."""
_SOON = 5
_SOON_WHEN_RISING = 20
_RISE = 1.15
_LEAST_SHARE = 0.25


class SpendingDetector:
    """Warns of a run that would pass `limits.tokens` or `limits.usd` well before its steps are used up.

    The pace is what its last four model calls took on average. A finding `spending`, whose fault is the limit's name,
    is raised when at this pace the limit is passed within five more model calls; or, where each of the four took at
    least 15 % more than the one before, within twenty: a conversation that swells is found out early, and one that once
    reads a long document is none. Only calls that the run's steps still allow for count, as many of them to a model as
    up to now. A run that has used less than a quarter of the limit is left alone. Nothing is stopped: a person is told,
    once for each limit.
    """

    reads: frozenset[type[Any]] = frozenset({CallSettled})

    def __init__(self, limits: Limits) -> None:
        self._steps_left = limits.steps
        self._calls = 0
        self._asked = 0
        self._books = (_Book("tokens", float(limits.tokens)), _Book("usd", limits.usd))

    def observe(self, event: Event, *, at: float) -> Sequence[Finding]:
        if not isinstance(event, CallSettled):
            return ()
        self._calls += 1
        self._steps_left -= 1
        usage = event.outcome.usage
        if usage is None:
            return ()
        self._asked += 1
        tokens, usd = self._books
        tokens.used += (taken := usage.input_tokens + usage.output_tokens)
        tokens.latest.append(taken)
        usd.used += usage.usd
        usd.latest.append(usage.usd)
        if self._asked < _PACE or (tokens.used < tokens.heeded_from and usd.used < usd.heeded_from):
            return ()
        left = self._steps_left * self._asked / self._calls
        found = [book for book in self._books if not book.told and book.is_on_course(left)]
        for book in found:
            book.told = True
        return [_finding(event, book) for book in found]

    def restore(self, event: Event) -> None:
        self.observe(event, at=0.0)


class _Book:
    """What a run has used of one limit, and what its latest calls took. It is heeded from a share of the limit on."""

    __slots__ = ("heeded_from", "latest", "limit", "name", "told", "used")

    def __init__(self, name: str, limit: float) -> None:
        self.name = name
        self.limit = limit
        self.heeded_from = _LEAST_SHARE * limit
        self.used = 0.0
        self.told = False
        self.latest: deque[float] = deque(maxlen=_PACE + 1)

    @property
    def recent(self) -> float:
        """What the last four calls took."""
        return sum(tuple(self.latest)[-_PACE:])

    def is_on_course(self, calls_left: float) -> bool:
        """Whether at this pace the limit is passed soon, and within `calls_left` more calls."""
        if self.used < self.heeded_from or self.recent <= 0:
            return False
        return self.lasts < min(calls_left, _SOON_WHEN_RISING if self._is_rising() else _SOON)

    @property
    def lasts(self) -> float:
        """How many more calls what is left is enough for."""
        return (self.limit - self.used) / (self.recent / _PACE)

    def _is_rising(self) -> bool:
        steps = pairwise(self.latest)
        return len(self.latest) > _PACE and all(later >= _RISE * earlier for earlier, later in steps)


def _finding(event: CallSettled, book: _Book) -> Finding:
    share = 100.0 * book.used / book.limit
    return Finding(
        kind="spending",
        severity="warning",
        message=(
            f"{book.name}: {share:.0f} % of {book.limit:g} are used, and at the pace of the last {_PACE} model calls"
            f" ({book.recent / _PACE:.4g} each) the rest lasts for {max(book.lasts, 0.0):.1f} more"
        ),
        dependency=event.dependency,
        fault=book.name,
        evidence=(event.key,),
    )
