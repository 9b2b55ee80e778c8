"""The journal in one SQLite file: the embedded default, for one machine and any number of its processes.

Write-ahead log, synchronous=FULL. One connection writes, in a thread of its own; another reads, in another; a third
looks whether anything changed, and serves the kill switches without a thread.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkstemp
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from plimsoll.core.calls import Ending
from plimsoll.core.canonical import canonical_json, parse_json
from plimsoll.core.errors import JournalCorrupt, JournalUnavailable, Misuse
from plimsoll.core.events import Record, decode_event
from plimsoll.journal.chain import admit, check_expected, follow
from plimsoll.journal.store import Halt, InboxEntry, InboxKind, RunHead, RunState

__all__ = ["SQLiteStore"]

_T = TypeVar("_T")

_APPLICATION_ID = 0x504C494D  # "PLIM", in the file's header
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE runs (
    key INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, owner TEXT NOT NULL,
    state TEXT NOT NULL, agent TEXT NOT NULL, seq INTEGER NOT NULL, digest BLOB NOT NULL, ending TEXT,
    reason TEXT NOT NULL, wake_at REAL, started_at REAL NOT NULL, updated_at REAL NOT NULL);
CREATE INDEX runs_by_state ON runs (state, started_at);
CREATE TABLE events (
    run INTEGER NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL,
    body BLOB NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (run, seq));
CREATE TABLE inbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE, run_id TEXT NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL, sender TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX inbox_by_run ON inbox (run_id, position);
CREATE TABLE halts (scope TEXT PRIMARY KEY, engaged_by TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
"""
_HEAD = "run_id, epoch, owner, state, agent, seq, digest, ending, reason, wake_at, started_at, updated_at"
_MAX_CACHED_HEADS = 10_000


