"""What the reports draw, worked out from a verdict: heat map, reach, storms."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plimsoll.gate.verdict import Cell, Injection, Reach, StormFigures, Trial, Verdict

__all__ = ["HeatMap", "HeatRow", "ReachPart", "Square", "StormAxis", "heat_map", "reach_parts", "storm_axis"]

_GROUPS = {"append": "journal", "approval": "approvals", "scenario": "model itself"}
_LAST_COLUMNS = ("model itself", "approvals", "journal")

_REACH_WORDS = {
    Reach.REACHED: "the goal was reached, once and only once",
    Reach.HELD: "waits for a person, who has been told",
    Reach.REFUSED: "halted or refused by a limit, a rule, a person or the kill switch",
    Reach.CANNED: "ended with an honest answer that does not reach the goal",
    Reach.FAILED: "ended as failed, and said so",
    Reach.LOST: "none of these: nobody was told, or it never ended",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """One square of the heat map. `stories` are the numbers (from 1) of the failures found there."""

    kind: str
    group: str
    tried: int
    passed: int
    reached: int
    stories: tuple[int, ...] = ()

    @property
    def failed(self) -> int:
        return self.tried - self.passed

    @property
    def shade(self) -> str:
        """`all`, `most` (3/4 and more), `half`, `few` or `none` of the trials passed; `empty` when there were none."""
        if not self.tried:
            return "empty"
        if self.passed >= self.tried:
            return "all"
        share = self.passed / self.tried
        return "none" if not self.passed else "few" if share < 0.5 else "half" if share < 0.75 else "most"

    @property
    def reached_percent(self) -> float:
        return round(100 * self.reached / self.tried, 2) if self.tried else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatRow:
    """A fault kind: a square for each column, `None` where the kind does not apply, and the sum of the row."""

    kind: str
    squares: tuple[Square | None, ...]
    total: Square


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Fault kinds by site groups. `totals` are the sums of the columns, `total` that of all."""

    groups: tuple[str, ...]
    rows: tuple[HeatRow, ...]
    totals: tuple[Square, ...]
    total: Square


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachPart:
    """How many trials came this far."""

    name: str
    about: str
    trials: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StormAxis:
    """Where to draw the storms' figures: percentages along an axis from `low` to 1.

    `state` is `yes` when the bound meets the target, `none` when only the observed share does (too few were tried),
    else `no`.
    """

    low: float
    share: float
    share_at: float
    bound_at: float
    target_at: float
    state: str


def _sum(squares: Iterable[Square | None], *, kind: str = "", group: str = "") -> Square:
    given = [square for square in squares if square is not None]
    return Square(
        kind=kind,
        group=group,
        tried=sum(square.tried for square in given),
        passed=sum(square.passed for square in given),
        reached=sum(square.reached for square in given),
        stories=tuple(sorted({number for square in given for number in square.stories})),
    )


def _place(injection: Injection, known: dict[tuple[str, str], Square]) -> tuple[str, str] | None:
    """The square that a fault belongs to, or None where the map has none for it."""
    name = injection.site.partition("@")[0]
    key = (injection.kind, _GROUPS.get(name, name))
    if key in known:
        return key
    of_kind = [other for other in known if other[0] == injection.kind]
    return of_kind[0] if len(of_kind) == 1 else None


def _squares(cells: Sequence[Cell], failures: Sequence[Trial]) -> dict[tuple[str, str], Square]:
    squares: dict[tuple[str, str], Square] = {}
    for cell in cells:
        key = (cell.kind, cell.group)
        new = Square(kind=cell.kind, group=cell.group, tried=cell.tried, passed=cell.passed, reached=cell.reached)
        squares[key] = _sum([squares[key], new], kind=cell.kind, group=cell.group) if key in squares else new
    stories: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for number, trial in enumerate(failures, start=1):
        # The map is of single faults: a combination's failure belongs to none of its squares.
        if len(trial.injections) == 1 and (place := _place(trial.injections[0], squares)):
            stories[place].append(number)
    return {
        key: Square(
            kind=square.kind,
            group=square.group,
            tried=square.tried,
            passed=square.passed,
            reached=square.reached,
            stories=tuple(stories[key]),
        )
        for key, square in squares.items()
    }


def heat_map(verdict: Verdict) -> HeatMap:
    """The map in the verdict's own order, with the groups that every agent has as the last columns."""
    squares = _squares(verdict.cells, verdict.failures)
    kinds = list(dict.fromkeys(kind for kind, _ in squares))
    seen = dict.fromkeys(group for _, group in squares)
    groups = [group for group in seen if group not in _LAST_COLUMNS] + [one for one in _LAST_COLUMNS if one in seen]
    rows = [
        HeatRow(
            kind=kind,
            squares=(row := tuple(squares.get((kind, group)) for group in groups)),
            total=_sum(row, kind=kind),
        )
        for kind in kinds
    ]
    totals = [_sum((squares.get((kind, group)) for kind in kinds), group=group) for group in groups]
    return HeatMap(groups=tuple(groups), rows=tuple(rows), totals=tuple(totals), total=_sum(totals))


def reach_parts(verdict: Verdict) -> tuple[ReachPart, ...]:
    """All six in their order, also those at 0; then any others that the verdict counts."""
    whole = sum(verdict.reach.values())
    names = [reach.value for reach in Reach] + [name for name in verdict.reach if name not in list(Reach)]
    return tuple(
        ReachPart(
            name=name,
            about=_REACH_WORDS[Reach(name)] if name in list(Reach) else "",
            trials=(trials := verdict.reach.get(name, 0)),
            share=trials / whole if whole else 0.0,
        )
        for name in names
    )


def storm_axis(storms: StormFigures) -> StormAxis:
    """An axis that ends at 1 and begins where the figures can be told apart."""
    share = storms.passed / storms.tried if storms.tried else 0.0
    least = min(share, storms.lower_bound, storms.target)
    lows = (0.99, 0.98, 0.95, 0.9, 0.8, 0.5)
    low = next((low for low in lows if least - low >= 0.15 * (1 - low)), 0.0)

    def at(value: float) -> float:
        return round(100 * (min(max(value, low), 1.0) - low) / (1 - low), 2)

    return StormAxis(
        low=low,
        share=share,
        share_at=at(share),
        bound_at=at(storms.lower_bound),
        target_at=at(storms.target),
        state="yes"
        if storms.tried and storms.lower_bound >= storms.target
        else "none"
        if share >= storms.target
        else "no",
    )
