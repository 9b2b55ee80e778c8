"""Burn rates: how fast an error budget is used up, by several windows at once.

As in the Site Reliability Workbook, chapter 5 (https://sre.google/workbook/alerting-on-slos/): a long window says that
it matters, a short one that it is still going on.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from plimsoll.observability.monitors.chance import is_no_chance

__all__ = ["RATES", "Burn", "BurnRate", "Rate"]

_BUCKET_S = 30.0
_ODDS = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An alert: the budget burns at `times` its rate, over `long_s` seconds and over `short_s` as well."""

    name: str
    times: float
    long_s: float
    short_s: float


RATES = (
    Rate(name="fast", times=14.4, long_s=3600.0, short_s=300.0),
    Rate(name="slow", times=6.0, long_s=6 * 3600.0, short_s=1800.0),
)
"""2 % of the budget of 30 days within an hour, and 5 % within six."""


_LONGEST_S = max(rate.long_s for rate in RATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """An alert that has begun, and the figures behind it: of the long window `bad` of `total`."""

    rate: Rate
    bad: int
    total: int
    times: float


class BurnRate:
    """The error budget of one objective: the share of events that must be good, above 0 and below 1.

    An alert begins when both of its windows burn fast enough; and when what is bad in the long one is no chance: a
    service just within its objective would have it less than once in 100,000 looks. So three calls of which all three
    fail are told, and one of three is not. It may begin again once it is over. An objective so low that its budget
    cannot burn that fast (0.9, fourteen times) is alerted of half way between its budget and everything.

    Events are counted in buckets of half a minute, so that memory does not grow with traffic. A clock that is set back
    stands still for the windows; by more than the longest of them, and it was wrong before: counting begins anew.
    """

    def __init__(self, objective: float) -> None:
        self._budget = 1.0 - objective
        self._begin()

    def _begin(self) -> None:
        self._windows = {length: _Window(length) for rate in RATES for length in (rate.long_s, rate.short_s)}
        self._on: set[str] = set()
        self._latest = 0.0

    def add(self, at: float, *, good: bool) -> list[Burn]:
        """Counts an event of wall-clock time `at`, and returns the alerts that begin with it."""
        if at < self._latest - _LONGEST_S:
            self._begin()
        self._latest = max(self._latest, at)  # a clock that was set back reopens no window
        for window in self._windows.values():
            window.add(self._latest, good=good)
        begun = [] if good else list(self._beginning())
        self._on = {rate.name for rate in RATES if rate.name in self._on and self._burns(rate.short_s, rate)}
        self._on.update(burn.rate.name for burn in begun)
        return begun

    def _beginning(self) -> Iterator[Burn]:
        for rate in RATES:
            if rate.name in self._on or not (self._burns(rate.long_s, rate) and self._burns(rate.short_s, rate)):
                continue
            window = self._windows[rate.long_s]
            if is_no_chance(window.bad, window.total, share=self._budget, odds=_ODDS):
                times = window.bad / window.total / self._budget
                yield Burn(rate=rate, bad=window.bad, total=window.total, times=times)

    def _burns(self, length: float, rate: Rate) -> bool:
        window = self._windows[length]
        share = min(rate.times * self._budget, (1.0 + self._budget) / 2.0)
        return window.bad >= share * window.total > 0


class _Window:
    """How many events there were in the last `length_s` seconds, and how many of them were bad."""

    __slots__ = ("_buckets", "_length", "bad", "total")

    def __init__(self, length_s: float) -> None:
        self.total = 0
        self.bad = 0
        self._length = int(length_s // _BUCKET_S)
        self._buckets: deque[list[int]] = deque()  # number, total, bad

    def add(self, at: float, *, good: bool) -> None:
        number = int(at // _BUCKET_S)
        while self._buckets and self._buckets[0][0] <= number - self._length:
            _, total, bad = self._buckets.popleft()
            self.total -= total
            self.bad -= bad
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append([number, 0, 0])
        bucket = self._buckets[-1]
        bucket[1] += 1
        bucket[2] += not good
        self.total += 1
        self.bad += not good
