"""Supervision: what people must be asked about was asked about, and what they stopped has stopped."""

from collections import Counter
from collections.abc import Iterator, Sequence

from plimsoll.core.calls import CallKind, Effect, Status
from plimsoll.core.canonical import digest
from plimsoll.core.events import ApprovalDecided, ApprovalRequested, CallIntended, CallSettled, RungChanged
from plimsoll.gate.scenario import EffectRow
from plimsoll.gate.scene import Scene
from plimsoll.gate.sites import dependency_of, is_part
from plimsoll.gate.verdict import Violation
from plimsoll.oversight.rules import Verdict as Ruled

__all__ = ["unsupervised"]


def unsupervised(scene: Scene, effects: Sequence[EffectRow]) -> Iterator[Violation]:
    """What happened without the word of a person that it needed, or against it."""
    yield from _approvals(scene, effects)
    yield from _barred(scene)
    if scene.killed_at is not None:
        yield from _sent_after(scene, scene.killed_at)
        yield from _done_after(scene, effects)


def _approvals(scene: Scene, effects: Sequence[EffectRow]) -> Iterator[Violation]:
    """Every effect that the rules want a person's word for has one: given for these arguments, and used once."""
    for taken in scene.accepted:
        yield _violation("decision_accepted", taken)
    yield from _approvers(scene)
    asking: Counter[tuple[str, str]] = Counter()
    for row in effects:
        ruled = scene.stage.rules.ruling(row.tool, row.args).verdict
        if ruled is Ruled.REFUSE:
            yield _violation("refused_effect", f"{row.tool} {dict(row.args)} happened, which the rules refuse")
        elif ruled is Ruled.ASK or row.tool in scene.stage.scenario.asks:
            asking[(row.tool, digest(row.args))] += 1
    if not asking:
        return
    used, given = _used_approvals(scene), Counter(scene.approved)
    for key, count in asking.items():
        approved = min(used[key], given[key])
        if count > approved:
            message = f"{key[0]} happened {count} times, approved by a person {approved} times"
            yield _violation("unapproved_effect", message)


def _approvers(scene: Scene) -> Iterator[Violation]:
    """Only those are asked who may decide."""
    if not scene.approvals:
        return
    for record in scene.records():
        if isinstance(event := record.event, ApprovalRequested):
            name, contract = scene.named(record.run_id, event.dependency), scene.stage.contract
            approval = contract.guards.get(name) or contract.tool(name).approval
            added = [each for each in event.approvers if approval is not None and each not in approval.approvers]
            if added:
                yield _violation(
                    "approver_added", f"{', '.join(added)} may decide on {event.dependency}, and was not to"
                )


def _used_approvals(scene: Scene) -> Counter[tuple[str, str]]:
    """Per tool and arguments: the approvals in the journal that an intent consumed, each once."""
    approved: set[str] = set()
    used: Counter[tuple[str, str]] = Counter()
    for record in scene.records():
        event = record.event
        if isinstance(event, ApprovalDecided) and event.decision == "approved":
            approved.add(event.decision_id)
        elif isinstance(event, CallIntended) and event.decision_id in approved:
            approved.discard(event.decision_id)
            used[(event.dependency, event.args_digest)] += 1
    return used


def _barred(scene: Scene) -> Iterator[Violation]:
    """After a rung that may not write has answered, its run does nothing but read."""
    contract = scene.stage.contract
    if all(model.may_write for model in contract.models.values()):
        return
    asked: dict[tuple[str, str], str] = {}
    barring: dict[str, str] = {}
    for record in scene.records():
        run_id, event = record.run_id, record.event
        if isinstance(event, RungChanged):
            asked[run_id, event.key] = scene.named(run_id, event.to)
        elif isinstance(event, CallSettled) and event.outcome.status is Status.OK:
            rung = contract.models.get(asked.get((run_id, event.key), ""))
            if rung is not None and not rung.may_write:
                barring.setdefault(run_id, asked[run_id, event.key])
        elif isinstance(event, CallIntended) and event.kind is CallKind.TOOL and run_id in barring:
            dependency = scene.named(run_id, event.dependency)
            if contract.tool(dependency).effect is not Effect.READ:
                what = f"{dependency} was sent after {barring[run_id]} had answered, which may not write"
                yield _violation("barred_write", what)
                return


def _sent_after(scene: Scene, killed_at: int) -> Iterator[Violation]:
    """After the kill switch was engaged no call begins any more."""
    for later in scene.calls[killed_at:]:
        if is_part(dependency_of(later.site)):
            continue  # it settles, or ends, what was under way
        yield _violation("kill_switch_passed", f"{later.site} was sent after the kill switch had been engaged")
        return


def _done_after(scene: Scene, effects: Sequence[EffectRow]) -> Iterator[Violation]:
    """Nor does anything happen any more but what the calls do that were under way, each once."""
    later = Counter(row.tool for row in effects[scene.rows_at_kill :])
    for tool in later - scene.under_way_at_kill:
        yield _violation("kill_switch_passed", f"{tool} happened after the kill switch had been engaged")


def _violation(code: str, message: str) -> Violation:
    return Violation(claim="oversight", code=code, message=message)
