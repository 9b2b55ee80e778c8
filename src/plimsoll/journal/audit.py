"""The audit: whether everything that a journal tells is as it was written, and whether all of it is there."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import msgspec

from plimsoll.core.errors import JournalCorrupt
from plimsoll.core.events import Record
from plimsoll.journal.chain import follow, verify_chain
from plimsoll.journal.checkpoints import Checkpoint, Leaf, VerifySignature
from plimsoll.journal.codec import ERASED, is_sealed, opened
from plimsoll.journal.evidence import Damage, EvidenceStore
from plimsoll.journal.merkle import merkle_root
from plimsoll.journal.store import RunHead
from plimsoll.journal.trail import ActKind, Mark, wrong_act

__all__ = ["AuditReport", "audit", "check_run", "check_signatures"]

_FOLLOWED = (
    "state", "agent", "ending", "reason", "wake_at", "started_at", "parent", "session", "turn", "fingerprint", "seen",
    "asks",
)  # fmt: skip
"""What a head has from its run's events, and from nowhere else."""


class AuditReport(msgspec.Struct, kw_only=True):
    """What an audit found. `covered` counts those of the `events` that a checkpoint vouches for."""

    damages: list[Damage] = msgspec.field(default_factory=list)
    runs: int = 0
    erased: int = 0
    events: int = 0
    covered: int = 0
    checkpoints: int = 0

    def note(self, run_id: str, seq: int, what: str) -> None:
        """Something is not as it must be."""
        self.damages.append(Damage(run_id=run_id, seq=seq, what=what))


async def audit(
    store: EvidenceStore,
    *,
    verify: VerifySignature | None = None,
    keys: Collection[bytes] = (),
    against: Checkpoint | None = None,
) -> AuditReport:
    """Audits everything in `store`, which may be in use meanwhile.

    `verify` checks signatures; without it none is looked at. `keys` are the public keys that may have signed: where
    there are any, there must be a checkpoint. `against` is a checkpoint that was kept elsewhere, which shows whether
    the whole journal was set back.
    """
    report = AuditReport(damages=await store.damages())
    checkpoints = await _checkpoints(store, report)
    report.damages += check_signatures(checkpoints, verify=verify, keys=keys)
    if against is not None and against not in checkpoints:
        what = f"checkpoint {against.number} is not there as it was kept elsewhere"
        report.note("*", 0, f"the journal was set back, or forged: {what}")
    leaves = await _leaves(store, checkpoints, report)
    erased = await _erased(store, report)
    for run_id in await store.run_ids():
        await _run(store, run_id, leaves.pop(run_id, []), report, erased_at=erased.get(run_id))
    for run_id, covered in leaves.items():
        number, leaf = covered[-1]
        report.note(run_id, leaf.seq, f"the run was dropped: checkpoint {number} covers {leaf.seq} events of it")
    return report


# --------------------------------------------------------------------------------------------------------- checkpoints


def check_signatures(
    checkpoints: Sequence[Checkpoint], *, verify: VerifySignature | None, keys: Collection[bytes]
) -> Iterator[Damage]:
    """What is wrong with the checkpoints by themselves: missing, forged, or not following one another."""
    if keys and not checkpoints:
        yield Damage(run_id="*", seq=0, what="there is no checkpoint: nothing shows that this is all there ever was")
    previous = bytes(32)
    for number, checkpoint in enumerate(checkpoints, 1):
        name = f"checkpoint {checkpoint.number}"
        if checkpoint.number != number or checkpoint.previous != previous:
            what = f"{name} does not follow the one before: one is missing, or was changed"
            yield Damage(run_id="*", seq=0, what=what)
            return
        if verify is not None and not checkpoint.signed_by(verify):
            yield Damage(run_id="*", seq=0, what=f"{name} is forged: its signature is not that of its key")
        elif keys and checkpoint.key not in keys:
            yield Damage(run_id="*", seq=0, what=f"{name} is signed by a key that is not among those given")
        previous = checkpoint.digest


async def _checkpoints(store: EvidenceStore, report: AuditReport) -> list[Checkpoint]:
    try:
        checkpoints = await store.checkpoints()
    except JournalCorrupt as error:
        report.note("*", 0, error.what)
        return []
    report.checkpoints = len(checkpoints)
    return checkpoints


