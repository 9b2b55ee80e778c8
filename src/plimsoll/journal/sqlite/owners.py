"""The locks by which processes on one machine know of one another whether they live: a file per owner."""

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from plimsoll.core.errors import Misuse

__all__ = ["OwnerLocks", "folder_of", "inode", "open_beside"]

_REPORT = ".status"


class OwnerLocks:
    """One process's end of them. The operating system drops its locks however it ends."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._folder = folder_of(journal)
        self._held: dict[str, int] = {}

    def hold(self, owner: str) -> None:
        """From here on `owner` is this process. Raises `Misuse` when it is another, or no name."""
        if owner in self._held:
            return
        descriptor = self._lock(self._file(owner), attempts=100)
        if descriptor is None:
            raise Misuse(f"another process runs as owner {owner!r}; each needs an owner name of its own")
        self._held[owner] = descriptor

    def holds(self, owner: str) -> bool:
        """Whether `owner` is this process."""
        return owner in self._held

    def alive(self, owner: str) -> bool:
        """Whether the process that holds `owner` lives."""
        return owner in self._held or self._taken(self._file(owner))

    def report(self, owner: str, body: bytes) -> None:
        """Writes down what `owner`, which is held here, says of itself."""
        file = self._file(owner).with_suffix(_REPORT)
        written = file.with_suffix(".new")
        written.unlink(missing_ok=True)
        with os.fdopen(open_beside(self._journal, written), "wb") as report:
            report.write(body)
        written.replace(file)

    def reports(self) -> dict[str, bytes]:
        """What the living say of themselves."""
        found = {}
        for file in self._folder.glob(f"*{_REPORT}"):
            owner = unquote(file.stem)
            with suppress(FileNotFoundError):
                if self.alive(owner):
                    found[owner] = file.read_bytes()
        return found

    def sweep(self) -> None:
        """Removes the files of the dead."""
        for file in self._folder.glob("*.lock"):
            self._taken(file)
        for file in self._folder.glob(f"*{_REPORT}"):
            if not self.alive(unquote(file.stem)):
                file.unlink(missing_ok=True)

    def release(self) -> None:
        """Lets go of every owner that is held here."""
        while self._held:
            owner, descriptor = self._held.popitem()
            self._file(owner).with_suffix(_REPORT).unlink(missing_ok=True)
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
            descriptor = open_beside(self._journal, file) if create else os.open(file, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(descriptor)
                if inode(file) == (status.st_dev, status.st_ino):
                    return descriptor
            except BlockingIOError:
                pass
            os.close(descriptor)
        return None


def folder_of(journal: Path) -> Path:
    """Where the files lie that the processes over a journal have among themselves."""
    return journal.with_name(f"{journal.name}.owners")


def open_beside(journal: Path, file: Path) -> int:
    """A descriptor of a file in that folder; both are made where there are none, for whoever may use the journal.

    So nobody is locked out by who came first, such as root with the kill switch.
    """
    like = journal.stat()
    mode = stat.S_IMODE(like.st_mode) & 0o666
    with suppress(FileExistsError):
        file.parent.mkdir(mode=0o700)
        _hand_over(file.parent, like, mode | (mode & 0o444) >> 2)
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    _hand_over(file, like, mode)
    return descriptor


def _hand_over(made: Path, like: os.stat_result, mode: int) -> None:
    """Gives what we have just made to the journal's owner and group, as far as we may."""
    with suppress(PermissionError):
        os.chown(made, like.st_uid if os.geteuid() == 0 else -1, like.st_gid)
    made.chmod(mode)


def inode(path: Path) -> tuple[int, int] | None:
    """Which file stands at `path`, whatever its name was or will be. None when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
