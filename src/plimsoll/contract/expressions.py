"""Approval rules: small expressions over a call's arguments, such as `amount > 50 and country != "US"`.

They are parsed by `rule_syntax` and evaluated here, by code of ours: no `eval`, no regular expressions, no
attribute of any object. Work is bounded by the length of the rule and, linearly, by the size of the
arguments.

A rule that cannot be decided fails **safe**. Whenever the arguments do not fit the rule, `Rule.holds`
raises `RuleUndecided`, and whoever asked must take the careful side: for `approval.when` the call needs
approval, for `refuse_when` it is refused. Undecided are:

- an argument (or a field of one) that is missing;
- two values of different kinds: `"5000" > 50`, `true > 0`, an order between lists, null with anything but
  null, unless the rule says `null` itself;
- NaN, infinities, and integers of more than 256 bits;
- division by zero.

`and` and `or` stop at the first operand that settles them, so `given(coupon) and coupon > 10` is decided
without a coupon. Messages name kinds and arguments, never values, for those may be private.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from plimsoll.contract.rule_evaluation import Undecided, truth
from plimsoll.contract.rule_syntax import RuleSyntaxError, parse_rule
from plimsoll.contract.rule_tree import (
    Argument,
    Arithmetic,
    Comparison,
    FunctionCall,
    ListOf,
    Literal,
    Logic,
    Negative,
    Node,
    Not,
)
from plimsoll.contract.rule_types import ANY, KindClash, check_kinds
from plimsoll.core.errors import PlimsollError

__all__ = ["Rule", "RuleSyntaxError", "RuleUndecided", "compile_rule"]


class RuleUndecided(PlimsollError):
    """The arguments do not fit the rule, so nobody knows whether it holds. Take the careful side.

    The call needs approval (`approval.when`) or is refused (`refuse_when`). `why` names arguments and
    kinds, and no values.
    """

    def __init__(self, source: str, *, why: str) -> None:
        self.source = source
        self.why = why
        super().__init__(f"rule {source!r} cannot be decided: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that can be read, ready to be asked.

    `names` are the arguments it uses; `paths` are the same with their fields (`customer.tier`); `guarded`
    are those paths that it asks about with `given`.
    """

    source: str
    names: frozenset[str]
    paths: frozenset[str]
    guarded: frozenset[str]
    tree: Node = field(repr=False, compare=False)

    def holds(self, args: Mapping[str, object]) -> bool:
        """Whether the rule holds for these arguments.

        Raises `RuleUndecided`, and nothing else, when they do not fit it.
        """
        try:
            return truth(self.tree, args)
        except Undecided as error:
            raise RuleUndecided(self.source, why=str(error)) from None


def compile_rule(source: str) -> Rule:
    """Reads a rule. Raises `RuleSyntaxError` when it is none, or when no arguments could ever decide it."""
    tree = parse_rule(source)
    try:
        check_kinds(tree, lambda path: ANY)
    except KindClash as clash:
        raise RuleSyntaxError(source, column=clash.column, what=clash.what, fix=clash.fix) from None
    used: set[tuple[str, ...]] = set()
    guarded: set[tuple[str, ...]] = set()
    _collect(tree, used, guarded)
    return Rule(
        source=source,
        names=frozenset(path[0] for path in used),
        paths=frozenset(".".join(path) for path in used),
        guarded=frozenset(".".join(path) for path in guarded),
        tree=tree,
    )


def _collect(node: Node, used: set[tuple[str, ...]], guarded: set[tuple[str, ...]]) -> None:
    match node:
        case Literal():
            pass
        case Argument(path=path):
            used.add(path)
        case FunctionCall(function="given", operands=(Argument(path=path),)):
            used.add(path)
            guarded.add(path)
        case ListOf(items=children) | Logic(operands=children) | FunctionCall(operands=children):
            for child in children:
                _collect(child, used, guarded)
        case Negative(operand=child) | Not(operand=child):
            _collect(child, used, guarded)
        case Arithmetic(first=first, rest=rest) | Comparison(first=first, rest=rest):
            for child in (first, *(operand for _, operand in rest)):
                _collect(child, used, guarded)
        case _:
            assert_never(node)
