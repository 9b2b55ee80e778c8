"""Surroundings on this machine: a SQLite journal, real clocks, alerts to the log."""

from collections.abc import Sequence
from pathlib import Path

from plimsoll.contract.model import Contract
from plimsoll.core.ids import RandomIds
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.observability.findings import AlertSink, LogSink
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["local"]


def local(
    contract: Contract,
    *,
    directory: str | Path = ".",
    path: str | Path | None = None,
    owner: str | None = None,
    sinks: Sequence[AlertSink] = (LogSink(),),
) -> Surroundings:
    """Opens the journal that the contract names, relative to `directory` (where the contract's file lies), or `path`.

    `owner` names this process in the journal; None makes a fresh name. The store is the caller's to close. Raises
    `JournalUnavailable` or `JournalCorrupt` when the file cannot be used, and then leaves it as it is.
    """
    ids = RandomIds()
    name = owner or ids.new("owner")
    file = Path(path) if path is not None else Path(directory) / contract.journal.path
    return Surroundings(store=SQLiteStore.open(file, owner=name), owner=name, ids=ids, sinks=sinks)
