"""Pointing at an argument's value: one softmax over every place where it can be.

The places are spans of the request, values in earlier results, and values that recur. A span scores by the vectors of
its first and last token, as in extractive question answering (Devlin et al. 2019, https://arxiv.org/abs/1810.04805,
4.2); a value in a result by its path and by how it lies to the conversation. Two more places say that the argument is
left out, and that its value is nowhere to be found: then nothing is said, and never a value made up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.conversations import Made
from plimsoll.learning.policy.candidates import (
    MOST_WORDS,
    Leaf,
    Span,
    cased,
    fitted,
    key_of,
    leaves,
    shape,
    words,
)
from plimsoll.learning.policy.reading import Reading

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="inference") from error

__all__ = ["LEAF_FEATURES", "SPAN_FEATURES", "Moment", "Parameter", "Pointed", "Pointer", "Pool", "pointed", "pool"]

SPAN_FEATURES = 5
"""Of a span: one, whether this tool used it, or any, whether it looks like values that were seen, and its length."""
LEAF_FEATURES = 10
"""Of a value in a result, before its path: the first four, and how it lies to the request and to the other results."""

_POINTED = ("string", "number")
"""What is true or false is pointed at nowhere: it recurs."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned of a tool's parameter.

    `many`: its value is an array, of values in results. `kinds` are the JSON types seen (of the items, where many),
    `shapes` and `outlines` what its values looked like, `paths` where in results they were, `constants` the values that
    recur.
    """

    name: str
    many: bool
    kinds: tuple[str, ...]
    shapes: tuple[str, ...]
    outlines: tuple[str, ...]
    paths: tuple[str, ...]
    constants: tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pointer:
    """The weights of a parameter, float32.

    `start`, `end`: (dimensions,); `span`: (span features,); `leaf`: (leaf features + paths,); `constants`: (constants +
    2, 2 · dimensions), of which the last two are *left out* and *nowhere*; `bias`: (constants + 2,).
    """

    start: Any
    end: Any
    span: Any
    leaf: Any
    constants: Any
    bias: Any

    def logits(self, found: "Pool") -> Any:
        """The scores of all places: spans, leaves, constants, left out, nowhere."""
        by_start, by_end = found.tokens @ self.start, found.tokens @ self.end
        spans = by_start[found.first] + by_end[found.last] + found.spans @ self.span
        return np.concatenate([spans, found.leaves @ self.leaf, self.constants @ found.situation + self.bias])


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A moment of a conversation, made ready for pointing: the request as read, the calls, the values in results.

    `situation` is what the tool is chosen by, of shape (2 · dimensions,).
    """

    reading: Reading
    calls: tuple[Made, ...]
    situation: Any
    leaves: tuple[Leaf, ...]
    overlaps: tuple[float, ...]

    @classmethod
    def of(cls, reading: Reading, calls: Sequence[Made], situation: Any) -> "Moment":
        asked, found = words(reading.text), tuple(leaves(calls))
        overlaps = tuple(len(leaf.context & asked) / len(leaf.context) if leaf.context else 0.0 for leaf in found)
        return cls(reading, tuple(calls), situation, found, overlaps)


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Every place of a parameter's value, as numbers: rows of `spans` and `leaves` are features."""

    values: tuple[Any, ...]
    """Of spans, leaves and constants, in this order."""
    tokens: Any
    first: Any
    last: Any
    spans: Any
    leaves: Any
    situation: Any


@dataclass(frozen=True, slots=True)
class Pointed:
    """What was pointed at: `found` is False where the value is nowhere, `given` where the argument is left out."""

    probability: float
    found: bool = True
    given: bool = True
    value: Any = None


def pool(moment: Moment, tool: str, parameter: Parameter, chosen: Mapping[str, Any]) -> Pool:
    """The places of this parameter's value, once `chosen` are the arguments before it."""
    used, used_here = _used(moment.calls, None), _used(moment.calls, tool)
    spans = [] if parameter.many else _spans(moment.reading.spans, parameter)
    found = _typed(moment, parameter)
    shapes = frozenset(parameter.shapes)

    def common(key: bytes, looks: str) -> tuple[float, ...]:
        return 1.0, float(key in used_here), float(key in used), float(looks in shapes)

    span_rows = [(*common(key_of(value), shape(value)), len(span.value.split()) / MOST_WORDS) for value, span in spans]
    related = _related(moment, found, used_here, chosen)
    paths = {path: at for at, path in enumerate(parameter.paths)}
    leaf_rows: Any = np.zeros((len(found), LEAF_FEATURES + len(paths)), np.float32)
    for at, (_, leaf, _) in enumerate(found):
        leaf_rows[at, :LEAF_FEATURES] = (*common(leaf.key, leaf.shape), *related[at])
        if leaf.path in paths:
            leaf_rows[at, LEAF_FEATURES + paths[leaf.path]] = 1
    return Pool(
        values=(*(value for value, _ in spans), *(value for value, _, _ in found), *parameter.constants),
        tokens=moment.reading.tokens,
        first=np.array([span.first for _, span in spans], dtype=np.int64),
        last=np.array([span.last for _, span in spans], dtype=np.int64),
        spans=np.array(span_rows, np.float32).reshape(-1, SPAN_FEATURES),
        leaves=leaf_rows,
        situation=moment.situation,
    )


