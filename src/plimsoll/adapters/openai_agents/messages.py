"""The Agents SDK's items as JSON: for the journal, and as digests that a replay can be held against."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from agents import ModelResponse, RunResult, TResponseInputItem, Usage
from agents.items import TResponseOutputItem
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from plimsoll.core.canonical import canonical_json
from plimsoll.core.errors import Misuse
from plimsoll.runtime.models import estimate_tokens

__all__ = ["decode_response", "digest_of_request", "encode_input", "encode_response", "output_of"]

_items: TypeAdapter[list[TResponseOutputItem]] = TypeAdapter(list[TResponseOutputItem])

_VOLATILE = frozenset({"id", "status", "logprobs", "annotations", "created_by"})
"""What providers number anew in every answer, or what says nothing."""


def encode_response(response: ModelResponse) -> dict[str, Any]:
    """A model's response as JSON."""
    usage = response.usage
    return {
        "output": [_plain(item) for item in response.output],
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
        "response_id": response.response_id,
    }


def decode_response(value: Mapping[str, Any]) -> ModelResponse:
    """The response that `encode_response` wrote."""
    used = value["usage"]
    usage = Usage(requests=1, total_tokens=used["input_tokens"] + used["output_tokens"], **used)
    return ModelResponse(
        output=_items.validate_python(value["output"]), usage=usage, response_id=value.get("response_id")
    )


def digest_of_request(
    instructions: str | None, input: str | Sequence[TResponseInputItem], shape: Any
) -> tuple[str, int]:
    """The digest of a model request, and a cautious estimate of its tokens. `shape` is JSON: tools, output, handoffs.

    Instructions count for the tokens alone: they are part of the agent's version, and those made by a function are
    often written anew for every request, with the time in it.
    """
    hasher = hashlib.sha256(canonical_json(shape))
    tokens = estimate_tokens((instructions or "").encode())
    for item in [input] if isinstance(input, str) else input:
        body = canonical_json(_normal(to_jsonable_python(item)))
        tokens += estimate_tokens(body)
        hasher.update(hashlib.sha256(body).digest())
    return hasher.hexdigest(), tokens


def encode_input(input: Any) -> Any:
    """What an agent is asked, as JSON: a text, or a list of input items. Raises `Misuse` for anything else."""
    if not isinstance(input, (str, list, tuple)):
        raise Misuse(f"an agent is asked with a text or a list of input items, and this is a {type(input).__name__}")
    try:
        return to_jsonable_python(input)
    except PydanticSerializationError as error:
        raise Misuse(f"what the agent is asked has no JSON form, so it cannot be journaled: {error}") from error


def output_of(native: Any) -> Any:
    """What an agent answers at last, as JSON."""
    output = native.final_output if isinstance(native, RunResult) else native
    try:
        return to_jsonable_python(output, bytes_mode="base64")
    except PydanticSerializationError as error:
        raise Misuse(f"the agent's output, a {type(output).__name__}, has no JSON form: {error}") from error


def _plain(item: Any) -> Any:
    if isinstance(item, BaseModel):
        return item.model_dump(mode="json", exclude_unset=True, warnings=False)
    return to_jsonable_python(item)


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _normal(each) for name, each in value.items() if name not in _VOLATILE}
    return [_normal(each) for each in value] if isinstance(value, list) else value
