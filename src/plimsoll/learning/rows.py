"""Rows: texts and their labels, from JSON Lines, CSV, or a directory of splits.

A file has a column `text` and a column `label`. A directory has `train.jsonl` (or `.csv`), and may have `validation`
and `test`. What has no validation rows of its own gives up a share of its training rows, label by label.

The label `out_of_scope` is no class: it marks texts that no label fits. They are never trained on, and where the
validation or test rows have some, they measure how well such texts are told.
"""

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from plimsoll.core.rng import seeded_rng
from plimsoll.learning.errors import DataError
from plimsoll.learning.lineage import Source, source_of

__all__ = [
    "MAX_CHARACTERS",
    "OUT_OF_SCOPE",
    "Row",
    "Rows",
    "named",
    "read_column",
    "read_file",
    "read_rows",
    "split_file",
]

OUT_OF_SCOPE = "out_of_scope"
MAX_CHARACTERS = 20_000
"""The longest text, in characters: an encoder reads the first 512 tokens at most."""

_SUFFIXES = (".jsonl", ".csv")
_SPLITS = ("train", "validation", "test")


class Row(msgspec.Struct, frozen=True):
    """A text, and the label that people gave it."""

    text: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a model is fitted on, chosen by and judged by. No `test` rows: it is judged by none.

    Every label of `validation` and `test` is a label of `train`, or `out_of_scope`. `left_out` counts the training rows
    that are out of scope; `repeated` the test rows whose very text was trained on. `sources` are the files that they
    were read from, and what is known of where those come from.
    """

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...] = ()
    left_out: int = 0
    sources: tuple[Source, ...] = field(default=(), compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted({row.label for row in self.train}))

    @property
    def repeated(self) -> int:
        known = {row.text for row in self.train}
        return sum(row.text in known for row in self.test)

    @property
    def digest(self) -> str:
        """SHA-256 over every row and its split."""
        made = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            made.update(msgspec.json.encode(split))
        return made.hexdigest()

    @classmethod
    def of(
        cls,
        train: Iterable[Row],
        *,
        validation: Iterable[Row] = (),
        test: Iterable[Row] = (),
        share: float = 0.2,
        seed: int = 0,
        source: str = "the rows",
        sources: tuple[Source, ...] = (),
    ) -> "Rows":
        """Checks the rows, and takes `share` (between 0 and 1) of each label for validation where there are none.

        Raises `DataError`, naming `source`.
        """
        given = list(train)
        known = [row for row in given if row.label != OUT_OF_SCOPE]
        chosen = tuple(validation)
        if not any(row.label != OUT_OF_SCOPE for row in chosen):
            known, parted = _parted(known, share, seed, source)
            chosen = (*parted, *chosen)
        made = cls(
            train=tuple(known),
            validation=chosen,
            test=tuple(test),
            left_out=sum(row.label == OUT_OF_SCOPE for row in given),
            sources=sources,
        )
        _check(made, source)
        return made


def read_rows(path: Path, *, share: float = 0.2, seed: int = 0) -> Rows:
    """The rows at `path`, a file or a directory of splits.

    `share` and `seed` are for what has no validation rows. Raises `DataError`, with the line where there is one.
    """
    if not path.is_dir():
        rows, source = _read(path)
        return Rows.of(rows, share=share, seed=seed, source=str(path), sources=(source,))
    files = {name: split_file(path, name) for name in _SPLITS}
    if files["train"] is None:
        raise DataError(str(path), 0, "this directory has no train.jsonl and no train.csv")
    read = {name: _read(file) for name, file in files.items() if file is not None}
    train, validation, test = (read[name][0] if name in read else [] for name in _SPLITS)
    sources = tuple(source for _, source in read.values())
    return Rows.of(train, validation=validation, test=test, share=share, seed=seed, source=str(path), sources=sources)


def read_file(path: Path) -> list[Row]:
    """The rows of one `.jsonl` or `.csv` file. Raises `DataError`, with the line."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[Row], Source]:
    if path.suffix not in _SUFFIXES:
        raise DataError(
            str(path),
            0,
            "its name ends in neither .jsonl nor .csv; `plimsoll learn rows` writes a journal's rows to such a file",
        )
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), 0, f"it cannot be read: {error.strerror}") from error
    text = _decoded(raw, str(path))
    read = _from_csv if path.suffix == ".csv" else _from_jsonl
    rows = [_checked(row, str(path), line) for line, row in read(text, str(path))]
    if not rows:
        raise DataError(str(path), 0, "it has no rows")
    return rows, source_of(path, raw)


