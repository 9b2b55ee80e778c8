"""The head of a model: a linear map from vectors to labels, and what its logits mean. NumPy alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.errors import WeightsError

try:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save_file
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="inference") from error

__all__ = ["FILE", "Head", "energy", "load_head", "probabilities", "save_head"]

FILE = "head.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear map: `weight` float32 of shape (labels, dimensions), `bias` of shape (labels,)."""

    weight: Any
    bias: Any

    def logits(self, vectors: Any) -> Any:
        """Of shape (texts, labels)."""
        return vectors @ self.weight.T + self.bias


def energy(logits: Any) -> Any:
    """How much any label at all speaks for each text, of shape (texts,). Less is further out of scope.

    The energy of Liu et al. 2020 (https://arxiv.org/abs/2010.03759) with the sign turned.
    """
    most = logits.max(axis=1, keepdims=True)
    return np.log(np.exp(logits - most).sum(axis=1)) + most[:, 0]


def probabilities(logits: Any, temperature: float) -> Any:
    """The probability of each label, of shape (texts, labels)."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def save_head(directory: Path, head: Head) -> None:
    """Writes the head into a model's directory."""
    # The library writes an array's memory as it lies, and scikit-learn's lies column by column.
    tensors = {"weight": np.ascontiguousarray(head.weight), "bias": np.ascontiguousarray(head.bias)}
    save_file(tensors, directory / FILE)


def load_head(directory: Path, *, labels: Sequence[str]) -> Head:
    """The head of a model's directory. Raises `WeightsError` where it is none for these labels."""
    try:
        tensors = load_file(directory / FILE)
        head = Head(tensors["weight"], tensors["bias"])
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsError(str(directory), f"its {FILE} cannot be read: {error}") from error
    if head.weight.ndim != 2 or not len(head.weight) == len(head.bias) == len(labels):
        raise WeightsError(str(directory), f"its {FILE} is for {len(head.bias)} labels, and not for {len(labels)}")
    if not (np.isfinite(head.weight).all() and np.isfinite(head.bias).all()):
        raise WeightsError(str(directory), f"its {FILE} holds what is no number: fit it anew")
    return head
