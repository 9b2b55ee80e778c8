"""Embeddings: whether an answer is one. https://platform.openai.com/docs/api-reference/embeddings"""

from collections.abc import Mapping
from typing import Any

from plimsoll.core.calls import Fault
from plimsoll.policies.output_check import OutputProblem

__all__ = ["check_embeddings"]


def check_embeddings(asked: Mapping[str, Any], body: Mapping[str, Any], most: int) -> OutputProblem | None:
    """What is wrong with an answer, or None: there is one vector, which is not empty, for each input."""
    data = body.get("data")
    if not isinstance(data, list) or not all(isinstance(item, dict) and item.get("embedding") for item in data):
        return OutputProblem(Fault.MALFORMED, "an embedding is missing")
    if len(data) != _inputs(asked.get("input")):
        return OutputProblem(Fault.WRONG_SHAPE, "there are not as many embeddings as inputs")
    return None


def _inputs(given: Any) -> int:
    """How many inputs a request has: a text, texts, tokens, or lists of tokens."""
    is_many = isinstance(given, list) and not all(isinstance(item, int) for item in given)
    return len(given) if is_many else 1
