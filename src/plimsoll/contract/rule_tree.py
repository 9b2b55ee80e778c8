"""What a rule is made of, once it is read. `column` is where each part starts, from 1."""

from dataclasses import dataclass

__all__ = [
    "Argument",
    "Arithmetic",
    "Comparison",
    "FunctionCall",
    "ListOf",
    "Literal",
    "Logic",
    "Negative",
    "Node",
    "Not",
]


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text, true, false or null."""

    column: int
    value: int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of the call, or a field within one: `customer.tier` is `("customer", "tier")`."""

    column: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    column: int
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Negative:
    column: int
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`first`, then each operator with its operand, from the left."""

    column: int
    first: "Node"
    rest: "tuple[tuple[str, Node], ...]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Chained as in mathematics: `0 < x < 10` holds when both comparisons do."""

    column: int
    first: "Node"
    rest: "tuple[tuple[str, Node], ...]"


@dataclass(frozen=True, slots=True)
class Not:
    column: int
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Logic:
    """`operator` is `and` or `or`."""

    column: int
    operator: str
    operands: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class FunctionCall:
    column: int
    function: str
    operands: "tuple[Node, ...]"


Node = Literal | Argument | ListOf | Negative | Arithmetic | Comparison | Not | Logic | FunctionCall
