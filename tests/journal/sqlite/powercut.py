"""What a disk may hold after the power failed: worked out from all that a process did to its files.

Whatever was synced is there. Of what was written since, any part may be there, in sectors of 512 bytes and in any
order; of the names that were made or taken away since their folder was synced, too.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

__all__ = ["Acknowledged", "Disk", "acknowledgements", "compiled", "watched"]

_ENTRY = Struct("=c3xIQqQ")
_SECTOR = 512
ACKS = "acks"
"""The file to which a watched process writes a line when it has been told that something is durable."""


def compiled(folder: Path) -> Path:
    """The library that watches a process, built into `folder`."""
    library = folder / "powercut.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


def watched(library: Path, folder: Path, code: str, *arguments: str) -> list["Operation"]:
    """Everything that a process which runs `code` does to the files in `folder`."""
    log = folder.with_suffix(".log")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LD_PRELOAD": str(library),
        "WATCHED": str(folder),
        "WATCH_LOG": str(log),
    }
    subprocess.run([sys.executable, "-c", code, str(folder), *arguments], env=environment, check=True)
    return list(_operations(log.read_bytes()))


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that was done: `w`rite, `t`runcate, `s`ync, `n`ame or `u`nname a file, the folder being named ``."""

    op: str
    name: str
    inode: int
    offset: int
    data: bytes


def _operations(log: bytes) -> Iterator[Operation]:
    place = 0
    while place < len(log):
        op, name_length, inode, offset, length = _ENTRY.unpack_from(log, place)
        place += _ENTRY.size
        name = log[place : place + name_length].decode()
        place += name_length
        data = log[place : place + length] if op == b"w" else b""
        place += len(data)
        yield Operation(op.decode(), name, inode, offset, data)


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    since: list[Operation] = field(default_factory=list)

    def synced(self) -> None:
        self.durable = _applied(self.durable, self.since)
        self.since = []


def _applied(content: bytearray, operations: list[Operation]) -> bytearray:
    content = bytearray(content)
    for each in operations:
        if each.op == "t":
            del content[each.offset :]
            content.extend(bytes(each.offset - len(content)))
        else:
            content.extend(bytes(max(0, each.offset - len(content))))
            content[each.offset : each.offset + len(each.data)] = each.data
    return content


class Disk:
    """A disk to which one operation after the other is done, and whose power may fail in between."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._names_since: list[Operation] = []

    def do(self, operation: Operation) -> None:
        match operation.op:
            case "s" if operation.name == "":
                self._names = self._named(self._names_since)
                self._names_since = []
            case "s":
                self._file(operation).synced()
            case "n" | "u":
                self._names_since.append(operation)
            case _:
                self._file(operation).since.append(operation)

    def _file(self, operation: Operation) -> _File:
        return self._files.setdefault(operation.inode, _File())

    def _named(self, changes: list[Operation]) -> dict[str, int]:
        names = dict(self._names)
        for each in changes:
            if each.op == "n":
                names[each.name] = each.inode
            else:
                names.pop(each.name, None)
        return names

    def after_power_cut(self, folder: Path, rng: random.Random | None, *, kept: float) -> None:
        """Writes what is left into `folder`: of everything that was not synced, about the share `kept`."""
        folder.mkdir()
        for name, inode in self._named([each for each in self._names_since if _chosen(rng, kept)]).items():
            file = self._files.get(inode, _File())
            survived = [part for each in file.since for part in _sectors(each) if _chosen(rng, kept)]
            if not name.endswith("-shm"):  # an index that SQLite makes anew
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(_applied(file.durable, survived))


def _chosen(rng: random.Random | None, kept: float) -> bool:
    return kept == 1.0 if rng is None else rng.random() < kept


def _sectors(operation: Operation) -> Iterator[Operation]:
    """A write in the pieces that a disk writes whole."""
    if operation.op == "t":
        yield operation
        return
    place = 0
    while place < len(operation.data):
        offset = operation.offset + place
        size = _SECTOR - offset % _SECTOR
        yield Operation("w", operation.name, operation.inode, offset, operation.data[place : place + size])
        place += size


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a process had been told was durable after so many operations."""

    after: int
    lines: frozenset[str]


def acknowledgements(operations: list[Operation]) -> list[Acknowledged]:
    """After each line that the process wrote to its `acks`, all that it had written there by then."""
    lines: list[str] = []
    found = []
    for number, each in enumerate(operations, 1):
        if each.op == "w" and each.name == ACKS:
            lines += each.data.decode().splitlines()
            found.append(Acknowledged(number, frozenset(lines)))
    return found
