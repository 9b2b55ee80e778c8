"""What may be asked and what is answered: for each endpoint, from a request's body to what is to be read, and from what
was read to the answer.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np

from plimsoll.core.errors import Misuse
from plimsoll.learning.classifier import Answer, check_text
from plimsoll.learning.leave_one_out import Explanation, attributions_of, check_label, readings
from plimsoll.services.http import Failure
from plimsoll.services.inference.batching import Item, Reading
from plimsoll.services.inference.models import Model

__all__ = ["ENDPOINTS", "Asked", "Limits"]

_ALTERNATIVES = 3
_Body = TypeVar("_Body", bound="_Request")


@dataclass(frozen=True, slots=True)
class Asked:
    """What has to be read, and what makes an answer of it."""

    items: Sequence[Item]
    answer: Callable[[Sequence[Reading]], msgspec.Struct]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the model is called, and how many texts a request may have."""

    name: str
    max_texts: int


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    model: str | None = None


class _Classify(_Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    texts: list[str]


class _Route(_Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: str
    min_probability: float = 0.5
    fallback: str = "fallback"


class _Explain(_Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: str
    label: str | None = None


class _Embeddings(_Request, frozen=True, kw_only=True):
    """As OpenAI's clients send it. What changes nothing here, such as `user`, is not looked at."""

    input: Any
    encoding_format: str = "float"
    dimensions: int | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers: the model's name, and the version of it."""

    model: str
    version: str


class Classified(Answered, frozen=True, kw_only=True):
    """An answer for each text."""

    results: list[Answer]


class Chance(msgspec.Struct, frozen=True):
    """A label, and how likely it is (0 to 1)."""

    label: str
    probability: float


class Routed(Answered, frozen=True, kw_only=True):
    """Which way to go.

    `route` is the likeliest label, or what the request calls its fallback. `reason` says why: `sure`, `out_of_scope`
    (no label fits), or `unsure` (the likeliest is less likely than the request wants). `alternatives` are the likeliest
    labels.
    """

    route: str
    reason: str
    label: str
    probability: float
    out_of_scope: bool
    energy: float
    alternatives: list[Chance]


class Explained(Answered, frozen=True, kw_only=True):
    """Which words speak for the label."""

    explanation: Explanation


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """A vector: numbers, or base64 of their 32 bits, the lowest byte first."""

    object: str = "embedding"
    index: int
    embedding: list[float] | str


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that were read, the model's own at beginning and end among them."""

    prompt_tokens: int
    total_tokens: int


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """As OpenAI's clients read it."""

    object: str = "list"
    data: list[Embedding]
    model: str
    usage: Usage


def _classify(raw: bytes, model: Model, limits: Limits) -> Asked:
    texts = _decoded(_classify_decoder, raw, limits).texts
    _check_texts(texts, limits)

    def answer(read: Sequence[Reading]) -> Classified:
        return Classified(model=limits.name, version=model.version, results=model.classifier.answers(_vectors(read)))

    return Asked(texts, answer)


def _route(raw: bytes, model: Model, limits: Limits) -> Asked:
    body = _decoded(_route_decoder, raw, limits)
    _check_texts([body.text], limits)
    if not 0 <= body.min_probability <= 1:
        raise _invalid("`min_probability` is a number from 0 to 1")

    def answer(read: Sequence[Reading]) -> Routed:
        vectors = _vectors(read)
        (found,) = model.classifier.answers(vectors)
        reason = "out_of_scope" if found.out_of_scope else "sure"
        if reason == "sure" and found.probability < body.min_probability:
            reason = "unsure"
        return Routed(
            model=limits.name,
            version=model.version,
            route=found.label if reason == "sure" else body.fallback,
            reason=reason,
            label=found.label,
            probability=found.probability,
            out_of_scope=found.out_of_scope,
            energy=found.energy,
            alternatives=[Chance(*each) for each in model.classifier.likeliest(vectors[0], most=_ALTERNATIVES)],
        )

    return Asked([body.text], answer)


def _explain(raw: bytes, model: Model, limits: Limits) -> Asked:
    body = _decoded(_explain_decoder, raw, limits)
    _check_texts([body.text], limits)
    try:
        check_label(body.label, model.classifier.manifest)
    except Misuse as error:
        raise _invalid(str(error)) from None
    tokens = model.classifier.tokens(body.text)

    def answer(read: Sequence[Reading]) -> Explained:
        made = attributions_of(model.classifier, body.text, tokens, _vectors(read), label=body.label)
        return Explained(model=limits.name, version=model.version, explanation=made)

    return Asked(readings(tokens), answer)


def _embeddings(raw: bytes, model: Model, limits: Limits) -> Asked:
    body = _decoded(_embeddings_decoder, raw, limits)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _invalid(
            "`input` is a text or a list of texts; token ids are another model's, and mean nothing here "
            "(LangChain sends texts with check_embedding_ctx_length=False)"
        )
    _check_texts(texts, limits)
    if body.encoding_format not in ("float", "base64"):
        raise _invalid("`encoding_format` is `float` or `base64`")
    if body.dimensions not in (None, model.classifier.dimensions):
        raise _invalid(f"`dimensions` is {model.classifier.dimensions} with this model, and cannot be chosen")
    encoded = _base64 if body.encoding_format == "base64" else _floats

    def answer(read: Sequence[Reading]) -> Embedded:
        tokens = sum(each.tokens for each in read)
        data = [Embedding(index=at, embedding=encoded(each.vector)) for at, each in enumerate(read)]
        return Embedded(data=data, model=limits.name, usage=Usage(prompt_tokens=tokens, total_tokens=tokens))

    return Asked(texts, answer)


ENDPOINTS: Mapping[str, Callable[[bytes, Model, Limits], Asked]] = {
    "/v1/classify": _classify,
    "/v1/route": _route,
    "/v1/embeddings": _embeddings,
    "/v1/explain": _explain,
}
"""What each path makes of a request's body. Raises `Failure` for what cannot be asked."""

_classify_decoder = msgspec.json.Decoder(_Classify)
_route_decoder = msgspec.json.Decoder(_Route)
_explain_decoder = msgspec.json.Decoder(_Explain)
_embeddings_decoder = msgspec.json.Decoder(_Embeddings)


def _decoded(decoder: "msgspec.json.Decoder[_Body]", raw: bytes, limits: Limits) -> _Body:
    try:
        body = decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Failure(400, "invalid_json", "the body of the request is no JSON object") from None
    if body.model not in (None, limits.name):
        raise Failure(404, "model_not_found", f"the model here is {limits.name!r}")
    return body


def _check_texts(texts: Sequence[str], limits: Limits) -> None:
    if not texts:
        raise _invalid("there is no text")
    if len(texts) > limits.max_texts:
        raise Failure(
            413, "too_many_texts", f"there are {len(texts):,} texts, and a request has {limits.max_texts:,} at most"
        )
    try:
        for number, text in enumerate(texts):
            check_text(text, number)
    except Misuse as error:
        raise _invalid(str(error)) from None


def _invalid(what: str) -> Failure:
    return Failure(400, "invalid_request", what)


def _vectors(read: Sequence[Reading]) -> Any:
    return read[0].vector[None] if len(read) == 1 else np.stack([each.vector for each in read])


def _floats(vector: Any) -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers


def _base64(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
