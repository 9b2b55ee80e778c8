"""The deletion test: does an answer hang on the words that its explanation names, more than on any others?

From each text, the words that speak most for its label are taken away, and as many at random, over and over. Where an
explanation is right, the label's probability falls by more (the "comprehensiveness" of DeYoung et al. 2020, ERASER,
https://arxiv.org/abs/1911.03429, held against chance).
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra
from plimsoll.core.rng import Rng
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.leave_one_out import Explanation
from plimsoll.learning.linear import probabilities
from plimsoll.learning.options import Progress

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="inference") from error

__all__ = ["Deleted", "DeletionTest", "Mean", "deletion_test"]

_DRAWS = 10
"""So many times, as many words are taken away at random."""
_RESAMPLES = 2000
_CONFIDENCE = 0.95


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over texts, and between what it lies at a confidence of 95 %, by the bootstrap."""

    value: float
    low: float
    high: float


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What is lost of the probability without `words` words: those that speak most for the label, or any.

    `texts` are those that have more words than that.
    """

    words: int
    texts: int
    top: Mean
    random: Mean


class DeletionTest(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `difference` is by how much more is lost without the top words, over all numbers of words."""

    method: str
    texts: int
    draws: int
    curve: tuple[Deleted, ...]
    difference: Mean

    @property
    def holds(self) -> bool:
        """Whether the difference is beyond chance."""
        return self.difference.low > 0


def deletion_test(
    classifier: Classifier,
    texts: Sequence[str],
    *,
    explain: Callable[[str], Explanation],
    rng: Rng,
    most: int = 5,
    listener: Callable[[Progress], object] = lambda told: None,
) -> DeletionTest | None:
    """Tests the explanations of these texts, taking away up to `most` words. None, where no text has two words."""
    tried, method = [], ""
    for number, text in enumerate(texts, 1):
        explained = explain(text)
        method = explained.method
        if len(explained.words) > 1:
            tried.append(_losses(classifier, text, explained, most, rng))
        listener(Progress(what="delete", done=number, total=len(texts)))
    if not tried:
        return None
    resampling = np.random.default_rng(rng.getrandbits(64))
    return DeletionTest(
        method=method,
        texts=len(tried),
        draws=_DRAWS,
        curve=tuple(_at(words, tried, resampling) for words in range(1, max(map(len, tried)) + 1)),
        difference=_mean(np.array([(each[:, 0] - each[:, 1]).mean() for each in tried]), resampling),
    )


def _losses(classifier: Classifier, text: str, explained: Explanation, most: int, rng: Rng) -> Any:
    """Of shape (numbers of words, 2): what the probability loses without the top words, and without random ones."""
    tokens = classifier.tokens(text)
    words = range(len(explained.words))
    ranked = sorted(words, key=lambda word: -explained.words[word].attribution)
    counts = range(1, min(most, len(ranked) - 1) + 1)
    taken = [set(ranked[:count]) for count in counts]
    for count in counts:
        taken += [set(sorted(words, key=lambda _: rng.random())[:count]) for _ in range(_DRAWS)]
    logits = classifier.logits(classifier.embed_ids([tokens.without(each) for each in taken]))
    column = classifier.manifest.labels.index(explained.label)
    lost = explained.probability - probabilities(logits, classifier.manifest.temperature)[:, column]
    return np.stack([lost[: len(counts)], lost[len(counts) :].reshape(len(counts), _DRAWS).mean(1)], axis=1)


def _at(words: int, tried: Sequence[Any], resampling: Any) -> Deleted:
    longer = np.array([each[words - 1] for each in tried if len(each) >= words])
    top, random = (_mean(column, resampling) for column in longer.T)
    return Deleted(words=words, texts=len(longer), top=top, random=random)


def _mean(values: Any, resampling: Any) -> Mean:
    drawn = values[resampling.integers(len(values), size=(_RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Mean(value=float(values.mean()), low=float(low), high=float(high))
