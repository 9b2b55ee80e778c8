"""The classifier: an exported model, answering by ONNX Runtime on one thread. No PyTorch, no network.

A text is read alone, whatever else is asked at the same time: int8 rounds by the largest number in a batch, so that in
a common batch one text's answer would depend on its neighbours.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.linear import Head, energy, load_head, probabilities
from plimsoll.learning.manifest import Manifest, read_manifest
from plimsoll.learning.rows import MAX_CHARACTERS

try:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer
except ImportError as error:
    raise MissingExtra(error.name or "onnxruntime", extra="inference") from error

__all__ = ["ONNX", "TOKENIZER", "Answer", "Classifier", "Vectors"]

ONNX = "model.onnx"
TOKENIZER = "tokenizer.json"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a text is: the likeliest `label`, how likely (0 to 1), and whether rather no label fits.

    `energy` is how much speaks for any label at all; below the manifest's `threshold` it is out of scope.
    """

    label: str
    probability: float
    out_of_scope: bool
    energy: float


class Vectors:
    """The encoder of an export: texts to vectors."""

    def __init__(self, directory: Path, *, max_tokens: int, threads: int = 1) -> None:
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

    def embed(self, texts: Sequence[str], *, on_text: Callable[[], object] = lambda: None) -> Any:
        """The vectors of the texts, float32 of shape (texts, dimensions), each of length 1. Raises `Misuse`.

        `on_text` is called after each.
        """
        rows = []
        for number, text in enumerate(texts):
            _check(text, number)
            ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
            rows.append(self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])
            on_text()
        return np.concatenate(rows) if rows else np.empty((0, self._session.get_outputs()[0].shape[1]), np.float32)


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
        return cls(Vectors(directory, max_tokens=manifest.max_tokens, threads=threads), head, manifest)

    def embed(self, texts: Sequence[str]) -> Any:
        """The vectors of the texts: float32 of shape (texts, dimensions), each of length 1. Raises `Misuse`."""
        return self._vectors.embed(texts)

    def classify(self, texts: Sequence[str]) -> list[Answer]:
        """What each text is. Raises `Misuse` for one that is empty, or longer than 20,000 characters."""
        if not texts:
            return []
        logits = self._head.logits(self._vectors.embed(texts))
        energies, chances = energy(logits), probabilities(logits, self.manifest.temperature)
        return [
            Answer(
                label=self.manifest.labels[at],
                probability=float(chance[at]),
                out_of_scope=bool(speaks < self.manifest.threshold),
                energy=float(speaks),
            )
            for at, chance, speaks in zip(chances.argmax(axis=1), chances, energies, strict=True)
        ]

    def probabilities(self, texts: Sequence[str]) -> Any:
        """The probability of every label, of shape (texts, labels), in the order of `manifest.labels`."""
        return probabilities(self._head.logits(self._vectors.embed(texts)), self.manifest.temperature)


def _check(text: object, number: int) -> None:
    if not isinstance(text, str) or not text.strip():
        raise Misuse(f"text {number + 1} is empty, or no text: there is nothing to classify")
    if len(text) > MAX_CHARACTERS:
        raise Misuse(f"text {number + 1} has {len(text):,} characters; {MAX_CHARACTERS:,} are the most: cut it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Misuse(f"text {number + 1} is no Unicode text: {error.reason} at character {error.start + 1}") from error
