"""The terms that every agent ships on, whatever its contract says: limits that bind, and nothing left out in silence.

What a contract accepts to go without is in `[gate] accepts`, and only there.
"""

from collections.abc import Iterator, Sequence

from msgspec.structs import asdict

from plimsoll.contract.concessions import CONCESSIONS, HEADROOM
from plimsoll.contract.converting import dotted
from plimsoll.contract.holes import holes
from plimsoll.contract.model import GATE_CLAIMS, Contract, Limits
from plimsoll.gate.stage import Stage
from plimsoll.gate.verdict import Concession, Violation

__all__ = ["accepted", "loose_limits", "not_shown"]

_ASKS_TOO_LITTLE = ("fewer_claims", "low_confidence")


def accepted(contract: Contract) -> tuple[Concession, ...]:
    """What is done without, in words."""
    about = dict(CONCESSIONS)
    left_out = [claim for claim in GATE_CLAIMS if contract.gate.claims and claim not in contract.gate.claims]
    if left_out:
        about["fewer_claims"] = f"these claims need not be shown: {', '.join(left_out)}"
    return tuple(Concession(name=name, about=about[name]) for name in dict.fromkeys(contract.gate.accepts))


def loose_limits(contract: Contract, stages: Sequence[Stage]) -> Iterator[Violation]:
    """Limits so far above what healthy runs use, at their worst, that they bound nothing. A default never is."""
    used = [stage.baseline.used for stage in stages if stage.baseline is not None]
    if not used:
        return
    if not contract.accepts("loose_limits"):
        for name, default in asdict(Limits()).items():
            most, limit = max(getattr(each, name) for each in used), getattr(contract.limits, name)
            if limit > max(default, HEADROOM * most):
                message = (
                    f"limits.{name} = {limit:g} bounds nothing: no healthy run uses more than {most:.3g}, and a limit "
                    f"may be {HEADROOM} times that, or the default ({default:g}), at most"
                )
                yield Violation(claim="bounded", code="loose_limit", message=message)
    for hole in holes(contract):
        if hole.concession == "unpriced_models" and not contract.accepts(hole.concession):
            message = f"limits.usd does not bound what it should: {dotted(hole.path)} {hole.what}"
            yield Violation(claim="bounded", code="money_not_counted", message=message)


def not_shown(contract: Contract, stages: Sequence[Stage]) -> Iterator[str]:
    """What a verdict under this contract could not show, so that it is none."""
    for hole in holes(contract):
        if hole.concession in _ASKS_TOO_LITTLE and not contract.accepts(hole.concession):
            yield f"{dotted(hole.path)} {hole.what}; {hole.fix}, or accept {hole.concession} in [gate]"
    if not contract.accepts("unnamed_claims"):
        effects = {tool for stage in stages if stage.baseline is not None for tool, _ in stage.baseline.effects}
        family = next((stage.contract for stage in stages), contract)  # with the tools of its children
        for tool in sorted(effects):
            if not family.tool(tool).claims:
                yield (
                    f"tools.{tool} has no claims, so that nobody finds out an agent that says it was done, and did "
                    "nothing; name phrases that say so, or accept unnamed_claims in [gate]"
                )
