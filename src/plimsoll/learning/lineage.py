"""Lineage: from which runs a model's rows came, carried from the rows' file into the model's directory.

Rows out of a journal leave `FILE.lineage.json` beside them. A fit that reads the file copies what stands there into the
model's directory, where the manifest names its digest. Nothing of what people wrote is in it: run ids alone. They may
be names of one's own making, so each copy is for one person alone.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from plimsoll.core.errors import Misuse
from plimsoll.learning.errors import DataError, WeightsError

__all__ = [
    "FILE",
    "JournalLineage",
    "Lineage",
    "Source",
    "lineage_file",
    "read_lineage",
    "source_of",
    "write_lineage",
    "write_private",
    "write_sources",
]

FILE = "lineage.json"
FORMAT = 1


class JournalLineage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a file of rows comes from.

    `journal` is the digest of the first record of the journal's first run: it stays when the journal is moved; `name`
    is its file's name. `runs` are the ids of the runs that gave rows, the earliest first, each once; of `agent` alone,
    or (None) of all agents. `rows_digest` is SHA-256 of the file. `left_out` completed runs gave none.
    """

    journal: str
    name: str
    agent: str | None
    runs: tuple[str, ...]
    rows: int
    left_out: int
    rows_digest: str
    format: int = FORMAT


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that rows were read from: its name, its SHA-256, and the journal that gave it (None: none did)."""

    file: str
    digest: str
    lineage: JournalLineage | None = None

    @property
    def altered(self) -> bool:
        """Whether somebody changed the rows after the journal gave them: labels put right, texts left out or added."""
        return self.lineage is not None and self.lineage.rows_digest != self.digest


class Lineage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the rows of a model come from. `data_digest` is that of the manifest."""

    data_digest: str
    sources: tuple[Source, ...]
    format: int = FORMAT

    @property
    def runs(self) -> tuple[str, ...]:
        """Every run that gave a row, once."""
        told = (source.lineage.runs for source in self.sources if source.lineage is not None)
        return tuple(dict.fromkeys(run for runs in told for run in runs))


def lineage_file(rows: Path) -> Path:
    """Where the lineage of a file of rows stands: beside it."""
    return rows.with_name(f"{rows.name}.{FILE}")


def write_lineage(rows: Path, lineage: JournalLineage) -> Path:
    """Writes the lineage of the file `rows`, for one person alone, and says where. Raises `Misuse`.

    It goes before the rows: rows of a journal that say that they have none are worse than a lineage without rows.
    """
    file = lineage_file(rows)
    _replace_private(file, lineage)
    return file


def source_of(file: Path, content: bytes) -> Source:
    """What is known of a file of rows that holds `content`. Raises `DataError` for a lineage that cannot be read."""
    digest = hashlib.sha256(content).hexdigest()
    beside = lineage_file(file)
    try:
        lineage = msgspec.json.decode(beside.read_bytes(), type=JournalLineage)
    except FileNotFoundError:
        return Source(file=file.name, digest=digest)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(str(beside), 0, f"this lineage cannot be read: {error}. Write the rows anew") from error
    if lineage.format != FORMAT:
        raise DataError(str(beside), 0, f"its format is {lineage.format}; this version reads {FORMAT}")
    return Source(file=file.name, digest=digest, lineage=lineage)


def write_sources(directory: Path, data_digest: str, sources: Sequence[Source]) -> None:
    """Writes `lineage.json` into a model's directory, before its manifest is made. No sources: there is none."""
    if sources:
        _replace_private(directory / FILE, Lineage(data_digest=data_digest, sources=tuple(sources)))


def read_lineage(directory: Path, *, data_digest: str) -> Lineage | None:
    """Where the rows of the model in `directory` come from. None: they were handed over in Python, without a file.

    Raises `WeightsError` where it is of other rows than `data_digest`, or cannot be read.
    """
    try:
        lineage = msgspec.json.decode((directory / FILE).read_bytes(), type=Lineage)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsError(str(directory), f"its {FILE} cannot be read: {error}") from error
    if lineage.format != FORMAT:
        raise WeightsError(str(directory), f"its {FILE} has format {lineage.format}; this version reads {FORMAT}")
    if lineage.data_digest != data_digest:
        raise WeightsError(str(directory), f"its {FILE} is of other rows than its manifest: copy the directory anew")
    return lineage


def _replace_private(file: Path, lineage: JournalLineage | Lineage) -> None:
    scratch = file.with_name(f"{file.name}.new")
    scratch.unlink(missing_ok=True)
    write_private(scratch, msgspec.json.format(msgspec.json.encode(lineage), indent=2) + b"\n")
    scratch.replace(file)


def write_private(file: Path, content: bytes) -> None:
    """Makes a file that its owner alone can read. What is there already stays. Raises `Misuse`."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misuse(f"{file} is there already: name another file") from None
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
