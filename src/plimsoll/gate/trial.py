"""One trial: a scenario under a schedule of faults, played in virtual time and judged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from plimsoll.core.calls import Ending
from plimsoll.core.canonical import digest
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.oracles import Case, judge
from plimsoll.gate.playing import play
from plimsoll.gate.promises import Promise, promise, promise_of_storm
from plimsoll.gate.scene import Scene
from plimsoll.gate.sites import Site, call_site
from plimsoll.gate.stage import Stage, effect_key
from plimsoll.gate.verdict import Injection, Reach, Step, Trial
from plimsoll.runtime.compiled import DECLINED

__all__ = ["Plan", "Played", "trial_seed", "try_plan"]

_FINAL = {Ending.HALTED: Reach.REFUSED, Ending.FAILED: Reach.FAILED, Ending.PARKED: Reach.HELD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to try: the faults, the seed of all chance in it, and how.

    `storm` owes less than single faults do; `latency` makes every call take a little, random time; `recording` asks for
    the story, which is dear.
    """

    injections: tuple[Injection, ...] = ()
    seed: int
    storm: bool = False
    latency: bool = False
    recording: bool = False


@dataclass(frozen=True, slots=True)
class Played:
    """A trial, and the scene that it left behind."""

    trial: Trial
    scene: Scene
    case: Case

    @property
    def inapplicable(self) -> bool:
        """Whether one of its faults is none that this dependency can show."""
        return any(planned.inapplicable for planned in self.scene.planned)

    def sites(self) -> dict[str, Site]:
        """Every call that was seen, as a site, in order."""
        found: dict[str, Site] = {}
        for call in (*self.scene.calls, *self.scene.judged):
            if call.site not in found:
                site = call_site(call.site, call.info.kind, self.scene.stage.contract)
                if site is not None:
                    found[call.site] = replace(site, streamed=True) if call.streamed else site
        return found


def trial_seed(seed: int, scenario: str, injections: Sequence[Injection]) -> int:
    """The seed of one trial: a function of the campaign's seed and of what is tried, not of when or where."""
    named = [seed, scenario, [[each.kind, each.site, each.variant] for each in injections]]
    return int(digest(named)[:12], 16)


def try_plan(stage: Stage, plan: Plan) -> Played:
    """Plays and judges one trial."""
    rng = seeded_rng(plan.seed)
    scene = Scene(stage, plan.injections, rng=rng, latency=plan.latency, recording=plan.recording)
    stuck = play(scene)
    owed = promise_of_storm() if plan.storm else promise(stage, scene.planned, declined=_declined(scene))
    case = _case(scene, owed)
    result = scene.result
    trial = Trial(
        scenario=stage.scenario.name,
        injections=plan.injections,
        seed=plan.seed,
        fired=_fired(scene, storm=plan.storm),
        ending=result.ending if result is not None else None,
        reach=case.reach,
        violations=() if stuck else judge(case),
        stuck=stuck,
        virtual_s=round(scene.virtual_s, 6),
        digest=_digest(case, stuck),
        output=result.output if result is not None else None,
        storm=plan.storm,
        story=_story(case) if plan.recording else (),
    )
    return Played(trial, scene, case)


def _declined(scene: Scene) -> bool:
    """Whether a model of one's own had rather not answered."""
    models = scene.stage.contract.models
    own = {name for name, model in models.items() if model.local is not None}
    return bool(own) and any(call.name in own and call.error in DECLINED for call in scene.calls)


def _fired(scene: Scene, *, storm: bool) -> bool:
    """Whether the trial counts: every fault of a cell struck, at least one of a storm."""
    struck = [planned.fired_s is not None for planned in scene.planned]
    return any(struck) if storm else all(struck)


def _case(scene: Scene, owed: Promise) -> Case:
    effects = tuple(scene.world.effects())
    result = scene.result
    if result is None or scene.error or scene.overrun:
        return Case(scene, owed, effects, Reach.LOST, "it never ended")
    if result.ending is Ending.PARKED and not scene.alerts.entries:
        return Case(scene, owed, effects, Reach.LOST, None, told=False)
    if result.ending in _FINAL:
        return Case(scene, owed, effects, _FINAL[result.ending], None)
    missing = scene.stage.scenario.goal(scene.world, result.output)
    return Case(scene, owed, effects, Reach.REACHED if missing is None else Reach.CANNED, missing)


def _digest(case: Case, stuck: str) -> str:
    """Over the journal's own chain, the ledger, the findings and the ending; in real time over ledger and ending."""
    scene = case.scene
    result = scene.result
    if scene.stage.subject.outside:  # no two runs in real time take the same time, or have the same ids
        ended = [result.ending, result.output] if result is not None else []
        return digest([[tool, args.decode()] for tool, args in map(effect_key, case.effects)] + [ended, case.reach])
    return digest(
        [
            [head.digest.hex() for head in scene.heads()],
            [[tool, args.decode()] for tool, args in map(effect_key, case.effects)],
            [[round(at_s, 6), each.kind, each.dependency, each.fault] for at_s, each in scene.alerts.entries],
            [planned.fired_s is not None for planned in scene.planned],
            [result.ending, result.output] if result is not None else [scene.error != "", scene.overrun],
            [case.reach, len(scene.calls), round(scene.virtual_s, 6), bool(stuck)],
        ]
    )


def _story(case: Case) -> tuple[Step, ...]:
    """What happened, in order of time, and how it ended."""
    scene = case.scene
    result: Any = scene.result
    how = "it never ended" if result is None else f"ends as {result.ending}"
    reason = f" ({result.reason})" if result is not None and result.reason else ""
    answer = f": {result.output!r}" if result is not None and result.output is not None else ""
    scene.tell("run", f"{how}{reason}{answer}", at_s=scene.virtual_s)
    lacking = f"; {case.missing}" if case.missing else ""
    scene.tell("gate", f"reach: {case.reach}{lacking}", at_s=scene.virtual_s)
    return tuple(sorted(scene.steps or (), key=lambda step: step.at_s))
