"""What a tool's JSON Schema says about an argument that a rule uses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll.contract.rule_types import ANY, Kind, Kinds, kind_of

__all__ = ["ArgumentFacts", "argument_facts", "argument_names"]

_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
_KINDS = {
    "number": Kind.NUMBER,
    "integer": Kind.NUMBER,
    "string": Kind.TEXT,
    "boolean": Kind.BOOLEAN,
    "array": Kind.LIST,
    "object": Kind.OBJECT,
    "null": Kind.NULL,
}

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ArgumentFacts:
    """Of which kinds an argument may be, and whether every call has it."""

    kinds: Kinds
    required: bool


def argument_names(parameters: Schema) -> list[str]:
    """The arguments that the schema names."""
    return [name for variant in _variants(parameters, parameters) for name in _properties(variant)]


def argument_facts(parameters: Schema, path: tuple[str, ...]) -> ArgumentFacts | None:
    """What `parameters` says of the argument at `path`; None when the tool has no such argument.

    A schema that names its properties is taken to name all of them, unless it allows `additionalProperties`.
    """
    found: list[Any] = [parameters]
    required = True
    for name in path:
        variants = [variant for schema in found for variant in _variants(schema, parameters)]
        below = [schema for variant in variants for schema in _step(variant, name)]
        found = list({id(schema): schema for schema in below}.values())
        required = required and all(_requires(variant, name) for variant in variants)
    if not found:
        return None
    kinds: Kinds = frozenset().union(*(_kinds(schema, parameters) for schema in found))
    return ArgumentFacts(kinds, required)


def _requires(variant: Schema, name: str) -> bool:
    required = variant.get("required")
    return isinstance(required, list) and name in required


def _step(variant: Schema, name: str) -> Iterator[Any]:
    properties = _properties(variant)
    if name in properties:
        yield properties[name]
    elif variant.get("additionalProperties"):
        yield variant["additionalProperties"]
    elif not isinstance(variant.get("properties"), Mapping) and variant.get("type", "object") == "object":
        yield True


def _properties(variant: Schema) -> Mapping[str, Any]:
    properties = variant.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _variants(schema: Any, root: Schema) -> list[Schema]:
    """The plain schemas that `schema` stands for: references followed, alternatives side by side.

    Each reference is followed once, so that no schema, however it refers to itself, takes long.
    """
    plain: list[Schema] = []
    followed: set[str] = set()
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Mapping):
            plain.append({})  # true: anything
        elif "$ref" in one:
            reference = str(one["$ref"])
            if reference not in followed:
                followed.add(reference)
                waiting.append(_resolve(reference, root))
        elif alternatives := next((one[word] for word in _ALTERNATIVES if _is_filled_list(one.get(word))), None):
            waiting.extend(reversed(alternatives))
        else:
            plain.append(one)
    return plain or [{}]


def _is_filled_list(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _resolve(reference: str, root: Schema) -> Any:
    """What a reference within the same schema (`#/$defs/Customer`) points to; True, anything, for all others."""
    if not reference.startswith("#"):
        return True
    target: Any = root
    for part in reference[1:].split("/")[1:]:
        target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
    return True if target is None else target


def _kinds(schema: Any, root: Schema) -> Kinds:
    return frozenset().union(*(_kinds_of_plain(variant) for variant in _variants(schema, root)))


def _kinds_of_plain(schema: Schema) -> Kinds:
    if "const" in schema:
        return _kinds_of_values([schema["const"]])
    if isinstance(schema.get("enum"), list):
        return _kinds_of_values(schema["enum"])
    types = schema.get("type")
    names = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    kinds = frozenset(_KINDS[name] for name in names if name in _KINDS)
    return kinds or ANY


def _kinds_of_values(values: list[Any]) -> Kinds:
    return frozenset(kind for value in values if (kind := kind_of(value)) is not None) or ANY
