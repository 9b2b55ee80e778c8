"""A journal's file as other programs and other processes meet it."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from plimsoll.core.errors import JournalUnavailable
from plimsoll.journal import Halt, InboxEntry, InboxKind, RunHead, SQLiteStore, verify_chain
from tests.journal.helpers import STARTED, chain, value


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program at the same file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def filled(path: Path, events: int = 3, text: str = "x") -> None:
    store = SQLiteStore.open(path, owner="one")
    head = await store.claim("r", owner="one", at=1.0)
    await store.append(chain(head, STARTED, *(value(f"{text}{i}") for i in range(events - 1))))
    await store.close()


async def read(path: Path, run_id: str = "r") -> int:
    store = SQLiteStore.open(path)
    try:
        records = await store.read(run_id)
        verify_chain(records, head=await store.head(run_id))
        return len(records)
    finally:
        await store.close()


def halt(scope: str) -> Halt:
    return Halt(scope=scope, by="ann", reason="enough", at=1.0)


async def refuses(store: SQLiteStore, head: RunHead, match: str) -> None:
    """Nothing can be written now, and each attempt says why."""
    message = InboxEntry(request_id="q", run_id="r", kind=InboxKind.DOUBT, body=1, by="ann", at=1.0)
    for attempt in (
        store.append(chain(head, STARTED)),
        store.claim("r", owner="one", at=2.0),
        store.post(message),
        store.engage(halt("r")),
        store.release("*"),
    ):
        with pytest.raises(JournalUnavailable, match=match):
            await attempt


async def nothing_was_lost(store: SQLiteStore, head: RunHead) -> None:
    assert await store.head("r") == head
    assert dict(store.outside().halts) == {"*": halt("*")}
    assert await store.inbox("r") == []
    records = chain(head, STARTED)
    assert await store.append(records) == frozenset()
    assert await store.read("r") == records
    await store.close()


async def in_use(path: Path) -> tuple[SQLiteStore, RunHead]:
    store = SQLiteStore.open(path, owner="one", busy_timeout_s=0.01)
    await store.engage(halt("*"))
    return store, await store.claim("r", owner="one", at=1.0)


def process(code: str, *arguments: object, unprivileged: bool = False) -> "subprocess.Popen[str]":
    """A process of its own that runs `code`. `unprivileged` lets it be stopped by the modes of files, even for root."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    if unprivileged and os.geteuid() == 0:
        without = "-dac_override,-dac_read_search"
        command = ["setpriv", "--bounding-set", without, "--inh-caps", without, *command]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
