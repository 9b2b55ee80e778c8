"""The SQLite store: how the journal's tables are written and read.

Write-ahead log, synchronous=FULL. One connection writes, in a thread of its own; another reads, in another; a third
looks whether anything changed, and serves the kill switches without a thread.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, TypeVar

from msgspec.structs import astuple, replace

from plimsoll.core.errors import JournalCorrupt, JournalUnavailable, Misuse, RunErased
from plimsoll.core.events import GENESIS, Record
from plimsoll.journal.chain import check_expected
from plimsoll.journal.checkpoints import Checkpoint, Leaf, MakeCheckpoint
from plimsoll.journal.codec import Encode, RunKey, Unreadable, encoder
from plimsoll.journal.evidence import NO_RING, Damage, Erased
from plimsoll.journal.keys import KeyRing, RunReader, WrappedKey, open_key
from plimsoll.journal.messages import Message, opened_message, stored_id, stored_message
from plimsoll.journal.spending import Drawn, Most, Spend
from plimsoll.journal.sqlite import evidence, spending
from plimsoll.journal.sqlite.appending import Appender
from plimsoll.journal.sqlite.bell import Bell
from plimsoll.journal.sqlite.commits import GroupCommit
from plimsoll.journal.sqlite.damages import damages
from plimsoll.journal.sqlite.errors import RESTORE, is_corruption, translated
from plimsoll.journal.sqlite.inbox import message_with, messages_to, post
from plimsoll.journal.sqlite.opening import COPY, check, copied_if_older, create, prepare, to_be_read
from plimsoll.journal.sqlite.owners import OwnerLocks, inode
from plimsoll.journal.sqlite.rows import ASKING, HEAD, due_conditions, head_of, record_of, row_of
from plimsoll.journal.store import Halt, InboxEntry, Outside, RunHead, RunState
from plimsoll.journal.trail import Act, ActKind

__all__ = ["SQLiteStore"]

_T = TypeVar("_T")

_CLOSED = "it was closed; open it again"
_MAX_CACHED = 10_000


class SQLiteStore:
    """A `Store` in one SQLite file. Made by `open`.

    The file must lie on a local disk. An owner is alive as long as a process holds the lock on its file in
    `<path>.owners`; the operating system drops that lock however the process ends.
    """

    inline = False

    def __init__(
        self,
        path: Path,
        *,
        owner: str | None = None,
        keys: KeyRing | None = None,
        busy_timeout_s: float,
        only_look: bool = False,
    ) -> None:
        self._path = path
        self._file: Path | str = to_be_read(path) if only_look else path
        self._copy: TemporaryDirectory[str] | None = None
        self._ring = keys
        self._run_keys: dict[str, RunKey | None] = {}  # of the runs that were claimed here last
        self._closed = False
        self._outside = Outside(halts=MappingProxyType({}), posted=0)
        self._looked_version = -1
        self._heads_version = -1  # of what the appender remembers
        self._owners = OwnerLocks(path)
        self._bell: Bell | None = None
        self._to_ring = False
        self._connections: list[sqlite3.Connection] = []
        try:
            self._writer = self._connect(busy_timeout_s)
            (check if only_look else prepare)(self._writer, path)
            self._appender = Appender(self._writer, on_post=self._will_ring)
            self._inode = inode(path)
            self._reader = self._connect(busy_timeout_s)
            self._watch = self._connect(min(busy_timeout_s, 0.1))  # asked on the event loop
            if not only_look:
                with suppress(OSError):  # a full disk: without one, SQLite is asked each time
                    self._bell = Bell(path)
                self._owners.sweep()
            if owner is not None:
                self._owners.hold(owner)
        except BaseException:
            self._release()
            raise
        self._changes = GroupCommit(self._transaction, name="plimsoll-journal-write")
        self._reading = ThreadPoolExecutor(1, "plimsoll-journal-read")

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        owner: str | None = None,
        keys: KeyRing | None = None,
        busy_timeout_s: float = 5.0,
    ) -> "SQLiteStore":
        """Opens the journal at `path`; makes it, and the folders above it, where there is none.

        `owner` is under whose name this process will claim runs: another process may not have the same. None for one
        that only looks, or names itself at its first claim. `keys` opens encrypted runs and encrypts new ones; None
        does neither. `busy_timeout_s` is how long to wait for another process that is writing.

        Raises `Misuse` for a path that is a folder, another program's database, a journal of a newer Plimsoll, or an
        owner that runs already; `JournalCorrupt` for a damaged file; `JournalUnavailable` when it is locked, read-only
        or out of reach. What is there is never changed then.
        """
        path = Path(os.path.realpath(path))  # whoever opens a link meets those who open the file
        with translated(path):
            create(path)
            return cls(path, owner=owner, keys=keys, busy_timeout_s=busy_timeout_s)

    @classmethod
    def look(cls, path: str | Path, *, keys: KeyRing | None = None, busy_timeout_s: float = 5.0) -> "SQLiteStore":
        """Opens the journal at `path` for reading alone: neither it nor its log is changed, whatever is asked of it.

        One of an earlier format is copied, and the copy brought up to date; it is gone when the store is closed. Raises
        as `open` does, and `JournalUnavailable` where there is no journal.
        """
        path = Path(os.path.realpath(path))
        with translated(path):
            copy = copied_if_older(path)
            if copy is None:
                return cls(path, keys=keys, busy_timeout_s=busy_timeout_s, only_look=True)
            try:
                store = cls(Path(copy.name) / COPY, keys=keys, busy_timeout_s=busy_timeout_s)
            except BaseException:
                copy.cleanup()
                raise
            store._path, store._copy = path, copy
            return store

    def _connect(self, busy_timeout_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, busy_timeout_s, isolation_level=None, check_same_thread=False, uri=isinstance(self._file, str)
        )
        self._connections.append(connection)
        return connection

    # ------------------------------------------------------------------------------------------------ runs and records

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        return await self._make(lambda: self._appender.append(records))

    def _remember_key(self, run_id: str, key: RunKey | None) -> None:
        if len(self._run_keys) >= _MAX_CACHED:
            self._run_keys.clear()
        self._run_keys[run_id] = key

    async def begin(self, run_id: str, *, owner: str, at: float) -> RunHead:
        if self._closed:
            raise JournalUnavailable(_CLOSED)
        with translated(self._path):
            if not self._owners.holds(owner):
                await self._aside(lambda: self._owners.hold(owner))
            (held,) = self._watch.execute("SELECT max(epoch) FROM runs WHERE run_id = ?", (run_id,)).fetchone()
            (posted,) = self._watch.execute("SELECT max(position) FROM inbox WHERE run_id = ?", (run_id,)).fetchone()
        check_expected(run_id, 0, held or 0)
        made = self._ring.make(run_id) if self._ring is not None else None
        head = RunHead(run_id=run_id, epoch=1, owner=owner, started_at=at, updated_at=at, posted=posted or 0)
        self._appender.begin(head, made)
        self._remember_key(run_id, self._opened(run_id, made))
        return head

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        return await self._make(lambda: self._claim(run_id, owner, at, expected))

    def _claim(self, run_id: str, owner: str, at: float, expected: int | None) -> RunHead:
        self._owners.hold(owner)
        self._appender.settle(run_id)
        held = self._writer.execute("SELECT epoch, seq FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        check_expected(run_id, expected, 0 if held is None else held[0])
        wrapped = evidence.wrapped_key(self._writer, run_id)
        is_new = wrapped is None and (held is None or held[1] == 0)
        made = self._ring.make(run_id) if is_new and self._ring is not None else None
        run_key = self._opened(run_id, wrapped or made)
        sent = "SELECT coalesce(max(position), 0) FROM inbox WHERE run_id = ?"
        (posted,) = self._writer.execute(sent, (run_id,)).fetchone() if held is None else (0,)
        values = row_of(RunHead(run_id=run_id, epoch=1, owner=owner, started_at=at, updated_at=at, posted=posted))
        row = self._writer.execute(
            f"INSERT INTO runs ({HEAD}) VALUES ({', '.join('?' * len(values))}) ON CONFLICT (run_id) DO UPDATE"
            " SET epoch = epoch + 1, owner = excluded.owner, updated_at = excluded.updated_at"
            f" RETURNING {HEAD}, key",
            values,
        ).fetchone()
        head = head_of(row)
        if made is not None:
            evidence.put_key(self._writer, row[-1], made)
        self._appender.remember(row[-1], head)
        self._remember_key(run_id, run_key)
        return head

    def _opened(self, run_id: str, wrapped: WrappedKey | None) -> RunKey | None:
        return None if wrapped is None else open_key(run_id, wrapped, self._ring)

    def _key_of(self, run_id: str, connection: sqlite3.Connection) -> RunKey | None:
        return self._opened(run_id, evidence.wrapped_key(connection, run_id))

    def encoder(self, run_id: str) -> Encode:
        if run_id not in self._run_keys:
            with translated(self._path):
                wrapped = self._appender.key_of_begun(run_id) or evidence.wrapped_key(self._watch, run_id)
                self._remember_key(run_id, self._opened(run_id, wrapped))
        return encoder(self._run_keys[run_id])

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        return await self._look(lambda: self._read(run_id, after, limit))

    def _read(self, run_id: str, after: int, limit: int | None) -> list[Record]:
        records: list[Record] = []
        opened = RunReader(run_id, self._ring, lambda: self._key_to_read(run_id))
        sql = (
            "SELECT e.seq, e.epoch, e.at, body, e.digest FROM runs JOIN events e ON run = key"
            " WHERE run_id = ? AND e.seq > ? ORDER BY e.seq LIMIT ?"
        )
        try:
            for row in self._reader.execute(sql, (run_id, after, -1 if limit is None else limit)):
                records.append(record_of(run_id, after + len(records) + 1, row, opened=opened))
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            raise JournalCorrupt(run_id, after + len(records) + 1, f"{self._path}: {error}. {RESTORE}") from error
        return records

    def _key_to_read(self, run_id: str) -> WrappedKey | None:
        try:
            return evidence.wrapped_key(self._reader, run_id)
        except RunErased:
            return None

    async def head(self, run_id: str) -> RunHead | None:
        rows = await self._rows(f"SELECT {HEAD} FROM runs WHERE run_id = ?", (run_id,))
        return head_of(rows[0]) if rows else None

    async def heads(
        self, *, state: RunState | None = None, session: str | None = None, limit: int | None = None
    ) -> list[RunHead]:
        wanted = {"state = ?": state, "session = ? AND session <> ''": session}  # the latter as the index has it
        where = " AND ".join(["TRUE", *(term for term, value in wanted.items() if value is not None)])
        values = tuple(value for value in wanted.values() if value is not None)
        newest = f"SELECT {HEAD} FROM runs WHERE {where} ORDER BY started_at DESC, key DESC LIMIT ?"
        return [head_of(row) for row in await self._rows(newest, (*values, -1 if limit is None else limit))]

    async def asking(self) -> list[RunHead]:
        return [head_of(row) for row in await self._rows(f"SELECT {HEAD} FROM {ASKING}", ())]

    async def due(
        self, *, agent: str, fingerprint: str, owner: str, now: float, limit: int | None = None
    ) -> list[RunHead]:
        return await self._look(lambda: self._due(agent, fingerprint, owner, now, limit))

    def _due(self, agent: str, fingerprint: str, owner: str, now: float, limit: int | None) -> list[RunHead]:
        found: dict[str, RunHead] = {}
        lives = {owner: False}
        for condition, values in due_conditions(agent=agent, fingerprint=fingerprint, now=now):
            for row in self._reader.execute(f"SELECT {HEAD} FROM runs WHERE {condition}", values):
                if len(found) == limit:
                    return list(found.values())
                head = head_of(row)
                if head.state is RunState.RUNNING and head.owner not in lives:
                    lives[head.owner] = self._owners.alive(head.owner)
                if head.state is RunState.PARKED or not lives[head.owner]:
                    found[head.run_id] = head
        return list(found.values())

    def owner_alive(self, owner: str) -> bool:
        with translated(self._path):
            return self._owners.alive(owner)

    def report(self, owner: str, body: bytes) -> None:
        if self._owners.holds(owner):
            with translated(self._path):
                self._owners.report(owner, body)

    def reports(self) -> Mapping[str, bytes]:
        with translated(self._path):
            return self._owners.reports()

    # -------------------------------------------------------------------------------------------- inbox, kill switches

    async def post(self, entry: InboxEntry, *, among: str | None = None) -> bool:
        def posted() -> bool:
            message = stored_message(entry, self._key_of(entry.run_id, self._writer))
            if among is not None:
                with suppress(RunErased):
                    its_id = stored_id(entry.request_id, among, self._key_of(among, self._writer))
                    message = replace(message, request_id=its_id)
            self._will_ring()
            return post(self._writer, message)

        return await self._make(posted)

    async def posted(self, request_id: str, *, among: str) -> InboxEntry | None:
        return await self._look(lambda: self._posted(request_id, among))

    def _posted(self, request_id: str, among: str) -> InboxEntry | None:
        try:
            its_id = stored_id(request_id, among, self._key_of(among, self._reader))
        except RunErased:
            return None
        found = self._opened_messages(message_with(self._reader, its_id))
        return found[0] if found else None

    async def inbox(self, run_id: str, *, after: int = 0) -> list[InboxEntry]:
        return await self._look(lambda: self._inbox(run_id, after))

    def _inbox(self, run_id: str, after: int) -> list[InboxEntry]:
        return self._opened_messages(messages_to(self._reader, run_id, after=after))

    def _opened_messages(self, messages: Sequence[tuple[int, Message]]) -> list[InboxEntry]:
        """Messages to one run; of an erased one, none."""
        run_id = messages[0][1].run_id if messages else ""
        try:
            key = self._key_of(run_id, self._reader) if messages else None
            return [opened_message(message, position, key) for position, message in messages]
        except RunErased:
            return []
        except Unreadable as error:
            raise JournalCorrupt(run_id, 0, f"a message to it cannot be read: {error}. {RESTORE}") from error

    async def engage(self, halt: Halt) -> None:
        def engage() -> None:
            self._will_ring()
            self._writer.execute("INSERT OR REPLACE INTO halts VALUES (?, ?, ?, ?)", astuple(halt))
            evidence.note(self._writer, ActKind.ENGAGED, halt.scope, by=halt.by, reason=halt.reason, at=halt.at)

        await self._make(engage)

    async def release(self, scope: str, *, by: str = "", at: float = 0.0) -> bool:
        def release() -> bool:
            self._will_ring()
            engaged = self._writer.execute("DELETE FROM halts WHERE scope = ?", (scope,)).rowcount == 1
            if engaged:
                evidence.note(self._writer, ActKind.RELEASED, scope, by=by, reason="", at=at)
            return engaged

        return await self._make(release)

    def outside(self) -> Outside:
        if self._closed:
            raise JournalUnavailable(_CLOSED)
        sound = None if self._bell is None else self._bell.sound()
        if sound is None and self._bell is not None:
            return self._outside
        try:
            # The version counts what every other connection changed, our own writer's among them.
            (version,) = self._watch.execute("PRAGMA data_version").fetchone()
            if version != self._looked_version:
                rows = self._watch.execute("SELECT scope, engaged_by, reason, at FROM halts").fetchall()
                halts = {row[0]: Halt(scope=row[0], by=row[1], reason=row[2], at=row[3]) for row in rows}
                (posted,) = self._watch.execute("SELECT coalesce(max(position), 0) FROM inbox").fetchone()
                if posted != self._outside.posted or halts != self._outside.halts:
                    self._outside = Outside(halts=MappingProxyType(halts), posted=posted)
                self._looked_version = version
        except sqlite3.Error:
            with translated(self._path):
                raise
        if self._bell is not None and sound is not None:
            self._bell.heard(sound)
        return self._outside

    # ------------------------------------------------------------------------------------------------ limits of a day

    async def draw(
        self, account: str, day: int, *, owner: str, need: Spend, most: Most, may_pass: bool = False
    ) -> Drawn:
        return await self._make(lambda: spending.draw(self._writer, account, day, owner, need, most, may_pass))

    async def put_back(self, account: str, day: int, *, owner: str, unused: Spend) -> None:
        await self._make(lambda: spending.put_back(self._writer, account, day, owner, unused))

    async def drawn(self, account: str, day: int) -> Spend:
        return await self._look(lambda: spending.drawn(self._reader, account, day))

    # -------------------------------------------------------------------------------------------------------- evidence

    async def erase(self, run_id: str, *, by: str, reason: str, at: float) -> Erased:
        def erase() -> Act:
            self._appender.forget(run_id)
            self._run_keys.pop(run_id, None)
            return evidence.erase(self._writer, run_id, by=by, reason=reason, at=at)

        act = await self._make(erase)
        return Erased(act=act, wiped=await self._wipe())

    async def rewrap(self, *, by: str, at: float) -> int:
        ring = self._ring
        if ring is None:
            raise Misuse(NO_RING)
        changed = 0
        while some := await self._make(lambda: evidence.rewrap(self._writer, ring)):
            changed += some
        why = f"{changed} run keys"
        await self._make(lambda: evidence.note(self._writer, ActKind.REKEYED, ring.first, by=by, reason=why, at=at))
        await self._wipe()
        return changed

    async def _wipe(self) -> bool:
        """Empties the write-ahead log, where what was overwritten still stands. False while somebody is reading it."""
        sql = "PRAGMA wal_checkpoint(TRUNCATE)"
        (busy, *_) = await self._aside(lambda: self._writer.execute(sql).fetchone())
        return not busy

    async def acts(self) -> list[Act]:
        return await self._look(lambda: evidence.all_acts(self._reader))

    async def checkpoint(self, make: MakeCheckpoint) -> Checkpoint | None:
        return await self._make(lambda: evidence.make_checkpoint(self._writer, make))

    async def checkpoints(self) -> list[Checkpoint]:
        return await self._look(lambda: evidence.all_checkpoints(self._reader))

    async def leaves(self, number: int) -> list[Leaf]:
        return await self._look(lambda: evidence.all_leaves(self._reader, number))

    async def damages(self) -> list[Damage]:
        return await self._look(lambda: damages(self._reader, self._ring))

    async def run_key(self, run_id: str) -> RunKey | None:
        return await self._look(lambda: self._key_of(run_id, self._reader))

    async def run_ids(self) -> list[str]:
        found = await self._rows("SELECT run_id FROM runs ORDER BY key", ())
        return [run_id for (run_id,) in found if isinstance(run_id, str)]  # `damages` tells of any other

    async def inbox_digest(self, count: int) -> bytes | None:
        if count == 0:
            return GENESIS
        rows = await self._rows("SELECT digest FROM inbox ORDER BY position LIMIT 1 OFFSET ?", (count - 1,))
        return rows[0][0] if rows else None

    # ------------------------------------------------------------------------------------------------------ connections

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reading, self._reader.close)
        self._reading.shutdown(wait=False)
        await self._changes.close(self._writer.close)
        self._release()

    def _release(self) -> None:
        for connection in self._connections:
            connection.close()
        self._owners.release()
        if self._bell is not None:
            self._bell.close()
        if self._copy is not None:
            self._copy.cleanup()

    async def _look(self, work: Callable[[], _T]) -> _T:
        """What `work` finds by the reader, in its thread."""
        if self._closed:
            raise JournalUnavailable(_CLOSED)
        with translated(self._path):
            return await asyncio.get_running_loop().run_in_executor(self._reading, work)

    async def _make(self, change: Callable[[], _T]) -> _T:
        """What `change` returns that it made by the writer, in its thread, once it is durable."""
        if self._closed:
            raise JournalUnavailable(_CLOSED)
        with translated(self._path):
            return await self._changes.make(change)

    async def _aside(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done by the writer, in its thread, outside of any transaction."""
        if self._closed:
            raise JournalUnavailable(_CLOSED)
        with translated(self._path):
            return await self._changes.aside(work)

    async def _rows(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return await self._look(lambda: self._reader.execute(sql, values).fetchall())

    def _will_ring(self) -> None:
        """What this transaction does, the others have to look at."""
        self._to_ring = True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if inode(self._path) != self._inode:
            raise JournalUnavailable(f"{self._path} was moved, replaced or deleted while it was open; put it back")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            (version,) = self._writer.execute("PRAGMA data_version").fetchone()
            if version != self._heads_version:  # another process wrote
                self._appender.forget()
                self._heads_version = version
            yield
            self._writer.execute("COMMIT")
            self._appender.committed()
            if self._to_ring and self._bell is not None:
                self._bell.ring()
        except BaseException:
            self._appender.forget()
            if self._writer.in_transaction:
                with suppress(sqlite3.Error):  # the first error is the one to tell
                    self._writer.execute("ROLLBACK")
            raise
        finally:
            self._to_ring = False
