"""The stage: what all trials of one subject in one scenario share, worked out once.

`contract` is the *promise* that trials are judged by. A mutant runs under another contract than it promised.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.contract.toml_places import Path
from plimsoll.core.canonical import canonical_json
from plimsoll.gate.family import whole_family
from plimsoll.gate.scenario import EffectRow, Scenario
from plimsoll.gate.sites import Site
from plimsoll.gate.subject import SubjectLike
from plimsoll.oversight.rules import RuleBook
from plimsoll.policies.ladder import Ladder, build_ladders

__all__ = ["Baseline", "EffectKey", "Shown", "Stage", "effect_key", "shown_by"]

EffectKey = tuple[str, bytes]
"""What makes two effects the same: the tool, and the canonical JSON of its arguments."""

_GRACE_S = 15.0
_REAL_GRACE_S = 5.0
_SPARE_CALLS = 30


def effect_key(row: EffectRow) -> EffectKey:
    """The identity of an effect for counting."""
    return row.tool, canonical_json(row.args)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What a healthy run did: its effects, its answer, the sites that it passed, and whether it reached its goal.

    `used` is what it used of the contract's bounds, by their places; `hollow` are the tools that answered with an empty
    object or list.
    """

    effects: Counter[EffectKey]
    output: Any
    sites: Mapping[str, Site]
    appends: tuple[int, ...]
    approvals: int
    reached: bool
    used: Mapping[Path, float]
    hollow: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the healthy runs of all scenarios show together.

    `needed` is how often one run has an effect of a tool at most; `hollow` are the tools that answered with an empty
    object or list in some run, so that it is an answer.
    """

    needed: Mapping[str, int] = field(default_factory=dict)
    hollow: frozenset[str] = frozenset()


def shown_by(baselines: Iterable[Baseline]) -> Shown:
    """What these healthy runs show."""
    needed: Counter[str] = Counter()
    hollow: frozenset[str] = frozenset()
    for baseline in baselines:
        tools = Counter(tool for tool, _ in baseline.effects.elements())
        needed |= tools
        hollow |= baseline.hollow
    return Shown(needed=needed, hollow=hollow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One scenario with the subject in it, and what it is held against: its contract, and those of its children."""

    subject: SubjectLike
    scenario: Scenario
    contract: Contract
    baseline: Baseline | None = None
    shown: Shown = Shown()
    children: Mapping[str, Contract] = field(init=False)
    """The contracts of its children, by their agents' names."""
    rules: RuleBook = field(init=False)
    ladders: Mapping[str, Ladder] = field(init=False)
    active_limit_s: float = field(init=False)
    hang_s: float = field(init=False)
    virtual_limit_s: float = field(init=False)
    max_calls: int = field(init=False)

    def __post_init__(self) -> None:
        contract = whole_family(self.contract, self.subject.family)
        outside = self.subject.outside
        slowest = max((tool.timeout_s for tool in contract.tools.values()), default=0.0 if outside else 10.0)
        longest = max((tool.approval.expires_s for tool in contract.tools.values() if tool.approval), default=0.0)
        active_s = contract.limits.seconds + 3 * slowest + (_REAL_GRACE_S if outside else _GRACE_S)
        derived = {
            "contract": contract,
            "children": {child.agent.name: child for child in self.subject.family},
            "rules": RuleBook(contract),
            "ladders": build_ladders(contract.models),
            "active_limit_s": active_s,
            "hang_s": 2 * active_s,
            "virtual_limit_s": 20 * active_s + 10 * longest + 3600.0,
            "max_calls": 3 * sum(each.limits.steps for each in (contract, *self.subject.family)) + _SPARE_CALLS,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def timeout_s(self, dependency: str) -> float:
        """How long an attempt at a rung, a tool or a guard may take, by the contract."""
        section = self.contract.models.get(dependency) or self.contract.guards.get(dependency)
        return section.timeout_s if section is not None else self.contract.tool(dependency).timeout_s

    def slow_s(self, dependency: str) -> float:
        """From when an answer of a rung or a tool counts as slow."""
        if dependency in self.contract.guards:
            return self.timeout_s(dependency) / 2
        section = self.contract.models.get(dependency) or self.contract.tool(dependency)
        return section.slow_s if section.slow_s is not None else section.timeout_s / 2
