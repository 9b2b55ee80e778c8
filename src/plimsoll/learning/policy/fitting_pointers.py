"""Fitting pointers: which place a value was taken from, nobody has written down.

Where a journal's argument stands in the request or in results, once or often, all those places together are to be
likely (the marginal likelihood of Clark and Gardner 2018, https://arxiv.org/abs/1710.10723). Each parameter is a small
problem of its own, solved by L-BFGS.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.policy.candidates import key_of, kind_of, outline, shape
from plimsoll.learning.policy.pointing import (
    LEAF_FEATURES,
    SPAN_FEATURES,
    Moment,
    Parameter,
    Pointer,
    Pool,
    pool,
)

try:
    import numpy as np
    import torch
except ImportError as error:
    raise MissingExtra(error.name or "torch", extra="learning") from error

__all__ = ["LEAST", "Example", "fitted_pointers", "ordered"]

LEAST = 3
"""A parameter is learned from so many calls; a value recurs when so many requests have it: a value of one customer's
does not, and is not kept in the model."""
MOST = 1000
"""Of more calls of a tool, the latest are learned from."""
_MOST_SHAPES = 20
_MOST_PATHS = 20
_MOST_CONSTANTS = 50
_STRENGTH = 10.0
"""How little the weights are held back, as scikit-learn's C."""
_ITERATIONS = 60
_LEARNED = frozenset({"string", "number", "boolean", "null"})


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A moment at which the tool was called, with these arguments."""

    moment: Moment
    arguments: Mapping[str, Any]


def fitted_pointers(tool: str, examples: Sequence[Example]) -> list[tuple[Parameter, Pointer]] | None:
    """What was learned of the tool's parameters, in the order in which they are chosen.

    None where nothing can be: too few calls, or an argument that is an object, or an array of other than values.
    """
    taken = examples[-MOST:]
    if len(taken) < LEAST:
        return None
    described = [_described(tool, name, many, taken) for name, many in ordered(taken)]
    if None in described:
        return None
    found = [parameter for parameter in described if parameter is not None]
    return [
        (parameter, _fitted(list(_rows(tool, parameter, found[:at], taken)), parameter))
        for at, parameter in enumerate(found)
    ]


def ordered(examples: Sequence[Example]) -> list[tuple[str, bool]]:
    """The parameters that were ever given, and whether each is an array: arrays last, as they depend on the others."""
    many: dict[str, bool] = {}
    for example in examples:
        for name, value in example.arguments.items():
            many[name] = many.get(name, False) or isinstance(value, list)
    return sorted(many.items(), key=lambda item: (item[1], item[0]))


def _described(tool: str, name: str, many: bool, examples: Sequence[Example]) -> Parameter | None:
    given = [(example, example.arguments[name]) for example in examples if name in example.arguments]
    if many and not all(isinstance(value, list) for _, value in given):
        return None
    items = [(example, item) for example, value in given for item in (value if many else (value,))]
    kinds = {kind_of(item) for _, item in items}
    if not kinds <= (_LEARNED - {"null", "boolean"} if many else _LEARNED):
        return None
    paths: Counter[str] = Counter()
    unfound: defaultdict[bytes, set[str]] = defaultdict(set)
    values: dict[bytes, Any] = {}
    for example, item in items:
        at = {leaf.path for leaf in example.moment.leaves if leaf.key == key_of(item)}
        paths.update(at)
        if kind_of(item) in ("boolean", "null") or item == "" or not (at or str(item) in example.moment.reading.text):
            unfound[key_of(item)].add(example.moment.reading.text)
            values[key_of(item)] = item
    recurring = sorted(
        (key for key, asked in unfound.items() if len(asked) >= LEAST), key=lambda key: (-len(unfound[key]), key)
    )
    return Parameter(
        name=name,
        many=many,
        kinds=tuple(sorted(kinds)),
        shapes=_commonest(Counter(shape(item) for _, item in items), _MOST_SHAPES),
        outlines=tuple(sorted({outline(item) for _, item in items})),
        paths=_commonest(paths, _MOST_PATHS),
        constants=() if many else tuple(values[key] for key in recurring[:_MOST_CONSTANTS]),
    )


def _commonest(counts: Counter[str], most: int) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda each: (-counts[each], each))[:most])


def _rows(
    tool: str, parameter: Parameter, before: Sequence[Parameter], examples: Sequence[Example]
) -> Iterator[tuple[Pool, Any]]:
    """Each example's places, and which of them are right."""
    for example in examples:
        chosen = {each.name: example.arguments[each.name] for each in before if each.name in example.arguments}
        found = pool(example.moment, tool, parameter, chosen)
        right = _many_right if parameter.many else _right
        yield found, right(found, parameter, example)


def _right(found: Pool, parameter: Parameter, example: Example) -> Any:
    mask: Any = np.zeros(len(found.values) + 2, dtype=bool)
    if parameter.name not in example.arguments:
        mask[-2] = True
        return mask
    wanted = key_of(example.arguments[parameter.name])
    mask[: len(found.values)] = [key_of(value) == wanted for value in found.values]
    mask[-1] = not mask.any()
    return mask


