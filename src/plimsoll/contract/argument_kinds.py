"""What a tool's JSON Schema says about an argument that a rule uses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll.contract.rule_types import ANY, Kind, Kinds, kind_of

__all__ = ["ArgumentFacts", "argument_facts", "argument_names"]

_MAX_NESTING = 16
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
        found = [below for variant in variants for below in _step(variant, name)]
        required = required and all(name in variant.get("required", ()) for variant in variants)
    if not found:
        return None
    kinds: Kinds = frozenset().union(*(_kinds(schema, parameters) for schema in found))
    return ArgumentFacts(kinds, required)


def _step(variant: Schema, name: str) -> Iterator[Any]:
    properties = _properties(variant)
    if name in properties:
        yield properties[name]
    elif variant.get("additionalProperties"):
        yield variant["additionalProperties"]
    elif "properties" not in variant and variant.get("type", "object") == "object":
        yield True


def _properties(variant: Schema) -> Mapping[str, Any]:
    properties = variant.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _variants(schema: Any, root: Schema, nesting: int = 0) -> list[Schema]:
    """The plain schemas that `schema` stands for: references followed, alternatives side by side."""
    if not isinstance(schema, Mapping) or nesting > _MAX_NESTING:
        return [{}]
    if "$ref" in schema:
        return _variants(_resolve(schema["$ref"], root), root, nesting + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            return [one for inner in schema[word] for one in _variants(inner, root, nesting + 1)]
    return [schema]


def _resolve(reference: object, root: Schema) -> Any:
    """What a reference within the same schema (`#/$defs/Customer`) points to; True, anything, for all others."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return True
    target: Any = root
    for part in reference[2:].split("/"):
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
