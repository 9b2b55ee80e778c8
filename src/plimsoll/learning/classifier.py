"""The classifier: an exported model, answering by ONNX Runtime on one thread. No PyTorch, no network.

Texts are read together where the export says that none of them changes another's answer; otherwise each is read alone.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.linear import Head, load_head, probabilities
from plimsoll.learning.manifest import Manifest, read_manifest
from plimsoll.learning.rows import MAX_CHARACTERS

try:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer
except ImportError as error:
    raise MissingExtra(error.name or "onnxruntime", extra="inference") from error

__all__ = ["ONNX", "TOKENIZER", "Answer", "Classifier", "Tokens", "Vectors", "check_text"]

ONNX = "model.onnx"
TOKENIZER = "tokenizer.json"

_BATCH = 16
"""So many texts are read together; more bring nothing on one core."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a text is: the likeliest `label`, how likely (0 to 1), and whether rather no label fits.

    `energy` is how much speaks for any label at all; below the manifest's `threshold` it is out of scope.
    """

    label: str
    probability: float
    out_of_scope: bool
    energy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A text as the model reads it, cut to `max_tokens`.

    `ids` are the tokens, the model's own beginning and end among them; `words` where each word that they stand for
    begins and ends in the text; `word_of` for each token the number of its word, None for the model's own. `cut` says
    that there was more: what stands for no token, such as a control character, is nothing that was cut away.
    """

    ids: tuple[int, ...]
    words: tuple[tuple[int, int], ...]
    word_of: tuple[int | None, ...]
    cut: bool

    def without(self, words: Container[int]) -> tuple[int, ...]:
        """The ids that are left when the words of these numbers are taken away."""
        return tuple(token for token, word in zip(self.ids, self.word_of, strict=True) if word not in words)


