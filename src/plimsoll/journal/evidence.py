"""What a store keeps besides its runs, so that one can show later what happened: keys, acts, checkpoints.

Runs do without: a `Store` is what they need. The same conformance suite tests both.
"""

from typing import Protocol

import msgspec

from plimsoll.core.errors import Misuse
from plimsoll.journal.checkpoints import Checkpoint, Leaf, MakeCheckpoint
from plimsoll.journal.codec import RunKey
from plimsoll.journal.store import RunHead, RunState, Store
from plimsoll.journal.trail import Act

__all__ = ["NO_RING", "Damage", "Erased", "EvidenceStore", "check_erasable"]


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose key is destroyed. `act` says by whom and why.

    `wiped` is false while the key may still stand in a file's log, because another process is reading it.
    """

    act: Act
    wiped: bool


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it must be: in which run (`*`: in no one), at which event (0: at none)."""

    run_id: str
    seq: int
    what: str


NO_RING = "this process has no master key: set PLIMSOLL_JOURNAL_KEY, or key_file in the contract's [journal]"
"""Why nothing can be rewrapped where there is no ring of keys."""


def check_erasable(head: RunHead, *, encrypted: bool) -> None:
    """Raises `Misuse` for a run that may not be erased now, or cannot."""
    if not encrypted:
        raise Misuse(
            f"run {head.run_id} was recorded without encryption, and what the chain covers cannot be taken out of it."
            " Set encrypt = true in the contract's [journal]: then the runs that begin from now on can be erased"
        )
    if head.state is not RunState.ENDED:
        raise Misuse(f"run {head.run_id} is {head.state}: only what has ended is erased")


class EvidenceStore(Store, Protocol):
    """A `Store` that keeps evidence."""

    async def erase(self, run_id: str, *, by: str, reason: str, at: float) -> Erased:
        """Destroys the key of a run that has ended, and with it what its personal fields say, for ever and everybody.

        An act records it. Of a run that was erased already, the earlier act is returned, and what is left of its key
        is wiped. Raises `UnknownRun`, and `Misuse` for a run that has not ended, or was never encrypted.
        """
        ...

    async def rewrap(self, *, by: str, at: float) -> int:
        """Puts every run's key under the first master key, and says how many there were to be changed.

        An act records it. May be repeated after a crash. Raises `KeyMissing` when a master key is not here.
        """
        ...

    async def acts(self) -> list[Act]:
        """The trail, in order."""
        ...

    async def checkpoint(self, make: MakeCheckpoint) -> Checkpoint | None:
        """Makes a checkpoint over everything that is durable now, and keeps it. None when nothing is new."""
        ...

    async def checkpoints(self) -> list[Checkpoint]:
        """Every checkpoint, in order. Raises `JournalCorrupt` for one that cannot be read."""
        ...

    async def leaves(self, number: int) -> list[Leaf]:
        """What the checkpoint of this number covers, in the order of its tree."""
        ...

    async def run_key(self, run_id: str) -> RunKey | None:
        """The run's key, None for a run without one. Raises `RunErased` and `KeyMissing`."""
        ...

    async def run_ids(self) -> list[str]:
        """The ids of all runs, in the order in which they were first claimed."""
        ...

    async def inbox_digest(self, count: int) -> bytes | None:
        """The digest of the inbox's chain after so many messages; None where there are fewer."""
        ...

    async def damages(self) -> list[Damage]:
        """What is wrong with the storage itself, as far as only the store can see it: pages, stray rows, keys."""
        ...