def read_column(path: Path, column: str) -> list[str]:
    """Another column of a file that `read_file` reads, in the order of its rows; empty where a row has none.

    Raises `DataError` where no row has it.
    """
    text = _decoded(path.read_bytes(), str(path))
    if path.suffix == ".csv":
        found = [cells.get(column) for cells in csv.DictReader(io.StringIO(text, newline=""))]
    else:
        lines = (line for line in text.split("\n") if line.strip())
        found = [msgspec.json.decode(line, type=dict[str, Any]).get(column) for line in lines]
    if not any(cell is not None for cell in found):
        raise DataError(str(path), 0, f"no row has a column {column!r}")
    return ["" if cell is None else str(cell) for cell in found]


def split_file(directory: Path, name: str) -> Path | None:
    """The file of that split; None, where there is none. Raises `DataError` where there are two."""
    found = [file for suffix in _SUFFIXES if (file := directory / f"{name}{suffix}").exists()]
    if len(found) > 1:
        raise DataError(str(directory), 0, f"it has both {found[0].name} and {found[1].name}: take one away")
    return found[0] if found else None


def _decoded(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            file, line, f"byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8: write the file anew as UTF-8"
        ) from error


def _from_jsonl(text: str, file: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, msgspec.json.decode(line, type=Row)
        except msgspec.DecodeError as error:
            raise DataError(file, number, f'this is no {{"text": …, "label": …}}: {error}') from error


def _from_csv(text: str, file: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = {"text", "label"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(file, 1, f"its first line does not name a column {' or '.join(sorted(missing))}")
        for cells in reader:
            if None in (cells["text"], cells["label"]):
                raise DataError(file, reader.line_num, "this row has too few columns")
            yield reader.line_num, Row(cells["text"], cells["label"])
    except csv.Error as error:
        raise DataError(file, reader.line_num + 1, f"this is no CSV: {error}") from error


def _checked(row: Row, file: str, line: int) -> Row:
    if len(row.text) > MAX_CHARACTERS:
        raise DataError(file, line, f"a text of {len(row.text):,} characters; {MAX_CHARACTERS:,} are the most: cut it")
    if not row.text.strip():
        raise DataError(file, line, "its text is empty: take the row away")
    if not row.label.strip():
        raise DataError(file, line, f"its label is empty: name one, or {OUT_OF_SCOPE}")
    return row


def _parted(rows: Sequence[Row], share: float, seed: int, source: str) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows for validation, each label in its share, at least one of each on both sides."""
    rng = seeded_rng(seed)
    by_label: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_label[row.label].append((rng.random(), number))
    few = sorted(label for label, drawn in by_label.items() if len(drawn) < 2)
    if few:
        raise DataError(
            source, 0, f"one row each of {named(few)}: two at least are needed, one to train on and one for validation"
        )
    chosen = {
        number
        for drawn in by_label.values()
        for _, number in sorted(drawn)[: min(len(drawn) - 1, max(1, round(share * len(drawn))))]
    }
    train = [row for number, row in enumerate(rows) if number not in chosen]
    return train, [row for number, row in enumerate(rows) if number in chosen]


def _check(rows: Rows, source: str) -> None:
    counts = Counter(row.label for row in rows.train)
    if len(counts) < 2:
        raise DataError(source, 0, f"{len(counts)} label to train on; there must be two at least")
    for name, split in (("validation", rows.validation), ("test", rows.test)):
        unseen = sorted({row.label for row in split} - {*counts, OUT_OF_SCOPE})
        if unseen:
            raise DataError(
                source,
                0,
                f"{name} has labels that no training row has: {named(unseen)}. Give each some rows to train on, "
                f"or call them {OUT_OF_SCOPE}",
            )


def named(labels: Sequence[str], most: int = 5) -> str:
    """The first of the labels, and how many more there are."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(repr, labels[:most])) + more
