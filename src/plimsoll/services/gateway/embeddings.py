"""Embeddings: whether an answer is one. https://platform.openai.com/docs/api-reference/embeddings"""

from typing import Any

from plimsoll.core.calls import Fault, Usage
from plimsoll.policies.output_check import OutputProblem
from plimsoll.services.gateway.endpoint import Endpoint, Json, invalid, usage_of
from plimsoll.services.http import Failure

__all__ = ["EMBEDDINGS"]


class _Embeddings(Endpoint):
    path = "/embeddings"
    climbs = False
    """The vectors of two models do not mix."""

    def refusal(self, body: Json) -> Failure | None:
        given = body.get("input")
        return None if isinstance(given, (str, list)) and given else invalid("`input` is no text, and no list of any")

    def check(self, asked: Json, body: Json, most: int) -> OutputProblem | None:
        """There is one vector, which is not empty, for each input."""
        data = body.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) and item.get("embedding") for item in data):
            return OutputProblem(Fault.MALFORMED, "an embedding is missing")
        if len(data) != _inputs(asked.get("input")):
            return OutputProblem(Fault.WRONG_SHAPE, "there are not as many embeddings as inputs")
        return None

    def usage(self, body: Json) -> Usage | None:
        return usage_of(body, asked="prompt_tokens", answered="completion_tokens")


EMBEDDINGS = _Embeddings()


def _inputs(given: Any) -> int:
    """How many inputs a request has: a text, texts, tokens, or lists of tokens."""
    is_many = isinstance(given, list) and not all(isinstance(item, int) for item in given)
    return len(given) if is_many else 1
