"""What a rule's tree says of given arguments. What is undecided and why is told in `expressions`."""

import math
from collections.abc import Mapping
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
from plimsoll.contract.rule_types import Kind, kind_of

__all__ = ["Undecided", "truth"]

_MAX_BITS = 256
_MAX_NESTING = 20


class Undecided(Exception):
    """The arguments do not fit the rule. Internal: `Rule.holds` raises `RuleUndecided` for it."""


def _undecided(why: str) -> NoReturn:
    raise Undecided(why)


def _kind(value: object) -> Kind:
    kind = kind_of(value)
    if kind is None:
        _undecided(f"a value is of type {type(value).__name__}, which JSON does not have")
    return kind


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _undecided(f"a number was expected, not {_kind(value)}")
    if isinstance(value, float):
        if not math.isfinite(value):
            _undecided("a number is not finite")
    elif value.bit_length() > _MAX_BITS:
        _undecided(f"a number has more than {_MAX_BITS} bits")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else _undecided(f"text was expected, not {_kind(value)}")


def truth(node: Node, args: Mapping[str, object]) -> bool:
    """The value of a part of a rule that must be true or false. Raises `Undecided`."""
    value = _value(node, args)
    return value if isinstance(value, bool) else _undecided(f"true or false was expected, not {_kind(value)}")


def _value(node: Node, args: Mapping[str, object]) -> object:  # noqa: PLR0911 -- a case per kind
    match node:
        case Literal(value=value):
            return value
        case Argument(path=path):
            return _argument(path, args)
        case ListOf(items=items):
            return [_value(item, args) for item in items]
        case Negative(operand=operand):
            return -_number(_value(operand, args))
        case Arithmetic():
            return _arithmetic(node, args)
        case Comparison():
            return _comparison(node, args)
        case Not(operand=operand):
            return not truth(operand, args)
        case Logic(operator="and", operands=operands):
            return all(truth(operand, args) for operand in operands)
        case Logic(operands=operands):
            return any(truth(operand, args) for operand in operands)
        case FunctionCall():
            return _function(node, args)
        case _:
            assert_never(node)


def _argument(path: tuple[str, ...], args: Mapping[str, object]) -> object:
    value: object = args
    for index, name in enumerate(path):
        if not isinstance(value, Mapping):
            _undecided(f"{'.'.join(path[:index])} is {_kind(value)} and has no field {name}")
        if name not in value:
            _undecided(f"{'.'.join(path[: index + 1])} is missing")
        value = value[name]
    return value


def _given(path: tuple[str, ...], args: Mapping[str, object]) -> bool:
    value: object = args
    for index, name in enumerate(path):
        if not isinstance(value, Mapping):
            _undecided(f"{'.'.join(path[:index])} is {_kind(value)} and has no field {name}")
        value = value.get(name)
        if value is None:
            return False
    return True


def _arithmetic(node: Arithmetic, args: Mapping[str, object]) -> int | float:
    total = _number(_value(node.first, args))
    for operator, operand in node.rest:
        number = _number(_value(operand, args))
        if operator in ("/", "%") and number == 0:
            _undecided("division by zero")
        total = _number(_calculate(total, operator, number))
    return total


def _calculate(left: int | float, operator: str, right: int | float) -> int | float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case _:
            return left % right


def _comparison(node: Comparison, args: Mapping[str, object]) -> bool:
    left_node, left = node.first, _value(node.first, args)
    for operator, right_node in node.rest:
        right = _value(right_node, args)
        says_null = _is_null(left_node) or _is_null(right_node)
        if not _holds(left, operator, right, says_null):
            return False
        left_node, left = right_node, right
    return True


def _is_null(node: Node) -> bool:
    return isinstance(node, Literal) and node.value is None


def _holds(left: object, operator: str, right: object, says_null: bool) -> bool:
    match operator:
        case "==" | "!=":
            same = _same(left, right, says_null)
            return same if operator == "==" else not same
        case "in":
            return _within(left, right)
        case "not in":
            return not _within(left, right)
        case _:
            return _ordered(left, operator, right)


def _same(left: object, right: object, says_null: bool = False, nesting: int = 0) -> bool:
    ours, theirs = _kind(left), _kind(right)
    if says_null or ours is theirs is Kind.NULL:
        return left is None and right is None
    if ours is not theirs:
        _undecided(f"{ours} is compared with {theirs}")
    if ours is Kind.NUMBER:
        return _number(left) == _number(right)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if nesting >= _MAX_NESTING:
            _undecided(f"lists nest more than {_MAX_NESTING} deep")
        return len(left) == len(right) and all(
            _same(a, b, nesting=nesting + 1) for a, b in zip(left, right, strict=True)
        )
    if ours is Kind.OBJECT:
        _undecided("objects are compared; compare their fields")
    return left == right


def _ordered(left: object, operator: str, right: object) -> bool:
    ours, theirs = _kind(left), _kind(right)
    if ours is Kind.TEXT and theirs is Kind.TEXT:
        a, b = _text(left), _text(right)
        below, equal = a < b, a == b
    elif ours is Kind.NUMBER and theirs is Kind.NUMBER:
        x, y = _number(left), _number(right)
        below, equal = x < y, x == y
    else:
        _undecided(f"{ours} is compared by {operator} with {theirs}")
    match operator:
        case "<":
            return below
        case "<=":
            return below or equal
        case ">":
            return not (below or equal)
        case _:
            return not below


def _within(item: object, container: object) -> bool:
    """Whether `item` is in a list, in a text, or a key of an object.

    True when an equal item was found, whatever the others are; undecided when none was and one could not be
    compared.
    """
    if isinstance(container, str):
        return _text(item) in container
    if isinstance(container, Mapping):
        return _text(item) in container
    if not isinstance(container, list | tuple):
        _undecided(f"'in' looks into {_kind(container)}")
    doubt: Undecided | None = None
    for other in container:
        if other is None and item is not None:
            continue
        try:
            if _same(item, other):
                return True
        except Undecided as error:
            doubt = error
    if doubt is not None:
        raise doubt
    if item is None:
        _undecided("null was looked for in a list without it")
    return False


def _function(node: FunctionCall, args: Mapping[str, object]) -> object:
    if node.function == "given":
        (asked,) = node.operands
        return isinstance(asked, Argument) and _given(asked.path, args)
    values = [_value(operand, args) for operand in node.operands]
    match node.function:
        case "len":
            return _length(values[0])
        case "lower":
            return _text(values[0]).lower()
        case "upper":
            return _text(values[0]).upper()
        case "starts_with":
            return _text(values[0]).startswith(_text(values[1]))
        case "ends_with":
            return _text(values[0]).endswith(_text(values[1]))
        case "abs":
            return abs(_number(values[0]))
        case _:
            return _extreme(node.function, values)


def _length(value: object) -> int:
    if isinstance(value, str | list | tuple | Mapping):
        return len(value)
    _undecided(f"{_kind(value)} has no length")


def _extreme(function: str, values: list[object]) -> int | float:
    """`min` or `max` of several numbers, or of the one list that is given."""
    numbers: list[object] | tuple[object, ...] = values
    if len(values) == 1:
        only = values[0]
        numbers = only if isinstance(only, list | tuple) else _undecided(f"{function} of one {_kind(only)}")
    if not numbers:
        _undecided(f"{function} of an empty list")
    return (min if function == "min" else max)(_number(number) for number in numbers)
