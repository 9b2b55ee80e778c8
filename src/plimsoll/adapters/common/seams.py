"""What the adapters refuse alike when an agent is hardened."""

from typing import Any

from plimsoll.contract.shapes import AgentShape

__all__ = ["secret_arguments"]


def secret_arguments(shape: AgentShape) -> list[str]:
    """The tools with an argument that is masked wherever it is written, such as Pydantic's `SecretStr`, in words.

    What is judged and journaled is what a tool gets, and that would be the mask.
    """
    return [
        f"{tool.name} takes a secret, and would get it masked, as the journal would have it: let it take a text"
        for tool in shape.tools
        if _is_masked(tool.parameters)
    ]


def _is_masked(schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("writeOnly") is True or any(map(_is_masked, schema.values()))
    return isinstance(schema, list) and any(map(_is_masked, schema))
