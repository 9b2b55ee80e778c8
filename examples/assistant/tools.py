"""The shop's tools as an agent is given them: what each does to the world, what it is for, what it takes.

All of it is derived from the methods of `Shop`, so that it cannot differ from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from examples.assistant.shop import Shop, ShopRefusal

__all__ = ["TOOLS", "ToolSpec", "call"]

_NAMES = (
    "find_user_id_by_email",
    "find_user_id_by_name_zip",
    "get_user_details",
    "get_order_details",
    "get_product_details",
    "list_all_product_types",
    "calculate",
    "think",
    "transfer_to_human_agents",
    "cancel_pending_order",
    "modify_pending_order_address",
    "modify_pending_order_payment",
    "modify_pending_order_items",
    "modify_user_address",
    "return_delivered_order_items",
    "exchange_delivered_order_items",
    "issue_refund",
)

_JSON_TYPES = {str: "string", float: "number"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool: its effect on the world, its description for a model, the JSON Schema of its parameters."""

    name: str
    effect: Literal["read", "write"]
    description: str
    parameters: dict[str, Any]


def call(shop: Shop, name: str, arguments: Mapping[str, Any], *, key: str | None = None) -> Any:
    """Call a tool by name with arguments that a model wrote; `key` is recorded with a write.

    Raises ShopRefusal, with nothing changed: for an unknown tool, unfit arguments, or a broken rule.
    """
    if name not in TOOLS:
        raise ShopRefusal(f"there is no tool {name!r}")
    spec = TOOLS[name]
    _check(spec, arguments)
    method = getattr(shop, name)
    return method(**arguments, key=key) if spec.effect == "write" else method(**arguments)


def _check(spec: ToolSpec, arguments: Mapping[str, Any]) -> None:
    properties = spec.parameters["properties"]
    missing = [name for name in spec.parameters["required"] if name not in arguments]
    if missing:
        raise ShopRefusal(f"{spec.name} needs {', '.join(missing)}")
    for name, value in arguments.items():
        if name not in properties:
            raise ShopRefusal(f"{spec.name} takes no {name!r}")
        if not _fits(properties[name], value):
            raise ShopRefusal(f"{spec.name}: {name} cannot be {value!r}")


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    match schema["type"]:
        case "string":
            return isinstance(value, str) and value in schema.get("enum", (value,))
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, list) and all(_fits(schema["items"], item) for item in value)


def _describe(name: str) -> ToolSpec:
    method = getattr(Shop, name)
    hints = get_type_hints(method, include_extras=True)
    parameters = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    taken = [parameter for parameter in parameters if parameter != "key"]
    return ToolSpec(
        name=name,
        # Exactly the methods that change something take the caller's idempotency key.
        effect="write" if "key" in parameters else "read",
        description=" ".join((inspect.getdoc(method) or "").split()),
        parameters={
            "type": "object",
            "properties": {parameter: _schema(hints[parameter]) for parameter in taken},
            "required": taken,
            "additionalProperties": False,
        },
    )


def _schema(annotation: Any) -> dict[str, Any]:
    if get_origin(annotation) is Annotated:
        base, description = get_args(annotation)
        return {**_schema(base), "description": description}
    if get_origin(annotation) is Literal:
        return {"type": "string", "enum": list(get_args(annotation))}
    if get_origin(annotation) is list:
        return {"type": "array", "items": _schema(get_args(annotation)[0])}
    return {"type": _JSON_TYPES[annotation]}


TOOLS: Mapping[str, ToolSpec] = MappingProxyType({name: _describe(name) for name in _NAMES})
