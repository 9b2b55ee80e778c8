"""Fitting a head: logistic regression from an encoder's vectors to labels, by scikit-learn."""

from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.errors import TrainingFailed
from plimsoll.learning.linear import Head

try:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
except ImportError as error:
    raise MissingExtra(error.name or "scikit-learn", extra="learning") from error

__all__ = ["fitted_head"]

INVERSE_STRENGTH = 10.0
"""How little the weights are held back (scikit-learn's C). On unit vectors less is too stiff; more changes nothing."""
_ITERATIONS = 1000


def fitted_head(vectors: Any, labels: Any, *, balanced: bool, seed: int) -> Head:
    """The head that tells these vectors apart. `labels` are 0, 1, 2, … and all of them occur.

    `balanced` gives rare labels more weight. Raises `TrainingFailed` for vectors that are no numbers.
    """
    if not np.isfinite(vectors).all():
        raise TrainingFailed("the encoder gives what is no number for some texts: its weights are broken")
    model = LogisticRegression(
        C=INVERSE_STRENGTH,
        max_iter=_ITERATIONS,
        class_weight="balanced" if balanced else None,
        random_state=seed,
    ).fit(vectors, labels)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two labels: scikit-learn keeps one row, for the second
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return Head(weight.astype(np.float32), bias.astype(np.float32))
