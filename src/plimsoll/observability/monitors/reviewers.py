"""Rubber-stamping: people who approve whatever they are asked, or faster than anybody can read."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from plimsoll.core.events import Finding
from plimsoll.observability.monitors.chance import is_no_chance
from plimsoll.observability.monitors.views import Decision, Raised, View

__all__ = ["ReviewMonitor"]

_SHARE = 0.95
_ODDS = 0.01
_REMEMBERED = 200
_QUICK_OF = 20
_QUICK = 10
_READING_S = 2.0
_MAX_PEOPLE = 1000


@dataclass(slots=True)
class _Reviewer:
    approved: deque[bool] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    quick: deque[bool] = field(default_factory=lambda: deque(maxlen=_QUICK_OF))
    last_at: float = float("-inf")
    told: set[str] = field(default_factory=set)


class ReviewMonitor:
    """Raises `rubber_stamp` for a person, by fault `always_yes` or `too_fast`, once until it is over.

    People approve about 93 % of what agents ask them; above 95 % nobody looks any more. `always_yes`: among the last
    200 decisions are so many approvals that somebody who approves 95 % would have as many less than once in a hundred
    times. That takes 90 in a row, or 197 of 200. `too_fast`: ten of the last twenty came within two seconds of the
    request, or of the decision before.
    """

    def __init__(self) -> None:
        self._people: OrderedDict[str, _Reviewer] = OrderedDict()

    def look(self, view: View, *, now: float) -> list[Raised]:
        return [(each.run_id, finding) for each in view.decided for finding in self._decided(each)]

    def _decided(self, decision: Decision) -> Iterator[Finding]:
        person = self._people.setdefault(decision.by, _Reviewer())
        self._people.move_to_end(decision.by)
        if len(self._people) > _MAX_PEOPLE:
            self._people.popitem(last=False)
        known = (person.last_at, *(() if decision.asked_at is None else (decision.asked_at,)))
        person.last_at = decision.at
        person.approved.append(decision.approved)
        # What was asked, or decided, later than this was so by another clock, or is heard of late: that says nothing.
        person.quick.append(any(0.0 <= decision.at - since < _READING_S for since in known))
        approved, total = sum(person.approved), len(person.approved)
        always = is_no_chance(approved, total, share=_SHARE, odds=_ODDS)
        if _begins(person, "always_yes", always):
            yield _finding(decision.by, "always_yes", f"approved {approved} of the last {total} requests")
        if _begins(person, "too_fast", sum(person.quick) >= _QUICK):
            words = f"decided {sum(person.quick)} of the last {len(person.quick)} requests within {_READING_S:g} s"
            yield _finding(decision.by, "too_fast", words)


def _begins(person: _Reviewer, fault: str, is_so: bool) -> bool:
    if not is_so:
        person.told.discard(fault)
        return False
    new = fault not in person.told
    person.told.add(fault)
    return new


def _finding(who: str, fault: str, words: str) -> Finding:
    return Finding(
        kind="rubber_stamp",
        severity="warning",
        message=f"{who} {words}: is anybody still looking?",
        fault=fault,
        evidence=(who,),
    )
