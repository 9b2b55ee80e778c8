"""What the runs of an account spend in a day, and how its limit is dealt out to the processes that spend it.

A process draws a share before it spends, durable, and spends from that. So what is drawn is never less than what was
spent, whichever process dies when; and far below the limit few attempts need to ask the store.
"""

from typing import NamedTuple

__all__ = ["DAYS_KEPT", "Drawn", "Most", "Spend", "passed", "share"]

_PART = 20
"""A share is what is needed, and this part of what is left then, where that may do for as much again: near the limit
nobody holds what others need."""

DAYS_KEPT = 31
"""For how many days a store tells what was drawn, at least."""


class Spend(NamedTuple):
    """What is spent, or may be: billionths of a US dollar, tokens, and runs. Whole numbers, so that sums are exact."""

    nanos: int = 0
    tokens: int = 0
    runs: int = 0

    def __bool__(self) -> bool:
        """Whether it is anything at all."""
        return any(self)

    def plus(self, other: "Spend") -> "Spend":
        return Spend(self.nanos + other.nanos, self.tokens + other.tokens, self.runs + other.runs)

    def minus(self, other: "Spend") -> "Spend":
        return Spend(self.nanos - other.nanos, self.tokens - other.tokens, self.runs - other.runs)

    def above(self, other: "Spend") -> "Spend":
        """By how much each is more than the other's; 0 where it is not."""
        return Spend(*(max(0, one - two) for one, two in zip(self, other, strict=True)))


class Most(NamedTuple):
    """The most of each that may be drawn; None: no limit."""

    nanos: int | None = None
    tokens: int | None = None
    runs: int | None = None


class Drawn(NamedTuple):
    """What a draw brought: the share, None where it was refused, and what had been drawn in all before it."""

    share: Spend | None
    before: Spend


def passed(need: Spend, *, before: Spend, most: Most) -> tuple[str, ...]:
    """The names of those limits that `need` would pass."""
    return tuple(
        name
        for name, needed, drawn, limit in zip(Spend._fields, need, before, most, strict=True)
        if needed > 0 and limit is not None and drawn + needed > limit
    )


def share(need: Spend, *, before: Spend, most: Most, may_pass: bool = False) -> Spend | None:
    """What is dealt out to who needs `need`: so much, and a part of what is left besides. None: it would pass a limit.

    With `may_pass` it gets what it needs all the same.
    """
    if passed(need, before=before, most=most):
        return need if may_pass else None
    spares = (_spare(*each) for each in zip(need, before, most, strict=True))
    return need.plus(Spend(*spares))


def _spare(needed: int, drawn: int, limit: int | None) -> int:
    spare = 0 if needed == 0 or limit is None else (limit - drawn - needed) // _PART
    return spare if spare >= needed else 0
