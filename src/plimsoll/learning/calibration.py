"""Probabilities that mean what they say, and a bound below which no label fits: both from validation rows alone.

Temperature: Guo et al., On Calibration of Modern Neural Networks, 2017 (https://arxiv.org/abs/1706.04599)."""

from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra

try:
    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax
    from sklearn.metrics import roc_auc_score
except ImportError as error:
    raise MissingExtra(error.name or "scipy", extra="learning") from error

__all__ = ["Bin", "auroc", "calibration_error", "fitted_temperature", "reliability", "threshold"]

_BINS = 15
_COLDEST, _HOTTEST = 0.02, 50.0


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of about one confidence: how many, how sure they are on average, and how many are right."""

    rows: int
    confidence: float
    right: int


def fitted_temperature(logits: Any, labels: Any) -> float:
    """What the logits, of shape (texts, labels), are divided by for the least negative log-likelihood: 0.02 to 50.

    `labels` are the right columns. It changes no answer, only how sure it is. Where all n answers are right, the colder
    the likelier, and none would be in doubt: then one in n + 2 counts as wrong (Platt 1999, 2.2).
    """
    unseen = 1 / (len(labels) + 2) if (logits.argmax(axis=1) == labels).all() else 0.0

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        right = scaled[np.arange(len(labels)), labels]
        wrong = (scaled.sum(axis=1) - right) / max(1, scaled.shape[1] - 1)
        return float(-((1 - unseen) * right + unseen * wrong).mean())

    found = minimize_scalar(loss, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def threshold(energies: Any, *, rejected: float) -> float:
    """The energy below which a share `rejected` (0 to 1) of these in-scope validation texts lie."""
    return float(np.quantile(energies, rejected))


def reliability(chances: Any, labels: Any) -> tuple[Bin, ...]:
    """Confidence beside accuracy, over those of 15 equal bins of confidence that hold any answer, the least sure first.

    `chances` are the probabilities, of shape (texts, labels), and `labels` the right columns.
    """
    sure = chances.max(axis=1)
    right = chances.argmax(axis=1) == labels
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    return tuple(
        Bin(rows=int((bins == at).sum()), confidence=float(sure[bins == at].mean()), right=int(right[bins == at].sum()))
        for at in np.unique(bins)
    )


def calibration_error(chances: Any, labels: Any) -> float:
    """The expected calibration error, 0 to 1: by how much confidence and accuracy differ, over 15 equal bins."""
    return sum(abs(each.right - each.rows * each.confidence) for each in reliability(chances, labels)) / len(labels)


def auroc(inside: Any, outside: Any) -> float:
    """The chance that an in-scope text has more energy than one out of scope: 0.5 is a guess, 1 is always."""
    return float(roc_auc_score(np.r_[np.ones(len(inside)), np.zeros(len(outside))], np.r_[inside, outside]))
