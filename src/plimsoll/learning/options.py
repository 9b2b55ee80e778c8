"""How a model is fitted: a method, and what each method does where nothing else was said."""

from dataclasses import dataclass
from enum import StrEnum

from plimsoll.core.errors import Misuse

__all__ = ["FitOptions", "Method", "Progress"]


class Method(StrEnum):
    """What of the encoder is trained, beside the head."""

    HEAD = "head"
    """Nothing: logistic regression over frozen vectors. Minutes on one core."""
    LORA = "lora"
    """Low-rank adapters beside every linear map, merged at the end (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""
    FEWSHOT = "fewshot"
    """Everything, so that texts of one label come to lie together, and then a head. For some ten texts a label."""
    FULL = "full"
    """Everything, with the head."""


_EPOCHS = {Method.HEAD: 0, Method.LORA: 10, Method.FEWSHOT: 5, Method.FULL: 6}
_LEARNING_RATES = {Method.HEAD: 0.0, Method.LORA: 5e-4, Method.FEWSHOT: 2e-5, Method.FULL: 1e-4}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What is decided about a fit. Raises `Misuse` for what cannot be.

    `epochs` (None: 10 for `lora`, 5 for `fewshot`, 6 for `full`) is the most; training ends earlier after `patience`
    epochs without a better accuracy on the validation rows. `learning_rate` is the encoder's at its height (None: 5e-4,
    2e-5, 1e-4). `batch_size` counts texts. What is longer than `max_tokens` is cut. `balanced` weighs labels
    by how rare they are. `rejected` is the share of in-scope texts that may be taken for out of scope, 0 to 0.5.
    """

    method: Method = Method.HEAD
    seed: int = 0
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int = 32
    patience: int = 3
    max_tokens: int = 64
    balanced: bool = True
    rejected: float = 0.05

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise Misuse(f"epochs is {self.epochs}; one at least")
        if self.method is Method.HEAD and (self.epochs is not None or self.learning_rate is not None):
            raise Misuse("the method `head` has no epochs and no learning rate: its fit is exact")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise Misuse(f"learning_rate is {self.learning_rate}; it lies between 0 and 1")
        if self.batch_size < 2 or self.patience < 1 or self.seed < 0:
            raise Misuse("batch_size is at least 2, patience at least 1, and seed not negative")
        if self.method is Method.FEWSHOT and (self.batch_size < 4 or self.batch_size % 2):
            raise Misuse(f"batch_size is {self.batch_size}; `fewshot` takes pairs of texts: an even number, 4 at least")
        if not 0 < self.rejected <= 0.5:
            raise Misuse(f"rejected is {self.rejected}; it is more than 0, and 0.5 at most")

    @property
    def most_epochs(self) -> int:
        return _EPOCHS[self.method] if self.epochs is None else self.epochs

    @property
    def rate(self) -> float:
        return _LEARNING_RATES[self.method] if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a fit is: `what` is `embed`, `train` or `point`, `done` of `total` are texts, steps or tools.

    Reports and explanations are told of by the same: `judge`, `delete` and `explain` count texts.

    At the end of an epoch, `epoch` counts from 1 and `accuracy` is that on the validation rows, 0 to 1.
    """

    what: str
    done: int
    total: int
    epoch: int | None = None
    accuracy: float | None = None
