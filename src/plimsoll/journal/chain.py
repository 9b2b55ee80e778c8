"""The rules every store follows: what extends a run's chain, what its records say of its head, and what verifies."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from plimsoll.core.calls import Ending
from plimsoll.core.errors import JournalCorrupt, Superseded
from plimsoll.core.events import GENESIS, Record, chain_digest
from plimsoll.journal.codec import readable
from plimsoll.journal.store import CONTINUED, InboxEntry, InboxKind, RunHead, RunState

__all__ = ["admit", "check_expected", "follow", "moved_on", "restated", "verify_chain", "words_at_end"]

_ABOUT_THE_RUN = b'"type":"run_'
"""Stands in the body of every event that changes a head's state, and in few others: only these are decoded, and what
comes after a run's end."""

_JSON = ord("{")  # what a body begins with that stands as it is


class _AboutTheRun(msgspec.Struct):
    """What a head takes from an event. Personal fields have no place in a head, so none is missed here."""

    type: str
    agent: str = ""
    parent: str = ""
    session: str = ""
    turn: str = ""
    fingerprint: str = ""
    new: str = ""
    reason: str = ""
    until: float | None = None
    seen: int = 0
    asks: int | None = None
    ending: Ending | None = None
    answer: str = ""
    leaves: tuple[str, ...] = ()


_decoder = msgspec.json.Decoder(_AboutTheRun)


def check_expected(run_id: str, expected: int | None, epoch: int) -> None:
    """Raises `Superseded` when a claim was decided on another epoch than the run has by now."""
    if expected is not None and expected != epoch:
        raise Superseded(run_id, epoch=expected)


def verify_chain(records: Sequence[Record], *, head: RunHead | None = None) -> None:
    """Verifies a run's records, from its first on, against each other.

    Any prefix of a chain verifies, so records missing at the *end* show only where the run's `head` is given too.
    Raises `JournalCorrupt` at the first record that was altered, dropped, added or moved.
    """
    previous = GENESIS
    epoch = 0
    for seq, record in enumerate(records, 1):
        run_id = records[0].run_id
        if record.run_id != run_id:
            raise JournalCorrupt(run_id, seq, f"a record of run {record.run_id} stands there")
        if record.seq != seq:
            raise JournalCorrupt(run_id, seq, f"record {record.seq} stands there")
        if record.epoch < epoch:
            raise JournalCorrupt(run_id, seq, f"written in epoch {record.epoch}, after one of epoch {epoch}")
        expected = chain_digest(previous, run_id=run_id, seq=seq, epoch=record.epoch, at=record.at, body=record.body)
        if record.digest != expected:
            raise JournalCorrupt(run_id, seq, "the record, or the one before it, was altered")
        previous, epoch = record.digest, record.epoch
    if head is not None and head.seq != len(records):
        place = min(head.seq, len(records)) + 1
        raise JournalCorrupt(head.run_id, place, f"{len(records)} records are there, the head counts {head.seq}")
    if head is not None and head.digest != previous:
        what = f"the digest in its head is not that of record {head.seq}, its last"
        raise JournalCorrupt(head.run_id, head.seq, what)


def admit(head: RunHead, records: Sequence[Record], *, known: Callable[[int], bytes | None]) -> list[Record] | None:
    """Which of one run's `records` extend it, and may be added; None when they are refused, all of them.

    `known` gives the digest of the stored record with a number, up to the head's. A record that is stored already is
    the writer's own retry and is left out. Refused are another record in a stored one's place, one of another epoch
    than the head's, one that would leave a gap, and any of a run that was erased.
    """
    epoch, next_seq = head.epoch if head.erased_at is None else None, head.seq + 1
    fresh: list[Record] = []
    for record in records:
        if record.seq == next_seq and record.epoch == epoch:
            fresh.append(record)
            next_seq += 1
            continue
        if record.seq >= next_seq:
            return None
        stored = known(record.seq) if record.seq <= head.seq else fresh[record.seq - head.seq - 1].digest
        if stored != record.digest:
            return None
    return fresh


def follow(head: RunHead, records: Sequence[Record]) -> RunHead:
    """The head after `records`, which are not empty and extend it."""
    return moved_on(restated(head, records), records[-1])


def restated(head: RunHead, records: Sequence[Record]) -> RunHead:
    """What `records` say of the run's head, but for its place; the same head where they say nothing."""
    for record in records:
        json = record.body if record.body[0] == _JSON else readable(record.body)
        if _ABOUT_THE_RUN in json or head.state is RunState.ENDED:
            head = _follow_event(head, _decoder.decode(json), record.at)
    return head


def moved_on(head: RunHead, last: Record) -> RunHead:
    """The head once `last` is its last record."""
    return replace(head, seq=last.seq, digest=last.digest, updated_at=last.at)


def words_at_end(before: RunHead, after: RunHead, last: Record) -> list[InboxEntry]:
    """The messages that a run leaves when it ends with `last`; none where it has not just ended.

    Its parent is told that it has, unless it goes on as a new run; the children that it leaves behind are cancelled.
    """
    if after.ending is None or before.ending is not None:
        return []
    at, words = after.updated_at, []
    if after.parent and after.ending is not Ending.CONTINUED:
        body, ended = {"run_id": after.run_id}, f"{after.run_id}:ended"
        words.append(
            InboxEntry(request_id=ended, run_id=after.parent, kind=InboxKind.CHILD, body=body, by=after.run_id, at=at)
        )
    reason = {"reason": f"{after.run_id}, which began it, has ended"}
    for child in _decoder.decode(readable(last.body)).leaves:
        request_id = f"{child}:cancel"  # as anybody's cancellation
        words.append(
            InboxEntry(request_id=request_id, run_id=child, kind=InboxKind.CANCEL, body=reason, by="plimsoll", at=at)
        )
    return words


def _follow_event(head: RunHead, about: _AboutTheRun, at: float) -> RunHead:
    match about.type:
        case "run_started":
            belongs = {"parent": about.parent, "session": about.session, "turn": about.turn}
            return replace(head, agent=about.agent, fingerprint=about.fingerprint, started_at=at, **belongs)
        case "run_parked":
            asks = 1 if about.asks is None else about.asks  # where it is not told, somebody has to look
            waits = {"reason": about.reason, "wake_at": about.until, "seen": about.seen, "asks": asks}
            return replace(head, state=RunState.PARKED, **waits)
        case "run_resumed":
            reason = CONTINUED if head.reason == CONTINUED else ""
            return replace(head, state=RunState.RUNNING, reason=reason, wake_at=None, asks=0)
        case "run_continued":
            return replace(head, reason=CONTINUED)
        case "run_adopted":
            return replace(head, fingerprint=about.new)
        case "run_ended":
            over = {"ending": about.ending, "reason": about.reason, "wake_at": None, "asks": about.asks or 0}
            return replace(head, state=RunState.ENDED, **over)
        case "doubt_resolved" if about.answer != "unknown":  # after the end: a person has said so
            return replace(head, asks=max(0, head.asks - 1))
        case _:
            return head
