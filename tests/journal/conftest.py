from pathlib import Path
from typing import Protocol

import pytest

from plimsoll.journal import MemoryStore, SQLiteStore, Store


class OpenStore(Protocol):
    """Opens the test's storage for an owner: each owner stands for a process."""

    def __call__(self, owner: str) -> Store: ...


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    if request.param == "memory":
        shared = MemoryStore()
        return lambda owner: shared
    return lambda owner: SQLiteStore.open(tmp_path / "journal.db", owner=owner)
