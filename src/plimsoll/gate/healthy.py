"""Healthy runs: what each scenario looks like when nothing fails, and whether it may be judged at all."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Effect
from plimsoll.gate.family import ambiguities
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.scene import Scene
from plimsoll.gate.sites import dependency_of
from plimsoll.gate.stage import Baseline, Stage, effect_key, shown_by
from plimsoll.gate.subject import SubjectLike
from plimsoll.gate.trial import Plan, Played, trial_seed, try_plan
from plimsoll.gate.usage import used_up
from plimsoll.gate.verdict import Reach, Trial
from plimsoll.gate.workers import Lost, can_fork, do_all

__all__ = ["Healthy", "healthy_runs", "stage_of", "two_ways"]

_VARIED = 3
_QUIET = ("info",)
_NOTHING_SEEN = "in no scenario was anything of the agent seen: it does not ask its models at the address it is given"
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
    misses its goal *and* does harm is no stage for faults: its healthy trials block by themselves. The same run again
    must go the same way, and none may end its process: each is made in another process first.
    """
    stages: list[Stage] = []
    trials: list[Trial] = []
    reasons: list[str] = [] if scenarios else ["there is no scenario to try the agent in"]
    reasons += ambiguities(promised, subject.family)
    deadly = {} if subject.outside else _deadly(subject, scenarios, promised, seed)
    for number, scenario in enumerate(scenarios):
        if number in deadly:
            reasons.append(f"scenario {scenario.name!r} could not be run: {deadly[number]}")
            continue
        stage, first = stage_of(subject, scenario, promised=promised, seed=seed)
        runs = [first, *(try_plan(stage, plan) for plan in _plans(seed, scenario)[1:])]
        trials.extend(run.trial for run in runs)
        if any(_does_harm(run) for run in runs):
            continue  # nothing to compare faulted runs with
        stages.append(stage)
        reasons.extend(dict.fromkeys(reason for run in runs for reason in _ailments(run)))
        again = try_plan(stage, _plans(seed, scenario)[0])
        if not first.trial.stuck and again.trial.digest != first.trial.digest:
            reasons.append(two_ways(f"scenario {scenario.name!r}", first.trial, again.trial))
    shown = shown_by(stage.baseline for stage in stages if stage.baseline is not None)
    if subject.outside and stages and not any(stage.baseline and stage.baseline.sites for stage in stages):
        reasons.append(_NOTHING_SEEN)
    names = Counter(scenario.name for scenario in scenarios)
    reasons += [f"{count} scenarios are called {name!r}" for name, count in names.items() if count > 1]
    return Healthy(tuple(replace(stage, shown=shown) for stage in stages), tuple(trials), tuple(reasons))


def stage_of(subject: SubjectLike, scenario: Scenario, *, promised: Contract, seed: int) -> tuple[Stage, Played]:
    """The stage of one scenario, and the healthy run that is its baseline."""
    bare = Stage(subject=subject, scenario=scenario, contract=promised)
    first = try_plan(bare, _plans(seed, scenario)[0])
    baseline = _baseline(first)
    return replace(bare, baseline=baseline, shown=shown_by([baseline])), first


def two_ways(what: str, first: Trial, again: Trial) -> str:
    """The sentence for two trials of one plan whose digests differ: how, as far as that shows."""
    ways = [
        ("it ended as {}, then as {}", first.ending, again.ending),
        ("it answered {!r}, then {!r}", first.output, again.output),
        ("it took {:g} s, then {:g} s", first.virtual_s, again.virtual_s),
    ]
    how = next((text.format(one, other) for text, one, other in ways if one != other), "its journals differ")
    why = "the agent depends on chance, the clock, or what earlier trials left"
    return f"{what} went two ways under the same seed: {how}; {why}"


def _plans(seed: int, scenario: Scenario) -> list[Plan]:
    """The healthy runs of a scenario: as it is, and with latency varied."""
    varied = (trial_seed(seed, f"{scenario.name}#{number}", ()) for number in range(1, _VARIED + 1))
    return [Plan(seed=trial_seed(seed, scenario.name, ())), *(Plan(seed=own, latency=True) for own in varied)]


def _deadly(subject: SubjectLike, scenarios: Sequence[Scenario], promised: Contract, seed: int) -> dict[int, str]:
    """The scenarios, by number, whose runs end the process that makes them, and how. Nothing where there is no fork."""

    def probe(number: int) -> bytes:
        stage = Stage(subject=subject, scenario=scenarios[number], contract=promised)
        with suppress(Exception):  # whatever is wrong with it shows where it is run in earnest
            for plan in _plans(seed, scenarios[number]):
                try_plan(stage, plan)
        return b""

    results = do_all(probe, len(scenarios), apart=True) if can_fork() else []
    return {number: result.why for number, result in enumerate(results) if isinstance(result, Lost)}


def _baseline(played: Played) -> Baseline:
    scene = played.scene
    return Baseline(
        effects=Counter(map(effect_key, played.case.effects)),
        output=played.trial.output,
        sites=played.sites(),
        appends=tuple(scene.batches),
        approvals=scene.approvals,
        reached=played.trial.reach is Reach.REACHED,
        used=used_up(scene),
        hollow=_hollow(scene),
    )


def _hollow(scene: Scene) -> frozenset[str]:
    """The tools that answered with an empty object or list: there it is an answer."""
    answered = (call for call in scene.calls if not call.is_model and not call.error)
    return frozenset(dependency_of(call.site) for call in answered if call.native in ({}, []))


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
    loud = [
        f"scenario {name!r} raises a finding although nothing fails: {finding.message}"
        for _, finding in played.scene.alerts.entries
        if finding.severity not in _QUIET and not finding.observed
    ]
    return loud + [
        f"scenario {name!r}: the world's ledger shows nothing of {tool}, which was answered as done; "
        "the gate judges by the ledger"
        for tool in _unrecorded(played)
    ]


def _unrecorded(played: Played) -> Iterator[str]:
    """The tools with an effect by the contract that were answered as done, and of which the ledger has no row."""
    scene = played.scene
    rows = Counter(row.tool for row in played.case.effects)
    rows.subtract(scene.earlier)
    tools = scene.stage.contract.tools
    done = {
        call.dependency
        for call in scene.calls
        if not call.is_model and not call.error and call.exchange.inspect(call.native).problem is None
    }
    for name, tool in tools.items():
        if name in done and tool.effect is not Effect.READ and rows[name] < 1:
            yield name
