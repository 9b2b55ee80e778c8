"""The directory of work beside the model that is being made: one process at a time, and no fit's work is lost."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse, OperationFailed

__all__ = ["PLAN", "Stopwatch", "check_new", "emptied", "locked"]

PLAN = "plan.json"
"""What says that the work is a fit's, which goes on from there."""
_MADE = "made"


def check_new(out: Path) -> None:
    """Raises `Misuse` where there is something at `out`."""
    if out.exists():
        raise Misuse(f"{out} is there already, and a model must not be lost: name another directory")


@contextmanager
def locked(out: Path) -> Iterator[Path]:
    """The directory of work beside `out`, for this process alone, as it was left. Raises `Misuse`, `OSError`."""
    work = out.with_name(f"{out.name}.work")
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misuse(f"{work}: another process works at it; wait until it has ended") from None
        check_new(out)  # whoever worked at it may have ended since this was last looked at
        yield work


@contextmanager
def emptied(out: Path) -> Iterator[Path]:
    """An empty directory in the work beside `out`, all of which is taken away at the end, however that comes.

    Raises `Misuse` where a fit that has not ended has its work there, and `OperationFailed` where nothing can be
    written.
    """
    try:
        with locked(out) as work:
            if (work / PLAN).exists():
                raise Misuse(
                    f"{work} is of a fit that has not ended. Say that one again, take its work away, or name another "
                    "directory"
                )
            try:
                shutil.rmtree(work / _MADE, ignore_errors=True)
                (work / _MADE).mkdir()
                yield work / _MADE
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OperationFailed(f"{out} cannot be written: {error}. Nothing of it is kept") from error


class Stopwatch:
    """How long a fit has taken, in seconds: in all its lives, where it was killed, up to what was kept of each."""

    def __init__(self, work: Path, clock: Clock) -> None:
        self._file = work / "seconds"
        self._clock = clock
        self._before_s = float(self._file.read_text()) if self._file.exists() else 0.0
        self._began = clock.monotonic()

    @property
    def elapsed_s(self) -> float:
        return self._before_s + self._clock.monotonic() - self._began

    def keep(self) -> None:
        """Keeps how long it has taken so far."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(str(self.elapsed_s))
        scratch.replace(self._file)