async def _leaves(
    store: EvidenceStore, checkpoints: Sequence[Checkpoint], report: AuditReport
) -> dict[str, list[tuple[int, Leaf]]]:
    """What the checkpoints cover: by run, the number of each checkpoint and its leaf."""
    covered: dict[str, list[tuple[int, Leaf]]] = defaultdict(list)
    for checkpoint in checkpoints:
        if await store.inbox_digest(checkpoint.inbox.count) != checkpoint.inbox.digest:
            report.note("*", 0, f"the inbox is not as checkpoint {checkpoint.number} says: it was altered, or cut off")
        try:
            leaves = await store.leaves(checkpoint.number)
        except JournalCorrupt as error:
            report.note("*", 0, error.what)
            continue
        if merkle_root([leaf.encoded for leaf in leaves]) != checkpoint.root or len(leaves) != checkpoint.runs:
            report.note("*", 0, f"what checkpoint {checkpoint.number} covers was altered")
        for leaf in leaves:
            covered[leaf.run_id].append((checkpoint.number, leaf))
    try:
        acts = await store.acts()
    except JournalCorrupt:
        return covered  # told with the trail
    for checkpoint in checkpoints:
        there = acts[: checkpoint.acts.count]
        mark = Mark(count=len(there), digest=there[-1].digest) if there else Mark()
        if mark != checkpoint.acts:
            report.note("*", 0, f"the trail is not as checkpoint {checkpoint.number} says: it was altered, or cut off")
    return covered


async def _erased(store: EvidenceStore, report: AuditReport) -> dict[str, float]:
    """The runs that the trail says were erased, and when."""
    try:
        acts = await store.acts()
    except JournalCorrupt as error:
        report.note("*", 0, error.what)
        return {}
    wrong = wrong_act(acts)
    if wrong is not None:
        report.note("*", 0, f"act {wrong} of the trail, or the one before it, was altered, dropped or added")
    return {act.subject: act.at for act in acts if act.act is ActKind.ERASED}


# --------------------------------------------------------------------------------------------------------------- runs


async def _run(
    store: EvidenceStore,
    run_id: str,
    covered: Sequence[tuple[int, Leaf]],
    report: AuditReport,
    *,
    erased_at: float | None,
) -> None:
    report.runs += 1
    try:
        head = await store.head(run_id)
        records = await store.read(run_id)
        later = await store.head(run_id)
    except JournalCorrupt as error:
        report.note(run_id, error.seq, error.what)
        return
    if head is None or later is None:
        report.note(run_id, 0, "its head is not there")
        return
    if head.seq < len(records) <= later.seq:  # it went on meanwhile
        records = records[: head.seq]
    report.events += len(records)
    report.erased += head.erased_at is not None
    report.damages += check_run(head, records)
    report.damages += _check_erasure(head, records, erased_at=erased_at)
    report.damages += _check_leaves(run_id, records, covered)
    report.covered += min(max((leaf.seq for _, leaf in covered), default=0), len(records))


def check_run(head: RunHead, records: Sequence[Record]) -> Iterator[Damage]:
    """What is wrong with a run's events, in themselves and against its head."""
    try:
        verify_chain(records, head=head)
    except JournalCorrupt as error:
        yield Damage(run_id=head.run_id, seq=error.seq, what=error.what)
        return
    if records and records[-1].epoch > head.epoch:
        what = f"its head has epoch {head.epoch}, its last event a later one"
        yield Damage(run_id=head.run_id, seq=head.seq, what=what)
    expected = RunHead(run_id=head.run_id, epoch=0, owner="", started_at=head.started_at)  # until an event says so
    if records:
        expected = follow(expected, records)
    altered = [name for name in _FOLLOWED if getattr(head, name) != getattr(expected, name)]
    if altered:
        what = f"its head was altered: its events say otherwise of its {', '.join(altered)}"
        yield Damage(run_id=head.run_id, seq=head.seq, what=what)


def _check_erasure(head: RunHead, records: Sequence[Record], *, erased_at: float | None) -> Iterator[Damage]:
    if head.erased_at != erased_at:
        yield Damage(run_id=head.run_id, seq=head.seq, what="its head and the trail disagree about its erasure")
    sealed = next((record for record in records if is_sealed(record.body)), None)
    if sealed is not None and head.erased_at is None and sealed.opened == opened(sealed.body, None, missing=ERASED):
        yield Damage(run_id=head.run_id, seq=sealed.seq, what="its key is gone, and nobody has erased it")


def _check_leaves(run_id: str, records: Sequence[Record], covered: Sequence[tuple[int, Leaf]]) -> Iterator[Damage]:
    for number, leaf in covered:
        if leaf.seq > len(records):
            what = f"the run was set back: checkpoint {number} covers {leaf.seq} events, {len(records)} are there"
            yield Damage(run_id=run_id, seq=len(records) + 1, what=what)
        elif leaf.seq < 1 or records[leaf.seq - 1].digest != leaf.digest:
            what = f"it is not the event that checkpoint {number} covers: it, or one before it, was replaced"
            yield Damage(run_id=run_id, seq=leaf.seq, what=what)