class Vectors:
    """The encoder of an export: texts to vectors. `batches`: texts may be read together, some at a time."""

    def __init__(self, directory: Path, *, max_tokens: int, batches: bool, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(directory / ONNX, options, ["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        except Exception as error:  # both libraries raise plain Exceptions of their own
            raise WeightsError(str(directory), f"{ONNX} or {TOKENIZER} cannot be read: {error}") from error
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.no_padding()
        self._batch = _BATCH if batches else 1
        self.dimensions = int(self._session.get_outputs()[0].shape[1])

    def embed(self, texts: Sequence[str], *, on_text: Callable[[], object] = lambda: None) -> Any:
        """The vectors of the texts, float32 of shape (texts, dimensions), each of length 1. Raises `Misuse`.

        `on_text` is called after each.
        """
        for number, text in enumerate(texts):
            check_text(text, number)
        return self.embed_ids([self.ids(text) for text in texts], on_text=on_text)

    def embed_ids(self, rows: Sequence[Sequence[int]], *, on_text: Callable[[], object] = lambda: None) -> Any:
        """The same for texts that are token ids already."""
        if len(rows) == 1:
            vectors = self._read(rows)
            on_text()
            return vectors
        vectors = np.empty((len(rows), self.dimensions), np.float32)
        by_length = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        for first in range(0, len(rows), self._batch):
            batch = by_length[first : first + self._batch]
            vectors[batch] = self._read([rows[number] for number in batch])
            for _ in batch:
                on_text()
        return vectors

    def _read(self, rows: Sequence[Sequence[int]]) -> Any:
        longest = max(map(len, rows))
        ids = np.array([[*row, *[0] * (longest - len(row))] for row in rows], dtype=np.int64)
        mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=np.int64)
        return self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, cut to `max_tokens`."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def tokens(self, text: str) -> Tokens:
        """The text as the model reads it. Raises `Misuse`."""
        check_text(text)
        read = self._tokenizer.encode(text)
        spans: dict[int, tuple[int, int]] = {}
        for word, (start, end) in zip(read.word_ids, read.offsets, strict=True):
            if word is not None:
                spans[word] = (min(start, spans.get(word, (start, end))[0]), end)
        numbers = {word: number for number, word in enumerate(spans)}
        return Tokens(
            ids=tuple(read.ids),
            words=tuple(_bare(text, span) for span in spans.values()),
            word_of=tuple(None if word is None else numbers[word] for word in read.word_ids),
            cut=bool(read.overflowing),
        )


class Classifier:
    """An exported model in memory. `manifest` says what it is."""

    def __init__(self, vectors: Vectors, head: Head, manifest: Manifest) -> None:
        self._vectors = vectors
        self._head = head
        self.manifest = manifest

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> "Classifier":
        """The model that `plimsoll learn export` wrote to `directory`. Raises `WeightsError`, saying what is wrong."""
        manifest = read_manifest(directory, kind="export")
        head = load_head(directory, labels=manifest.labels)
        vectors = Vectors(directory, max_tokens=manifest.max_tokens, batches=manifest.batches, threads=threads)
        return cls(vectors, head, manifest)

    @property
    def dimensions(self) -> int:
        """Of a vector."""
        return self._vectors.dimensions

    def embed(self, texts: Sequence[str]) -> Any:
        """The vectors of the texts: float32 of shape (texts, dimensions), each of length 1. Raises `Misuse`."""
        return self._vectors.embed(texts)

    def embed_ids(self, rows: Sequence[Sequence[int]]) -> Any:
        """The vectors of texts that are token ids already: what `ids` or `tokens` gave, or less."""
        return self._vectors.embed_ids(rows)

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, cut to `max_tokens`."""
        return self._vectors.ids(text)

    def tokens(self, text: str) -> Tokens:
        """The text as the model reads it. Raises `Misuse` as `classify` does."""
        return self._vectors.tokens(text)

    def classify(self, texts: Sequence[str]) -> list[Answer]:
        """What each text is. Raises `Misuse` for one that is empty, or longer than 20,000 characters."""
        return self.answers(self.embed(texts))

    def probabilities(self, texts: Sequence[str]) -> Any:
        """The probability of every label, of shape (texts, labels), in the order of `manifest.labels`."""
        return probabilities(self.logits(self.embed(texts)), self.manifest.temperature)

    def answers(self, vectors: Any) -> list[Answer]:
        """What each text is, by its vector."""
        logits, found = self.logits(vectors), []
        for row in logits:
            best = int(row.argmax())
            below = row - row[best]
            speaks = float(row[best] + np.log(np.exp(below).sum()))
            found.append(
                Answer(
                    label=self.manifest.labels[best],
                    probability=float(1 / np.exp(below / self.manifest.temperature).sum()),
                    out_of_scope=speaks < self.manifest.threshold,
                    energy=speaks,
                )
            )
        return found

    def likeliest(self, vector: Any, *, most: int) -> list[tuple[str, float]]:
        """The likeliest labels of one text, by its vector, and how likely each is (0 to 1). So many at most."""
        chances = probabilities(self.logits(vector[None]), self.manifest.temperature)[0]
        best = np.argsort(-chances, kind="stable")[:most]
        return [(self.manifest.labels[at], float(chances[at])) for at in best]

    def logits(self, vectors: Any) -> Any:
        """How much each label speaks for each text, of shape (texts, labels), by its vector."""
        return self._head.logits(vectors)


def _bare(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """Where a word stands, without the blanks that some tokenizers count to it."""
    start, end = span
    word = text[start:end]
    return start + len(word) - len(word.lstrip()), end - len(word) + len(word.rstrip())


def check_text(text: object, number: int = 0) -> None:
    """Raises `Misuse` for what is no text to answer; `number` is its place among others, from 0."""
    if not isinstance(text, str) or not text.strip():
        raise Misuse(f"text {number + 1} is empty, or no text: there is nothing to classify")
    if len(text) > MAX_CHARACTERS:
        raise Misuse(f"text {number + 1} has {len(text):,} characters; {MAX_CHARACTERS:,} are the most: cut it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Misuse(f"text {number + 1} is no Unicode text: {error.reason} at character {error.start + 1}") from error
