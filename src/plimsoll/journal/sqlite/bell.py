"""A bell that every process over a journal hears: rung after something was done that others have to look at.

To ask SQLite whether anything changed takes microseconds, and is asked before every attempt; to listen, a fraction of
one.
"""

import mmap
import os
from collections.abc import Callable
from pathlib import Path

from plimsoll.core.clock import SystemClock
from plimsoll.core.rng import secret_bytes
from plimsoll.journal.sqlite.owners import folder_of, open_beside

__all__ = ["Bell"]

_BYTES = 8
_ANYHOW_S = 0.05
"""So long at most nobody looks for himself: whoever rings might have died just before, or rings another bell, because
this one's file was taken away."""


class Bell:
    """One process's end of it: eight bytes of a file that all of them have in memory. Each ring puts others there."""

    __slots__ = ("_heard", "_look_at", "_memory", "_monotonic")

    def __init__(self, journal: Path, *, monotonic: Callable[[], float] = SystemClock.monotonic) -> None:
        descriptor = open_beside(journal, folder_of(journal) / "bell")
        try:
            if os.fstat(descriptor).st_size < _BYTES:  # written, not left empty: who touches a hole when the disk is
                os.pwrite(descriptor, secret_bytes(_BYTES), 0)  # full is ended by the operating system
            self._memory = mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        self._monotonic = monotonic
        self._heard = b""
        self._look_at = 0.0

    def ring(self) -> None:
        """Lets everybody know. To be called when what they will look at is there."""
        self._memory[:] = secret_bytes(_BYTES)

    def sound(self) -> bytes | None:
        """What is to be told to `heard` after looking; None where there is nothing to look at."""
        sound = self._memory[:]
        return None if sound == self._heard and self._monotonic() < self._look_at else sound

    def heard(self, sound: bytes) -> None:
        """Somebody has looked since it sounded so."""
        self._heard = sound
        self._look_at = self._monotonic() + _ANYHOW_S

    def close(self) -> None:
        """Lets go of the memory. The file stays, for the others."""
        self._memory.close()
