"""What an agent owes in a trial: must it reach its goal, how may it end otherwise, and which claims does that bear on.

Every agent owes the same, whatever its contract provides for. Only where the contract accepts to go without something,
by name, is it judged by what it provides for: that must work, and all else must end honestly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plimsoll.contract.holes import ANYTHING, RETRIED_OF_MODELS, takes_any_text, takes_hollow, takes_nothing
from plimsoll.contract.model import Mode, Tool
from plimsoll.core.calls import Effect, Fault
from plimsoll.gate.fault_kinds import How
from plimsoll.gate.scene import Planned
from plimsoll.gate.sites import SiteKind, tool_of
from plimsoll.gate.stage import Stage
from plimsoll.gate.verdict import Reach

__all__ = ["Promise", "claims_of", "goes_unnoticed", "promise", "promise_of_storm"]

_ALL_BUT_LOST = frozenset(Reach) - {Reach.LOST}
_LOOKED_UP = (SiteKind.MODEL, SiteKind.APPROVAL, SiteKind.COMMIT, SiteKind.VERIFY)
"""Where a fault needs no retry of the contract's: there is another way on, or to find out."""
_CRASHES = (How.CRASH_APPEND, How.CRASH_BEFORE, How.CRASH_AFTER, How.OUTAGE)


@dataclass(frozen=True, slots=True)
class Promise:
    """What is owed: `goal` whether it must be reached, `endings` how it may end, `findings` whether they are due.

    `whole` is whether the models that were asked first must have answered.
    """

    goal: bool
    endings: frozenset[Reach]
    findings: bool
    whole: bool = False


def promise(stage: Stage, planned: Sequence[Planned], *, declined: bool = False) -> Promise:
    """What is owed under these faults: one, or one and others at sites that the ones before brought to light.

    `declined` is whether a model of one's own said that it had better not answer.
    """
    goal = all(_survivable(stage, each) for each in planned) and _ladder_holds(stage, planned, declined=declined)
    endings = _ALL_BUT_LOST
    for each in planned:
        endings &= each.kind.endings
        if each.site_kind is SiteKind.GUARD and not _survivable(stage, each):
            endings &= {Reach.REFUSED}
    if not stage.contract.accepts("unanswered_requests") and _models_alone_fail(planned):
        endings -= {Reach.FAILED}
    passing = len(planned) == 1 and _passes(planned[0]) and not stage.contract.accepts("unretried_faults")
    return Promise(goal=goal, endings=frozenset({Reach.REACHED}) if goal else endings, findings=True, whole=passing)


def promise_of_storm() -> Promise:
    """What is owed when faults come together that nobody chose to fit: safety, and an honest ending."""
    return Promise(goal=False, endings=_ALL_BUT_LOST, findings=False)


def claims_of(planned: Sequence[Planned]) -> frozenset[str]:
    """The claims that a trial under these faults bears on."""
    claims: set[str] = set()
    for each in planned:
        claims.update(each.kind.claims)
        if each.site_kind is SiteKind.MODEL and each.kind.fails_model:
            claims.add("fallbacks")
        if each.site_kind in (SiteKind.WRITE, SiteKind.COMMIT, SiteKind.VERIFY):
            claims.add("exactly_once")
    return frozenset(claims)


def goes_unnoticed(stage: Stage, planned: Planned) -> bool:
    """Whether nobody need notice this bad answer: its tool's rule lets it through, and that is meant."""
    meant = stage.contract.accepts("unchecked_answers") or stage.contract.tool(planned.dependency).output == ANYTHING
    return meant and _lets_through(stage, planned)


def _lets_through(stage: Stage, planned: Planned) -> bool:
    """Whether this is an answer that is none, and passes for one by the rule of its tool."""
    rule = stage.contract.tool(planned.dependency).output
    match planned.kind.fault:
        case _ if planned.site_kind is SiteKind.MODEL:
            return False
        case Fault.MALFORMED:
            return takes_any_text(rule)
        case Fault.EMPTY if planned.kind.how is How.HOLLOW:
            return takes_hollow(rule)
        case Fault.EMPTY:
            return takes_nothing(rule)
        case Fault.ERROR_IN_SUCCESS:
            return rule.may_look_like_error
        case _:
            return False


