"""A calibrated head: what it answers, and how well it does on rows that it was not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.calibration import auroc, calibration_error, fitted_temperature, threshold
from plimsoll.learning.linear import Head, energy, probabilities
from plimsoll.learning.manifest import Scores
from plimsoll.learning.rows import OUT_OF_SCOPE, Row

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="learning") from error

__all__ = ["Calibration", "Split", "calibrated", "scored", "scores"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows as numbers: in-scope texts, their labels' numbers, and the texts that are out of scope."""

    texts: tuple[str, ...]
    numbers: Any
    outside: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], labels: Sequence[str]) -> "Split":
        number = {label: at for at, label in enumerate(labels)}
        known = [row for row in rows if row.label != OUT_OF_SCOPE]
        return cls(
            tuple(row.text for row in known),
            np.array([number[row.label] for row in known], dtype=np.int64),
            tuple(row.text for row in rows if row.label == OUT_OF_SCOPE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What logits are divided by, and the energy below which no label fits."""

    temperature: float
    threshold: float


def calibrated(head: Head, vectors: Any, numbers: Any, *, rejected: float) -> Calibration:
    """From the vectors and labels of in-scope validation rows, of which a share `rejected` will be rejected."""
    logits = head.logits(vectors)
    return Calibration(
        temperature=fitted_temperature(logits, numbers), threshold=threshold(energy(logits), rejected=rejected)
    )


def scores(head: Head, calibration: Calibration, *, inside: Any, numbers: Any, outside: Any) -> Scores:
    """What the head does with the vectors of rows in scope, whose labels are `numbers`, and of rows out of scope."""
    return scored(head.logits(inside), head.logits(outside) if len(outside) else None, calibration, numbers=numbers)


def scored(logits: Any, outside: Any, calibration: Calibration, *, numbers: Any) -> Scores:
    """The same from logits. `outside`: None, where no row is out of scope."""
    energies, out = energy(logits), energy(outside) if outside is not None else None
    return Scores(
        rows=len(numbers),
        accuracy=float((logits.argmax(1) == numbers).mean()),
        calibration_error=calibration_error(probabilities(logits, calibration.temperature), numbers),
        rejected=float((energies < calibration.threshold).mean()),
        oos_rows=0 if out is None else len(out),
        oos_recall=None if out is None else float((out < calibration.threshold).mean()),
        auroc=None if out is None else auroc(energies, out),
    )
