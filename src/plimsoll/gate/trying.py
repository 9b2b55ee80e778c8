"""Tries many plans, on all cores, and reports on each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from plimsoll.gate.hostility import shown_to_trip
from plimsoll.gate.promises import claims_of, promise
from plimsoll.gate.scene import Planned
from plimsoll.gate.simulator import many_simulations
from plimsoll.gate.sites import Site, SiteKind
from plimsoll.gate.stage import Stage
from plimsoll.gate.trial import Plan, Played, trial_seed, try_plan
from plimsoll.gate.verdict import Injection, Reach, Trial
from plimsoll.gate.workers import Lost, do_all

__all__ = ["Progress", "Report", "Task", "try_all", "try_task"]

_REAL_PATIENCE_S = 3600.0
"""How long a worker may be silent whose trials take real time, each of which has a limit of its own."""

Progress = Callable[[int, int, str], None]
"""Told how much is done, of how much, and of what."""


@dataclass(frozen=True, slots=True)
class Task:
    """A schedule of faults to be tried on one stage (by number)."""

    stage: int
    injections: tuple[Injection, ...]
    storm: bool = False

    def plan(self, stages: Sequence[Stage], seed: int) -> Plan:
        """The plan of this task in the campaign of that seed."""
        own = trial_seed(seed, stages[self.stage].scenario.name, self.injections)
        return Plan(injections=self.injections, seed=own, storm=self.storm, latency=self.storm)


class Report(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A trial, and what it says about others to be tried.

    `claims` it bears on; `goal` whether it had to be reached; `inapplicable` whether a fault is none that its
    dependency can show; `sites` are calls that no healthy run made, by name and kind; `batches` the sizes of appends;
    `tripped` the guards that tripped at a text that was planted, or at a model that was misled.
    """

    trial: Trial
    claims: tuple[str, ...] = ()
    goal: bool = False
    inapplicable: bool = False
    sites: tuple[tuple[str, SiteKind], ...] = ()
    batches: tuple[int, ...] = ()
    tripped: tuple[str, ...] = ()

    def new_sites(self) -> list[Site]:
        """The calls that no healthy run made."""
        return [Site(name, kind) for name, kind in self.sites]


_decoder = msgspec.msgpack.Decoder(Report)


def try_all(
    stages: Sequence[Stage],
    tasks: Sequence[Task],
    *,
    seed: int,
    workers: int | None = None,
    progress: Progress | None = None,
    text: str = "",
) -> list[Report]:
    """Tries every task and reports in their order. One that its process did not survive is reported as stuck."""

    def work(number: int) -> bytes:
        return msgspec.msgpack.encode(report_on(tasks[number], try_task(stages, tasks[number], seed=seed)))

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, len(tasks), text)

    if any(stage.subject.outside for stage in stages):
        results = do_all(work, len(tasks), workers=workers, on_done=tell, patience_s=_REAL_PATIENCE_S)
    else:
        results = do_all(work, len(tasks), workers=workers, on_done=tell, around=many_simulations)
    return [
        _lost(stages, task, result, seed) if isinstance(result, Lost) else _decoder.decode(result)
        for task, result in zip(tasks, results, strict=True)
    ]


def try_task(stages: Sequence[Stage], task: Task, *, seed: int, recording: bool = False) -> Played:
    """Tries one task, in this process."""
    plan = task.plan(stages, seed)
    return try_plan(stages[task.stage], replace(plan, recording=True) if recording else plan)


def report_on(task: Task, played: Played) -> Report:
    """What a played trial says."""
    scene = played.scene
    baseline = scene.stage.baseline
    known = baseline.sites if baseline is not None else {}
    sites = played.sites() if len(scene.calls) else {}
    return Report(
        trial=played.trial,
        claims=tuple(sorted(claims_of(scene.planned))),
        goal=played.case.promise.goal,
        inapplicable=played.inapplicable,
        sites=tuple((site.name, site.kind) for site in sites.values() if site.name not in known),
        batches=tuple(scene.batches),
        tripped=tuple(shown_to_trip(scene)),
    )


def _lost(stages: Sequence[Stage], task: Task, lost: Lost, seed: int) -> Report:
    stage = stages[task.stage]
    planned = [Planned(injection, stage) for injection in task.injections]
    trial = Trial(
        scenario=stage.scenario.name,
        injections=task.injections,
        seed=task.plan(stages, seed).seed,
        fired=True,
        ending=None,
        reach=Reach.LOST,
        stuck=lost.why,
    )
    return Report(trial=trial, claims=tuple(sorted(claims_of(planned))), goal=promise(stage, planned).goal)
