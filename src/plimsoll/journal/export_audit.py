"""The audit of an export: by the file alone, and the public keys that may have signed."""

import importlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from plimsoll.core.errors import Misuse
from plimsoll.core.events import Record
from plimsoll.journal.audit import AuditReport, check_run, check_signatures
from plimsoll.journal.checkpoints import Checkpoint, Leaf, VerifySignature
from plimsoll.journal.codec import RunKey, Unreadable
from plimsoll.journal.evidence import Damage
from plimsoll.journal.export import (
    FORMAT,
    CheckpointLine,
    EndLine,
    EventLine,
    ExportLine,
    Line,
    RunLine,
    shown,
    written,
)
from plimsoll.journal.merkle import root_by_proof

__all__ = ["audit_export"]

_decoder = msgspec.json.Decoder(Line, strict=True)


def audit_export(
    lines: Iterable[bytes], *, verify: VerifySignature | None = None, keys: Collection[bytes] = ()
) -> AuditReport:
    """Audits an export, given line by line.

    `verify` and `keys` are as for `audit`; with any key, a checkpoint must cover each run. Raises `Misuse` for what is
    no export, or one of a newer Plimsoll.
    """
    report = AuditReport()
    parsed = _parsed(lines, report)
    opening = next(parsed, None)
    if not isinstance(opening, ExportLine):
        raise Misuse("this is no export of a journal: its first line does not say so")
    if opening.format > FORMAT:
        newer = f"its format is {opening.format}, this one knows {FORMAT}"
        raise Misuse(f"this export was made by a newer Plimsoll ({newer}): upgrade plimsoll-ai")
    checkpoints: list[Checkpoint] = []
    runs: list[tuple[RunLine, list[EventLine]]] = []
    for line in parsed:
        match line:
            case CheckpointLine() if not runs:
                checkpoints.append(line.checkpoint)
            case RunLine():
                runs.append((line, []))
            case EventLine() if runs:
                runs[-1][1].append(line)
            case _:
                report.note("*", 0, f"a line of type {line.__struct_config__.tag!r} stands where none may")
    report.checkpoints = len(checkpoints)
    report.damages += check_signatures(checkpoints, verify=verify, keys=keys)
    if [run.head.run_id for run, _ in runs] != list(opening.runs):
        report.note("*", 0, "it does not hold the runs that its first line names")
    for run, events in runs:
        _check(run, events, checkpoints, report, must_be_covered=bool(keys))
    return report


def _parsed(lines: Iterable[bytes], report: AuditReport) -> Iterator[Line]:
    """The lines up to the last, which seals them. Notes what cannot be read, and an end that is not as it must be."""
    count, digest = 0, sha256()
    end: EndLine | None = None
    for number, raw in enumerate(lines, 1):
        if end is not None:
            report.note("*", 0, f"line {number}: something was added after the end")
            return
        try:
            line: Line = _decoder.decode(raw)
            if isinstance(line, CheckpointLine):
                line.checkpoint  # noqa: B018 -- whether it is one
        except (ValueError, TypeError) as error:
            report.note("*", 0, f"line {number} cannot be read: {error}")
            return
        if isinstance(line, EndLine):
            if raw != written(line):  # nothing else seals it
                report.note("*", 0, f"line {number} was altered: it says what it said, in other bytes")
            end = line
            continue
        count += 1
        digest.update(raw)
        yield line
    if end is None:
        report.note("*", 0, "it is cut off: the last line, which seals the others, is not there")
    elif (end.lines, end.digest) != (count, digest.digest()):
        report.note("*", 0, "it was altered: the lines are not those that its last line seals")


def _check(
    run: RunLine,
    events: Sequence[EventLine],
    checkpoints: Sequence[Checkpoint],
    report: AuditReport,
    *,
    must_be_covered: bool,
) -> None:
    head = run.head
    records = [
        Record(run_id=head.run_id, seq=each.seq, epoch=each.epoch, at=each.at, body=each.body, digest=each.digest)
        for each in events
    ]
    report.runs += 1
    report.erased += head.erased_at is not None
    report.events += len(records)
    try:
        found = [*check_run(head, records), *_check_shown(run, events)]
    except (Unreadable, msgspec.DecodeError) as error:
        found = [Damage(run_id=head.run_id, seq=0, what=f"an event cannot be read: {error}")]
    uncovered = _uncovered(run, records, checkpoints)
    if not uncovered and run.covered is not None:
        report.covered += run.covered.seq
    elif uncovered and (must_be_covered or run.covered is not None):
        found.append(Damage(run_id=head.run_id, seq=0 if run.covered is None else run.covered.seq, what=uncovered))
    report.damages += found


def _check_shown(run: RunLine, events: Sequence[EventLine]) -> Iterator[Damage]:
    """Whether what is shown of each event is what its body holds."""
    key = None if run.key is None else _run_key(run.key)
    for each in events:
        if bytes(each.event) != shown(each.body, key):
            what = "what is shown of it is not what its body holds"
            yield Damage(run_id=run.head.run_id, seq=each.seq, what=what)
            return


def _run_key(secret: bytes) -> RunKey:
    encryption: Any = importlib.import_module("plimsoll.journal.encryption")
    try:
        key: RunKey = encryption.Cipher(secret)
    except ValueError as error:
        raise Unreadable(f"its key is none: {error}") from error
    return key


def _uncovered(run: RunLine, records: Sequence[Record], checkpoints: Sequence[Checkpoint]) -> str:
    """Why no checkpoint covers the run as it says; empty where one does."""
    covered = run.covered
    if covered is None:
        return "no checkpoint covers it"
    if not (1 <= covered.checkpoint <= len(checkpoints) and 1 <= covered.seq <= len(records)):
        return f"checkpoint {covered.checkpoint} covers {covered.seq} events of it, and they are not all there"
    checkpoint = checkpoints[covered.checkpoint - 1]
    leaf = Leaf(run.head.run_id, covered.seq, records[covered.seq - 1].digest)
    if root_by_proof(leaf.encoded, covered.place, checkpoint.runs, covered.proof) != checkpoint.root:
        return f"it is not the event that checkpoint {checkpoint.number} covers: it, or one before it, was replaced"
    return ""