class SQLiteStore:
    """A `Store` in one SQLite file. Made by `open`.

    The file must lie on a local disk. An owner is alive as long as a process holds the lock on its file in
    `<path>.owners`; the operating system drops that lock however the process ends.
    """

    inline = False

    def __init__(self, path: Path, *, owner: str | None, busy_timeout_s: float) -> None:
        self._path = path
        self._closed = False
        self._halts: Mapping[str, Halt] = MappingProxyType({})
        self._halts_version = -1
        self._heads: dict[str, tuple[int, RunHead]] = {}  # the writer's: run key and head, as of `_heads_version`
        self._heads_version = -1
        self._owners = _Owners(path.with_name(path.name + ".owners"))
        self._connections: list[sqlite3.Connection] = []
        try:
            self._writer = self._connect(busy_timeout_s)
            _prepare(self._writer, path)
            self._inode = _inode(path)
            self._reader = self._connect(busy_timeout_s)
            self._watch = self._connect(min(busy_timeout_s, 0.1))  # asked on the event loop
            self._owners.sweep()
            if owner is not None:
                self._owners.hold(owner)
        except BaseException:
            self._release()
            raise
        self._writing = ThreadPoolExecutor(1, "plimsoll-journal-write")
        self._reading = ThreadPoolExecutor(1, "plimsoll-journal-read")

    @classmethod
    def open(cls, path: str | Path, *, owner: str | None = None, busy_timeout_s: float = 5.0) -> "SQLiteStore":
        """Opens the journal at `path`; makes it, and the folders above it, where there is none.

        `owner` is under whose name this process will claim runs: another process may not have the same. None for one
        that only looks, or names itself at its first claim. `busy_timeout_s` is how long to wait for another process
        that is writing.

        Raises `Misuse` for a path that is a folder, another program's database, a journal of a newer Plimsoll, or an
        owner that runs already; `JournalCorrupt` for a damaged file; `JournalUnavailable` when it is locked, read-only
        or out of reach. What is there is never changed then.
        """
        path = Path(path).absolute()
        with _translated(path):
            _create(path)
            return cls(path, owner=owner, busy_timeout_s=busy_timeout_s)

    def _connect(self, busy_timeout_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, busy_timeout_s, isolation_level=None, check_same_thread=False)
        self._connections.append(connection)
        return connection

    # ------------------------------------------------------------------------------------------------ runs and records

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        return await self._run(self._writing, lambda: self._append(records))

    def _append(self, records: Sequence[Record]) -> frozenset[str]:
        by_run: dict[str, list[Record]] = {}
        for record in records:
            by_run.setdefault(record.run_id, []).append(record)
        refused = []
        events: list[tuple[Any, ...]] = []
        places: list[tuple[Any, ...]] = []
        with self._transaction():
            for run_id, group in by_run.items():
                key, head = self._cached_head(run_id)
                fresh = None if head is None else admit(head, group, known=partial(self._digest, key))
                if head is None or fresh is None:
                    refused.append(run_id)
                elif fresh:
                    events += [(key, r.seq, r.epoch, r.at, r.body, r.digest) for r in fresh]
                    head = follow(old := head, fresh)
                    places.append((head.seq, head.digest, head.updated_at, key))
                    if (head.state, head.started_at) != (old.state, old.started_at):
                        self._restate(key, head)
                    self._remember(key, head)
            self._writer.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", events)
            self._writer.executemany("UPDATE runs SET seq = ?, digest = ?, updated_at = ? WHERE key = ?", places)
        return frozenset(refused)

    def _cached_head(self, run_id: str) -> tuple[int, RunHead | None]:
        if run_id in self._heads:
            return self._heads[run_id]
        row = self._writer.execute(f"SELECT {_HEAD}, key FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return (0, None) if row is None else (row[-1], _head(row))

    def _digest(self, key: int, seq: int) -> bytes | None:
        row = self._writer.execute("SELECT digest FROM events WHERE run = ? AND seq = ?", (key, seq)).fetchone()
        return None if row is None else row[0]

    def _restate(self, key: int, head: RunHead) -> None:
        self._writer.execute(
            "UPDATE runs SET state = ?, agent = ?, ending = ?, reason = ?, wake_at = ?, started_at = ? WHERE key = ?",
            (head.state, head.agent, head.ending, head.reason, head.wake_at, head.started_at, key),
        )

    def _remember(self, key: int, head: RunHead) -> None:
        if len(self._heads) >= _MAX_CACHED_HEADS:
            self._heads.clear()
        self._heads[head.run_id] = (key, head)

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        return await self._run(self._writing, lambda: self._claim(run_id, owner, at, expected))

    def _claim(self, run_id: str, owner: str, at: float, expected: int | None) -> RunHead:
        self._owners.hold(owner)
        new = RunHead(run_id=run_id, epoch=1, owner=owner)
        values = (run_id, 1, owner, new.state, "", 0, new.digest, None, "", None, at, at)
        with self._transaction():
            held = self._writer.execute("SELECT epoch FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            check_expected(run_id, expected, 0 if held is None else held[0])
            row = self._writer.execute(
                f"INSERT INTO runs ({_HEAD}) VALUES ({', '.join('?' * len(values))}) ON CONFLICT (run_id) DO UPDATE"
                " SET epoch = epoch + 1, owner = excluded.owner, updated_at = excluded.updated_at"
                f" RETURNING {_HEAD}, key",
                values,
            ).fetchone()
            head = _head(row)
            self._remember(row[-1], head)
        return head

    async def read(self, run_id: str, *, after: int = 0) -> list[Record]:
        return await self._run(self._reading, lambda: self._read(run_id, after))

    def _read(self, run_id: str, after: int) -> list[Record]:
        records: list[Record] = []
        sql = (
            "SELECT e.seq, e.epoch, e.at, body, e.digest FROM runs JOIN events e ON run = key"
            " WHERE run_id = ? AND e.seq > ? ORDER BY e.seq"
        )
        try:
            for row in self._reader.execute(sql, (run_id, after)):
                records.append(_record(run_id, after + len(records) + 1, row))
        except sqlite3.DatabaseError as error:
            if _code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            raise JournalCorrupt(run_id, after + len(records) + 1, f"{self._path}: {error}. {_RESTORE}") from error
        return records

    async def head(self, run_id: str) -> RunHead | None:
        rows = await self._rows(f"SELECT {_HEAD} FROM runs WHERE run_id = ?", (run_id,))
        return _head(rows[0]) if rows else None

    async def heads(self, *, state: RunState | None = None, limit: int | None = None) -> list[RunHead]:
        where, values = ("", ()) if state is None else ("WHERE state = ?", (state.value,))
        newest = f"SELECT {_HEAD} FROM runs {where} ORDER BY started_at DESC, key DESC LIMIT ?"
        return [_head(row) for row in await self._rows(newest, (*values, -1 if limit is None else limit))]

    def owner_alive(self, owner: str) -> bool:
        with _translated(self._path):
            return self._owners.alive(owner)

    # -------------------------------------------------------------------------------------------- inbox, kill switches

    async def post(self, entry: InboxEntry) -> bool:
        body = canonical_json(entry.body)
        values = (entry.request_id, entry.run_id, entry.kind.value, body, entry.by, entry.at)
        added = await self._change(
            "INSERT INTO inbox (request_id, run_id, kind, body, sender, at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (request_id) DO NOTHING",
            values,
        )
        return added == 1

    async def inbox(self, run_id: str, *, after: int = 0) -> list[InboxEntry]:
        rows = await self._rows(
            "SELECT request_id, run_id, kind, body, sender, at, position FROM inbox"
            " WHERE run_id = ? AND position > ? ORDER BY position",
            (run_id, after),
        )
        return [
            InboxEntry(
                request_id=row[0], run_id=row[1], kind=InboxKind(row[2]), body=parse_json(row[3]), by=row[4], at=row[5],
                position=row[6],
            )
            for row in rows
        ]  # fmt: skip

    async def engage(self, halt: Halt) -> None:
        values = (halt.scope, halt.by, halt.reason, halt.at)
        await self._change("INSERT OR REPLACE INTO halts VALUES (?, ?, ?, ?)", values)

    async def release(self, scope: str) -> bool:
        return await self._change("DELETE FROM halts WHERE scope = ?", (scope,)) == 1

    def halts(self) -> Mapping[str, Halt]:
        if self._closed:
            raise JournalUnavailable(_CLOSED)
        with _translated(self._path):
            # The version counts what every other connection changed, our own writer's among them.
            (version,) = self._watch.execute("PRAGMA data_version").fetchone()
            if version != self._halts_version:
                rows = self._watch.execute("SELECT scope, engaged_by, reason, at FROM halts").fetchall()
                halts = {row[0]: Halt(scope=row[0], by=row[1], reason=row[2], at=row[3]) for row in rows}
                self._halts, self._halts_version = MappingProxyType(halts), version
        return self._halts

    # ------------------------------------------------------------------------------------------------------ connections

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        for pool, connection in ((self._reading, self._reader), (self._writing, self._writer)):
            await loop.run_in_executor(pool, connection.close)
            pool.shutdown(wait=False)
        self._release()

    def _release(self) -> None:
        for connection in self._connections:
            connection.close()
        self._owners.release()

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        if self._closed:
            raise JournalUnavailable(_CLOSED)

        def translated() -> _T:
            with _translated(self._path):
                return work()

        return await asyncio.get_running_loop().run_in_executor(pool, translated)

    async def _rows(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return await self._run(self._reading, lambda: self._reader.execute(sql, values).fetchall())

    async def _change(self, sql: str, values: tuple[Any, ...]) -> int:
        """Executes one statement durably, and says how many rows it changed."""

        def change() -> int:
            with self._transaction():
                return self._writer.execute(sql, values).rowcount

        return await self._run(self._writing, change)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if _inode(self._path) != self._inode:
            raise JournalUnavailable(f"{self._path} was moved, replaced or deleted while it was open; put it back")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._writer.execute("PRAGMA data_version").fetchone()
            if version != self._heads_version:  # another process wrote
                self._heads.clear()
                self._heads_version = version
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            self._heads.clear()
            if self._writer.in_transaction:
                with suppress(sqlite3.Error):  # the first error is the one to tell
                    self._writer.execute("ROLLBACK")
            raise


class _Owners:
    """The locks by which processes on one machine know of one another whether they live: a file per owner."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def hold(self, owner: str) -> None:
        if owner in self._held:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = self._lock(self._file(owner), attempts=100)
        if descriptor is None:
            raise Misuse(f"another process runs as owner {owner!r}; each needs an owner name of its own")
        self._held[owner] = descriptor

    def alive(self, owner: str) -> bool:
        return owner in self._held or self._taken(self._file(owner))

    def sweep(self) -> None:
        """Removes the files of the dead."""
        for file in self._folder.glob("*.lock"):
            self._taken(file)

    def release(self) -> None:
        while self._held:
            owner, descriptor = self._held.popitem()
            self._file(owner).unlink(missing_ok=True)
            os.close(descriptor)

    def _file(self, owner: str) -> Path:
        name = quote(owner, safe="")
        if not 0 < len(name) <= 200:
            raise Misuse(f"an owner's name has 1 to 200 characters, not {owner!r}")
        return self._folder / f"{name}.lock"

    def _taken(self, file: Path) -> bool:
        """Whether somebody holds the file's lock. Removes the file if nobody does."""
        try:
            descriptor = self._lock(file, create=False)
        except FileNotFoundError:
            return False
        if descriptor is None:
            return True
        file.unlink(missing_ok=True)
        os.close(descriptor)
        return False

    def _lock(self, file: Path, *, create: bool = True, attempts: int = 1) -> int | None:
        """A descriptor that holds the file's lock. More than one attempt outlasts those who but look, or tidy up."""
        for _ in range(attempts):
            descriptor = os.open(file, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(descriptor)
                if _inode(file) == (status.st_dev, status.st_ino):
                    return descriptor
            except BlockingIOError:
                pass
            os.close(descriptor)
        return None


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _create(path: Path) -> None:
    """Makes an empty journal where nothing is yet: ready to use as soon as it can be seen, whoever else tries too."""
    if path.is_dir():
        raise Misuse(f"{path} is a folder; the journal is a file, such as {path / 'journal.db'}")
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = mkstemp(prefix=f"{path.name}.new-", dir=path.parent)  # for its owner only: mode 0600
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as connection:
            _prepare(connection, Path(name))
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Checks that the file is ours, before anything in it is changed; makes the tables where there are none."""
    connection.execute("BEGIN")
    _is_new(connection, path)
    connection.execute("COMMIT")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalUnavailable(f"{path} is no place for a write-ahead log (a network drive?); use a local disk")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's own cache; elsewhere nothing
    connection.execute("BEGIN IMMEDIATE")  # shows a read-only or locked file at once
    if _is_new(connection, path):
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION_ID:
        raise Misuse(f"{path} is another program's database; name another file. Nothing was changed")
    if version > _SCHEMA_VERSION:
        raise Misuse(
            f"{path} was written by a newer Plimsoll (its format is {version}, this one knows {_SCHEMA_VERSION}):"
            " upgrade plimsoll-ai. Nothing was changed"
        )
    return not tables


def _head(row: Sequence[Any]) -> RunHead:
    run_id, epoch, owner, state, agent, seq, digest, ending, reason, wake_at, started_at, updated_at = row[:12]
    try:
        return RunHead(
            run_id=run_id, epoch=epoch, owner=owner, state=RunState(state), agent=agent, seq=seq, digest=digest,
            ending=None if ending is None else Ending(ending), reason=reason, wake_at=wake_at, started_at=started_at,
            updated_at=updated_at,
        )  # fmt: skip
    except ValueError as error:
        raise JournalCorrupt(run_id, seq, f"its head cannot be read: {error}. {_RESTORE}") from error


def _record(run_id: str, seq: int, row: tuple[Any, ...]) -> Record:
    number, epoch, at, body, digest = row
    if number != seq:
        raise JournalCorrupt(run_id, seq, f"it is missing, {number} is the next. {_RESTORE}")
    try:
        decode_event(body)
    except (msgspec.DecodeError, TypeError) as error:
        raise JournalCorrupt(run_id, seq, f"it cannot be read: {error}. {_RESTORE}") from error
    return Record(run_id=run_id, seq=seq, epoch=epoch, at=at, body=body, digest=digest)


_CLOSED = "it was closed; open it again"
_RESTORE = "Keep the file as it is, and restore a backup"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT}
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it locked: end that, or wait",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this user",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_CANTOPEN: "make the file and its folder readable and writable for this user",
}


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raises our errors for SQLite's and the file system's."""
    try:
        yield
    except sqlite3.Error as error:
        code = _code(error)
        if code in _DAMAGED:
            raise JournalCorrupt("*", 0, f"{path}: {error}. {_RESTORE}") from error
        advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
        raise JournalUnavailable(f"{path}: {error}{advice}") from error
    except OSError as error:
        raise JournalUnavailable(f"{error.filename or path}: {error.strerror}") from error
