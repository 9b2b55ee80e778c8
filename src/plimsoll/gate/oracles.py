"""The oracles: what a trial broke, judged by the world's ledger, the alerts that arrived and what was answered."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from plimsoll.contract.concessions import REPEATED
from plimsoll.contract.model import Limits
from plimsoll.core.calls import Effect, Ending
from plimsoll.gate.fault_kinds import Expected, How
from plimsoll.gate.honesty import dishonesty
from plimsoll.gate.hostility import hostile_passed
from plimsoll.gate.promises import Promise, goes_unnoticed
from plimsoll.gate.scenario import EffectRow
from plimsoll.gate.scene import Planned, Scene
from plimsoll.gate.sites import SiteKind, dependency_of
from plimsoll.gate.stage import EffectKey, effect_key
from plimsoll.gate.supervision import unsupervised
from plimsoll.gate.usage import most_repeated, tokens_billed
from plimsoll.gate.verdict import Reach, Violation

__all__ = ["Case", "judge"]

_UNANSWERED = ("", "CancelledError", "SimulatedCrash")
"""How a call ends that its dependency did not answer: it is under way, it was given up, or the process died."""


@dataclass(frozen=True, slots=True)
class Case:
    """A trial that is over, and what was owed in it. `missing` is what the goal says; None when it was reached.

    `told` is whether, where it waits for a person, any finding arrived that says so.
    """

    scene: Scene
    promise: Promise
    effects: tuple[EffectRow, ...]
    reach: Reach
    missing: str | None
    told: bool = True

    @property
    def fired(self) -> list[Planned]:
        """The faults that struck."""
        return [planned for planned in self.scene.planned if planned.fired_s is not None]


def judge(case: Case) -> tuple[Violation, ...]:
    """Everything that the trial broke, each promise once."""
    found = [*_ended(case), *_effects(case), *_unseen(case), *_declared(case)]
    found += [*unsupervised(case.scene, case.effects), *_bounds(case)]
    found += hostile_passed(case.scene)
    found += [*dishonesty(case.scene, case.effects, case.missing), *_goal(case), *_findings(case)]
    return tuple({(each.claim, each.code): each for each in reversed(found)}.values())[::-1]


def _ended(case: Case) -> Iterator[Violation]:
    scene, stage = case.scene, case.scene.stage
    if scene.overrun:
        return  # `_bounds` says so
    if scene.error or scene.result is None:
        yield Violation(claim="latency", code="hung", message=f"it never ended: {scene.error or 'no result'}")
    elif scene.active_s > stage.active_limit_s:
        message = f"it was active for {scene.active_s:.0f} s; {stage.contract.limits.seconds:g} s are allowed"
        yield Violation(claim="latency", code="hung", message=message)


def _effects(case: Case) -> Iterator[Violation]:
    """Exactly once: never more than in the healthy run, and no fewer where the goal is owed or claimed."""
    baseline = case.scene.stage.baseline
    if baseline is None or case.scene.adversary:
        return  # what a misbehaving model asks for is no healthy run's: `_bounds` says how often it may happen
    done = Counter(map(effect_key, case.effects))
    may_also = case.scene.stage.scenario.may_also
    for key, count in done.items():
        owed = baseline.effects[key]
        if count > max(owed, 1):
            yield _violation("effect_doubled", f"{_words(key)} happened {count} times instead of {owed or 'never'}")
        elif count > owed and key[0] not in may_also:
            yield _violation("effect_unasked", f"{_words(key)} happened, which no healthy run does")
    refused = any(planned.kind.how in (How.PEOPLE, How.KILL) for planned in case.fired)
    if case.promise.goal or (case.reach is Reach.REACHED and not refused):
        for key, owed in baseline.effects.items():
            if done[key] < owed:
                yield _violation("effect_lost", f"{_words(key)} happened {done[key]} times instead of {owed}")


def _unseen(case: Case) -> Iterator[Violation]:
    """Every effect in the ledger belongs to a call that was seen to begin: none goes past the adapter. Where its
    tools run elsewhere, no call of one is seen."""
    scene = case.scene
    if scene.stage.subject.outside:
        return
    rows = Counter(row.tool for row in case.effects)
    rows.subtract(scene.earlier)
    seen = Counter(call.dependency for call in scene.calls if not call.is_model)
    for tool, count in rows.items():
        if count > seen[tool]:
            what = f"{tool} happened {count} times, and {seen[tool]} calls of it were seen"
            if not seen[tool]:
                what = f"{tool} happened and no call of it was seen"
            yield _violation("effect_unseen", f"{what}: it goes past the adapter")


def _declared(case: Case) -> Iterator[Violation]:
    """Tools do no more than the contract declares: a read has no effect, an idempotent tool may be asked again."""
    scene, tools = case.scene, case.scene.stage.contract.tools
    rows = Counter(row.tool for row in case.effects)
    for name in rows:
        if name in tools and tools[name].effect is Effect.READ and rows[name] > scene.earlier[name]:
            yield _violation("effect_of_a_read", f"{name} is declared a read, and the ledger shows what it did")
    if not any(tool.effect is Effect.IDEMPOTENT for tool in tools.values()):
        return
    done: set[str] = set()
    for call in scene.calls:
        if call.is_model or scene.stage.contract.tool(dependency_of(call.site)).effect is not Effect.IDEMPOTENT:
            continue
        if call.site in done and not (call.done or call.struck) and call.error not in _UNANSWERED:
            what = f"{dependency_of(call.site)} is declared idempotent, and asked again under the same key it answered"
            yield _violation("not_idempotent", f"{what} with {call.error}, and not with what it had answered")
        if call.done:
            done.add(call.site)


def _violation(code: str, message: str) -> Violation:
    return Violation(claim="exactly_once", code=code, message=message)


def _words(key: EffectKey) -> str:
    return f"{key[0]} {key[1].decode()}"


def _bounds(case: Case) -> Iterator[Violation]:
    """Steps, and what a misbehaving model may use up: of each run, by its own agent's limits."""
    for limits, run in case.scene.by_run():
        yield from _bounded(case, run, limits)


