"""Healthy runs: what each scenario looks like when nothing fails, and whether it may be judged at all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from plimsoll.contract.model import Contract
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.stage import Baseline, Stage, effect_key
from plimsoll.gate.subject import SubjectLike
from plimsoll.gate.trial import Plan, Played, trial_seed, try_plan
from plimsoll.gate.verdict import Reach, Trial

__all__ = ["Healthy", "healthy_runs", "stage_of"]

_VARIED = 3
_QUIET = ("info",)
_MISSES = frozenset({"goal_missed", "wrong_ending", "effect_lost", "hung"})


@dataclass(frozen=True, slots=True)
class Healthy:
    """The stages with their baselines, the trials that made them, and why no campaign can be built on them."""

    stages: tuple[Stage, ...]
    trials: tuple[Trial, ...]
    reasons: tuple[str, ...]


def healthy_runs(subject: SubjectLike, scenarios: Sequence[Scenario], *, promised: Contract, seed: int) -> Healthy:
    """Runs each scenario once as it is, and a few times with latency varied, before any fault.

    `promised` is the contract that all is judged by. A scenario must reach its goal each time and raise no finding of
    severity warning or worse; a finding of a protection that only observes is left to the oracles. A scenario that
    misses its goal *and* does harm is no stage for faults: its healthy trials block by themselves.
    """
    stages: list[Stage] = []
    trials: list[Trial] = []
    reasons: list[str] = [] if scenarios else ["there is no scenario to try the agent in"]
    for scenario in scenarios:
        stage, first = stage_of(subject, scenario, promised=promised, seed=seed)
        runs = [first, *(_varied(stage, seed, number) for number in range(1, _VARIED + 1))]
        trials.extend(run.trial for run in runs)
        if any(_does_harm(run) for run in runs):
            continue  # nothing to compare faulted runs with
        stages.append(stage)
        reasons.extend(dict.fromkeys(reason for run in runs for reason in _ailments(run)))
    names = Counter(scenario.name for scenario in scenarios)
    reasons += [f"{count} scenarios are called {name!r}" for name, count in names.items() if count > 1]
    return Healthy(tuple(stages), tuple(trials), tuple(reasons))


def stage_of(subject: SubjectLike, scenario: Scenario, *, promised: Contract, seed: int) -> tuple[Stage, Played]:
    """The stage of one scenario, and the healthy run that is its baseline."""
    bare = Stage(subject=subject, scenario=scenario, contract=promised)
    first = try_plan(bare, Plan(seed=trial_seed(seed, scenario.name, ())))
    return replace(bare, baseline=_baseline(first)), first


def _varied(stage: Stage, seed: int, number: int) -> Played:
    own = trial_seed(seed, f"{stage.scenario.name}#{number}", ())
    return try_plan(stage, Plan(seed=own, latency=True))


def _baseline(played: Played) -> Baseline:
    scene = played.scene
    return Baseline(
        effects=Counter(map(effect_key, played.case.effects)),
        output=played.trial.output,
        sites=played.sites(),
        appends=tuple(scene.batches),
        approvals=scene.approvals,
        reached=played.trial.reach is Reach.REACHED,
    )


def _does_harm(played: Played) -> bool:
    """Whether this run misses its goal and breaks a promise besides."""
    broken = {violation.code for violation in played.trial.violations} - _MISSES
    return played.trial.reach is not Reach.REACHED and bool(broken)


def _ailments(played: Played) -> list[str]:
    """Why this healthy run is none."""
    name = played.trial.scenario
    if played.trial.stuck:
        return [f"scenario {name!r} could not be simulated: {played.trial.stuck}"]
    if played.trial.reach is not Reach.REACHED:
        why = played.case.missing or (played.scene.result.reason if played.scene.result is not None else "")
        return [f"scenario {name!r} does not reach its goal even when nothing fails ({played.trial.reach}: {why})"]
    return [
        f"scenario {name!r} raises a finding although nothing fails: {finding.message}"
        for _, finding in played.scene.alerts.entries
        if finding.severity not in _QUIET and not finding.observed
    ]
