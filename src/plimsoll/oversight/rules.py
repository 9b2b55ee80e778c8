"""Approval rules: given a tool and its arguments, may the call run, does it need a person, or is it refused?"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plimsoll.contract.expressions import Rule, RuleUndecided, compile_rule
from plimsoll.contract.model import Contract, Tool

__all__ = ["RuleBook", "Ruling", "Verdict"]


class Verdict(StrEnum):
    """What the rules say of a call."""

    RUN = "run"
    ASK = "ask"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the rules say of one call, and which rule said so."""

    verdict: Verdict
    rule: str = ""


_RUN = Ruling(Verdict.RUN)


@dataclass(frozen=True, slots=True)
class _ToolRules:
    refuse: Rule | None
    ask: Rule | None
    approvers: tuple[str, ...]

    @classmethod
    def of(cls, tool: Tool) -> "_ToolRules":
        return cls(
            refuse=compile_rule(tool.refuse_when) if tool.refuse_when else None,
            ask=compile_rule(tool.approval.when) if tool.approval else None,
            approvers=tool.approval.approvers if tool.approval else (),
        )


def _holds(rule: Rule, args: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether the rule holds; what cannot be decided counts as holding, since that is the careful side."""
    try:
        return rule.holds(args), rule.source
    except RuleUndecided as undecided:
        return True, f"{rule.source} (undecided: {undecided})"


class RuleBook:
    """The rules of one contract, compiled once.

    A rule that cannot be decided on the given arguments counts as holding. A call that needs an approver where there is
    none is refused.
    """

    __slots__ = ("_rules",)

    def __init__(self, contract: Contract) -> None:
        self._rules = {
            name: _ToolRules.of(tool) for name, tool in contract.tools.items() if tool.refuse_when or tool.approval
        }

    def speaks_of(self, tool: str) -> bool:
        """Whether any rule is about `tool`: without one, it just runs."""
        return tool in self._rules

    def ruling(self, tool: str, args: Mapping[str, Any]) -> Ruling:
        """What the rules say of calling `tool` with `args`."""
        rules = self._rules.get(tool)
        if rules is None:
            return _RUN
        if rules.refuse is not None:
            holds, why = _holds(rules.refuse, args)
            if holds:
                return Ruling(Verdict.REFUSE, f"refuse_when {why}")
        if rules.ask is not None:
            holds, why = _holds(rules.ask, args)
            if holds and not rules.approvers:
                return Ruling(Verdict.REFUSE, f"{why}, and nobody is named who may approve it")
            if holds:
                return Ruling(Verdict.ASK, why)
        return _RUN
