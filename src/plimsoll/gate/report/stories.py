"""A failing trial as a story: a title, what broke, and a waterfall of what happened."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from plimsoll.gate.report.wording import cut, failure_name, failure_title, injected_text
from plimsoll.gate.verdict import Step, Trial

__all__ = ["Gap", "Row", "Story", "TimeScale", "output_text", "story_of"]

_HEAD, _TAIL = 40, 40
_TEXT_LIMIT = 1200
_OUTPUT_LIMIT = 4000
_COMPRESS_FROM = 12.0  # the longest wait is this many times as long as all else together


class TimeScale:
    """Places moments on a line of 100 %. Where one wait would leave no room for the rest, waits are compressed."""

    def __init__(self, moments: Iterable[float]) -> None:
        self._points = sorted(set(moments)) or [0.0]
        gaps = [after - before for before, after in zip(self._points, self._points[1:], strict=False)]
        longest = max(gaps, default=0.0)
        self.compressed = len(gaps) > 1 and longest > _COMPRESS_FROM * (sum(gaps) - longest)
        widths = [gap**0.25 for gap in gaps] if self.compressed else gaps
        self._places = [0.0]
        for width in widths:
            self._places.append(self._places[-1] + width)

    @property
    def start(self) -> float:
        return self._points[0]

    @property
    def end(self) -> float:
        return self._points[-1]

    def at(self, moment: float) -> float:
        """The place of one of the moments that the scale was made of, in percent."""
        index = min(bisect.bisect_left(self._points, moment), len(self._points) - 1)
        whole = self._places[-1]
        return round(100 * self._places[index] / whole, 2) if whole else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step: `left` and `width` are percentages on the time scale; a width of None is a moment."""

    at_s: float
    who: str
    text: str
    duration_s: float | None
    left: float
    width: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Steps that are left out of a long story."""

    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a page shows of one failing trial. `number` counts from 1."""

    number: int
    title: str
    injected: str
    claims: tuple[str, ...]
    file_name: str
    trial: Trial
    rows: tuple[Row | Gap, ...]
    scale: TimeScale
    output: str


def _until(step: Step) -> float:
    return step.at_s + max(step.duration_s or 0.0, 0.0)


def _row(step: Step, scale: TimeScale) -> Row:
    left = scale.at(step.at_s)
    width = None if step.duration_s is None else round(max(scale.at(_until(step)) - left, 0.0), 2)
    text = cut(step.text, _TEXT_LIMIT)
    return Row(at_s=step.at_s, who=step.who, text=text, duration_s=step.duration_s, left=left, width=width)


def output_text(output: Any) -> str:
    """What the agent answered, as text: strings as they are, all else as indented JSON."""
    if output is None:
        return ""
    if isinstance(output, str):
        return cut(output, _OUTPUT_LIMIT)
    try:
        return cut(msgspec.json.format(msgspec.json.encode(output), indent=2).decode(), _OUTPUT_LIMIT)
    except (TypeError, ValueError, RecursionError):
        return cut(repr(output), _OUTPUT_LIMIT)


def story_of(number: int, trial: Trial) -> Story:
    """The story of failure `number`. A very long one keeps its beginning and its end."""
    left_out = len(trial.story) - _HEAD - _TAIL
    head, tail = (trial.story[:_HEAD], trial.story[-_TAIL:]) if left_out > 0 else (trial.story, ())
    scale = TimeScale(moment for step in (*head, *tail) for moment in (step.at_s, _until(step)))
    rows: list[Row | Gap] = [_row(step, scale) for step in head]
    if left_out > 0:
        rows.append(Gap(steps=left_out))
        rows.extend(_row(step, scale) for step in tail)
    return Story(
        number=number,
        title=cut(failure_title(trial), 240),
        injected=cut(injected_text(trial.injections), 400),
        claims=tuple(dict.fromkeys(violation.claim for violation in trial.violations)),
        file_name=failure_name(number, trial),
        trial=trial,
        rows=tuple(rows),
        scale=scale,
        output=output_text(trial.output),
    )
