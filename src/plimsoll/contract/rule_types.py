"""What kind of value each part of a rule has, to find a rule that could never be decided before it runs."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NoReturn, assert_never

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

__all__ = ["ANY", "Kind", "KindClash", "Kinds", "check_kinds", "kind_of"]


class Kind(StrEnum):
    """The kinds of JSON value. Booleans are no numbers."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    LIST = "list"
    OBJECT = "object"
    NULL = "null"


Kinds = frozenset[Kind]
ANY: Kinds = frozenset(Kind)
"""Nothing is known of a value."""

_ARTICLES = {
    Kind.NUMBER: "a number",
    Kind.TEXT: "text",
    Kind.BOOLEAN: "true or false",
    Kind.LIST: "a list",
    Kind.OBJECT: "an object",
    Kind.NULL: "null",
}
_SIZED = frozenset({Kind.TEXT, Kind.LIST, Kind.OBJECT})
_ORDERED = frozenset({Kind.NUMBER, Kind.TEXT})
_EQUATED = frozenset({Kind.NUMBER, Kind.TEXT, Kind.BOOLEAN, Kind.LIST})


class KindClash(Exception):
    """A part of a rule has a kind with which it can never be decided. Internal to this package."""

    def __init__(self, column: int, what: str, fix: str) -> None:
        self.column = column
        self.what = what
        self.fix = fix
        super().__init__(f"column {column}: {what} → {fix}")


def kind_of(value: object) -> Kind | None:
    """The kind of a JSON value; None for anything that JSON does not have."""
    match value:
        case None:
            return Kind.NULL
        case bool():
            return Kind.BOOLEAN
        case int() | float():
            return Kind.NUMBER
        case str():
            return Kind.TEXT
        case list() | tuple():
            return Kind.LIST
        case Mapping():
            return Kind.OBJECT
        case _:
            return None


def describe(kinds: Kinds) -> str:
    """In words, in a fixed order: `a number or text`."""
    return " or ".join(words for kind, words in _ARTICLES.items() if kind in kinds)


def check_kinds(rule: Node, argument: Callable[[tuple[str, ...]], Kinds]) -> None:
    """Raises `KindClash` at the first part of `rule` that can never be decided.

    `argument` says of which kinds an argument may be, by its path; `ANY` when that is not known.
    """
    _Checker(argument).need(rule, frozenset({Kind.BOOLEAN}), "a rule")


class _Checker:
    def __init__(self, argument: Callable[[tuple[str, ...]], Kinds]) -> None:
        self._argument = argument

    def need(self, node: Node, wanted: Kinds, user: str) -> None:
        kinds = self._kinds(node)
        if not kinds & wanted:
            self._clash(node, f"this is {describe(kinds)}", f"{user} needs {describe(wanted)}")

    @staticmethod
    def _clash(node: Node, what: str, fix: str) -> NoReturn:
        raise KindClash(node.column, what, fix)

    def _kinds(self, node: Node) -> Kinds:  # noqa: PLR0911, PLR0912 -- one case for each kind of node
        match node:
            case Literal(value=value):
                kind = kind_of(value)
                return ANY if kind is None else frozenset({kind})
            case Argument(path=path):
                return self._argument(path)
            case ListOf(items=items):
                for item in items:
                    self._kinds(item)
                return frozenset({Kind.LIST})
            case Negative(operand=operand):
                self.need(operand, frozenset({Kind.NUMBER}), "a minus sign")
                return frozenset({Kind.NUMBER})
            case Arithmetic(first=first, rest=rest):
                self.need(first, frozenset({Kind.NUMBER}), repr(rest[0][0]))
                for operator, operand in rest:
                    self.need(operand, frozenset({Kind.NUMBER}), repr(operator))
                return frozenset({Kind.NUMBER})
            case Comparison(first=first, rest=rest):
                for operator, operand in rest:
                    self._compare(first, operator, operand)
                    first = operand
                return frozenset({Kind.BOOLEAN})
            case Not(operand=operand):
                self.need(operand, frozenset({Kind.BOOLEAN}), "not")
                return frozenset({Kind.BOOLEAN})
            case Logic(operator=operator, operands=operands):
                for operand in operands:
                    self.need(operand, frozenset({Kind.BOOLEAN}), operator)
                return frozenset({Kind.BOOLEAN})
            case FunctionCall():
                return self._function(node)
            case _:
                assert_never(node)

    def _function(self, node: FunctionCall) -> Kinds:
        match node.function:
            case "given":
                self._kinds(node.operands[0])
                return frozenset({Kind.BOOLEAN})
            case "len":
                wanted, result = _SIZED, Kind.NUMBER
            case "lower" | "upper":
                wanted, result = frozenset({Kind.TEXT}), Kind.TEXT
            case "starts_with" | "ends_with":
                wanted, result = frozenset({Kind.TEXT}), Kind.BOOLEAN
            case "min" | "max" if len(node.operands) == 1:
                wanted, result = frozenset({Kind.LIST}), Kind.NUMBER
            case _:  # abs, min, max
                wanted, result = frozenset({Kind.NUMBER}), Kind.NUMBER
        for operand in node.operands:
            self.need(operand, wanted, node.function)
        return frozenset({result})

    def _compare(self, left: Node, operator: str, right: Node) -> None:
        ours, theirs = self._kinds(left), self._kinds(right)
        if operator in ("in", "not in"):
            self._member(left, ours, right, theirs)
        elif operator in ("==", "!="):
            if not _comparable(left, ours, right, theirs):
                what = f"{describe(ours)} is compared with {describe(theirs)}"
                self._clash(left, what, "compare two of the same kind")
        elif not ours & theirs & _ORDERED:
            what = f"{describe(ours)} is compared by {operator} with {describe(theirs)}"
            self._clash(left, what, "compare two numbers or two texts")

    def _member(self, left: Node, ours: Kinds, right: Node, theirs: Kinds) -> None:
        if not theirs & _SIZED:
            self._clash(right, f"'in' looks into {describe(theirs)}", "look into a list, a text or an object")
        if Kind.LIST not in theirs and Kind.TEXT not in ours:
            self._clash(left, f"'in' looks for {describe(ours)}", "look for text")
        if isinstance(right, ListOf) and right.items:
            within = [(item, self._kinds(item)) for item in right.items]
            if not any(_comparable(left, ours, item, kinds) for item, kinds in within):
                every: Kinds = frozenset().union(*(kinds for _, kinds in within))
                what = f"'in' looks for {describe(ours)} in a list of {describe(every)}"
                self._clash(left, what, "look for what the list has")


def _comparable(left: Node, ours: Kinds, right: Node, theirs: Kinds) -> bool:
    says_null = any(isinstance(node, Literal) and node.value is None for node in (left, right))
    return says_null or bool(ours & theirs & _EQUATED)