def _spans(found: Sequence[Span], parameter: Parameter) -> list[tuple[Any, Span]]:
    """The spans that are held together as values are that were seen, or say a number where one is wanted."""
    seen = frozenset(parameter.shapes)
    wanted = [kind for kind in parameter.kinds if kind in _POINTED]
    near = (span for span in found if span.outline in parameter.outlines or "number" in wanted)
    pairs = ((fitted(cased(span.value, seen), wanted), span) for span in near)
    return [(value, span) for value, span in pairs if value is not None]


def _typed(moment: Moment, parameter: Parameter) -> list[tuple[Any, Leaf, float]]:
    """The values in results that can be of its types, and how much of what stands beside each the request says."""
    wanted = [kind for kind in parameter.kinds if kind in _POINTED]
    triples = (
        (fitted(leaf.value, wanted), leaf, overlap)
        for leaf, overlap in zip(moment.leaves, moment.overlaps, strict=True)
        if not isinstance(leaf.value, bool)
    )
    return [triple for triple in triples if triple[0] is not None]


def _used(calls: Sequence[Made], tool: str | None) -> frozenset[bytes]:
    arguments = (call.arguments for call in calls if tool in (None, call.tool))
    return frozenset(key_of(value) for each in arguments for value in each.values())


def _related(
    moment: Moment,
    places: Sequence[tuple[Any, Leaf, float]],
    used: frozenset[bytes],
    chosen: Mapping[str, Any],
) -> list[tuple[float, ...]]:
    """How each value lies to the rest of the conversation.

    Whether it is of the latest result of its path; how much of what stands beside it the request says, and whether no
    other of its path does more; whether the request says the value; whether it is the first of its path that was not
    used; whether its result holds what was chosen for the other arguments.
    """
    latest: dict[str, int] = {}
    best: dict[str, float] = {}
    following: dict[str, int] = {}
    for at, (_, leaf, overlap) in enumerate(places):
        latest[leaf.path] = max(latest.get(leaf.path, 0), leaf.call)
        best[leaf.path] = max(best.get(leaf.path, 0.0), overlap)
        if leaf.key not in used:
            following.setdefault(leaf.path, at)
    wanted = {key_of(value) for value in chosen.values()}
    together = {leaf.call for leaf in moment.leaves if leaf.key in wanted}
    return [
        (
            float(leaf.call == latest[leaf.path]),
            overlap,
            float(overlap > 0 and overlap == best[leaf.path]),
            float(str(value) in moment.reading.text),
            float(following.get(leaf.path) == at),
            float(leaf.call in together),
        )
        for at, (value, leaf, overlap) in enumerate(places)
    ]


def pointed(pointer: Pointer, parameter: Parameter, found: Pool) -> Pointed:
    """The likeliest value, all places where it stands together; or that it is left out, or nowhere."""
    if parameter.many:
        return _several(pointer, found)
    logits = pointer.logits(found)
    powers = np.exp(logits - logits.max())
    chances = powers / powers.sum()
    by_value: dict[bytes, float] = {}
    values: dict[bytes, Any] = {}
    for value, chance in zip(found.values, chances, strict=False):
        key = key_of(value)
        by_value[key] = by_value.get(key, 0.0) + float(chance)
        values.setdefault(key, value)
    left_out, nowhere = float(chances[-2]), float(chances[-1])
    likeliest = max(by_value, key=by_value.__getitem__, default=b"")
    probability = by_value.get(likeliest, 0.0)
    if nowhere >= max(probability, left_out):
        return Pointed(nowhere, found=False)
    if left_out >= probability:
        return Pointed(left_out, given=False)
    return Pointed(probability, value=values[likeliest])


def _several(pointer: Pointer, found: Pool) -> Pointed:
    """The values that are more likely among them than not, in the order in which they came."""
    logits = found.leaves @ pointer.leaf
    chances = 1 / (1 + np.exp(-logits))
    taken = [found.values[at] for at in np.flatnonzero(chances > 0.5)]
    probability = float(np.maximum(chances, 1 - chances).prod())
    return Pointed(probability, found=bool(taken), value=taken)
