"""The terms that every agent ships on, whatever its contract says: limits that bind, and nothing left out in silence.

What can be read in the contract needs no scenario that shows it. What a contract accepts to go without is in `[gate]
accepts`, and only there.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from plimsoll.contract.bounds import Bound, bounds
from plimsoll.contract.concessions import CONCESSIONS, HEADROOM
from plimsoll.contract.converting import dotted
from plimsoll.contract.holes import Hole, holes
from plimsoll.contract.model import GATE_CLAIMS, Contract
from plimsoll.contract.toml_places import Path
from plimsoll.core.calls import Effect
from plimsoll.gate.family import of_child
from plimsoll.gate.stage import Stage
from plimsoll.gate.verdict import Concession, Violation
from plimsoll.observability.wording import Wording

__all__ = ["accepted", "left_out", "loose_limits", "not_shown"]

_ASKS_TOO_LITTLE = ("fewer_claims", "low_confidence")
_HURTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "canned_answers": ("fallbacks", "no_other_model"),
        "unanswered_requests": ("fallbacks", "no_last_answer"),
        "unretried_faults": ("fallbacks", "not_retried"),
        "parked_writes": ("exactly_once", "not_verified"),
        "unchecked_answers": ("monitoring", "not_checked"),
        "unpriced_models": ("bounded", "money_not_counted"),
        "unpinned_runs": ("exactly_once", "not_pinned"),
    }
)
"""The claim that a hole breaks as it stands, by the concession that accepts it, and its code."""


def accepted(contract: Contract) -> tuple[Concession, ...]:
    """What is done without, in words."""
    about = dict(CONCESSIONS)
    left_out = [claim for claim in GATE_CLAIMS if contract.gate.claims and claim not in contract.gate.claims]
    if left_out:
        about["fewer_claims"] = f"these claims need not be shown: {', '.join(left_out)}"
    return tuple(Concession(name=name, about=about[name]) for name in dict.fromkeys(contract.gate.accepts))


def loose_limits(contract: Contract, stages: Sequence[Stage]) -> Iterator[Violation]:
    """Bounds so far above what healthy runs really use that they bound nothing. A default never is."""
    used = [stage.baseline.used for stage in stages if stage.baseline is not None]
    if not used or contract.accepts("loose_limits"):
        return
    for agent, each in _family(contract, stages):
        for bound in bounds(each):
            most = max(run.get(_in_trial(bound.path, agent), 0) for run in used)
            if bound.value > max(bound.default, HEADROOM * most):
                yield Violation(claim="bounded", code="loose_limit", message=_loose(bound, most, agent))


def _family(contract: Contract, stages: Sequence[Stage]) -> Iterator[tuple[str, Contract]]:
    """The contract itself, and those of its agent's children, by the children's names."""
    yield "", contract
    for stage in stages[:1]:
        yield from stage.children.items()


def _in_trial(path: Path, agent: str) -> Path:
    """Where a trial of the family has what stands at `path` in the contract of the child `agent`."""
    if not agent or path[0] not in ("models", "tools"):
        return path
    return (path[0], of_child(agent, str(path[1])), *path[2:])


def _at(path: Path, agent: str) -> str:
    return dotted(path) + (f" of {agent}" if agent else "")


def _loose(bound: Bound, most: float, agent: str) -> str:
    return (
        f"{_at(bound.path, agent)} = {bound.value:g} bounds nothing: no healthy run uses more than {most:.3g}, and it "
        f"may be {HEADROOM} times that, or the default ({bound.default:g}), at most"
    )


def left_out(contract: Contract, stages: Sequence[Stage] = ()) -> Iterator[Violation]:
    """What the contract itself, or a child's, lets through, and it does not accept to go without: one sentence for each
    concession."""
    found: dict[str, list[tuple[str, Hole]]] = {}
    for agent, each in _family(contract, stages):
        for hole in holes(each):
            if hole.concession in _HURTS and not contract.accepts(hole.concession):
                found.setdefault(hole.concession, []).append((_at(hole.path, agent), hole))
    yield from _canned_claims(contract, stages)
    for concession, ((where, first), *others) in found.items():
        claim, code = _HURTS[concession]
        more = f", and so with {len(others)} more" if others else ""
        message = f"{where} {first.what}{more}; {first.fix}, or accept {concession} in [gate]"
        yield Violation(claim=claim, code=code, message=message)


def _canned_claims(contract: Contract, stages: Sequence[Stage]) -> Iterator[Violation]:
    """Canned answers that claim an effect: they are given when nothing may have been done."""
    for agent, each in _family(contract, stages):
        phrases = {phrase: name for name, tool in each.tools.items() for phrase in tool.claims}
        canned = {name: model.canned for name, model in each.models.items() if model.canned is not None}
        for name, text in canned.items():
            for phrase, tool_name in phrases.items():
                if Wording(phrase).is_stated_in(text):
                    where = _at(("models", name, "canned"), agent)
                    message = f"{where} says what {tool_name} does ({phrase!r}), and answers when nothing was done"
                    yield Violation(claim="honesty", code="canned_claim", message=message)


def not_shown(contract: Contract, stages: Sequence[Stage]) -> Iterator[str]:
    """What a verdict under this contract could not show, so that it is none."""
    for hole in holes(contract):
        if hole.concession in _ASKS_TOO_LITTLE and not contract.accepts(hole.concession):
            yield f"{dotted(hole.path)} {hole.what}; {hole.fix}, or accept {hole.concession} in [gate]"
    if not contract.accepts("untried_tools"):
        for path in _untried(contract, stages):
            yield (
                f"{path} is declared, and no scenario calls it: whether it is what it is declared to be was tried by "
                "nobody; have a scenario call it, or accept untried_tools in [gate]"
            )
    if not contract.accepts("unnamed_claims"):
        for tool in sorted(_unnamed(contract, stages)):
            yield (
                f"tools.{tool} has no claims, so that nobody finds out an agent that says it was done, and did "
                "nothing; name phrases that say so, or accept unnamed_claims in [gate]"
            )


def _untried(contract: Contract, stages: Sequence[Stage]) -> Iterator[str]:
    """The tools that no healthy run calls and that are declared to be harmless in some way. One that is taken for a
    write is treated with all the care there is."""
    used = [stage.baseline.used for stage in stages if stage.baseline is not None]
    for agent, each in _family(contract, stages) if used else ():
        for name, tool in each.tools.items():
            called = _in_trial(("tools", name, "timeout_s"), agent)
            if tool.effect is not Effect.WRITE and not any(called in run for run in used):
                yield _at(("tools", name), agent)


def _unnamed(contract: Contract, stages: Sequence[Stage]) -> set[str]:
    """The tools with an effect, by a contract or by the ledger, that have no claims."""
    family = next((stage.contract for stage in stages), contract)  # with the tools of its children
    effects = {tool for stage in stages if stage.baseline is not None for tool, _ in stage.baseline.effects}
    unnamed = {tool for tool in effects if not family.tool(tool).claims}
    for _, each in _family(contract, stages):
        unnamed |= {str(hole.path[1]) for hole in holes(each) if hole.concession == "unnamed_claims"}
    return unnamed