def _many_right(found: Pool, parameter: Parameter, example: Example) -> Any:
    wanted = {key_of(value) for value in example.arguments.get(parameter.name, ())}
    return np.array([key_of(value) in wanted for value in found.values], dtype=bool)


def _fitted(rows: Sequence[tuple[Pool, Any]], parameter: Parameter) -> Pointer:
    first = rows[0][0]
    weights = _Weights(first.tokens.shape[1], first.situation.shape[0], parameter)
    batch = _Batch(rows)
    loss_of = batch.many if parameter.many else batch.one
    optimizer = torch.optim.LBFGS(
        weights.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> Any:
        optimizer.zero_grad()
        held = sum((each**2).sum() for each in weights.parameters())
        loss = loss_of(weights) + held / (2 * _STRENGTH * len(rows))
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.pointer()


class _Weights(torch.nn.Module):  # type: ignore[misc]  # torch is untyped to us
    """A pointer that is being fitted, from nothing on: every place is as likely as any other."""

    def __init__(self, dimensions: int, situation: int, parameter: Parameter) -> None:
        super().__init__()
        others = len(parameter.constants) + 2
        sizes = {
            "start": (dimensions,),
            "end": (dimensions,),
            "span": (SPAN_FEATURES,),
            "leaf": (LEAF_FEATURES + len(parameter.paths),),
            "constants": (others, situation),
            "bias": (others,),
        }
        for name, size in sizes.items():
            setattr(self, name, torch.nn.Parameter(torch.zeros(size)))

    def pointer(self) -> Pointer:
        return Pointer(**{name: value.detach().numpy() for name, value in self.named_parameters()})


class _Batch:
    """The places of all examples in one row after the other, and which example each belongs to."""

    def __init__(self, rows: Sequence[tuple[Pool, Any]]) -> None:
        tokens: dict[int, int] = {}
        read, length = [], 0
        for found, _ in rows:
            if id(found.tokens) not in tokens:  # of one request, once
                tokens[id(found.tokens)] = length
                read.append(torch.from_numpy(found.tokens))
                length += len(found.tokens)
        offsets = [tokens[id(found.tokens)] for found, _ in rows]
        self._tokens = torch.cat(read)
        self._first = torch.cat(
            [torch.from_numpy(found.first) + at for (found, _), at in zip(rows, offsets, strict=True)]
        )
        self._last = torch.cat(
            [torch.from_numpy(found.last) + at for (found, _), at in zip(rows, offsets, strict=True)]
        )
        self._spans = torch.cat([torch.from_numpy(found.spans) for found, _ in rows])
        self._leaves = torch.cat([torch.from_numpy(found.leaves) for found, _ in rows])
        self._situations = torch.from_numpy(np.stack([found.situation for found, _ in rows]))
        self._examples = len(rows)
        counts = [(len(found.spans), len(found.leaves)) for found, _ in rows]
        self._of = torch.cat([_numbers([spans for spans, _ in counts]), _numbers([leaves for _, leaves in counts])])
        parts = [
            torch.from_numpy(right).split([*count, len(right) - sum(count)])
            for (_, right), count in zip(rows, counts, strict=True)
        ]
        self._right = torch.cat([part[kind] for kind in range(3) for part in parts])

    def one(self, weights: _Weights) -> Any:
        """How unlikely the right places are, all of an example's together; and *nowhere*, once they are taken away.

        The second is what teaches a pointer whose value was never missing that it may be.
        """
        by_start, by_end = self._tokens @ weights.start, self._tokens @ weights.end
        spans = by_start[self._first] + by_end[self._last] + self._spans @ weights.span
        others = self._situations @ weights.constants.T + weights.bias
        logits = torch.cat([spans, self._leaves @ weights.leaf, others.flatten()])
        of = torch.cat([self._of, torch.arange(len(others)).repeat_interleave(others.shape[1])])
        right, nowhere = self._right, torch.arange(1 - len(others), 1) * others.shape[1] - 1 + len(logits)
        likely = self._together(logits, of) - self._together(logits[right], of[right])
        left = ~right
        left[nowhere] = True
        unlikely = self._together(logits[left], of[left]) - logits[nowhere]
        return (likely + unlikely).mean()

    def _together(self, logits: Any, of: Any) -> Any:
        """The logarithm of the sum of each example's exponentials."""
        most = torch.full((self._examples,), -torch.inf).scatter_reduce(0, of, logits.detach(), "amax")
        return torch.zeros(self._examples).index_add(0, of, (logits - most[of]).exp()).log() + most

    def many(self, weights: _Weights) -> Any:
        """How unlikely it is that just the right values are taken."""
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            self._leaves @ weights.leaf, self._right.float(), reduction="sum"
        )
        return losses / self._examples


def _numbers(counts: Sequence[int]) -> Any:
    """Each example's number, as often as it has places."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
