"""What a model may call: the tools of a request, and whether arguments are what their JSON Schema says.

https://json-schema.org/draft/2020-12
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from plimsoll.core.calls import Fault
from plimsoll.core.errors import MissingExtra, Misuse, OutputRejected
from plimsoll.learning.errors import ToolSchemaError
from plimsoll.learning.local import LocalCall

try:
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable
except ImportError as error:
    raise MissingExtra(error.name or "jsonschema", extra="served") from error

__all__ = ["Tool", "read_call", "read_tools"]

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_OPEN = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool: `parameters` is the JSON Schema of its arguments, an object's."""

    name: str
    description: str
    parameters: dict[str, Any]

    @property
    def closed(self) -> dict[str, Any]:
        """The schema, without properties that it does not name, where it neither allows nor forbids them."""
        schema = self.parameters
        named = schema.get("properties")
        if named is None or _OPEN & schema.keys() or not set(schema.get("required", ())) <= named.keys():
            return schema
        return {**schema, "additionalProperties": False}

    def problem(self, arguments: Any) -> str | None:
        """What is wrong with the arguments, or None. It names the schema's own words, and quotes none of theirs."""
        # A registry of its own: without one, references to other documents are fetched.
        validator = Draft202012Validator(self.parameters, registry=Registry())
        try:
            found = best_match(validator.iter_errors(arguments))
        except Unresolvable as error:
            raise ToolSchemaError(self.name, f"`$ref` {error.ref} leads nowhere") from None
        except RecursionError:
            return "they are nested too deeply"
        return None if found is None else f"`{'/'.join(map(str, found.relative_schema_path))}` does not hold"


def read_tools(tools: Sequence[Any]) -> dict[str, Tool]:
    """The tools of a request, by name. Raises `Misuse`, or `ToolSchemaError` where a schema is none."""
    read: dict[str, Tool] = {}
    for number, given in enumerate(tools, 1):
        function = given.get("function") if isinstance(given, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Misuse(f'tool {number} is no {{"type": "function", "function": {{"name": …, "parameters": …}}}}')
        if name in read:
            raise Misuse(f"two tools are called {name}: a call could mean either")
        schema = _schema(name, function.get("parameters"))
        read[name] = Tool(name=name, description=str(function.get("description") or ""), parameters=schema)
    return read


def read_call(model: str, tools: Mapping[str, Tool], *, tool: Any, arguments: str | bytes) -> LocalCall:
    """The call that a model wrote. Raises `OutputRejected` where it is none that may be made: it is never passed on."""
    if not isinstance(tool, str) or tool not in tools:
        raise OutputRejected(model, fault=Fault.WRONG_SHAPE, detail="it calls a tool that it was not given")
    try:
        read = msgspec.json.decode(arguments or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise OutputRejected(
            model, fault=Fault.MALFORMED, detail=f"the arguments of its call of {tool} are no JSON object"
        ) from None
    if (problem := tools[tool].problem(read)) is not None:
        raise OutputRejected(
            model, fault=Fault.WRONG_SHAPE, detail=f"the arguments of its call of {tool} are none: {problem}"
        )
    return LocalCall(tool, read)


def _schema(name: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {"type": "object", "properties": {}}
    if not isinstance(given, Mapping):
        raise ToolSchemaError(name, "its `parameters` are no JSON Schema of an object")
    schema = {"type": "object", **given}
    if schema["type"] != "object":
        raise ToolSchemaError(name, f"`type` is {schema['type']!r}; arguments are an object")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        at = "/".join(map(str, error.path)) or "its top"
        raise ToolSchemaError(name, f"it is no JSON Schema at {at}: {error.message}") from None
    return schema
