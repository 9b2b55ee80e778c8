"""Slices: whether a model does worse for some rows than for the others, and whether that can be chance.

Each slice is held against all other rows, by Fisher's exact test. Who looks at a hundred slices finds five that stand
out by chance alone, so that the level of 5 % is shared among all of them (Bonferroni).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.calibration import calibration_error

try:
    import numpy as np
    from scipy.stats import binomtest, fisher_exact
except ImportError as error:
    raise MissingExtra(error.name or "scipy", extra="learning") from error

__all__ = ["Grouping", "Share", "Slice", "by_column", "by_length", "by_pattern", "share_of", "slices"]

OTHERS = "(others)"
NONE = "(none)"

_LEVEL = 0.05
_MOST_VALUES = 20
_LENGTHS = ((25, "25 or fewer"), (50, "26 to 50"), (100, "51 to 100"), (200, "101 to 200"))
_LONGEST = "more than 200"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """So many of so many, 0 to 1, and between what it lies at a confidence of 95 % (Wilson's interval)."""

    count: int
    of: int
    value: float
    low: float
    high: float


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that have something in common: `value` of `by`.

    `accuracy` is as if none were rejected; `marked` names those of `accuracy` and `rejected` that differ from all other
    rows' beyond chance. The calibration error of few rows is large by chance.
    """

    by: str
    value: str
    rows: int
    accuracy: Share
    rejected: Share
    calibration_error: float
    marked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """What rows are told apart by, and the value of each row."""

    by: str
    values: tuple[str, ...]


def by_length(texts: Sequence[str]) -> Grouping:
    """Texts by their characters."""
    return Grouping(
        by="characters",
        values=tuple(next((name for most, name in _LENGTHS if len(text) <= most), _LONGEST) for text in texts),
    )


def by_pattern(texts: Sequence[str], pattern: str) -> Grouping:
    """Texts in which the regular expression is found, whatever the case, and the others. Raises `Misuse`."""
    try:
        sought = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise Misuse(f"{pattern!r} is no regular expression: {error}") from error
    return Grouping(by=f"/{pattern}/", values=tuple("found" if sought.search(text) else "not found" for text in texts))


def by_column(column: str, cells: Sequence[str]) -> Grouping:
    """Rows by a column of theirs. The 20 most frequent values count each for itself."""
    values = [cell.strip() or NONE for cell in cells]
    frequent = {value for value, _ in Counter(values).most_common(_MOST_VALUES)}
    return Grouping(by=column, values=tuple(value if value in frequent else OTHERS for value in values))


def share_of(count: int, of: int) -> Share:
    """The share, with its interval. `of` is one at least."""
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return Share(count=count, of=of, value=count / of, low=float(interval.low), high=float(interval.high))


def slices(groupings: Sequence[Grouping], *, chances: Any, numbers: Any, rejected: Any) -> tuple[Slice, ...]:
    """The slices, grouping by grouping, those of most rows first.

    `chances` are the probabilities, of shape (rows, labels), `numbers` the right columns, `rejected` whether the
    threshold rejects each row.
    """
    outcomes = {"accuracy": chances.argmax(1) == numbers, "rejected": rejected}
    found = [
        (grouping.by, value, np.array([each == value for each in grouping.values]))
        for grouping in groupings
        for value, _ in Counter(grouping.values).most_common()
    ]
    tests = len(outcomes) * sum(not inside.all() for _, _, inside in found)
    return tuple(
        Slice(
            by=by,
            value=value,
            rows=int(inside.sum()),
            accuracy=share_of(int(outcomes["accuracy"][inside].sum()), int(inside.sum())),
            rejected=share_of(int(rejected[inside].sum()), int(inside.sum())),
            calibration_error=calibration_error(chances[inside], numbers[inside]),
            marked=tuple(name for name, outcome in outcomes.items() if _differs(outcome, inside, tests)),
        )
        for by, value, inside in found
    )


def _differs(outcome: Any, inside: Any, tests: int) -> bool:
    """Whether those inside differ from the others beyond what chance does in one of so many tests."""
    if inside.all():
        return False
    table = [[int(part.sum()), int((~part).sum())] for part in (outcome[inside], outcome[~inside])]
    return bool(fisher_exact(table).pvalue * tests < _LEVEL)
