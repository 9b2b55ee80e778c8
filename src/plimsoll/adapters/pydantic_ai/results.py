"""What a tool returns, as JSON and back.

Most tools return plain data, which is journaled as it is. Whatever else Pydantic AI lets a tool say (a `ToolReturn`,
files for the model, a deferral) stands in the journal under one marked key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import TypeAdapter
from pydantic_ai import ToolReturn
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred
from pydantic_ai.messages import BinaryContent, FileUrl, TextContent, ToolReturnContent, UploadedFile, UserContent
from pydantic_core import to_jsonable_python

__all__ = ["Deferral", "decode_result", "encode_result"]

_MARK = "$pydantic_ai"
_PLAIN = (str, int, float, type(None))

_content_adapter: TypeAdapter[Any] = TypeAdapter(ToolReturnContent)
_user_content_adapter: TypeAdapter[list[UserContent]] = TypeAdapter(list[UserContent])


@dataclass(frozen=True, slots=True)
class Deferral:
    """A tool asked by itself to be approved, or to be carried out elsewhere: its outcome, and no failure of it."""

    signal: ApprovalRequired | CallDeferred
    rolls_back: ClassVar[bool] = True
    """Where the tool is a transaction: what it did before it asked is undone."""


def encode_result(native: Any) -> Any:
    """A tool's return value as JSON. Raises `pydantic_core.PydanticSerializationError` for what has none."""
    if isinstance(native, _PLAIN):
        return native
    if isinstance(native, Deferral):
        metadata = to_jsonable_python(native.signal.metadata)
        kind = native.signal.kind if isinstance(native.signal, CallDeferred) else None
        return {_MARK: "deferral", "metadata": metadata, "kind": kind}
    if isinstance(native, ToolReturn):
        return {_MARK: "ToolReturn", **_encode_tool_return(native)}
    if _holds_files(native):
        return {_MARK: "files", "value": _content_adapter.dump_python(native, mode="json")}
    return to_jsonable_python(native, bytes_mode="base64")


def decode_result(value: Any) -> Any:
    """What the tool returned, from its JSON: plain data as it is, everything marked as it was."""
    if not isinstance(value, dict) or _MARK not in value:
        return value
    kind = value[_MARK]
    if kind == "files":
        return _content_adapter.validate_python(value["value"])
    if kind == "ToolReturn":
        return _decode_tool_return(value)
    deferred = value["kind"]
    metadata = value["metadata"]
    return Deferral(ApprovalRequired(metadata) if deferred is None else CallDeferred(metadata, kind=deferred))


def _encode_tool_return(native: ToolReturn[Any]) -> dict[str, Any]:
    content: Any = native.content
    if content is not None and not isinstance(content, str):
        content = _user_content_adapter.dump_python(list(content), mode="json")
    return {
        "return_value": encode_result(native.return_value),
        "content": content,
        "metadata": to_jsonable_python(native.metadata),
        "tools": native.tools,
    }


def _decode_tool_return(value: Mapping[str, Any]) -> ToolReturn[Any]:
    content = value["content"]
    if content is not None and not isinstance(content, str):
        content = _user_content_adapter.validate_python(content)
    return ToolReturn(
        return_value=decode_result(value["return_value"]),
        content=content,
        metadata=value["metadata"],
        tools=value["tools"],
    )


def _holds_files(native: Any) -> bool:
    if isinstance(native, (BinaryContent, FileUrl, UploadedFile, TextContent)):
        return True
    if isinstance(native, Mapping):
        return any(_holds_files(item) for item in native.values() if not isinstance(item, _PLAIN))
    if isinstance(native, Sequence) and not isinstance(native, (bytes, bytearray)):
        return any(_holds_files(item) for item in native if not isinstance(item, _PLAIN))
    return False
