"""The report: how far a model's answers can be relied on, by rows that it was not fitted on."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.errors import MissingExtra
from plimsoll.core.rng import seeded_rng
from plimsoll.learning.calibration import Bin, reliability
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.errors import DataError
from plimsoll.learning.explaining.deletion import DeletionTest, deletion_test
from plimsoll.learning.explaining.slices import Grouping, Slice, by_column, by_length, by_pattern, slices
from plimsoll.learning.judging import Calibration, scored
from plimsoll.learning.leave_one_out import Explanation
from plimsoll.learning.lineage import Lineage
from plimsoll.learning.linear import energy, probabilities
from plimsoll.learning.manifest import Manifest, Scores, digest_of
from plimsoll.learning.options import Progress
from plimsoll.learning.rows import OUT_OF_SCOPE, Row, named, read_column, read_file, read_rows, split_file

try:
    import numpy as np
except ImportError as error:
    raise MissingExtra(error.name or "numpy", extra="learning") from error

__all__ = ["Confusion", "Judging", "ModelReport", "confusions", "judging_rows", "model_report"]

_CONFUSIONS = 20
_EXAMPLES = 3
_SPLITS = {
    "train": "rows that the model was fitted on, which it knows: give it others",
    "validation": "validation rows, which the model was chosen by",
    "test": "test rows",
}
_ANOTHER = "all rows of the file, which is none that the model was fitted on"


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one label that were answered with another: how many, and the first of their texts."""

    label: str
    answered: str
    rows: int
    examples: tuple[str, ...]


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a model. `rows_from` says which rows it was judged by; `method` and `kind` are the model's.

    `confusions` are the most frequent; `deletion` is None where it was not asked for, or no text has two words.
    """

    kind: str
    method: str
    labels: int
    rows_from: str
    scores: Scores
    reliability: tuple[Bin, ...]
    confusions: tuple[Confusion, ...]
    slices: tuple[Slice, ...]
    deletion: DeletionTest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """The rows that a model is judged by, which they are, and the cells of other columns of theirs, by their names."""

    rows: tuple[Row, ...]
    rows_from: str
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def judging_rows(
    manifest: Manifest, data: Path, *, columns: Sequence[str] = (), lineage: Lineage | None = None
) -> Judging:
    """The rows at `data` that the model was not fitted on, as far as that can be told.

    Of a directory, its test rows, or else those for validation; of the very file that the model was fitted on, those
    that were kept for validation; of another file, all. By its `lineage`, one of several files that it was fitted on is
    told for what it is. Raises `DataError`.
    """
    file, held_out, rows_from = _held_out(manifest, data, lineage)
    rows = read_file(file)
    cells = {column: read_column(file, column) for column in columns}
    if held_out is not None:
        at = _places(held_out, rows)
        rows = [rows[each] for each in at]
        cells = {column: [found[each] for each in at] for column, found in cells.items()}
    unknown = sorted({row.label for row in rows} - {*manifest.labels, OUT_OF_SCOPE})
    if unknown:
        raise DataError(
            str(file), 0, f"the model has no label {named(unknown)}: call such rows {OUT_OF_SCOPE}, or fit it on them"
        )
    if all(row.label == OUT_OF_SCOPE for row in rows):
        raise DataError(str(file), 0, "no row has a label of the model: there is nothing to judge it by")
    return Judging(
        rows=tuple(rows), rows_from=rows_from, columns={column: tuple(found) for column, found in cells.items()}
    )


def _held_out(manifest: Manifest, data: Path, lineage: Lineage | None) -> tuple[Path, tuple[Row, ...] | None, str]:
    """The file, which of its rows are held out (None: all), and what they are."""
    file = data
    if data.is_dir():
        for split in ("test", "validation"):
            if (found := split_file(data, split)) is not None:
                return found, None, _SPLITS[split]
        if (train := split_file(data, "train")) is None:
            raise DataError(str(data), 0, "this directory has no test.jsonl, validation.jsonl or train.jsonl (or .csv)")
        file = train
    try:
        parted = read_rows(data, seed=manifest.seed)
    except DataError:  # too few rows to be parted: then nothing was fitted on them, and what is broken is told of later
        parted = None
    if parted is not None and parted.digest == manifest.data_digest:
        return file, parted.validation, _SPLITS["validation"]
    return file, None, _SPLITS.get(_split_of(file, lineage), _ANOTHER)


def _split_of(file: Path, lineage: Lineage | None) -> str:
    """Which of the files that the model was fitted on this is; empty: none of them."""
    if lineage is None or not file.is_file():
        return ""
    digest = digest_of(file)
    return next((Path(each.file).stem for each in lineage.sources if each.digest == digest), "")


def _places(held_out: Sequence[Row], rows: Sequence[Row]) -> list[int]:
    """Where these rows stand in the file. Equal ones are one as good as another: the first are taken."""
    wanted, at = Counter(held_out), []
    for number, row in enumerate(rows):
        if wanted[row]:
            wanted[row] -= 1
            at.append(number)
    return at


def model_report(
    classifier: Classifier,
    judging: Judging,
    *,
    explain: Callable[[str], Explanation] | None,
    patterns: Sequence[str] = (),
    texts: int = 200,
    seed: int = 0,
    listener: Callable[[Progress], object] = lambda told: None,
) -> ModelReport:
    """Judges a model. `explain` is what is tested by deletion, on so many `texts` drawn by the seed (None: nothing is).

    Raises `Misuse` for a pattern that is no regular expression.
    """
    manifest = classifier.manifest
    inside = [number for number, row in enumerate(judging.rows) if row.label != OUT_OF_SCOPE]
    said = tuple(judging.rows[number].text for number in inside)
    groupings = [by_length(said), *(by_pattern(said, pattern) for pattern in patterns)]
    groupings += [by_column(column, [cells[number] for number in inside]) for column, cells in judging.columns.items()]
    logits = _logits(classifier, judging.rows, listener)
    return ModelReport(
        kind=manifest.kind,
        method=manifest.method,
        labels=len(manifest.labels),
        rows_from=judging.rows_from,
        confusions=confusions(judging.rows, logits, manifest),
        deletion=None
        if explain is None
        else _deleted(classifier, said, explain, most=texts, seed=seed, listener=listener),
        **_judged(logits, inside, judging.rows, manifest, groupings),
    )


def _judged(
    logits: Any, inside: Sequence[int], rows: Sequence[Row], manifest: Manifest, groupings: Sequence[Grouping]
) -> dict[str, Any]:
    number = {label: at for at, label in enumerate(manifest.labels)}
    numbers = np.array([number[rows[at].label] for at in inside], dtype=np.int64)
    known = np.isin(np.arange(len(rows)), inside)
    chances = probabilities(logits[known], manifest.temperature)
    calibration = Calibration(temperature=manifest.temperature, threshold=manifest.threshold)
    rejected = energy(logits[known]) < manifest.threshold
    return {
        "scores": scored(logits[known], None if known.all() else logits[~known], calibration, numbers=numbers),
        "reliability": reliability(chances, numbers),
        "slices": slices(groupings, chances=chances, numbers=numbers, rejected=rejected),
    }


def confusions(rows: Sequence[Row], logits: Any, manifest: Manifest) -> tuple[Confusion, ...]:
    """The most frequent pairs of a label and another that was answered; of rows out of scope, what was not rejected."""
    found: dict[tuple[str, str], list[str]] = {}
    accepted = energy(logits) >= manifest.threshold
    for row, at, taken in zip(rows, logits.argmax(1), accepted, strict=True):
        answered = manifest.labels[at]
        if answered != row.label and (taken or row.label != OUT_OF_SCOPE):
            found.setdefault((row.label, answered), []).append(row.text)
    most = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:_CONFUSIONS]
    return tuple(
        Confusion(label=label, answered=answered, rows=len(texts), examples=tuple(texts[:_EXAMPLES]))
        for (label, answered), texts in most
    )


def _logits(classifier: Classifier, rows: Sequence[Row], listener: Callable[[Progress], object]) -> Any:
    """Of shape (rows, labels)."""
    made = []
    for first in range(0, len(rows), 64):
        made.append(classifier.logits(classifier.embed([row.text for row in rows[first : first + 64]])))
        listener(Progress(what="judge", done=min(first + 64, len(rows)), total=len(rows)))
    return np.concatenate(made)


def _deleted(
    classifier: Classifier,
    texts: Sequence[str],
    explain: Callable[[str], Explanation],
    *,
    most: int,
    seed: int,
    listener: Callable[[Progress], object],
) -> DeletionTest | None:
    rng = seeded_rng(f"deletion {seed}")
    drawn = sorted(texts, key=lambda _: rng.random())[:most]
    return deletion_test(classifier, drawn, explain=explain, rng=rng, listener=listener)