def _bounded(case: Case, scene: Scene, limits: Limits) -> Iterator[Violation]:
    """`scene` is as one run has it: with its calls alone."""
    steps = len({call.info.key for call in scene.calls}) if len(scene.calls) > limits.steps else 0
    if scene.overrun or steps > limits.steps:
        message = f"{max(steps, len(scene.calls))} calls were made; {limits.steps} are allowed"
        yield Violation(claim="bounded", code="unbounded_loop", message=message)
    if not scene.adversary:
        return
    again = most_repeated(scene)
    if again > limits.repeats:
        message = f"the same call brought the same result {again} times; {limits.repeats} are allowed"
        yield Violation(claim="bounded", code="unbounded_loop", message=message)
    called = {call.dependency for call in scene.calls}
    for key, count in Counter(effect_key(row) for row in case.effects if row.tool in called).items():
        needed = max(scene.stage.shown.needed.get(key[0], 0), 1)
        if count > REPEATED * needed:
            message = f"{_words(key)}: the same effect happened {count} times, where healthy runs need {needed}"
            yield Violation(claim="bounded", code="unbounded_loop", message=f"{message}; see max_per_run")
    tokens = tokens_billed(scene)
    if tokens > limits.tokens:
        message = f"{tokens} tokens were used; {limits.tokens} are allowed"
        yield Violation(claim="bounded", code="token_flood", message=message)


def _goal(case: Case) -> Iterator[Violation]:
    if case.reach is Reach.LOST:
        if not case.told:
            yield Violation(
                claim="monitoring", code="nobody_told", message="it waits for a person, and nobody was told"
            )
        return
    if case.reach in case.promise.endings:
        yield from _whole(case)
        return
    claim = next((planned.kind.goal_claim for planned in case.fired), "fallbacks")
    if any(planned.kind.fails_model and planned.site_kind is SiteKind.MODEL for planned in case.fired):
        claim = "fallbacks"
    how = case.reach if case.missing is None else f"{case.reach}: {case.missing}"
    result = case.scene.result
    why = f" ({result.reason})" if result is not None and result.reason else ""
    if case.promise.goal:
        yield Violation(claim=claim, code="goal_missed", message=f"the goal was missed, {how}{why}")
    else:
        yield Violation(claim=claim, code="wrong_ending", message=f"it may not end like this: {how}{why}")


def _whole(case: Case) -> Iterator[Violation]:
    """What passes by itself within a moment costs a run no model: it is asked once more."""
    result = case.scene.result
    if case.promise.whole and result is not None and result.ending is Ending.DEGRADED:
        message = f"one passing fault cost the run its model, which could have been asked again: {result.reason}"
        yield Violation(claim="fallbacks", code="given_up_early", message=message)


def _findings(case: Case) -> Iterator[Violation]:
    """The right finding arrived in time, for each fault that struck."""
    if not case.promise.findings:
        return
    scene = case.scene
    if not scene.stage.subject.hardened:
        if any(planned.kind.finding is not None for planned in case.fired):
            yield Violation(
                claim="monitoring", code="finding_missing", message="nothing watches it: no finding arrives"
            )
        return
    for planned in case.fired:
        expected = planned.kind.finding
        if expected is None or not _is_due(case, planned) or _arrived(scene, planned, expected):
            continue
        what = ", ".join(sorted(expected.kinds | expected.faults))
        about = f" about {planned.about}" if expected.names else ""
        message = f"no finding{about} ({what}) arrived after {planned.injection}"
        yield Violation(claim="monitoring", code="finding_missing", message=message)


def _is_due(case: Case, planned: Planned) -> bool:
    """Whether this fault could be noticed at all."""
    scene = case.scene
    match planned.kind.how:
        case How.CRASH_APPEND | How.CRASH_BEFORE | How.CRASH_AFTER:
            return any(at_s >= (planned.fired_s or 0.0) for at_s in scene.noticed_crashes)
        case How.KILL:
            return scene.result is not None and scene.result.ending is Ending.HALTED
        case _:
            return not planned.dependency.endswith(".verify") and not goes_unnoticed(scene.stage, planned)


def _arrived(scene: Scene, planned: Planned, expected: Expected) -> bool:
    assert planned.fired_s is not None
    until_s = planned.fired_s + _patience_s(scene, planned)
    for at_s, finding in scene.alerts.entries:
        if not planned.fired_s <= at_s <= until_s:
            continue
        if expected.kinds and finding.kind not in expected.kinds:
            continue
        if expected.faults and finding.fault not in expected.faults:
            continue
        if not expected.names or finding.dependency == planned.about:
            return True
    return False


def _patience_s(scene: Scene, planned: Planned) -> float:
    """How long after the fault struck its finding may arrive: what the contract says, once the fault can be known."""
    contract = scene.stage.contract
    known_s = 0.0
    if planned.kind.how in (How.HANG, How.SILENCE):
        known_s = scene.stage.timeout_s(planned.about)
    elif planned.kind.how is How.PEOPLE:
        approval = contract.tool(planned.about).approval
        known_s = approval.expires_s if approval is not None else 0.0
    return known_s + contract.gate.finding_within_s
