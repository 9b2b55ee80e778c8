"""Registering: a model's directory becomes a version, with all that is known of it."""

from pathlib import Path

from plimsoll.learning.curves import FILE as CURVES
from plimsoll.learning.curves import read_curves
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.lineage import FILE as LINEAGE
from plimsoll.learning.lineage import read_lineage
from plimsoll.learning.manifest import model_digest
from plimsoll.learning.registry.describing import Described, described, files_of, verify
from plimsoll.learning.registry.references import CANDIDATE, checked_name
from plimsoll.learning.registry.tags import (
    BASE_DIGEST,
    DATA_DIGEST,
    KIND,
    LINEAGE_DIGEST,
    METHOD,
    MODEL_DIGEST,
    RUNS,
    SEED,
)
from plimsoll.learning.registry.tracking import Run, Tracking

__all__ = ["register"]


def register(tracking: Tracking, directory: Path, *, name: str) -> int:
    """Writes the model in `directory` as a new version of `name`, its candidate, and says its number.

    The files go first, then the version with all its tags, then the alias: whatever kills it in between leaves a run
    at worst, and the candidate who it was. Raises `WeightsError` for a directory that is not as its manifest says.
    """
    checked_name(name)
    known = described(directory)
    verify(directory, known.files)
    tags = _tags(directory, known)
    curves = [
        (round(curve.epoch), metric, value)
        for curve in (read_curves(directory) if CURVES in known.files else ())
        for metric, value in (("training.loss", curve.loss), ("training.accuracy", curve.accuracy))
    ]
    files = [(directory / place, place) for place in files_of(directory, known)]
    metrics = known.metrics | {"bytes": float(sum((directory / place).stat().st_size for place in known.files))}
    run = Run(name=name, tags=tags, parameters=known.parameters, metrics=metrics, curves=curves, files=files)
    number = tracking.make_version(name, tracking.record(name, run), tags=tags)
    tracking.set_alias(name, CANDIDATE, number)
    return number


def _tags(directory: Path, known: Described) -> dict[str, str]:
    tags = {
        MODEL_DIGEST: model_digest(directory),
        KIND: known.kind,
        METHOD: known.method,
        SEED: "" if known.seed is None else str(known.seed),
        DATA_DIGEST: known.data_digest,
        BASE_DIGEST: known.base_digest,
    }
    if LINEAGE not in known.files:
        if (directory / LINEAGE).exists():
            raise WeightsError(str(directory), f"its {LINEAGE} is none that its manifest names: take it away")
        return tags
    lineage = read_lineage(directory, data_digest=known.data_digest)
    runs = len(lineage.runs) if lineage is not None else 0
    return tags | {LINEAGE_DIGEST: known.files[LINEAGE], RUNS: str(runs)}
