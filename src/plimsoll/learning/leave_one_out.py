"""Leave-one-out: how much each word of a text speaks for a label, by asking the exported model again without it.

It takes as many readings as there are words, and one more, of the very model that answers: no gradient, no PyTorch.
Li et al. 2016, Understanding Neural Networks through Representation Erasure (https://arxiv.org/abs/1612.08220).
"""

from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.classifier import Classifier, Tokens
from plimsoll.learning.linear import energy, probabilities
from plimsoll.learning.manifest import Manifest

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="inference") from error

__all__ = [
    "LEAVE_ONE_OUT",
    "Explanation",
    "Word",
    "attributions",
    "attributions_of",
    "check_label",
    "readings",
]

LEAVE_ONE_OUT = "leave-one-out"


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """A word, where it stands in the text, and its `attribution`: by how much the label's log-odds fall without it.

    In nats, at the probabilities' temperature. Below 0, the word speaks against the label.
    """

    text: str
    start: int
    end: int
    attribution: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Which words speak for `label`, as likely as `probability` says (0 to 1), and which against it.

    `words` are in the order of the text, which the model has read up to the last of them; `cut` says that there was
    more. `out_of_scope` and `energy` are those of the whole text, as in `Answer`. `method` is how it was found;
    `delta`, by how much the attributions do not sum to what they should, is told of integrated gradients alone.
    """

    label: str
    probability: float
    out_of_scope: bool
    energy: float
    words: tuple[Word, ...]
    cut: bool
    method: str = LEAVE_ONE_OUT
    delta: float | None = None


def attributions(classifier: Classifier, text: str, *, label: str | None = None) -> Explanation:
    """What each word of `text` does for `label` (None: the likeliest). Words are as the model's tokenizer parts them.

    Raises `Misuse` for a label that the model does not know, and for a text that it does not read.
    """
    check_label(label, classifier.manifest)
    tokens = classifier.tokens(text)
    return attributions_of(classifier, text, tokens, classifier.embed_ids(readings(tokens)), label=label)


def check_label(label: str | None, manifest: Manifest) -> None:
    """Raises `Misuse` for a label that the model does not know."""
    if label is not None and label not in manifest.labels:
        raise Misuse(f"the model has no label {label!r}; it has {len(manifest.labels)}, {manifest.labels[0]!r} first")


def readings(tokens: Tokens) -> list[tuple[int, ...]]:
    """What is read to explain a text: its token ids, and the same without each of its words in turn."""
    return [tokens.ids, *(tokens.without({word}) for word in range(len(tokens.words)))]


def attributions_of(
    classifier: Classifier, text: str, tokens: Tokens, vectors: Any, *, label: str | None = None
) -> Explanation:
    """The explanation of `text` by the vectors of its `readings`."""
    manifest, logits = classifier.manifest, classifier.logits(vectors)
    column = int(logits[0].argmax()) if label is None else manifest.labels.index(label)
    odds = _log_odds(logits / manifest.temperature, column)
    speaks = float(energy(logits[:1])[0])
    return Explanation(
        label=manifest.labels[column],
        probability=float(probabilities(logits[:1], manifest.temperature)[0, column]),
        out_of_scope=speaks < manifest.threshold,
        energy=speaks,
        words=tuple(
            Word(text=text[start:end], start=start, end=end, attribution=float(odds[0] - without))
            for (start, end), without in zip(tokens.words, odds[1:], strict=True)
        ),
        cut=tokens.cut,
    )


def _log_odds(logits: Any, column: int) -> Any:
    """The log-odds of one label, of shape (texts,). Unlike the probability, they still move where it is nearly 1."""
    return logits[:, column] - energy(np.delete(logits, column, axis=1))
