from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from plimsoll.journal import MemoryStore, SQLiteStore
from plimsoll.journal.evidence import EvidenceStore
from plimsoll.journal.keys import KeyRing


class OpenStore(Protocol):
    """Opens the test's storage for an owner: each owner stands for a process."""

    def __call__(self, owner: str, *, keys: KeyRing | None = None) -> EvidenceStore: ...


def in_memory(tmp_path: Path) -> OpenStore:
    shared = MemoryStore()

    def open_for(owner: str, *, keys: KeyRing | None = None) -> EvidenceStore:
        shared.keys = keys
        return shared

    return open_for


def in_sqlite(tmp_path: Path) -> OpenStore:
    def open_for(owner: str, *, keys: KeyRing | None = None) -> EvidenceStore:
        return SQLiteStore.open(tmp_path / "journal.db", owner=owner, keys=keys)

    return open_for


STORES: dict[str, Callable[[Path], OpenStore]] = {"memory": in_memory, "sqlite": in_sqlite}


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    return STORES[request.param](tmp_path)
