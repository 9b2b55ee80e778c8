"""A fitted model that answers as an export does: the same questions, the same answers but for the rounding to int8."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.classifier import TOKENIZER, Classifier, Vectors
from plimsoll.learning.encoder import Encoder
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.linear import Head, load_head
from plimsoll.learning.manifest import Manifest, read_manifest
from plimsoll.learning.transfer import ENCODER

try:
    import numpy as np
    import torch
    from tokenizers import Tokenizer
except ImportError as error:
    raise MissingExtra(error.name or "torch", extra="learning") from error

__all__ = ["FittedClassifier"]

_BATCH = 64


class _Vectors(Vectors):
    """The vectors of an encoder in PyTorch."""

    def __init__(self, encoder: Encoder) -> None:
        if not encoder.tokenizer.is_fast:
            raise WeightsError(str(encoder.directory), f"its tokenizer cannot be written as {TOKENIZER}")
        self._encoder = encoder
        self.dimensions = encoder.dimensions
        self._tokenizer = Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
        self._tokenizer.enable_truncation(encoder.max_tokens)
        self._tokenizer.no_padding()

    def embed_ids(self, rows: Sequence[Sequence[int]], *, on_text: Callable[[], object] = lambda: None) -> Any:
        vectors: Any = np.empty((len(rows), self._encoder.dimensions), np.float32)
        by_length = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        with torch.inference_mode():
            for first in range(0, len(rows), _BATCH):
                batch = by_length[first : first + _BATCH]
                ids = [torch.tensor(rows[number]) for number in batch]
                tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(self._encoder.device)
                mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
                vectors[batch] = self._encoder.embedder(tokens, mask.to(self._encoder.device)).cpu().numpy()
                for _ in batch:
                    on_text()
        return vectors


class FittedClassifier(Classifier):
    """A fitted model in memory, on a GPU where there is one."""

    def __init__(self, encoder: Encoder, head: Head, manifest: Manifest) -> None:
        super().__init__(_Vectors(encoder), head, manifest)
        self.encoder = encoder
        self.head = head

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> "FittedClassifier":
        """The model that `plimsoll learn fit` wrote to `directory`. Raises `WeightsError`, saying what is wrong.

        PyTorch has as many threads as it was told: `threads` is the export's alone.
        """
        manifest = read_manifest(directory, kind="model")
        encoder = Encoder.load(directory / ENCODER, max_tokens=manifest.max_tokens)
        return cls(encoder, load_head(directory, labels=manifest.labels), manifest)
