"""A fit on a journal: its rows become a file first, and a fit that is said again goes on from that file."""

from dataclasses import dataclass
from pathlib import Path

from plimsoll.cli.journal_access import CONTRACT, journal_file, look_store, with_store
from plimsoll.cli.learn.rows import written
from plimsoll.core.errors import Misuse
from plimsoll.learning.journals import journal_identity
from plimsoll.learning.lineage import source_of

__all__ = ["RowsFile", "journal_at", "rows_file"]

_SQLITE = b"SQLite format 3\0"
_SPLITS = ("train.jsonl", "train.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsFile:
    """The rows of a journal: where they stand, and whether an earlier fit wrote them."""

    path: Path
    earlier: bool


def journal_at(data: Path) -> tuple[Path, Path | None] | None:
    """The contract, and the journal where it is not the contract's, that `data` names. None: it names rows.

    A journal is named by its file, by a contract, or by a directory with a `plimsoll.toml` and without rows.
    """
    if data.is_dir():
        return (data / CONTRACT, None) if _is_project(data) else None
    if data.suffix == ".toml":
        return data, None
    try:
        with data.open("rb") as file:
            return (CONTRACT, data) if file.read(len(_SQLITE)) == _SQLITE else None
    except OSError:
        return None  # what reads rows says what is wrong with it


def rows_file(contract_path: Path, journal: Path | None, *, agent: str | None, out: Path) -> RowsFile:
    """The journal's rows as a file beside `out`: the one that is there, or a new one. Raises `Misuse`.

    The one that is there must be of the same journal and agent; what was put right in it by hand stays.
    """
    if out.exists():
        raise Misuse(f"{out} is there already, and a model must not be lost: name another directory")
    file = out.with_name(f"{out.name}.rows.jsonl")
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            written(contract_path, journal, agent=agent, out=file)
            return RowsFile(path=file, earlier=False)
        lineage = source_of(file, file.read_bytes()).lineage
    except OSError as error:
        raise Misuse(f"{file} cannot be read or written: {error.strerror}") from error
    identity = with_store(look_store(contract_path, journal), journal_identity)
    if lineage is None or (lineage.journal, lineage.agent) != (identity, agent):
        raise Misuse(
            f"{file} is there already, and is not of {journal_file(contract_path, journal)}"
            f"{'' if agent is None else f' and {agent}'}: fit from it by --data {file}, or take it away"
        )
    return RowsFile(path=file, earlier=True)


def _is_project(directory: Path) -> bool:
    return (directory / CONTRACT).is_file() and not any((directory / name).exists() for name in _SPLITS)
