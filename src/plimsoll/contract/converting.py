"""Plain values → the contract's models, gathering everything that is wrong instead of stopping at the
first.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect, structs

from plimsoll.contract.expressions import compile_rule
from plimsoll.contract.rule_syntax import RuleSyntaxError
from plimsoll.contract.toml_places import Path

__all__ = ["Report", "check_pattern", "convert", "describe_type", "dotted"]

Report = Callable[[Path, str, str], None]
"""Takes one problem: the path of the field, what is wrong, what would be right."""

_T = TypeVar("_T", bound=msgspec.Struct)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_SHOWN = 40


def dotted(path: Path) -> str:
    """`("tools", "refund", "retry", "on", 1)` as `tools.refund.retry.on[1]`; odd keys are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else msgspec.json.encode(part).decode())
    return text


def convert(value: object, model: type[_T], *, report: Report) -> _T | None:
    """`value` as a `model`, or None after everything that is wrong with it was reported."""
    wrong = False

    def note(path: Path, what: str, fix: str) -> None:
        nonlocal wrong
        wrong = True
        report(path, what, fix)

    _check_struct(value, model, (), note)
    if wrong:
        return None
    try:
        return msgspec.convert(value, model)
    except msgspec.ValidationError as error:  # what a model checks across its fields
        report((), str(error), "see docs/contract.md")
        return None


def _check_struct(value: object, model: type[msgspec.Struct], path: Path, report: Report) -> None:
    if not isinstance(value, Mapping):
        report(path, f"is {_show(value)}", f"a table, [{dotted(path)}]")
        return
    fields = {field.encode_name: field for field in structs.fields(model)}
    for key in value:
        if key not in fields:
            report((*path, key), f"there is no field {key!r} here", _suggest(key, fields))
    for name, field in fields.items():
        if name in value:
            _check(value[name], field.type, (*path, name), report)
        elif field.required:
            report((*path, name), "is missing", describe_type(field.type))


def _check(value: object, hint: Any, path: Path, report: Report) -> None:
    """Checks a value against a field's type. Containers go item by item, each reported by itself."""
    info = inspect.type_info(hint)
    extra: dict[str, Any] = {}
    while isinstance(info, inspect.Metadata):
        extra |= info.extra or {}
        info = info.type
    if isinstance(info, inspect.UnionType):  # `X | None`; TOML has no null, so it is X that was meant
        (hint,) = (one for one in hint.__args__ if one is not type(None))
        _check(value, hint, path, report)
    elif isinstance(info, inspect.StructType):
        _check_struct(value, info.cls, path, report)
    elif isinstance(info, inspect.DictType) and isinstance(value, Mapping):
        for key, item in value.items():
            _check(item, hint.__args__[1], (*path, key), report)
    elif isinstance(info, inspect.VarTupleType) and isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, hint.__args__[0], (*path, index), report)
    elif isinstance(value, float) and not math.isfinite(value):
        report(path, f"is {value}", describe_type(hint))
    else:
        _check_plain(value, hint, path, report)
        if extra.get("rule") and isinstance(value, str):
            _check_rule(value, path, report)
        elif extra.get("pattern") and isinstance(value, str):
            check_pattern(value, path, report)


def _check_plain(value: object, hint: Any, path: Path, report: Report) -> None:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        allowed = _choices(inspect.type_info(hint))
        fix = _suggest(value, allowed) if allowed and isinstance(value, str) else describe_type(hint)
        report(path, f"is {_show(value)}", fix)


def _check_rule(source: str, path: Path, report: Report) -> None:
    try:
        compile_rule(source)
    except RuleSyntaxError as error:
        report(path, f"{error.what}, at column {error.column} of the rule", error.fix)


def check_pattern(source: str, path: Path, report: Report) -> None:
    """Reports a text at `path` that is no regular expression."""
    try:
        re.compile(source)
    except (re.error, RecursionError, OverflowError) as error:
        report(path, f"is no regular expression: {error}", "mend it, or remove it")


# ---------------------------------------------------------------------------- plain words


def _show(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value}"[:_LONGEST_SHOWN]
        case str():
            short = len(value) <= _LONGEST_SHOWN
            return f"the text {value!r}" if short else f"a text of {len(value)} letters"
        case Mapping():
            return "a table"
        case list():
            return "a list"
        case _:  # TOML's dates and times
            return f"a {type(value).__name__}"


def _suggest(given: object, allowed: Mapping[str, Any] | list[str]) -> str:
    near = difflib.get_close_matches(str(given).lower(), allowed, n=1)
    return f"did you mean {near[0]!r}?" if near else f"one of {', '.join(allowed)}"


def _choices(info: inspect.Type) -> list[str]:
    match info:
        case inspect.Metadata(type=inner):
            return _choices(inner)
        case inspect.EnumType(cls=cls):
            return [str(member.value) for member in cls]
        case inspect.LiteralType(values=values):
            return [str(value) for value in values]
        case _:
            return []


def describe_type(hint: Any) -> str:
    """A type in plain words: `a number greater than 0`, `one of read, write`, `a list of text`."""
    return _describe(inspect.type_info(hint))


def _describe(info: inspect.Type) -> str:  # noqa: PLR0911 -- one case for each type
    match info:
        case inspect.Metadata(type=inner, extra=extra):
            return str((extra or {}).get("words") or _describe(inner))
        case inspect.UnionType(types=types):
            return " or ".join(_describe(one) for one in types if not isinstance(one, inspect.NoneType))
        case inspect.IntType():
            return "a whole number" + _range(info)
        case inspect.FloatType():
            return "a number" + _range(info)
        case inspect.StrType(min_length=least):
            return "text, not empty" if least else "text"
        case inspect.BoolType():
            return "true or false"
        case inspect.EnumType() | inspect.LiteralType():
            return f"one of {', '.join(_choices(info))}"
        case inspect.VarTupleType(item_type=item):
            words = _describe(item)
            return f"a list, each {words}" if words.startswith("one of") else f"a list of {words}"
        case inspect.DictType() | inspect.StructType():
            return "a table"
        case _:
            return "another value"


def _range(info: inspect.IntType | inspect.FloatType) -> str:
    bounds = [
        (info.gt, "greater than"),
        (info.ge, "of at least"),
        (info.lt, "less than"),
        (info.le, "of at most"),
    ]
    words = [f"{word} {bound:g}" for bound, word in bounds if bound is not None]
    return f" {' and '.join(words)}" if words else ""
