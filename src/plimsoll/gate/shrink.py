"""Failures made small: a schedule reduced to the least that still fails, and played again with its story told."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from plimsoll.gate.stage import Stage
from plimsoll.gate.trying import Report, Task, try_task
from plimsoll.gate.verdict import Injection, Trial

__all__ = ["failures_told", "smallest_failing"]

_MOST_TOLD = 40

Way = tuple[tuple[str, str], ...]
"""A way of failing: the claims and codes of what was broken."""


def smallest_failing(
    injections: Sequence[Injection], fails: Callable[[tuple[Injection, ...]], bool]
) -> tuple[Injection, ...]:
    """A schedule from which nothing can be left out: each part of it without one fault passes.

    `fails` tries a schedule. The whole is known to fail and is not tried again.
    """
    schedule = tuple(injections)
    shrinking = True
    while shrinking and len(schedule) > 1:
        shrinking = False
        for smaller in _without_one(schedule):
            if fails(smaller):
                schedule, shrinking = smaller, True
                break
    return schedule


def failures_told(stages: Sequence[Stage], failing: Sequence[tuple[Task, Report]], *, seed: int) -> list[Trial]:
    """One trial for each way of failing, storms shrunk, with its story; the first of each kind of fault comes first."""
    first: dict[tuple[object, ...], Task] = {}
    for task, report in failing:
        kinds = tuple(sorted({injection.kind for injection in task.injections}))
        first.setdefault((way_of(report.trial), "storm" if task.storm else kinds), task)
    tasks = sorted(first.items(), key=lambda item: item[1].storm)
    seen: set[object] = set()
    fresh: list[Task] = []
    repeated: list[Task] = []
    for (way, _), task in tasks:
        (repeated if way in seen else fresh).append(task)
        seen.add(way)
    chosen = [*fresh, *repeated][:_MOST_TOLD]
    return [try_task(stages, _shrunk(stages, task, seed), seed=seed, recording=True).trial for task in chosen]


def way_of(trial: Trial) -> Way:
    """What a trial broke, without the words."""
    return tuple(sorted({(violation.claim, violation.code) for violation in trial.violations}))


def _shrunk(stages: Sequence[Stage], task: Task, seed: int) -> Task:
    """The storm's smallest part that still breaks something that the whole broke; cells are small as they are."""
    if not task.storm:
        return task
    broken = set(way_of(try_task(stages, task, seed=seed).trial))

    def fails(injections: tuple[Injection, ...]) -> bool:
        trial = try_task(stages, replace(task, injections=injections), seed=seed).trial
        return not broken.isdisjoint(way_of(trial))

    return replace(task, injections=smallest_failing(task.injections, fails))


def _without_one(schedule: tuple[Injection, ...]) -> Iterator[tuple[Injection, ...]]:
    for left_out in range(len(schedule)):
        yield schedule[:left_out] + schedule[left_out + 1 :]
