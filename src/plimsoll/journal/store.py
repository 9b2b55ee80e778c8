"""The store protocol: what a journal's storage must do. One conformance suite tests every implementation.

A store keeps five things: the runs' records, a head per run (its index), the inbox for everybody but a run's owner,
the kill switches, and what each day's limits have been drawn on.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from plimsoll.core.calls import Ending
from plimsoll.core.events import GENESIS, Record
from plimsoll.journal.codec import Encode
from plimsoll.journal.spending import Drawn, Most, Spend

__all__ = ["CONTINUED", "OTHER_VERSION", "Halt", "InboxEntry", "InboxKind", "Outside", "RunHead", "RunState", "Store"]

OTHER_VERSION = "version"
"""A head's reason where the run parked because another version of its agent came by it."""

CONTINUED = "continued"
"""A head's reason once the run is to go on as a new one, until that has begun and this one has ended."""


class RunState(StrEnum):
    """Where a run stands: somebody advances it (or died doing so), it waits, or it is over."""

    RUNNING = "running"
    PARKED = "parked"
    ENDED = "ended"


class RunHead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A run at a glance, kept in step with its records in the same transaction.

    `seq` and `digest` are those of its last durable record; `reason` says why it is parked or how it ended; `wake_at`
    is the wall-clock time at which a parked run may go on by itself. `parent`, `session` and `turn` are those of its
    first event; `fingerprint` is the version of the agent that it belongs to. `posted` is the position of the last
    message to it, `seen` that up to which it had acted on everything when it last parked, and `asks` how many approvals
    and doubts it had open then; of one that has ended, how many doubts it left that nobody has answered since.
    `erased_at` is when its personal fields were erased.
    """

    run_id: str
    epoch: int
    owner: str
    state: RunState = RunState.RUNNING
    agent: str = ""
    seq: int = 0
    digest: bytes = GENESIS
    ending: Ending | None = None
    reason: str = ""
    wake_at: float | None = None
    started_at: float = 0.0
    updated_at: float = 0.0
    parent: str = ""
    session: str = ""
    turn: str = ""
    fingerprint: str = ""
    seen: int = 0
    posted: int = 0
    asks: int = 0
    erased_at: float | None = None


class InboxKind(StrEnum):
    """What somebody who does not own a run may ask of it."""

    DECISION = "decision"
    DOUBT = "doubt"
    SIGNAL = "signal"
    CANCEL = "cancel"
    CHILD = "child"
    """A child of the run has ended. The store itself leaves this, in the transaction that ends the child."""


class InboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a run's owner, unique by `request_id`: posted twice, it stands once.

    `position` is given by the store and rises by at least one with each entry.
    """

    request_id: str
    run_id: str
    kind: InboxKind
    body: Any
    by: str
    at: float
    position: int = 0


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """An engaged kill switch. `scope` is a run's id, or `*` for every run."""

    scope: str
    by: str
    reason: str
    at: float


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What has been done to runs from outside: the engaged kill switches by scope, and a count of messages to any."""

    halts: Mapping[str, Halt]
    posted: int


class Store(Protocol):
    """Where a journal lies. Every coroutine that changes something returns only when the change is durable.

    All raise `JournalUnavailable` when the storage cannot be used now; what was stored before stays as it was.
    """

    inline: bool
    """Whether `append` neither blocks nor waits, so that a barrier need not pass through a writer task."""

    async def append(self, records: Sequence[Record]) -> frozenset[str]:
        """Adds records of any number of runs, in one transaction, and moves their heads on.

        A run that ends with it leaves messages for its parent and its children (`chain.words_at_end`), in the same
        transaction.
        Returns the runs whose records were *refused* because another owner holds them now (a higher epoch, or another
        record with that number): none of such a run's records in the batch is added, all of the others' are. Adding a
        record again that is already there with the same digest succeeds and changes nothing.
        """
        ...

    async def begin(self, run_id: str, *, owner: str, at: float) -> RunHead:
        """The claim of a run that there is not yet, at epoch 1, which need not be written before its first records.

        Raises `Superseded` where the run is there. Where somebody else begins it meanwhile, whoever is first to append
        has it, and the other's records are refused.

        The run gets a key, where the store encrypts.
        """
        ...

    async def claim(self, run_id: str, *, owner: str, at: float, expected: int | None = None) -> RunHead:
        """Makes `owner` the one who may append to the run: its epoch rises by one (a new run begins at 1).

        `expected` is the epoch that the claim was decided on, 0 for a run that there is not yet: when the run has
        another by now, somebody else was faster, and it raises `Superseded` and changes nothing. None claims anyway.

        A new run gets a key, where the store encrypts. Raises `RunErased`, and `KeyMissing` where the run's master key
        is not here; then nothing has changed.
        """
        ...

    def encoder(self, run_id: str) -> Encode:
        """What makes the bodies of a run's events, for whoever has claimed it.

        Raises `RunErased`, and `KeyMissing` where the run's master key is not here.
        """
        ...

    async def read(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        """The run's durable records numbered above `after`, in order, `limit` at most (None: all).

        Raises `JournalCorrupt` at an unreadable one. Personal fields that were erased read `[erased]`, those whose
        master key is not here `[sealed]`.
        """
        ...

    async def head(self, run_id: str) -> RunHead | None:
        """The run at a glance, or None when there is no such run."""
        ...

    async def heads(
        self, *, state: RunState | None = None, session: str | None = None, limit: int | None = None
    ) -> list[RunHead]:
        """Runs, the latest started first; all of them, or those in `state`, or of `session`.

        Of those that run or are parked it costs as much as there are, whatever has ended.
        """
        ...

    async def asking(self) -> list[RunHead]:
        """The runs that have something for people to answer, the latest started first: what they asked when they
        parked, or left in doubt when they ended. None that was erased.

        Costs as much as there are of these. How many there are besides makes no difference.
        """
        ...

    async def due(
        self, *, agent: str, fingerprint: str, owner: str, now: float, limit: int | None = None
    ) -> list[RunHead]:
        """The runs of `agent` that `owner` may go on with at the wall-clock time `now`, at most `limit` of them.

        Parked ones whose time has come (these first, the earliest at their head), or that have a message which they
        have not acted on; those that parked because another version of the agent came by them, and belong to this one,
        `fingerprint`; and running ones whose owner is dead, or is `owner` itself: who knows which of them it advances.

        Costs as much as there are of these, and of running ones. How many are parked makes no difference.
        """
        ...

    def owner_alive(self, owner: str) -> bool:
        """Whether the process that claimed runs as `owner` still lives. Never False for one that does."""
        ...

    def report(self, owner: str, body: bytes) -> None:
        """Leaves what the living `owner` says of itself, in place of what it said before. Gone when it dies.

        It is no record: it may get lost, and nobody waits for it.
        """
        ...

    def reports(self) -> Mapping[str, bytes]:
        """What each living owner last said of itself."""
        ...

    async def post(self, entry: InboxEntry, *, among: str | None = None) -> bool:
        """Leaves a message for a run's owner. False when one with this `request_id` is there already.

        Where ids are sealed, they are told apart run by run. `among` is the run among whose messages this one's is to
        be unique, although another gets it: the first of its chain. An erased one tells no more what it had.

        Raises `RunErased`, and `KeyMissing` where the run's master key is not here.
        """
        ...

    async def posted(self, request_id: str, *, among: str) -> InboxEntry | None:
        """The message of this id among those of the run `among`, whoever got it. None where there is none, or one of
        the two runs was erased.

        Raises `KeyMissing` where a run's master key is not here.
        """
        ...

    async def inbox(self, run_id: str, *, after: int = 0) -> list[InboxEntry]:
        """The run's messages with a position above `after`, in order; of an erased run, none.

        Raises `KeyMissing` where the run's master key is not here.
        """
        ...

    async def engage(self, halt: Halt) -> None:
        """Engages a kill switch. Every `outside` that begins after this returned shows it, on every owner.

        An act records it, and its release, in the trail.
        """
        ...

    async def release(self, scope: str, *, by: str = "", at: float = 0.0) -> bool:
        """Releases a kill switch. False when none was engaged on `scope`."""
        ...

    def outside(self) -> Outside:
        """What has been done to runs from outside by now; the same object for as long as nothing has.

        Asked before every attempt, so it must be cheap: microseconds.
        """
        ...

    async def draw(
        self, account: str, day: int, *, owner: str, need: Spend, most: Most, may_pass: bool = False
    ) -> Drawn:
        """Draws on what all runs of `account` may spend in a day: what `share` deals out of what is left of `most`.

        `day` counts from 1970-01-01, UTC. Whoever draws at the same time, in whichever process, together never draw
        more than `most`; with `may_pass` alone they do. What an owner has drawn stays so when it dies.
        """
        ...

    async def put_back(self, account: str, day: int, *, owner: str, unused: Spend) -> None:
        """Takes off what `owner` has drawn and will not spend. Below 0: it has spent so much more than it drew."""
        ...

    async def drawn(self, account: str, day: int) -> Spend:
        """What all owners have drawn on that day: spent, or set aside to be."""
        ...

    async def close(self) -> None:
        """Releases files and connections. What was stored stays."""
        ...