def _survivable(stage: Stage, planned: Planned) -> bool:
    """Whether the goal must be reached under this fault alone; of models that fail, see `_ladder_holds`."""
    kind = planned.kind
    if planned.site_kind not in kind.survivable:
        return False
    if planned.site_kind is SiteKind.GUARD:
        return stage.contract.guards[planned.dependency].on_failure == "pass" or _only_reports(stage)
    if stage.contract.accepts("unchecked_answers") and _lets_through(stage, planned):
        return False
    if kind.how in _CRASHES:
        return not stage.contract.accepts("parked_writes") or _writes_recover(stage)
    if kind.how is How.DELAY or planned.site_kind in _LOOKED_UP:
        return True
    tool = stage.contract.tool(tool_of(planned.dependency))
    if planned.site_kind is SiteKind.WRITE and tool.verify is not None:
        return True
    if tool.effect is Effect.WRITE:
        return not stage.contract.accepts("parked_writes")
    return not stage.contract.accepts("unretried_faults") or _retried(tool, kind.fault)


def _only_reports(stage: Stage) -> bool:
    return stage.contract.protections.guards is Mode.OBSERVE


def _passes(planned: Planned) -> bool:
    """Whether this is a fault of a model that passes by itself, so that the model can be asked again."""
    return planned.site_kind is SiteKind.MODEL and planned.kind.fault in RETRIED_OF_MODELS and not planned.lasting


def _models_alone_fail(planned: Sequence[Planned]) -> bool:
    """Whether nothing fails but models, so that there is still something to be said, and time to say it."""
    return all(each.site_kind is SiteKind.MODEL and each.kind.fails_model for each in planned)


def _retried(tool: Tool, fault: Fault | None) -> bool:
    return tool.retry is not None and fault in tool.retry.on and tool.retry.max_attempts > 1


def _writes_recover(stage: Stage) -> bool:
    """Whether every write of the healthy run can be looked up after a crash."""
    baseline = stage.baseline
    tools = {key[0] for key in baseline.effects} if baseline is not None else set()
    called = {
        site.name.partition("@")[0]
        for site in (baseline.sites.values() if baseline is not None else ())
        if site.kind is SiteKind.WRITE
    }
    return all(_recovers(stage.contract.tool(name)) for name in tools | called)


def _recovers(tool: Tool) -> bool:
    return tool.effect is not Effect.WRITE or tool.verify is not None


def _ladder_holds(stage: Stage, planned: Sequence[Planned], *, declined: bool) -> bool:
    """Whether the request must be served although models fail: while one is out, and while one is left that can.

    What passes by itself takes no model away. A contract without any second model is held to the goal all the same: it
    is the gate's business to say so. A model of one's own that declined is none that can, once more than one is out.
    """
    passing = frozenset() if stage.contract.accepts("unretried_faults") else frozenset(filter(_passes, planned))
    struck = [each for each in planned if each.site_kind is SiteKind.MODEL and each.kind.fails_model]
    failing = {each.dependency for each in struck if each not in passing}
    if len(failing) < 2 and not stage.contract.accepts("canned_answers"):
        return True
    writes = stage.baseline is not None and bool(stage.baseline.effects)
    for ladder in stage.ladders.values():
        names = [rung.name for rung in ladder.rungs]
        if failing.isdisjoint(names) or not failing.issuperset(names[:1]):
            continue
        if len(names) == 1:
            continue
        left = [rung for rung in ladder.rungs if rung.model.is_model and rung.name not in failing]
        left = [rung for rung in left if not declined or rung.model.local is None]
        if not any(rung.model.may_write or not writes for rung in left):
            return False
    return True
