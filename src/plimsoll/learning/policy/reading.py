"""Reading by an exported encoder that gives the vector of each token beside that of the text."""

from dataclasses import dataclass
from typing import Any

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.classifier import Vectors
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.policy.candidates import Span, Words, spans
from plimsoll.learning.rows import MAX_CHARACTERS

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="inference") from error

__all__ = ["Reader", "Reading"]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A text as read: `vector` float32 of shape (dimensions,), `tokens` of shape (tokens, dimensions), its spans."""

    text: str
    vector: Any
    tokens: Any
    spans: tuple[Span, ...]


class Reader(Vectors):
    """The encoder of a policy. Raises `WeightsError` for an export without tokens' vectors."""

    def read(self, text: str) -> Reading:
        """The text, cut to the most tokens. Raises `Misuse` for one that is empty or longer than 20,000 characters."""
        if not text.strip() or len(text) > MAX_CHARACTERS:
            raise Misuse(
                f"a text of {len(text):,} characters cannot be read: 1 to {MAX_CHARACTERS:,}, and not all blank"
            )
        encoding = self._tokenizer.encode(text)
        ids = np.array([encoding.ids], dtype=np.int64)
        outputs = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        if len(outputs) < 2:
            raise WeightsError("the policy", "its encoder gives no tokens' vectors: make the policy anew")
        return Reading(text, outputs[0][0], outputs[1][0], tuple(spans(_words(text, encoding))))


def _words(text: str, encoding: Any) -> Words:
    """The words that the tokenizer told apart: each with its tokens and its characters."""
    first: list[int] = []
    last: list[int] = []
    begin: list[int] = []
    end: list[int] = []
    before = None
    for at, (word, (start, stop)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
        if word is None:
            continue
        if word == before:
            last[-1], end[-1] = at, stop
        else:
            first.append(at)
            last.append(at)
            begin.append(stop - len(text[start:stop].lstrip()))  # byte-level tokenizers count the space before a word
            end.append(stop)
        before = word
    return Words(text, tuple(first), tuple(last), tuple(begin), tuple(end))
